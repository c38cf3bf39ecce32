"""partial_fit on few rows, beside scikit-learn: CPU time of the calling thread.

    python -m benchmarks.scripts.online [--rounds 9]

Both libraries take turns in one process. A figure is the median over the rounds of the time of a
call, in a round of `CALLS` calls; the ratio is the median of the rounds' ratios. Before you run it,
unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE if they are set: they slow scikit-learn.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Iterator

import numpy as np
import sklearn.neural_network

import fastmlp
from benchmarks.scripts.tables import aligned_table, in_times, in_units

NETWORKS = ((64, 100), (784, 100), (8, 16))  # features and hidden units
ROWS = (1, 8, 32)
CALLS = 100
KINDS = ("MLPClassifier", "MLPRegressor")
LIBRARIES = {"fastmlp": fastmlp, "scikit-learn": sklearn.neural_network}


def seconds_per_call(model, X, y) -> float:
    """CPU time of a call of partial_fit in this thread."""
    begin = time.thread_time()
    for _ in range(CALLS):
        model.partial_fit(X, y)
    return (time.thread_time() - begin) / CALLS


def measure(kind: str, n_features: int, units: int, X: np.ndarray, rounds: int) -> Iterator[float]:
    """The median time of each library, then the median of their ratios."""
    rng = np.random.default_rng(1)
    is_classifier = kind == "MLPClassifier"
    y = rng.integers(0, 10, len(X)) if is_classifier else rng.random(len(X))
    first = {"classes": range(10)} if is_classifier else {}
    models = [
        getattr(library, kind)(hidden_layer_sizes=(units,), random_state=0).partial_fit(
            X, y, **first
        )
        for library in LIBRARIES.values()
    ]
    times = [[seconds_per_call(model, X, y) for model in models] for _ in range(rounds + 1)][1:]
    yield from map(statistics.median, zip(*times, strict=True))
    yield statistics.median(own / other for own, other in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    table = [["estimator", "network", "dtype", "rows", *LIBRARIES, "ratio"]]
    for kind, (n_features, units), dtype, rows in itertools.product(
        KINDS, NETWORKS, (np.float64, np.float32), ROWS
    ):
        X = np.random.default_rng(0).random((rows, n_features)).astype(dtype)
        own, other, ratio = measure(kind, n_features, units, X, rounds)
        network = f"{n_features}-{units}-{10 if kind == 'MLPClassifier' else 1}"
        times = in_units(own), in_units(other), in_times(ratio)
        table.append([kind, network, np.dtype(dtype).name, str(rows), *times])
    print(aligned_table(table))


if __name__ == "__main__":
    main()
