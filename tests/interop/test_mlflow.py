"""mlflow.sklearn.autolog() logs fits, whichever of the two is imported first."""

import subprocess
import sys

import pytest

# Stands for mlflow, which is large: what of it is wrapped, and called as autolog() calls it.
FAKE = """
def _gen_estimators_to_patch():
    return [int]

def autolog():
    return _gen_estimators_to_patch()
"""
BEFORE, AFTER = "import mlflow.sklearn, fastmlp", "import fastmlp, mlflow.sklearn"
LISTS_THEM = """
assert mlflow.sklearn.autolog() == [int, fastmlp.MLPClassifier, fastmlp.MLPRegressor]
assert mlflow.sklearn.autolog() == [int, fastmlp.MLPClassifier, fastmlp.MLPRegressor]
"""
LEAVES_IT = "assert mlflow.sklearn.autolog is None"


def run(code, folder):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, '.')\n{code}"],
        capture_output=True, text=True, cwd=folder,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("imports", [BEFORE, AFTER])
def test_the_estimators_are_listed(imports, tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("")
    (tmp_path / "mlflow" / "sklearn.py").write_text(FAKE)
    done = run(imports + LISTS_THEM, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("imports", [BEFORE, AFTER])
def test_another_mlflow_is_left_as_it_is(imports, tmp_path):
    (tmp_path / "mlflow").mkdir()
    (tmp_path / "mlflow" / "__init__.py").write_text("")
    (tmp_path / "mlflow" / "sklearn.py").write_text("autolog = None")
    done = run(f"{imports}\n{LEAVES_IT}", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_importing_does_not_look_for_mlflow(tmp_path):
    done = run("import fastmlp; assert 'mlflow' not in sys.modules", tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_autolog_logs_the_parameters_of_a_fit(tmp_path):
    pytest.importorskip("mlflow", reason="large, and pins versions: not in the extra test")
    code = """
import mlflow, mlflow.sklearn, fastmlp
from sklearn.datasets import load_iris
mlflow.set_tracking_uri("sqlite:///runs.db")
mlflow.sklearn.autolog(log_models=False, silent=True)
with mlflow.start_run() as run:
    fastmlp.MLPClassifier((8,), max_iter=5).fit(*load_iris(return_X_y=True))
logged = mlflow.get_run(run.info.run_id).data
assert logged.params["max_iter"] == "5" and len(logged.metrics) > 0
"""
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
