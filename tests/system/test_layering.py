"""The house keeps its order: imports, lengths of files, functions and calls, docstrings."""

import ast
import importlib
import inspect
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fastmlp

PACKAGE = Path(fastmlp.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOT = Path(__file__).parents[2]
SOURCES = [
    *FILES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted(ROOT.glob("benchmarks/**/*.py")),
]
MOST_LINES_OF_FILE, MOST_LINES_OF_FUNCTION, MOST_POSITIONAL_ARGUMENTS = 400, 60, 8

# A module may import those of rows further down, and its neighbours in its own row. Every module
# has a floor: its own row, or that of the package it stands in.
FLOORS = [
    {"fastmlp.__main__"},
    {
        "fastmlp",
        "fastmlp.displays",
        "fastmlp.interop",
        "fastmlp.inspection",
        "fastmlp.dask",
        "fastmlp.tabular",
    },
    {
        "fastmlp.autoencoder",
        "fastmlp.estimators",
        "fastmlp.transformers",
        "fastmlp._mlflow",
        "fastmlp._report",
    },
    {"fastmlp._estimator.base"},
    {"fastmlp._estimator.continuation"},
    {
        "fastmlp._estimator.architecture",
        "fastmlp._estimator.fitted",
        "fastmlp._estimator.given_weights",
        "fastmlp._estimator.initialization",
        "fastmlp._estimator.kinds",
        "fastmlp._estimator.outputs",
        "fastmlp._estimator.real_targets",
        "fastmlp._estimator.targets",
    },
    {
        "fastmlp._estimator",
        "fastmlp._estimator.class_weights",
        "fastmlp._estimator.documentation",
        "fastmlp._estimator.parameters",
    },
    {"fastmlp._training.solve"},
    {"fastmlp._training.lbfgs"},
    {"fastmlp._training.denoising", "fastmlp._training.sgd"},
    {"fastmlp._training.loop"},
    {"fastmlp._training.validation"},
    {"fastmlp._training.history", "fastmlp._training.losses", "fastmlp._training.weights"},
    {"fastmlp._training.optimizer"},
    {"fastmlp._training", "fastmlp._training.callbacks", "fastmlp._training.schedules"},
    {"fastmlp._compat"},
    {"fastmlp._inference"},
    {
        "fastmlp._engine",
        "fastmlp._engine.training_workspace",
        "fastmlp._engine.workspace",
        "fastmlp._engine.inputs",
        "fastmlp._engine.network",
        "fastmlp._engine.threads",
        "fastmlp._engine.machine",
        "fastmlp._engine.mapping",
    },
    {"fastmlp._engine.kernels"},
    {"fastmlp._engine.records", "fastmlp._engine.threading", "fastmlp._engine.simd"},
    {"fastmlp._engine.buffers"},
    {"fastmlp._engine.jit"},
    {"fastmlp._engine.compat"},
    {"fastmlp.version"},
]


def module_name(path):
    parts = ["fastmlp", *path.relative_to(PACKAGE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


NAMES = {module_name(path): path for path in FILES}


def tree_of(name):
    return ast.parse(NAMES[name].read_text(encoding="utf-8"))


def imported(name):
    """Every module that a module's source imports, wherever in the file."""
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:  # of a package, its modules; of a module, itself
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in NAMES else node.module)
    return found


def floor_of(name):
    """The number of a module's floor, counted from the top; None if it has none."""
    package = name
    while package and (package != "fastmlp" or name == "fastmlp"):
        for number, floor in enumerate(FLOORS):
            if package in floor:
                return number
        package = package.rpartition(".")[0]
    return None


def test_the_house_is_seen_whole():
    assert {
        "fastmlp",
        "fastmlp._engine.network",
        "fastmlp._engine",
        "fastmlp._engine.simd.tile",
    } <= set(NAMES)
    assert "fastmlp._engine.kernels.products" in imported("fastmlp._engine.kernels.training")
    assert "fastmlp._engine.kernels.training" in imported("fastmlp._training.sgd")


@pytest.mark.parametrize("name", NAMES)
def test_every_module_has_a_floor(name):
    assert floor_of(name) is not None


def test_a_module_without_a_place_has_no_floor():
    assert floor_of("fastmlp.elsewhere") is None
    assert floor_of("fastmlp._engine.kernels.another") == floor_of("fastmlp._engine.kernels")


@pytest.mark.parametrize("name", NAMES)
def test_imports_point_downward(name):
    for other in imported(name) & set(NAMES):
        assert floor_of(other) >= floor_of(name), f"{name} imports {other}"


def test_no_imports_go_in_a_circle():
    graph = {name: (imported(name) & set(NAMES)) - {name} for name in NAMES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError
    assert order.index("fastmlp._engine.jit.target") < order.index(
        "fastmlp._engine.kernels.training"
    )


ENGINE = [name for name in NAMES if name.startswith("fastmlp._engine")]
LIBRARIES = {  # beside NumPy, Numba and the standard library
    "fastmlp._engine.compat.joblib": {"joblib"},
    "fastmlp._engine.threads": {"joblib"},
    "fastmlp._engine.inputs": {"scipy"},
    "fastmlp._engine.workspace": {"scipy"},
}


@pytest.mark.parametrize("name", ENGINE)
def test_the_engine_knows_nothing_of_the_house_above(name):
    for other in imported(name):
        root = other.split(".")[0]
        assert root not in {"sklearn", "scipy", "joblib"} - LIBRARIES.get(name, set())
        assert root != "fastmlp" or other.startswith("fastmlp._engine")


COMPAT = {"fastmlp._compat", "fastmlp._engine.compat"}


def is_public(name):
    """Whether a name is fastmlp's own, or public in another library."""
    root, *rest = name.split(".")
    inner = name.startswith(("numba.core", "numba.np", "numba.misc"))
    return root == "fastmlp" or not (inner or any(part.startswith("_") for part in rest))


@pytest.mark.parametrize("name", [n for n in NAMES if n.rpartition(".")[0] not in COMPAT])
def test_names_that_are_not_public_come_from_the_modules_for_compatibility(name):
    used = imported(name)
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.ImportFrom):
            used |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert not [each for each in sorted(used) if not is_public(each)]


def nodes_of(path, *kinds):
    return [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, kinds)
    ]


def docstring_lines(node):
    return len((ast.get_docstring(node, clean=False) or "").splitlines())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_files_are_short(path):
    """But for the docstrings of classes, which are tables of parameters."""
    tables = sum(map(docstring_lines, nodes_of(path, ast.ClassDef)))
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines - tables <= MOST_LINES_OF_FILE


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_functions_are_short(path):
    """But for their docstrings, and for the signatures of the estimators' `__init__`."""
    for node in nodes_of(path, ast.FunctionDef, ast.AsyncFunctionDef):
        begin = node.body[0].lineno if node.name == "__init__" else node.lineno
        lines = node.end_lineno - begin + 1 - docstring_lines(node)
        assert lines <= MOST_LINES_OF_FUNCTION, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_calls_have_few_positional_arguments(path):
    for node in nodes_of(path, ast.Call):
        name = ast.unparse(node.func)
        assert len(node.args) <= MOST_POSITIONAL_ARGUMENTS, f"{name}, line {node.lineno}"


def is_overload(node):
    """Whether a definition only declares types; the one that follows has the docstring."""
    return any(ast.unparse(each) == "overload" for each in node.decorator_list)


def public(nodes, kinds):
    found = [n for n in nodes if isinstance(n, kinds) and not is_overload(n)]
    return [n for n in found if not n.name.startswith("_")]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_public_has_a_docstring(name):
    tree = tree_of(name)
    assert ast.get_docstring(tree), name
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    for node in public(tree.body, (*functions, ast.ClassDef)):
        assert ast.get_docstring(node), f"{name}.{node.name}"
    for owner in public(tree.body, ast.ClassDef):
        for node in public(owner.body, functions):
            module = pytest.importorskip(name, exc_type=ImportError)  # some need an extra
            method = getattr(getattr(module, owner.name), node.name)
            assert inspect.getdoc(method), f"{name}.{owner.name}.{node.name}"  # maybe inherited


def test_the_architecture_map_names_every_module_of_the_engine():
    engine = importlib.import_module("fastmlp._engine")
    mapped = set(re.findall(r"^\| `(_engine/\S+)` \|", engine.__doc__, flags=re.MULTILINE))
    modules = {
        name.removeprefix("fastmlp.").replace(".", "/")
        for name, path in NAMES.items()
        if name.startswith("fastmlp._engine.") and path.name != "__init__.py"
    }
    assert mapped == modules
