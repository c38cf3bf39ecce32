"""What suite and scripts share: workloads, data, clocks, and asv's settings."""

import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning


class Network(NamedTuple):
    """A classifier's shape: features, hidden layers, classes."""

    features: int
    hidden: tuple[int, ...]
    classes: int

    @property
    def sizes(self) -> list[int]:
        """Units of every layer, the input's included."""
        return [self.features, *self.hidden, self.classes]

    def forward_flops(self, rows: int) -> int:
        """Operations of the products of a prediction; a multiply-add counts two."""
        return 2 * rows * sum(a * b for a, b in itertools.pairwise(self.sizes))

    def training_flops(self, rows: int) -> int:
        """Operations of an epoch: forward, weight gradient, and delta of all layers but one."""
        return 3 * self.forward_flops(rows) - 2 * rows * self.sizes[0] * self.sizes[1]

    def __str__(self) -> str:
        alike = len(self.hidden) > 2 and len(set(self.hidden)) == 1
        hidden = [f"({self.hidden[0]} x {len(self.hidden)})"] if alike else self.hidden
        return "-".join(map(str, [self.features, *hidden, self.classes]))


class Workload(NamedTuple):
    """A fit: a network, the rows of an epoch and of a batch."""

    network: Network
    rows: int
    batch_size: int

    @property
    def flops(self) -> int:
        """Operations of an epoch."""
        return self.network.training_flops(self.rows)

    def __str__(self) -> str:
        return f"{self.network}, batch {self.batch_size}"


WORKLOADS = {
    "digits": Workload(Network(64, (100,), 10), 1797, 200),
    "mnist": Workload(Network(784, (100,), 10), 60_000, 200),
    "tabular": Workload(Network(54, (256, 128), 7), 50_000, 256),
    "wide": Workload(Network(784, (512, 512), 10), 20_000, 128),
    "small_batch": Workload(Network(784, (30,), 10), 20_000, 32),
    "deep": Workload(Network(128, (128,) * 6, 10), 20_000, 256),
}
NETWORKS = {name: WORKLOADS[name].network for name in ("mnist", "tabular", "wide")}
FULL_BATCH_NETWORK = Network(784, (10,), 10)
PLAIN_DESCENT = {"solver": "sgd", "momentum": 0.0, "alpha": 0.0}  # parameters of an estimator
DTYPES = ("float32", "float64")
PREDICTED_ROWS = (20_000, 32, 1)  # throughput, a small request, the latency of one row
LEARNING_RATE = 1e-3
SECONDS = 0.2  # at least, for one measurement: noise of single calls matters less then
MOST_REPEATS = 100_000
WARM_UP_ROWS = 200


def full_batch(rows: int) -> Workload:
    """Full-batch descent of a narrow network, whose time is that of reading X."""
    return Workload(FULL_BATCH_NETWORK, rows, rows)


def make_data(rows: int, network: Network, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Rows in [0, 1) whose class the features tell, with some noise."""
    random_state = np.random.RandomState(0)
    X = random_state.rand(rows, network.features).astype(dtype)
    telling = X[:, : network.classes]
    return X, np.argmax(telling + 0.1 * random_state.randn(*telling.shape), axis=1)


def ignore_convergence() -> None:
    """No warnings that a fixed number of epochs does not converge, from here on."""
    warnings.simplefilter("ignore", ConvergenceWarning)


def estimator_trainer(
    estimator, workload: Workload, dtype: str, **parameters
) -> Callable[[int], float]:
    """Seconds of some epochs: a fit with one more epoch, minus the median fit of one so far.

    A first fit compiles the kernels. The difference of two single fits would have the noise of
    both, and validating X takes as long as an epoch.
    """
    X, y = make_data(workload.rows, workload.network, dtype)
    of_one_epoch: list[float] = []
    ignore_convergence()

    def fit(epochs: int) -> float:
        model = estimator(
            workload.network.hidden, batch_size=workload.batch_size, max_iter=epochs, tol=0.0,
            n_iter_no_change=epochs, learning_rate_init=LEARNING_RATE, random_state=0, **parameters,
        )  # fmt: skip
        start = time.perf_counter()
        model.fit(X, y)
        return time.perf_counter() - start

    def seconds(epochs: int) -> float:
        of_one_epoch.append(fit(1))
        return fit(1 + epochs) - statistics.median(of_one_epoch)

    fit(1)
    return seconds


def repeated(function: Callable[[], None]) -> Callable[[int], float]:
    """Seconds of some calls, after one that compiles and allocates."""
    function()

    def run(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            function()
        return time.perf_counter() - start

    return run


def fitted(estimator, network: Network, dtype: str):
    """A model after one epoch; from the same seed, the same in scikit-learn and fastmlp."""
    ignore_convergence()
    X, y = make_data(WARM_UP_ROWS, network, dtype)
    return estimator(network.hidden, max_iter=1, random_state=0).fit(X, y)


def seconds_each(run: Callable[[int], float]) -> Callable[[], float]:
    """A function that returns seconds per repeat, given `run(count)`, which returns seconds.

    Doubles the count until a run takes long enough. A shorter one may return anything, even a
    negative number, where it is the difference of two fits.
    """
    count = 1
    while count < MOST_REPEATS and run(count) < SECONDS:
        count *= 2
    return lambda: run(count) / count


class Benchmark:
    """Settings of all benchmarks: fits are timed one by one, compiled beforehand in `setup`."""

    timeout = 300
    number = 1
    warmup_time = 0.0
