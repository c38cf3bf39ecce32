"""The code in the packages' docstrings runs as it stands there; project files agree."""

import re
import tomllib
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnx
import pytest
from recipes import recipe
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

import fastmlp
import fastmlp.displays
import fastmlp.interop

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a section of a module's docstring in an empty directory; what it defines."""
    monkeypatch.chdir(tmp_path)

    def run_section(module, heading):
        found = {}
        exec(recipe(module.__doc__, heading), found)
        return found

    return run_section


def test_the_quick_start_does_what_it_says(run, capsys):
    run(fastmlp, "Quick start")
    assert float(capsys.readouterr().out) == pytest.approx(0.97, abs=0.015)


def test_layers_of_another_task_help_as_documented(run, capsys):
    found = run(fastmlp, "Transfer learning")
    scratch, transfer = map(float, capsys.readouterr().out.split())
    assert scratch == pytest.approx(0.37, abs=0.07) and transfer == pytest.approx(0.49, abs=0.07)
    assert transfer > scratch + 0.03
    for index in range(2):
        source, reused = found["source"], found["transfer"]
        np.testing.assert_array_equal(reused.coefs_[index], source.coefs_[index])
        np.testing.assert_array_equal(reused.intercepts_[index], source.intercepts_[index])
    assert len(found["many"]) == 18_020


def test_pictures_are_drawn(run, tmp_path):
    found = run(fastmlp.displays, "Pictures")
    assert (tmp_path / "network.png").stat().st_size > 0
    assert len(found["display"].ax_.lines) >= 2
    plt.close("all")


def test_models_are_exported(run, tmp_path):
    found = run(fastmlp.interop, "Export")
    assert type(found["exported"]) is SklearnMLPClassifier
    np.testing.assert_array_equal(
        found["exported"].predict(found["X"]), found["model"].predict(found["X"])
    )
    assert type(found["copied"][-1]) is SklearnMLPClassifier
    onnx.checker.check_model(onnx.load(tmp_path / "model.onnx"))
    onnx.checker.check_model(found["converted"])
    assert "int digits_predict(const float *x)" in (tmp_path / "digits.c").read_text("ascii")


@pytest.mark.slow
def test_tables_are_learned(run):
    tabular = pytest.importorskip("fastmlp.tabular", exc_type=ImportError)
    assert run(tabular, "Tables")["accuracy"] > 0.9


def test_linters_have_the_same_versions_everywhere():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    pinned = dict(each.split("==") for each in extras["lint"])
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    for name in ("ruff", "codespell"):
        assert re.search(rf"{name}(-pre-commit)?\n    rev: v{re.escape(pinned[name])}\n", hooks)
