"""What `import fastmlp` gives: public names, submodules that load when they are used, a report."""

import subprocess
import sys

import pytest
import sklearn

import fastmlp
from fastmlp import __main__ as command

SUBMODULES = {"dask", "displays", "inspection", "interop", "tabular"}
FILES = {"autoencoder", "estimators", "transformers"}


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("submodule", "name"),
    [
        ("interop", "to_sklearn"),
        ("displays", "LossCurveDisplay"),
        ("inspection", "check_gradient"),
        ("dask", "DaskMLPClassifier"),
        ("tabular", "TabularMLPClassifier"),
    ],
)
def test_a_submodule_loads_when_it_is_used(submodule, name):
    if submodule == "dask":
        pytest.importorskip("distributed", reason="needs the extra dask")
    modules = {f"fastmlp.{each}" for each in SUBMODULES}
    found = run(f"""
import sys, fastmlp
dir(fastmlp), fastmlp.MLPClassifier()
assert not {modules} & set(sys.modules) and "matplotlib" not in sys.modules
fastmlp.{submodule}.{name}
assert fastmlp.{submodule} is sys.modules["fastmlp.{submodule}"]
""")
    assert found.returncode == 0, found.stderr


def test_dir_shows_public_names_only():
    names = dir(fastmlp)
    assert set(names) == {*fastmlp.__all__, *SUBMODULES, *FILES}
    assert all(hasattr(fastmlp, name) for name in set(names) - {"dask", "tabular"})
    assert [name for name in names if name.startswith("_")] == ["__version__"]


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'fastmlp' has no attribute 'tabulr'"):
        _ = fastmlp.tabulr
    with pytest.raises(ImportError):
        from fastmlp import tabulr  # noqa: F401


@pytest.mark.slow
def test_without_dask_the_attribute_is_missing_and_the_message_names_the_extra():
    found = run(
        "import sys; sys.modules['dask'] = sys.modules['distributed'] = None\n"
        "import fastmlp\n"
        "assert not hasattr(fastmlp, 'dask')\n"
        "fastmlp.dask"
    )
    assert "AttributeError" in found.stderr and "fastmlp[dask]" in found.stderr


def test_show_versions_prints_the_report_and_the_dependencies(capsys):
    command.main(["info"])
    info = capsys.readouterr().out.splitlines()
    fastmlp.show_versions()
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(info)] == info
    versions = dict(line.split(None, 1) for line in lines[len(info) :] if line)
    assert versions["scikit-learn"] == sklearn.__version__
    assert {"numpy", "scipy", "numba", "llvmlite", "joblib", "dask", "onnx"} <= set(versions)
