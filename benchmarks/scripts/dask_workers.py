"""Local SGD on 1 and 2 workers of one thread each, beside one machine: time a round, accuracy.

    python -m benchmarks.scripts.dask_workers [--rounds 20]

On Fashion-MNIST (see fashion_mnist.py), 784-100-10 in float32. What a task costs by itself is
measured with many replicas of a few rows each.
"""

import argparse
import time
import warnings

import dask.array as da
from distributed import Client, LocalCluster
from sklearn.exceptions import ConvergenceWarning

from benchmarks.scripts.fashion_mnist import load
from fastmlp import MLPClassifier
from fastmlp.dask import DaskMLPClassifier

PARTITIONS = 12
TINY_REPLICAS, TINY_ROWS = 200, 4


def timed_fit(model, *data, **options) -> float:
    """Seconds for each epoch or round of a fit, its beginning included."""
    start = time.perf_counter()
    model.fit(*data, **options)
    return (time.perf_counter() - start) / model.n_iter_


def run_workers(n_workers: int, rounds: int, X, y, X_test, y_test) -> None:
    """One line of a cluster of so many workers, and one of the cost of a task."""
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
    ):
        rows = len(X) // PARTITIONS
        data = [da.from_array(X, chunks=(rows, -1)).persist(), da.from_array(y, chunks=rows)]
        DaskMLPClassifier(max_iter=1, random_state=0).fit(*data)  # compile before the clock runs
        model = DaskMLPClassifier(max_iter=rounds, random_state=0)
        seconds = timed_fit(model, *data)
        accuracy = model.to_local().score(X_test, y_test)
        print(f"{n_workers} worker(s)   {seconds * 1e3:7.1f} ms a round, accuracy {accuracy:.4f}")
        some = TINY_REPLICAS * TINY_ROWS
        tiny = [da.from_array(each[:some], chunks=(TINY_ROWS, *each.shape[1:])) for each in (X, y)]
        seconds = timed_fit(DaskMLPClassifier((5,), max_iter=10), *tiny, n_replicas=TINY_REPLICAS)
        print(
            f"              {seconds / TINY_REPLICAS * 1e3:7.2f} ms a replica of {TINY_ROWS} rows"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", "Sending large graph|Got `batch_size`")
    X, X_test, y, y_test = load()
    for n_jobs in (1, 2):
        MLPClassifier(max_iter=1).fit(X[:400], y[:400])
        model = MLPClassifier(max_iter=rounds, random_state=0, n_jobs=n_jobs)
        seconds = timed_fit(model, X, y)
        print(
            f"{n_jobs} thread(s)   {seconds * 1e3:7.1f} ms an epoch, "
            f"accuracy {model.score(X_test, y_test):.4f}"
        )
    for n_workers in (1, 2):
        run_workers(n_workers, rounds, X, y, X_test, y_test)


if __name__ == "__main__":
    main()
