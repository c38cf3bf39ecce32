"""Training on more data than memory holds, as the documentation of `fastmlp` describes it."""

import subprocess
import sys

import numpy as np
import pytest
from recipes import recipe
from sklearn.datasets import load_digits

import fastmlp
from fastmlp import MLPClassifier

PARTS = 6


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A working directory with the digits as one file and as parts."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    np.save(tmp_path / "rows.npy", X)
    np.save(tmp_path / "labels.npy", y)
    (tmp_path / "parts").mkdir()
    for number, chosen in enumerate(np.array_split(np.arange(len(y)), PARTS)):
        np.savez(tmp_path / "parts" / f"{number}.npz", X=X[chosen], y=y[chosen])
    monkeypatch.chdir(tmp_path)
    return X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_documented_recipe_runs_and_equals_training_in_memory(directory):
    X, y = directory
    found = {}
    exec(recipe(fastmlp.__doc__, "Data larger than memory"), found)
    assert isinstance(found["rows"], np.memmap)
    loaded = MLPClassifier((100,), max_iter=10, random_state=0).fit(X, y)
    for mapped, expected in zip(found["mapped"].coefs_, loaded.coefs_, strict=True):
        np.testing.assert_array_equal(mapped, expected)
    in_parts = MLPClassifier((100,), random_state=0)
    for _ in range(10):
        for chosen in np.array_split(np.arange(len(y)), PARTS):
            in_parts.partial_fit(X[chosen], y[chosen], classes=range(10))
    for streamed, expected in zip(found["streamed"].coefs_, in_parts.coefs_, strict=True):
        np.testing.assert_array_equal(streamed, expected)
    assert found["mapped"].score(X, y) > 0.9 and found["streamed"].score(X, y) > 0.9


MEMORY = """
import sys, numpy as np
from fastmlp import MLPClassifier
from fastmlp._training.sgd import Descent
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
directory, parts, rows = sys.argv[1], int(sys.argv[2]), 5000
for number in range(parts):
    X = np.random.RandomState(number).rand(rows, 784).astype(np.float32)
    np.savez(f"{directory}/{number}.npz", X=X, y=np.arange(rows) % 3)
del X
model = MLPClassifier((20,), random_state=0)
model.partial_fit(np.ones((300, 784), np.float32), np.arange(300) % 3, classes=range(3))
peak, before, whole = 0.0, anonymous(), Descent.epoch
def epoch(self):
    global peak
    loss = whole(self)
    peak = max(peak, anonymous())
    return loss
Descent.epoch = epoch
for number in range(parts):
    with np.load(f"{directory}/{number}.npz") as part:
        model.partial_fit(part["X"], part["y"])
print(peak - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="measures memory by /proc, which only Linux has"
)
def test_parts_from_the_disk_need_the_memory_of_one(tmp_path):
    """Six parts of 16 MB each: 94 MB in all, of which two at most are held."""
    run = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), str(PARTS)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < 40
