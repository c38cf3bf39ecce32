"""Train on Fashion-MNIST: test accuracy and time per epoch, beside scikit-learn if asked.

    python -m benchmarks.scripts.fashion_mnist [--sklearn] [--epochs 20]

The data are the IDX files of Debian's package dataset-fashion-mnist, or of any directory given
with --data; without them, scikit-learn fetches them from OpenML.
"""

import argparse
import gzip
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.datasets import fetch_openml
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier

DEBIAN_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")
TRAIN_ROWS, FEATURES = 60_000, 784
IDX_UNSIGNED_BYTES = 8  # the type code of the IDX format
HELP = (
    "Fashion-MNIST was not found: install Debian's package dataset-fashion-mnist, or give the "
    "directory of its four IDX files with --data."
)


def read_idx(path: Path) -> np.ndarray:
    """An array of unsigned bytes from a gzipped IDX file."""
    with gzip.open(path) as file:
        data = file.read()
    if data[:2] != b"\0\0" or data[2] != IDX_UNSIGNED_BYTES:
        raise ValueError(f"{path} is no IDX file of unsigned bytes")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def load(directory: Path = DEBIAN_DIRECTORY) -> tuple[np.ndarray, ...]:
    """X_train, X_test (float32 in [0, 1]), y_train, y_test."""
    if directory.is_dir():
        images = [
            read_idx(directory / f"{part}-images-idx3-ubyte.gz") for part in ("train", "t10k")
        ]
        labels = [
            read_idx(directory / f"{part}-labels-idx1-ubyte.gz") for part in ("train", "t10k")
        ]
        return *(x.reshape(-1, FEATURES).astype(np.float32) / 255 for x in images), *labels
    try:
        X, y = fetch_openml("Fashion-MNIST", version=1, return_X_y=True, as_frame=False)
    except OSError as error:
        sys.exit(f"{HELP} ({error})")
    X, y = X.astype(np.float32) / 255, y.astype(np.uint8)
    return X[:TRAIN_ROWS], X[TRAIN_ROWS:], y[:TRAIN_ROWS], y[TRAIN_ROWS:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEBIAN_DIRECTORY)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--sklearn", action="store_true", help="train scikit-learn's as well")
    options = parser.parse_args()
    X_train, X_test, y_train, y_test = load(options.data)
    estimators = [MLPClassifier] + [SklearnMLPClassifier] * options.sklearn
    warnings.simplefilter("ignore", ConvergenceWarning)
    MLPClassifier(max_iter=1).fit(X_train[:400], y_train[:400])  # compile before the clock runs
    for estimator in estimators:
        model = estimator((100,), max_iter=options.epochs, random_state=0)
        start = time.perf_counter()
        model.fit(X_train, y_train)
        seconds = (time.perf_counter() - start) / model.n_iter_
        library = type(model).__module__.split(".")[0]
        print(
            f"{library:8s} test accuracy {model.score(X_test, y_test):.4f}, "
            f"{seconds * 1e3:.1f} ms per epoch, last loss {model.loss_:.6f}"
        )


if __name__ == "__main__":
    main()
