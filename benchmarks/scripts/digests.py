"""Digests of fitted models, byte by byte: do two versions of the package compute the same?

    python -m benchmarks.scripts.digests --package OLD/fastmlp --save before.json
    python -m benchmarks.scripts.digests --compare before.json

fits every model once for each instruction set of `CPUS`, in a process of its own. A digest covers
coefs_, intercepts_, the loss curve and the predictions. It depends on the CPU and on the versions
of NumPy and SciPy: compare on one machine only. The exit status is 1 if a digest has changed or is
missing.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from benchmarks.scripts.packages import THIS_PACKAGE, copy_package, script_on
from fastmlp import MLPClassifier, MLPRegressor

CPUS = {"host": {}, "haswell": {"NUMBA_CPU_NAME": "haswell"}}
DTYPES = (np.float32, np.float64)
ACTIVATIONS = (
    "identity", "logistic", "tanh", "relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "mish",
    "selu",
)  # fmt: skip
OPTIONS = {
    "sgd": {"solver": "sgd"},
    "sgd plain": {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling"},
    "sgd momentum": {"solver": "sgd", "nesterovs_momentum": False, "alpha": 0.01},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.1, "max_iter": 30},
    "adamw": {"solver": "adamw", "weight_decay": 0.1},
    "lbfgs": {"solver": "lbfgs", "max_iter": 20},
    "dropout": {"dropout": [0.3, 0.1], "hidden_layer_sizes": (31, 16)},
    "clipping": {"max_grad_norm": 0.1},
    "cosine": {"learning_rate": "cosine", "warmup": 1},
    "one_cycle": {"learning_rate": "one_cycle"},
    "smoothing": {"label_smoothing": 0.1},
    "brier": {"loss": "squared_error"},
    "class_weight": {"class_weight": "balanced"},
    "early_stopping": {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 20},
    "no_shuffle": {"shuffle": False},
    "layers": {"activation": ["gelu", "tanh"], "hidden_layer_sizes": (20, 33)},
    "linear": {"hidden_layer_sizes": ()},
    "whole_batch": {"batch_size": 300},
    "ones": {"batch_size": 1},
    "averaging": {"weight_averaging": 0.75},
}
LARGE = {  # rows, features, hidden layers, batch: work for several threads
    "digits": (1797, 64, (100,), 200),
    "mnist": (2000, 784, (100,), 200),
    "tabular": (3000, 54, (256, 128), 256),
    "wide": (1000, 784, (512, 512), 128),
    "small_batch": (3000, 784, (30,), 32),
    "deep": (2000, 128, (128,) * 6, 256),
    "blocks": (5000, 40, (64, 36), 2500),
    "chunks": (5000, 70, (10,), 2500),
}
THREADS = (1, 2, 3)

Case = tuple[str, dict, tuple, dict]  # name, constructor arguments, samples, arguments of fit


def samples(rows: int, columns: int, classes: int = 3, dtype=np.float64) -> tuple:
    """Rows whose class the features tell, with some noise."""
    rng = np.random.RandomState(0)
    X = rng.standard_normal((rows, columns)).astype(dtype)
    y = np.argmax(X[:, :classes] + 0.1 * rng.standard_normal((rows, classes)), axis=1)
    return X, y


def small_classifiers() -> Iterator[Case]:
    """Every activation and option, and each kind of samples."""
    small, half = samples(300, 20), samples(300, 20, dtype=np.float32)
    activations = {
        name: {"activation": name, "hidden_layer_sizes": (17, 9)} for name in ACTIVATIONS
    }
    for name, options in {**activations, **OPTIONS}.items():
        yield f"{name} float64", options, small, {}
        yield f"{name} float32", options, half, {}
    X, y = small
    weights = np.random.RandomState(1).uniform(0, 2, 300)
    yield "sample_weight", {}, small, {"sample_weight": weights}
    thin = csr_matrix(np.where(np.abs(X) > 1, X, 0))
    yield "sparse", {}, (thin, y), {}
    yield "sparse lbfgs", {"solver": "lbfgs"}, (thin, y), {}
    wide, labels = samples(200, 700, dtype=np.float32)
    yield "sparse wide", {"batch_size": 50}, (csr_matrix(np.where(wide > 1, wide, 0)), labels), {}
    yield "binary", {}, (X, y > 0), {}
    yield "multilabel", {}, (X, np.eye(3, dtype=int)[y]), {}


def large_classifiers() -> Iterator[Case]:
    """Networks that several threads share, with each number of threads."""
    for name, (rows, columns, hidden, batch) in LARGE.items():
        for dtype in DTYPES:
            options = {"hidden_layer_sizes": hidden, "batch_size": batch, "max_iter": 8}
            data = samples(rows, columns, 10, dtype)
            for threads in THREADS:
                case = f"{name} {np.dtype(dtype).name} {threads}"
                yield case, {**options, "n_jobs": threads}, data, {}
    data = samples(2000, 784, 10, np.float32)
    options = {"max_iter": 5, "max_grad_norm": 0.5, "dropout": 0.2}
    for threads in THREADS:
        yield f"options {threads}", {**options, "n_jobs": threads}, data, {}


def regressors() -> Iterator[Case]:
    """Every loss, and several outputs."""
    X, y = samples(300, 20)
    target = np.exp(0.3 * X[:, 0]) + 0.1 * y
    for loss in ("squared_error", "poisson", "absolute_error", "huber"):
        for dtype in DTYPES:
            yield f"{loss} {np.dtype(dtype).name}", {"loss": loss}, (X.astype(dtype), target), {}
    both = np.column_stack([target, -target])
    yield "outputs", {"solver": "lbfgs", "max_iter": 30}, (X, both), {}


def digest_of(model, X) -> str:
    """The first digits of the hash of all arrays that a user sees."""
    arrays = [*model.coefs_, *model.intercepts_, np.array(getattr(model, "loss_curve_", []))]
    predict = getattr(model, "predict_proba", model.predict)
    arrays += [np.asarray(predict(rows)) for rows in (X, X[:1], X[:33])]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def fit_all() -> dict[str, str]:
    """The digest of every model, by its name, computed in this process."""
    warnings.filterwarnings("ignore")
    digests = {}
    for kind, cases in (
        (MLPClassifier, (*small_classifiers(), *large_classifiers())),
        (MLPRegressor, regressors()),
    ):
        for name, options, (X, y), extra in cases:
            model = kind(**{"max_iter": 10, "random_state": 0, **options}).fit(X, y, **extra)
            digests[f"{kind.__name__} {name}"] = digest_of(model, X)
    model = MLPClassifier(random_state=0)
    X, y = samples(300, 20)
    for start in range(0, 300, 30):
        model.partial_fit(X[start : start + 30], y[start : start + 30], classes=[0, 1, 2])
    digests["partial_fit"] = digest_of(model, X)
    return digests


def all_digests(package: Path) -> dict[str, str]:
    """The digests of a package's models for all of `CPUS`."""
    digests = {}
    with tempfile.TemporaryDirectory() as scratch:
        copy_package(package, Path(scratch))
        for cpu, environment in CPUS.items():
            child = script_on(Path(scratch), "digests", "--child", **environment)
            told = subprocess.run(**child, stdout=subprocess.PIPE, check=True).stdout
            digests |= {f"{cpu}: {name}": digest for name, digest in json.loads(told).items()}
    return digests


def main(arguments: list[str] | None = None) -> int:
    """Save or compare digests; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, default=THIS_PACKAGE, help="this checkout's")
    parser.add_argument("--save", type=Path, metavar="FILE")
    parser.add_argument("--compare", type=Path, metavar="FILE")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        print(json.dumps(fit_all()))
        return 0
    digests = all_digests(options.package)
    print(f"{len(digests)} digests")
    if options.save:
        options.save.write_text(json.dumps(digests, indent=1), encoding="utf-8")
    if options.compare:
        before = json.loads(options.compare.read_text(encoding="utf-8"))
        changed = [name for name, digest in before.items() if digests.get(name) != digest]
        print(f"{len(before) - len(changed)} of {len(before)} unchanged", *changed, sep="\n")
        return int(bool(changed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
