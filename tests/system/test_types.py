"""Static tools see what users see: parameters, attributes, docstrings."""

import ast
import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "system" / "user_script.py"
PACKAGE = Path(fastmlp.__file__).parent
ESTIMATORS = [MLPClassifier, MLPRegressor]
DIFFERENT = {"loss"}  # entries that classifier and regressor do not share
OF_A_CLUSTER = {"batch_size", "initialization"}  # entries that differ on a cluster


def class_docstrings(path):
    """The docstring literal of every public class in a file."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
    return {node.name: ast.get_docstring(node) or "" for node in classes}


DOCSTRINGS = {
    name: text
    for file in ("estimators.py", "dask/estimators.py")
    for name, text in class_docstrings(PACKAGE / file).items()
}


def sections(docstring):
    """The sections of a numpydoc docstring by their titles."""
    parts = re.split(r"\n(\w[\w ]*)\n-+\n", docstring)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section):
    """Type and text of each entry of a section, by its name."""
    parts = re.split(r"^(\w+) : ", section, flags=re.MULTILINE)
    return dict(zip(parts[1::2], map(str.rstrip, parts[2::2]), strict=True))


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").read_text(encoding="utf-8") == ""


def test_a_docstring_is_taken_apart():
    found = entries(sections(DOCSTRINGS["MLPClassifier"])["Parameters"])
    assert found["shuffle"].startswith("bool, default=True\n    Whether to shuffle")
    assert len(DOCSTRINGS) == 4


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_docstrings_list_the_parameters_with_their_defaults(estimator):
    parameters = inspect.signature(estimator).parameters
    for name in (estimator.__name__, f"Dask{estimator.__name__}"):
        found = entries(sections(DOCSTRINGS[name])["Parameters"])
        assert list(found) == list(parameters)
        for parameter, text in found.items():
            default = re.search(r"default=(.*)$", text.split("\n")[0]).group(1)
            assert ast.literal_eval(default) == parameters[parameter].default, parameter


@pytest.mark.parametrize("section", ["Parameters", "Attributes", "Notes", "References"])
def test_shared_entries_are_equal_word_for_word(section):
    found = {
        name: entries(text.get(section, ""))
        for name, text in ((name, sections(each)) for name, each in DOCSTRINGS.items())
    }
    first = found["MLPClassifier"]
    for name, others in found.items():
        same = dict(first if "Classifier" in name else found["MLPRegressor"])
        for entry in OF_A_CLUSTER & same.keys() if name.startswith("Dask") else ():
            assert same.pop(entry) != others[entry]
        assert same.items() <= others.items(), name  # of one kind, on one machine or a cluster
    for entry in (first.keys() & found["MLPRegressor"].keys()) - DIFFERENT:
        one, other = first[entry], found["MLPRegressor"][entry]
        if entry in ("out_activation_", "validation_scores_"):
            one, other = one.split(":")[0].split(",")[0], other.split(":")[0].split(",")[0]
            one, other = one.replace("accuracy", "R2"), other
        assert one == other, entry
    if section in ("Notes", "References"):
        texts = {sections(DOCSTRINGS[each.__name__])[section] for each in ESTIMATORS}
        assert len(texts) == 1


@pytest.mark.parametrize("name", DOCSTRINGS)
def test_every_copy_says_how_to_filter_warnings(name):
    entry = entries(sections(DOCSTRINGS[name])["Parameters"])["max_iter"]
    assert '``module="fastmlp"``' in entry and '``module="sklearn.neural_network"``' in entry


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fitted_attributes_are_declared_and_documented(estimator):
    X, y = load_digits(return_X_y=True)
    model = estimator(hidden_layer_sizes=(5,), early_stopping=True, max_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X[:200], y[:200])
    fitted = {name for name in vars(model) if name.endswith("_") and not name.startswith("_")}
    declared = {}
    for base in reversed(estimator.__mro__):
        declared |= inspect.get_annotations(base)
    attributes = {name for name in declared if name.endswith("_")}
    assert fitted | {"feature_names_in_"} == attributes
    assert set(entries(sections(DOCSTRINGS[estimator.__name__])["Attributes"])) == attributes
    assert not any(hasattr(estimator(), name) for name in attributes)


@pytest.mark.slow
def test_the_users_script_runs():
    code = f"import runpy; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    command = [sys.executable, "-W", "ignore", "-c", code]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_finds_no_errors():
    run = subprocess.run(["pyright"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-4000:]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pyright") is None, reason="pyright is not installed")
def test_pyright_knows_the_types_of_parameters_and_attributes(tmp_path):
    types = {
        "alpha": "float",
        "activation": "str | CustomActivation | Sequence[str | CustomActivation]",
        "loss_curve_": "list[float]",
        "validation_scores_": "list[float] | None",
        "n_iter_": "int",
        "fit(X, y)": "MLPClassifier",
        "partial_fit(X, y)": "MLPClassifier",
    }
    lines = ["from fastmlp import MLPClassifier", "X, y, clf = [[1.0]], [1], MLPClassifier()"]
    lines += [f"reveal_type(clf.{name})" for name in types]
    script = tmp_path / "script.py"
    script.write_text("\n".join([*lines, "clf.no_such_attribute"]))
    config = tmp_path / "pyrightconfig.json"
    config.write_text(f'{{"extraPaths": ["{ROOT.as_posix()}"], "typeCheckingMode": "basic"}}')
    run = subprocess.run(
        ["pyright", "-p", str(config)], cwd=tmp_path, capture_output=True, text=True
    )
    for name, kind in types.items():
        assert f'Type of "clf.{name}" is "{kind}"' in run.stdout, run.stdout
    assert run.stdout.count("error:") == 1 and "no_such_attribute" in run.stdout


@pytest.mark.slow
def test_jedi_shows_parameters_and_docstring():
    jedi = pytest.importorskip("jedi", reason="jedi is not installed")
    code = "from fastmlp import MLPClassifier\nclf = MLPClassifier()\nclf.alp\nclf.coefs"
    project = jedi.Project(ROOT, added_sys_path=[str(ROOT)])
    script = jedi.Script(code, path=str(ROOT / "script.py"), project=project)
    (found,) = script.infer(2, 8)
    assert "hidden_layer_sizes : int or array-like" in found.docstring()
    assert "solver: str" in found.docstring()  # the signature
    assert "alpha" in {each.name for each in script.complete(3, 7)}
    assert "coefs_" in {each.name for each in script.complete(4, 9)}
    np.testing.assert_equal(found.docstring(raw=True), DOCSTRINGS["MLPClassifier"])
