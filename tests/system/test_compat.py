"""Versions of other libraries: which are supported, and what happens in others."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import get_scorer, make_scorer
from sklearn.neural_network import _base as sklearn_base

from fastmlp._compat import sklearn as compat
from fastmlp._compat import versions
from fastmlp._training.losses import LOSSES

ROOT = Path(__file__).parents[2]


def run(code, *arguments):
    """Run code in a new process; what it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


def test_the_supported_versions_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == list(versions.REQUIREMENTS)


def test_the_floors_that_are_tested_are_those_of_the_package():
    floors = re.findall(r"^(\S+)==(\S+)\.\*$", (ROOT / ".ci" / "floor.txt").read_text(), re.M)
    assert sorted(floors) == sorted(
        re.match(r"(\S+)>=([\d.]+),", each).groups() for each in versions.REQUIREMENTS
    )


@pytest.mark.parametrize("library", ["numba", "scikit-learn", "scipy"])
@pytest.mark.parametrize("found", ["0.1.7", "999.0rc1"])
def test_an_unsupported_version_is_named(library, found, monkeypatch):
    read = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: found if name == library else read(name))
    (needed,) = [each for each in versions.REQUIREMENTS if each.startswith(f"{library}>=")]
    with pytest.raises(ImportError, match=re.escape(f"needs {needed}, but found {found} (gone)")):
        versions.check_versions(ImportError("gone"))


def test_supported_versions_are_no_reason_for_an_error(monkeypatch):
    versions.check_versions(ImportError("gone"))
    monkeypatch.setattr(metadata, "version", lambda name: {"numba": "0.68.9"}.get(name, "1.8.12"))
    monkeypatch.setattr(versions, "REQUIREMENTS", ("numba>=0.61,<0.69", "scikit-learn>=1.7,<1.10"))
    versions.check_versions(ImportError("gone"))


LATER = """
import sys
from importlib import metadata
read = metadata.version
metadata.version = lambda name: "0.99.1" if name == "numba" else read(name)
"""
WITHOUT_A_TOOL = """
import numba.core
del numba.core.cgutils
sys.modules["numba.core.cgutils"] = None
try:
    import fastmlp
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_after_an_upgrade_past_the_supported_versions_one_error_names_them():
    (needed,) = [each for each in versions.REQUIREMENTS if each.startswith("numba>=")]
    told = run(LATER + WITHOUT_A_TOOL)
    assert told.startswith("ImportError fastmlp ")
    assert f"needs {needed}, but found 0.99.1" in told


def test_a_version_that_was_not_tried_but_has_everything_is_not_refused():
    assert run(LATER + "import fastmlp; print(fastmlp.MLPClassifier())") == "MLPClassifier()"


WITHOUT_CALLBACKS = """
import sys
import sklearn.model_selection, sklearn.neural_network
sys.modules["sklearn.callback"] = None
from fastmlp import MLPClassifier
model = MLPClassifier(max_iter=1).fit([[0.0], [1.0]], [0, 1])
try:
    model.set_callbacks(print)
except ImportError as error:
    print(error)
"""


def test_without_scikit_learns_callbacks_the_error_names_the_version_that_has_them():
    assert re.match(r"callbacks need scikit-learn 1\.9 or later; found ", run(WITHOUT_CALLBACKS))


FIT = """
import hashlib
import numpy as np
from fastmlp import MLPClassifier
from fastmlp._engine.kernels.training import train
X = np.random.RandomState(0).randn(300, 33).astype(np.float32)
model = MLPClassifier((17, 9), max_iter=3, random_state=0, n_jobs=2).fit(X, np.arange(300) % 3)
bits = [each.tobytes() for each in [*model.coefs_, model.predict_proba(X)]]
print(hashlib.sha256(b"".join(bits)).hexdigest(), train.cache_state(), sep=";")
"""
WITHOUT_A_PASS = """
import numba.core.untyped_passes
del numba.core.untyped_passes.InlineClosureLikes
"""


@pytest.mark.slow
def test_without_the_inner_parts_of_numbas_compiler_kernels_have_the_same_bytes_in_memory():
    bits, state = run(WITHOUT_A_PASS + FIT).split(";")
    assert state.startswith("in memory only: Numba")
    assert run(FIT).split(";")[0] == bits


SKLEARN_LOSSES = {
    ("log_loss", "softmax"): "log_loss",
    ("log_loss", "logistic"): "binary_log_loss",
    ("squared_error", "identity"): "squared_loss",
    ("poisson", "exp"): "poisson_loss",
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("loss", "output"), SKLEARN_LOSSES)
def test_losses_have_the_same_bits_as_scikit_learns(loss, output, dtype, weighted):
    theirs = getattr(sklearn_base, SKLEARN_LOSSES[loss, output])
    random = np.random.RandomState(0)
    outputs = random.dirichlet(np.ones(3), 50).astype(dtype)
    if output != "exp":
        outputs[0] = [0, 1, 0]
    targets = np.eye(3, dtype=dtype)[random.randint(3, size=50)]
    weights = random.rand(50) if weighted else None
    ours = LOSSES[loss].functions[output](None, targets, outputs, weights)
    assert ours == theirs(targets, outputs, weights)


def test_scorers_take_weights_where_scikit_learns_metric_does():
    assert compat.takes_weights(get_scorer("accuracy"))
    assert not compat.takes_weights(make_scorer(lambda y, predictions: 0))
    assert compat.takes_weights(lambda model, X, y, sample_weight=None: 0)
    assert not compat.takes_weights(lambda model, X, y: 0)


@pytest.mark.parametrize("kind", [list, np.float32, np.float64, np.int64])
def test_sample_weights_are_validated_floats(kind):
    X = np.zeros((3, 2))
    weights = compat.check_sample_weight(
        [1, 0, 2] if kind is list else np.array([1, 0, 2], kind), X
    )
    assert weights.dtype == (np.float32 if kind is np.float32 else np.float64)
    assert weights.tolist() == [1, 0, 2]
    assert compat.check_sample_weight(2, X).tolist() == [2, 2, 2]


@pytest.mark.parametrize("weights", [0, [0, 0, 0]])
def test_sample_weights_that_are_all_zero_are_refused_in_every_version(weights):
    X = np.zeros((3, 2))
    with pytest.raises(ValueError, match="at least one non-zero number"):
        compat.check_sample_weight(weights, X)
    assert not compat.check_sample_weight(weights, X, allow_all_zero=True).any()
