"""Full-batch gradient descent of the narrow network 784-10-10, beside other libraries.

    python -m benchmarks.scripts.full_batch [--rows 4000 50000] [--dtype float64] [--rounds 5]

A step reads X forward, for z = X W, and backward, for dW = X^T delta. At best it reads each block
of rows once from memory, and the second time from a cache. So the figures are bytes of X per
second of a step, and their share of the bandwidth at which all cores do nothing but read X.

The others are NumPy with preallocated buffers, scikit-learn, PyTorch and JAX, as far as they are
installed. Each runs in a process of its own, and they take turns, see `benchmarks.scripts.peers`.
Before you run it, unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE if they are set: they slow NumPy.
"""

import argparse
import contextlib
import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np

from benchmarks.scripts.libraries import TITLES
from benchmarks.scripts.peers import PAUSE, Case, Child
from benchmarks.scripts.tables import aligned_table, in_times, in_units
from benchmarks.suite.bandwidth import read_bandwidth
from benchmarks.suite.common import (
    DTYPES,
    LEARNING_RATE,
    PLAIN_DESCENT,
    Workload,
    estimator_trainer,
    full_batch,
    make_data,
    repeated,
    seconds_each,
)
from fastmlp._engine.machine import cpu_name
from fastmlp._engine.threads import available_threads

ROWS = (4000, 50_000)  # X of float32 fits a shared cache, or does not
ROUNDS = 5
SPREAD = 0.05  # of initial weights


def initial_weights(workload: Workload, dtype: str) -> list[np.ndarray]:
    """W1, b1, W2, b2."""
    random_state, sizes = np.random.RandomState(0), workload.network.sizes
    return [
        array.astype(dtype)
        for n_in, n_out in itertools.pairwise(sizes)
        for array in (SPREAD * random_state.randn(n_in, n_out), np.zeros(n_out))
    ]


def train_fastmlp(workload: Workload, dtype: str) -> Callable[[int], float]:
    from fastmlp import MLPClassifier

    return estimator_trainer(MLPClassifier, workload, dtype, **PLAIN_DESCENT)


def train_sklearn(workload: Workload, dtype: str) -> Callable[[int], float]:
    from sklearn.neural_network import MLPClassifier

    return estimator_trainer(MLPClassifier, workload, dtype, **PLAIN_DESCENT)


def train_numpy(workload: Workload, dtype: str) -> Callable[[int], float]:
    X, y = make_data(workload.rows, workload.network, dtype)
    W1, b1, W2, b2 = initial_weights(workload, dtype)
    rows, (_, hidden, classes) = np.arange(workload.rows), workload.network.sizes
    a1, delta1 = (np.empty((workload.rows, hidden), dtype) for _ in range(2))
    a2 = np.empty((workload.rows, classes), dtype)
    extreme, dW1, dW2 = np.empty((workload.rows, 1), dtype), np.empty_like(W1), np.empty_like(W2)
    rate = np.dtype(dtype).type(LEARNING_RATE / workload.rows)

    def step() -> None:
        np.matmul(X, W1, out=a1)
        np.add(a1, b1, out=a1)
        np.maximum(a1, 0, out=a1)
        np.matmul(a1, W2, out=a2)
        np.add(a2, b2, out=a2)
        np.subtract(a2, a2.max(axis=1, keepdims=True, out=extreme), out=a2)
        np.exp(a2, out=a2)
        np.divide(a2, a2.sum(axis=1, keepdims=True, out=extreme), out=a2)
        a2[rows, y] -= 1  # delta2
        np.matmul(a2, W2.T, out=delta1)
        np.multiply(delta1, a1 > 0, out=delta1)
        for W, b, dW, a, delta in ((W2, b2, dW2, a1, a2), (W1, b1, dW1, X, delta1)):
            np.matmul(a.T, delta, out=dW)
            np.subtract(W, np.multiply(dW, rate, out=dW), out=W)
            np.subtract(b, rate * delta.sum(axis=0), out=b)

    return repeated(step)


def train_torch(workload: Workload, dtype: str) -> Callable[[int], float]:
    import torch

    n_in, hidden, classes = workload.network.sizes
    layers = torch.nn.Linear(n_in, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes)
    network = torch.nn.Sequential(*layers).to(getattr(torch, dtype))
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, fused=True)
    X, y = (torch.from_numpy(a) for a in make_data(workload.rows, workload.network, dtype))

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(X), y).backward()
        optimizer.step()

    return repeated(step)


def train_jax(workload: Workload, dtype: str) -> Callable[[int], float]:
    import jax

    jax.config.update("jax_enable_x64", dtype == "float64")
    X, y = (jax.numpy.asarray(a) for a in make_data(workload.rows, workload.network, dtype))
    parameters = [jax.numpy.asarray(a) for a in initial_weights(workload, dtype)]

    def loss(parameters, X, y):
        W1, b1, W2, b2 = parameters
        z = jax.nn.relu(X @ W1 + b1) @ W2 + b2
        return -jax.numpy.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()

    @jax.jit
    def descend(parameters, X, y):
        gradient = jax.grad(loss)(parameters, X, y)
        return [w - LEARNING_RATE * g for w, g in zip(parameters, gradient, strict=True)]

    def step() -> None:
        nonlocal parameters
        parameters = jax.block_until_ready(descend(parameters, X, y))

    return repeated(step)


TRAINERS = {
    "fastmlp": train_fastmlp,
    "numpy": train_numpy,
    "sklearn": train_sklearn,
    "torch": train_torch,
    "jax": train_jax,
}


def clock(library: str, rows: int, dtype: str) -> Callable[[], float]:
    """A function that takes steps for a while and returns seconds per step."""
    return seconds_each(TRAINERS[library](full_batch(rows), dtype))


def measure(rows: int, dtype: str, rounds: int) -> tuple[float, dict[str, float], dict[str, str]]:
    """Medians over the rounds, in which the libraries take turns.

    Returns
    -------
    bandwidth : float
        Bytes per second of reading X.
    seconds : dict
        Of a step, by library.
    told : dict
        Each library's version, or why it is left out.
    """
    workload = full_batch(rows)
    X, _ = make_data(rows, workload.network, dtype)
    case = Case(str(workload), workload.flops, clock, (rows, dtype))
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(Child(name, case)) for name in TRAINERS}
        bandwidths: list[float] = []
        seconds = {name: list[float]() for name, child in children.items() if child.is_ready}
        for _ in range(rounds):
            bandwidths.append(read_bandwidth(X))
            for name, times in seconds.items():
                time.sleep(PAUSE)
                times.append(children[name].measure())
        told = {name: child.told for name, child in children.items()}
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    return statistics.median(bandwidths), medians, told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    titles = {name: TITLES.get(name, "NumPy") for name in TRAINERS}
    others = [name for name in TRAINERS if name != "fastmlp"]
    head = ["rows", "dtype", "bandwidth", "step", "reads", "share"]
    table, told = [head + [titles[name] for name in others]], dict[str, str]()
    for rows, dtype in itertools.product(options.rows, options.dtype):
        bandwidth, seconds, told = measure(rows, dtype, options.rounds)
        own = seconds["fastmlp"]
        rate = rows * full_batch(rows).network.features * np.dtype(dtype).itemsize / own
        ratios = [in_times(seconds[name] / own) if name in seconds else "-" for name in others]
        rates = [f"{each / 1e9:.1f} GB/s" for each in (bandwidth, rate)]
        share = f"{rate / bandwidth:.0%}"
        table.append([f"{rows:,}", dtype, rates[0], in_units(own), rates[1], share, *ratios])
    versions = ", ".join(f"{titles[name]} {text}" for name, text in told.items())
    print(f"{cpu_name()}, {available_threads(None)} cores; medians of {options.rounds} rounds")
    print(f"{versions}\n\n{aligned_table(table)}\n")
    print("The others' times are multiples of fastmlp's.")


if __name__ == "__main__":
    main()
