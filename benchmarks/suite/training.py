"""Fits: time per epoch, share of the peak, memory, score, beside scikit-learn."""

import statistics
import tracemalloc

import numpy as np
from scipy.sparse import random_array
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier

from .bandwidth import read_bandwidth
from .common import (
    DTYPES,
    PLAIN_DESCENT,
    WORKLOADS,
    Benchmark,
    Network,
    Workload,
    estimator_trainer,
    full_batch,
    ignore_convergence,
    make_data,
    seconds_each,
)
from .peak import peak_gflops

LIBRARIES = {"fastmlp": MLPClassifier, "scikit-learn": SklearnMLPClassifier}
ROUNDS = 3


def epoch_clock(workload: Workload, dtype: str, library="fastmlp", **parameters):
    """A function that returns seconds per epoch; what must be compiled has been."""
    return seconds_each(estimator_trainer(LIBRARIES[library], workload, dtype, **parameters))


def medians(*clocks) -> list[float]:
    """Of some rounds, in which the clocks take turns."""
    rounds = [[clock() for clock in clocks] for _ in range(ROUNDS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


class Epoch(Benchmark):
    """An epoch of each workload by Adam and by SGD."""

    params = (list(WORKLOADS), DTYPES, ["adam", "sgd"])
    param_names = ("workload", "dtype", "solver")

    def setup(self, workload, dtype, solver):
        self.clock = epoch_clock(WORKLOADS[workload], dtype, solver=solver)

    def track_time_per_epoch(self, workload, dtype, solver):
        return medians(self.clock)[0]

    track_time_per_epoch.unit = "seconds"
    track_time_per_epoch.pretty_name = "Training: time per epoch"

    def track_share_of_peak(self, workload, dtype, solver):
        (seconds,) = medians(self.clock)
        return round(100 * WORKLOADS[workload].flops / seconds / 1e9 / peak_gflops(dtype), 1)

    track_share_of_peak.unit = "% of the peak"
    track_share_of_peak.pretty_name = "Training: share of the peak"


class FullBatch(Benchmark):
    """A step of full-batch descent of 784-10-10, beside the bandwidth at which cores read X."""

    params = ([4000, 50_000], DTYPES)
    param_names = ("rows", "dtype")

    def setup(self, rows, dtype):
        workload = full_batch(rows)
        self.X, _ = make_data(rows, workload.network, dtype)
        self.clock = epoch_clock(workload, dtype, **PLAIN_DESCENT)

    def track_time_per_step(self, rows, dtype):
        return medians(self.clock)[0]

    track_time_per_step.unit = "seconds"
    track_time_per_step.pretty_name = "Training: time per step of full-batch descent"

    def track_share_of_bandwidth(self, rows, dtype):
        seconds, bandwidth = medians(self.clock, lambda: read_bandwidth(self.X))
        return round(100 * self.X.nbytes / seconds / bandwidth, 1)

    track_share_of_bandwidth.unit = "% of the bandwidth"
    track_share_of_bandwidth.pretty_name = "Training: full-batch descent, share of the bandwidth"


# Each option beside the defaults of the same workload.
OPTIONS = {
    "gelu": {"activation": "gelu"},
    "dropout": {"dropout": 0.5},
    "adamw, one_cycle, warmup": {"solver": "adamw", "learning_rate": "one_cycle", "warmup": 1},
    "max_grad_norm": {"max_grad_norm": 1.0},
    "label_smoothing": {"label_smoothing": 0.1},
    "squared_error": {"loss": "squared_error"},
    "class_weight": {"class_weight": "balanced"},
}


class Option(Benchmark):
    """What an option adds to an epoch's time."""

    params = (["mnist", "wide"], list(OPTIONS))
    param_names = ("workload", "option")

    def setup(self, workload, option):
        workload = WORKLOADS[workload]
        self.clocks = (
            epoch_clock(workload, "float32"),
            epoch_clock(workload, "float32", **OPTIONS[option]),
        )

    def track_cost(self, workload, option):
        defaults, asked = medians(*self.clocks)
        return round(100 * (asked / defaults - 1), 1)

    track_cost.unit = "% of an epoch"
    track_cost.pretty_name = "Training: what an option adds"


class Activation(Benchmark):
    """What the hidden layers' function costs."""

    params = (list(WORKLOADS), ["relu", "tanh", "logistic"])
    param_names = ("workload", "activation")

    def setup(self, workload, activation):
        self.clock = epoch_clock(WORKLOADS[workload], "float32", activation=activation)

    def track_time_per_epoch(self, workload, activation):
        return medians(self.clock)[0]

    track_time_per_epoch.unit = "seconds"
    track_time_per_epoch.pretty_name = "Training: time per epoch by activation"


class Speedup(Benchmark):
    """scikit-learn's time over fastmlp's, measured by turns."""

    params = (list(WORKLOADS), DTYPES)
    param_names = ("workload", "dtype")

    def setup(self, workload, dtype):
        self.clocks = [epoch_clock(WORKLOADS[workload], dtype, library) for library in LIBRARIES]

    def track_speedup_vs_sklearn(self, workload, dtype):
        ours, theirs = medians(*self.clocks)
        return round(theirs / ours, 2)

    track_speedup_vs_sklearn.unit = "times faster"
    track_speedup_vs_sklearn.pretty_name = "Training: speed against scikit-learn"


class Sparse(Benchmark):
    """CSR input: the time follows the non-zeros."""

    ROWS, NETWORK = 10_000, Network(2000, (100,), 10)
    params = ([0.001, 0.01, 0.1], list(LIBRARIES))
    param_names = ("share of non-zeros", "library")

    def setup(self, density, library):
        shape = self.ROWS, self.NETWORK.features
        self.X = random_array(shape, density=density, format="csr", dtype="float32", rng=0)
        self.y = np.arange(self.ROWS) % self.NETWORK.classes
        ignore_convergence()
        self.model = LIBRARIES[library](self.NETWORK.hidden, max_iter=1, random_state=0)
        self.model.fit(self.X[:200], self.y[:200])

    def time_fit_of_one_epoch(self, density, library):
        self.model.fit(self.X, self.y)

    time_fit_of_one_epoch.pretty_name = "Training: a fit of one epoch on sparse rows"


class Stream(Benchmark):
    """A call of partial_fit with the next rows, of which most is not training."""

    NETWORK = Network(64, (100,), 10)
    params = ([1, 32, 200, 2000], list(LIBRARIES))
    param_names = ("rows", "library")

    def setup(self, rows, library):
        self.X = np.random.default_rng(0).random((rows, self.NETWORK.features), np.float32)
        self.y = np.arange(rows) % self.NETWORK.classes
        self.model = LIBRARIES[library](self.NETWORK.hidden, random_state=0)
        self.model.partial_fit(self.X, self.y, classes=range(self.NETWORK.classes))

    def time_partial_fit(self, rows, library):
        self.model.partial_fit(self.X, self.y)

    time_partial_fit.pretty_name = "Training: a call of partial_fit"


class Memory(Benchmark):
    """One fit of the network 784-100-10 on more and more rows, of 3136 bytes each in X.

    Beside X only the order of the rows and their targets grow: by 17 bytes a row while labels
    become numbers, by 12 from then on.
    """

    NETWORK = Network(784, (100,), 10)
    params = ([1000, 10_000, 100_000],)
    param_names = ("rows",)

    def setup(self, rows):
        ignore_convergence()
        self.model = MLPClassifier(self.NETWORK.hidden, max_iter=1, random_state=0)
        self.X, self.y = np.ones((rows, self.NETWORK.features), "float32"), np.arange(rows) % 10
        self.model.fit(self.X[:200], self.y[:200])

    def peakmem_fit(self, rows):
        self.model.fit(self.X, self.y)

    peakmem_fit.pretty_name = "Memory: the whole process in a fit, X included"

    def track_peak_beside_X(self, rows):
        """What NumPy and Python allocate in a fit; the kernels allocate nothing."""
        tracemalloc.start()
        try:
            self.model.fit(self.X, self.y)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    track_peak_beside_X.unit = "bytes"
    track_peak_beside_X.pretty_name = "Memory: peak of a fit beside X"


class Score(Benchmark):
    """Held-out accuracy on the digits: speed must not cost it."""

    def track_digits_test_accuracy(self):
        ignore_convergence()
        X, y = load_digits(return_X_y=True)
        X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
        model = MLPClassifier(max_iter=60, random_state=0)
        return round(100 * model.fit(X_train, y_train).score(X_test, y_test), 2)

    track_digits_test_accuracy.unit = "% right"
    track_digits_test_accuracy.pretty_name = "Training: test accuracy on the digits"
