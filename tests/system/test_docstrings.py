"""The examples in docstrings run, and everything public has one."""

import doctest
import importlib
import pkgutil

import pytest

import fastmlp

PACKAGES = "displays", "interop", "inspection", "tabular", "dask"
PUBLIC = ["fastmlp", *(f"fastmlp.{package}" for package in PACKAGES)]
MODULES = [
    module.name
    for module in pkgutil.walk_packages(fastmlp.__path__, "fastmlp.")
    if module.name != "fastmlp.__main__"  # runs the demonstration
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def imported(name):
    """The module, where what it needs is installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        pytest.skip(f"needs {error.name}")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.slow] * (".dask" in each or ".tabular" in each))
        for each in MODULES
    ],
)
def test_examples_of_docstrings_run(name):
    failures, _ = doctest.testmod(imported(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert not failures


@pytest.mark.parametrize("name", PUBLIC)
def test_public_objects_have_an_example(name):
    module = imported(name)
    names = getattr(module, "__all__", None) or [
        key for key, each in vars(module).items()
        if not key.startswith("_") and getattr(each, "__module__", None) == name
    ]  # fmt: skip
    assert names
    for each in names:
        if each != "__version__":
            assert ">>>" in (getattr(module, each).__doc__ or ""), f"{name}.{each}"
