"""The command line: `python -m fastmlp [demo | warmup | info]`."""

import argparse
import contextlib
import io
import sys
import time
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

import fastmlp
from fastmlp import _report as report
from fastmlp._engine.jit import cache
from fastmlp._engine.jit.target import target
from fastmlp._engine.kernels.training import train
from fastmlp._engine.threading.pool import compile_kernels

SEED = 0
DEMO_PARAMETERS = {"hidden_layer_sizes": (100,), "max_iter": 100, "random_state": SEED}
PRECISIONS = ("float32", "float64")
PLAIN, WHOLE = "relu", "elu"  # activations of plain and of whole kernels, see `kernels.extras`
UNITS = 16  # enough for a plain kernel


class LatestLine(io.TextIOBase):
    """Shows only the last line written, in place; in a file, every 20th line."""

    EVERY = 20

    def __init__(self, stream, prefix: str):
        self.stream, self.prefix, self.lines = stream, prefix, 0

    def write(self, text: str) -> int:
        if text.strip():
            self.lines += 1
            if self.stream.isatty():
                self.stream.write(f"\r{self.prefix}{text.strip():40s}")
                self.stream.flush()
            elif self.lines % self.EVERY == 0:
                self.stream.write(f"{self.prefix}{text.strip()}\n")
        return len(text)


def warmup(precision: str, activation: str = PLAIN) -> float:
    """Compile the kernels that are not cached; return the seconds taken.

    `activation` decides whether they are plain or whole: PLAIN or WHOLE.
    """
    start = time.perf_counter()
    X, y = np.eye(4), np.arange(4) % 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is not enough to converge
        model = fastmlp.MLPClassifier(
            (UNITS,), activation, max_iter=1, n_jobs=1, batch_size=4, precision=precision
        )
        model.fit(X, y).predict(X)
    compile_kernels()  # one thread needs no others
    return time.perf_counter() - start


def run_warmup(beside_package: bool = False) -> None:
    """Compile the kernels now, so that no fit on this machine has to."""
    place = cache.kept_in(cache.BESIDE_PACKAGE) if beside_package else contextlib.nullcontext()
    with place:
        if beside_package and cache.folders.to_write() is None:
            sys.exit(f"The package's directory takes no files: {cache.BESIDE_PACKAGE}")
        precisions = [*PRECISIONS, *(["bfloat16"] if target().has_bfloat16 else [])]
        print(f"Compiling the kernels for {', '.join(precisions)}, unless they are cached ...")
        seconds = {
            precision: warmup(precision, PLAIN) + warmup(precision, WHOLE)
            for precision in precisions
        }
        each = ", ".join(f"{name} {taken:.1f} s" for name, taken in seconds.items())
        print(f"Ready after {sum(seconds.values()):.1f} s ({each}); {train.cache_state()}.")


def run_info() -> None:
    """Print what determines speed on this machine."""
    report.print_rows(report.machine())


def run_demo() -> None:
    """Train on handwritten digits with fastmlp and scikit-learn, and compare them."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    split = train_test_split(X, y, test_size=0.25, random_state=SEED, stratify=y)
    X_train, X_test, y_train, y_test = split
    print(
        f"Handwritten digits, 8 x 8 pixels: {len(X_train)} training images, {len(X_test)} test "
        "images.\nOne hidden layer of 100 units, float32, Adam, the same seed for both."
    )
    print("Compiling the kernels (only the first time) ...", end="", flush=True)
    print(f" ready after {warmup('float32'):.1f} s.")
    rows = []
    for name, estimator in (
        ("fastmlp", fastmlp.MLPClassifier),
        ("scikit-learn", SklearnMLPClassifier),
    ):
        model = estimator(verbose=True, **DEMO_PARAMETERS)
        progress = LatestLine(sys.stdout, f"{name:14s}")
        start = time.perf_counter()
        with contextlib.redirect_stdout(progress), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the demo stops at 100 epochs
            model.fit(X_train, y_train)
        seconds = time.perf_counter() - start
        if sys.stdout.isatty():
            print()
        rows.append((name, model.score(X_test, y_test), seconds / model.n_iter_, model.n_iter_))
    print(f"\n{'':14s}{'test accuracy':>15s}{'time per epoch':>17s}{'epochs':>9s}{'speed':>8s}")
    slowest = rows[-1][2]
    for name, accuracy, per_epoch, epochs in rows:
        print(
            f"{name:14s}{accuracy:>14.1%}{per_epoch * 1e3:>14.2f} ms{epochs:>9d}"
            f"{slowest / per_epoch:>7.1f}x"
        )


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands."""
    commands = {"demo": run_demo, "warmup": run_warmup, "info": run_info}
    parser = argparse.ArgumentParser(
        prog="python -m fastmlp", description=fastmlp.__doc__.partition("\n")[0]
    )
    described = " ".join(f"{name}: {run.__doc__}" for name, run in commands.items())
    parser.add_argument("command", nargs="?", default="demo", choices=commands, help=described)
    parser.add_argument(
        "--beside-package",
        action="store_true",
        help="warmup: keep the kernels in the package's own directory, for everyone who imports it",
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "warmup":
        run_warmup(chosen.beside_package)
    elif chosen.beside_package:
        parser.error("--beside-package is for warmup only")
    else:
        commands[chosen.command]()


if __name__ == "__main__":
    main()
