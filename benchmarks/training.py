"""Fits: time and memory per epoch, share of the peak, score, beside scikit-learn."""

import statistics
import time

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier

from .common import WORKLOADS, Benchmark, epoch_flops, make_data, peak_gflops

EPOCHS = 3
ROUNDS = 3


def fit(estimator, workload: str, dtype: str, epochs: int, **parameters):
    rows, features, hidden, classes, batch_size = WORKLOADS[workload]
    X, y = make_data(rows, features, classes, dtype)
    model = estimator(
        hidden, batch_size=batch_size, max_iter=epochs, tol=0.0, random_state=0, **parameters
    )
    start = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - start


def seconds_per_epoch(estimator, workload: str, dtype: str, **parameters) -> float:
    """Median of the difference of a long and a short fit: pure epochs."""
    return statistics.median(
        (
            fit(estimator, workload, dtype, 1 + EPOCHS, **parameters)
            - fit(estimator, workload, dtype, 1, **parameters)
        )
        / EPOCHS
        for _ in range(ROUNDS)
    )


class Training(Benchmark):
    """One fit of a few epochs."""

    params = (list(WORKLOADS), ["float32", "float64"], ["adam", "sgd"])
    param_names = ("workload", "dtype", "solver")

    def setup(self, workload, dtype, solver):
        self.quietly(fit, MLPClassifier, "digits", dtype, 1)  # compile

    def time_fit_of_3_epochs(self, workload, dtype, solver):
        self.quietly(lambda: fit(MLPClassifier, workload, dtype, EPOCHS, solver=solver))

    def peakmem_fit(self, workload, dtype, solver):
        self.quietly(lambda: fit(MLPClassifier, workload, dtype, 1, solver=solver))


class Share(Benchmark):
    """What an epoch reaches of the machine, and of scikit-learn's time."""

    params = (list(WORKLOADS), ["relu", "tanh"])
    param_names = ("workload", "activation")

    def setup(self, workload, activation):
        self.quietly(fit, MLPClassifier, "digits", "float32", 1)

    def track_share_of_peak(self, workload, activation):
        rows, features, hidden, classes, _ = WORKLOADS[workload]
        seconds = self.quietly(
            lambda: seconds_per_epoch(MLPClassifier, workload, "float32", activation=activation)
        )
        flops = epoch_flops(rows, features, hidden, classes)
        return 100 * flops / seconds / 1e9 / peak_gflops("float32")

    track_share_of_peak.unit = "% of the multiply-add peak"

    def track_speedup_vs_sklearn(self, workload, activation):
        ours, theirs = (
            self.quietly(
                lambda e=e: seconds_per_epoch(e, workload, "float32", activation=activation)
            )
            for e in (MLPClassifier, SklearnMLPClassifier)
        )
        return theirs / ours

    track_speedup_vs_sklearn.unit = "times scikit-learn's speed"


class Score(Benchmark):
    """Held-out accuracy on the digits: speed must not cost it."""

    def track_digits_test_accuracy(self):
        X, y = load_digits(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
        model = MLPClassifier(max_iter=60, random_state=0)
        return 100 * self.quietly(model.fit, X_train, y_train).score(X_test, y_test)

    track_digits_test_accuracy.unit = "% right"


class Growth(Benchmark):
    """Time of an epoch over three decades of rows and of multiply-adds per row."""

    params = ([100, 1000, 10_000, 100_000], [10, 100, 1000])
    param_names = ("rows", "hidden units")

    def setup(self, rows, units):
        self.X, self.y = make_data(rows, 50, 10, "float32")
        self.model = MLPClassifier((units,), max_iter=1, random_state=0)
        self.quietly(self.model.fit, self.X[:100], self.y[:100])

    def time_epoch(self, rows, units):
        self.quietly(self.model.fit, self.X, self.y)

    def peakmem_epoch(self, rows, units):
        self.quietly(self.model.fit, self.X, self.y)
