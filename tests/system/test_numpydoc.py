"""numpydoc's validator finds nothing on any public object, and Sphinx builds without a warning."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytest.importorskip("numpydoc")
from numpydoc import validate

ROOT = Path(__file__).parents[2]
PACKAGES = [
    "fastmlp",
    "fastmlp.displays",
    "fastmlp.interop",
    "fastmlp.inspection",
    "fastmlp.tabular",
    "fastmlp.dask",
]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["numpydoc_validation"]
OF_METHODS = {"ES01", "EX01", "SA01"}  # what methods need not have


def public_names(package):
    """The public classes and functions of a package, and the methods that are fastmlp's own."""
    module = pytest.importorskip(package, exc_type=ImportError)  # some need an extra
    for name in module.__all__:
        obj = getattr(module, name)
        if not callable(obj):
            continue
        yield f"{package}.{name}", False
        for method in [each for each in dir(obj) if inspect.isclass(obj) and each[0] != "_"]:
            owner = next(base for base in obj.__mro__ if method in vars(base))
            if owner.__module__.startswith("fastmlp"):
                yield f"{package}.{name}.{method}", True


@pytest.mark.parametrize("package", PACKAGES)
def test_the_validator_finds_nothing(package):
    names = dict(public_names(package))
    assert names
    for name, is_method in names.items():
        if any(re.search(each, name) for each in CONFIG["exclude"]):
            continue
        ignored = OF_METHODS if is_method else set()
        found = [each for each in validate.validate(name)["errors"] if each[0] not in ignored]
        assert not found, name


def test_the_configuration_leaves_out_no_more_than_the_test():
    assert set(CONFIG["checks"]) == {"all"} | OF_METHODS


CONFIGURATION = """
extensions = ["sphinx.ext.autodoc", "{extension}"]
project = "fastmlp"
numpydoc_show_class_members = False
"""


@pytest.mark.slow
@pytest.mark.parametrize("extension", ["numpydoc", "sphinx.ext.napoleon"])
def test_sphinx_builds_without_a_warning(extension, tmp_path):
    pytest.importorskip("sphinx")
    (tmp_path / "conf.py").write_text(CONFIGURATION.format(extension=extension))
    pages = ["fastmlp\n=======\n"]
    for package in PACKAGES:
        for name, is_method in public_names(package):
            if not is_method:
                kind = "class" if inspect.isclass(imported(name)) else "function"
                pages.append(f".. auto{kind}:: {name}\n   {':members:' * (kind == 'class')}\n")
    (tmp_path / "index.rst").write_text("\n".join(pages))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(tmp_path), str(tmp_path / "site")],
        capture_output=True, text=True,
    )  # fmt: skip
    # scikit-learn's docstrings, of methods that it adds, refer to its own glossary.
    own = [each for each in done.stderr.splitlines() if "docstring of sklearn." not in each]
    assert done.returncode == 0 and not own
    assert "MLPRegressor" in (tmp_path / "site" / "index.html").read_text("utf-8")


def imported(name):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)
