"""Hashed text: CSR rows with 2^20 columns and a few dozen non-zeros, and few hidden units.

The parameters fill megabytes, and a row touches a few of them. Times are CPU time of one thread.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from threadpoolctl import threadpool_limits

from fastmlp import MLPClassifier

from .common import DTYPES, Benchmark, ignore_convergence

COLUMNS = 1 << 20  # as many as HashingVectorizer has by default
NON_ZEROS = 30, 100  # of a row, least and most
LBFGS_ROWS, LBFGS_ITERATIONS = 300, 5
ROUNDS = 5
SECONDS = 0.05  # at least, for one measurement
PLAIN_SGD = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0}


class Shape(NamedTuple):
    """A classifier's hidden units and classes, and the type of its weights."""

    units: int
    classes: int
    dtype: str


class Task(NamedTuple):
    """A method to be called with some rows, on a model with the given parameters."""

    method: str
    rows: int
    parameters: dict | None = None

    def prepare(self, library: type, shape: Shape) -> Callable[[], None]:
        """A call of the method on a fitted model. A first call compiles the kernels."""
        ignore_convergence()
        X, y = hashed_rows(self.rows, shape)
        own = {"n_jobs": 1} if library is MLPClassifier else {}
        model = library((shape.units,), random_state=0, **own, **(self.parameters or {}))
        if self.method == "fit":
            return lambda: model.fit(X, y)
        model.partial_fit(*hashed_rows(shape.classes, shape), classes=np.arange(shape.classes))
        if self.method == "partial_fit":
            return lambda: model.partial_fit(X, y)
        return lambda: getattr(model, self.method)(X)


TASKS = {
    "partial_fit, 1 row": Task("partial_fit", 1),
    "partial_fit, 10 rows": Task("partial_fit", 10),
    "partial_fit, 100 rows": Task("partial_fit", 100),
    "partial_fit, 1000 rows": Task("partial_fit", 1000),
    "partial_fit by SGD, 100 rows": Task("partial_fit", 100, {"solver": "sgd"}),
    "partial_fit by plain SGD, 1 row": Task("partial_fit", 1, PLAIN_SGD),
    "partial_fit by plain SGD, 1000 rows": Task("partial_fit", 1000, PLAIN_SGD),
    "predict, 1 row": Task("predict", 1),
    "predict_proba, 1 row": Task("predict_proba", 1),
    "predict, 1000 rows": Task("predict", 1000),
    "predict_proba, 1000 rows": Task("predict_proba", 1000),
    "fit by L-BFGS": Task("fit", LBFGS_ROWS, {"solver": "lbfgs", "max_iter": LBFGS_ITERATIONS}),
}


def hashed_rows(rows: int, shape: Shape) -> tuple[csr_matrix, np.ndarray]:
    """Rows of unit length, as HashingVectorizer makes them, and the number of each row's class."""
    rng = np.random.RandomState(0)
    sizes = rng.randint(NON_ZEROS[0], NON_ZEROS[1] + 1, rows)
    columns = [np.sort(rng.choice(COLUMNS, size, replace=False)) for size in sizes]
    signs = rng.choice([-1.0, 1.0], sizes.sum())
    values = (signs / np.sqrt(np.repeat(sizes, sizes))).astype(shape.dtype)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    X = csr_matrix((values, np.concatenate(columns), starts), shape=(rows, COLUMNS))
    return X, np.arange(rows) % shape.classes


def cpu_seconds(call: Callable[[], None]) -> Callable[[], float]:
    """A function that returns the CPU time of a call, averaged over enough calls."""
    call()
    start, count = time.process_time(), 0
    while time.process_time() < start + SECONDS:
        call()
        count += 1

    def measure() -> float:
        start = time.process_time()
        for _ in range(count):
            call()
        return (time.process_time() - start) / count

    return measure


def by_turns(task: Task, shape: Shape, rounds: int = ROUNDS) -> list[tuple[float, float]]:
    """Each round's seconds of fastmlp and of scikit-learn, both with one thread."""
    with threadpool_limits(1):
        clocks = [
            cpu_seconds(task.prepare(library, shape))
            for library in (MLPClassifier, SklearnMLPClassifier)
        ]
        return [(clocks[0](), clocks[1]()) for _ in range(rounds)]


class HashedText(Benchmark):
    """fastmlp's CPU time over scikit-learn's, measured by turns."""

    params = (list(TASKS), [1, 10], [2, 10], DTYPES)
    param_names = ("task", "units", "classes", "dtype")

    def track_share_of_sklearn(self, task, units, classes, dtype):
        times = by_turns(TASKS[task], Shape(units, classes, dtype))
        return round(statistics.median(ours / theirs for ours, theirs in times), 3)

    track_share_of_sklearn.unit = "of scikit-learn's CPU time"
    track_share_of_sklearn.pretty_name = "Hashed text: CPU time against scikit-learn"
