"""What the benchmarks share: workloads, data, and asv's settings."""

import itertools
import warnings
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
DTYPES = ("float32", "float64")
PREDICTED_ROWS = (20_000, 32, 1)  # throughput, a small request, the latency of one row


def make_data(rows: int, network: Network, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Rows in [0, 1) whose class the features tell, with some noise."""
    random_state = np.random.RandomState(0)
    X = random_state.rand(rows, network.features).astype(dtype)
    telling = X[:, : network.classes]
    return X, np.argmax(telling + 0.1 * random_state.randn(*telling.shape), axis=1)


def ignore_convergence() -> None:
    """No warnings that a fixed number of epochs does not converge, from here on."""
    warnings.simplefilter("ignore", ConvergenceWarning)


def in_units(seconds: float) -> str:
    """A time with three figures, in seconds, milliseconds or microseconds."""
    scale, unit = next(
        (scale, unit)
        for least, scale, unit in ((1, 1, "s"), (1e-3, 1e3, "ms"), (0, 1e6, "us"))
        if seconds >= least
    )
    return f"{seconds * scale:#.3g}".rstrip(".") + f" {unit}"


def in_times(ratio: float) -> str:
    """A ratio, with two figures where that is a small one."""
    return f"{ratio:.1f}x" if ratio >= 1 else f"{ratio:.2f}x"


def aligned_table(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table whose columns are aligned; the first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    padded = [
        [text.ljust(width) for text, width in zip(line, widths, strict=True)] for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in padded)


class Benchmark:
    """Settings of all benchmarks: fits are timed one by one, compiled beforehand in `setup`."""

    timeout = 300
    number = 1
    warmup_time = 0.0
