"""Multilayer perceptrons for CPUs, compatible with scikit-learn.

`MLPClassifier` and `MLPRegressor` replace the scikit-learn classes of the same names: the same
parameters, the same attributes and, from the same integer `random_state`, the same model to within
rounding. They train several times faster.

## Quick start

```python
from fastmlp import MLPClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)

model = make_pipeline(StandardScaler(), MLPClassifier((100,), random_state=0))
model.fit(X_train, y_train)
print(model.score(X_test, y_test))  # about 0.97
```

The first fit on a machine compiles the kernels, which takes some seconds; later fits load them from
disk. Sparse `X`, a first layer of up to 12 units and rarer options compile once more on first use.

Data in `float32` train faster than data in `float64`, and take half the memory. `python -m fastmlp`
compares fastmlp with scikit-learn on your machine.

## Where to go next

| To | Read |
|---|---|
| choose parameters, and see what differs from scikit-learn | `MLPClassifier`, `MLPRegressor` |
| draw loss curves, weights, sensitivities and network diagrams | `fastmlp.displays` |
| convert models from and to scikit-learn, or export them to ONNX or C | `fastmlp.interop` |
| use other tools, such as optuna, mlflow or PMML | `fastmlp.interop` |
| train in float32 whatever the data, or in bfloat16 | `precision` of `MLPClassifier` |
| train with an activation or a loss of your own | `CustomActivation`, `CustomLoss` |
| predict quantiles, and draw how often they hold | `MLPRegressor`, `fastmlp.displays` |
| use the hidden layers' output in a pipeline | `MLPTransformer` |
| compress samples, remove noise, or find anomalies without labels | `MLPAutoencoder` |
| look inside a model, or check its gradient | `fastmlp.inspection` |
| predict from a table with categories, dates and missing values | `fastmlp.tabular` |
| train on several machines | `fastmlp.dask` |
| understand or change the engine | `fastmlp._engine` |

After `import fastmlp`, these packages load when they are first used. `fastmlp.show_versions()`
prints what a bug report needs.

## Data larger than memory

The kernels read each row where it lies. A memory-mapped file therefore trains without being loaded:
a batch fetches only its own rows from disk, and the operating system caches as many pages as it has
room for.

```python
import numpy as np
from fastmlp import MLPClassifier

rows = np.load("rows.npy", mmap_mode="r")  # float32 or float64, (n_samples, n_features)
labels = np.load("labels.npy")

mapped = MLPClassifier((100,), max_iter=10, random_state=0).fit(rows, labels)
```

Before the first epoch, `fit` reads the whole file once to check it for NaN. Shuffling reads the
rows in random order; with `shuffle=False`, each epoch reads the file from front to back.

When the data come in parts, as files or from a database, train on one part at a time:

```python
from pathlib import Path

streamed = MLPClassifier((100,), random_state=0)
for epoch in range(10):
    for path in sorted(Path("parts").glob("*.npz")):
        with np.load(path) as part:
            streamed.partial_fit(part["X"], part["y"], classes=np.unique(labels))
```

## Transfer learning

A network that has learned one task from many rows can lend its layers to another task with few
rows. Here the digits lie at random places of a larger image. A network for 0 to 4 learns from
18,020 images, and its hidden layers, frozen, help to tell 5 to 9 apart with 50 images:

```python
import numpy as np
from fastmlp import MLPClassifier
from sklearn.datasets import load_digits

digits, labels = load_digits(return_X_y=True)
rng = np.random.RandomState(0)


def scatter(chosen):
    images = np.zeros((len(chosen), 12, 12), np.float32)
    places = rng.randint(5, size=(len(chosen), 2))
    for image, digit, (top, left) in zip(images, digits[chosen], places):
        image[top : top + 8, left : left + 8] = digit.reshape(8, 8) / 16
    return images.reshape(len(chosen), -1)


low, high = np.flatnonzero(labels < 5), rng.permutation(np.flatnonzero(labels >= 5))
many, few, rest = np.tile(low, 20), high[:50], high[50:]

source = MLPClassifier((128, 64), max_iter=5, learning_rate_init=0.003, random_state=0)
source.fit(scatter(many), labels[many])

options = {"max_iter": 150, "learning_rate_init": 0.01, "random_state": 0}
scratch = MLPClassifier((128, 64), **options)
transfer = MLPClassifier((128, 64), frozen_layers=(0, 1), **options)
X_few, X_rest = scatter(few), scatter(rest)
scratch.fit(X_few, labels[few])
transfer.fit(X_few, labels[few], coefs_init=source)
print(scratch.score(X_rest, labels[rest]))  # about 0.37
print(transfer.score(X_rest, labels[rest]))  # about 0.49
```

These accuracies are means of five seeds. Measure whether the layers help: where all digits lie in
the middle, 64 pixels say enough, and training from scratch on 25 images is better (0.91) than with
the frozen layer of a 64-64-5 network for 0 to 4 (0.78).

No time is spent on gradients of frozen layers. With the first layer of 784-512-512-10 frozen, an
epoch takes half the time; with two, a third.

## Threads

A fit or a prediction uses as many threads as its work can keep busy, and at most `n_jobs`.
`n_jobs=None` means the least of these limits: the CPUs that affinity and the cgroup leave to the
process, `OMP_NUM_THREADS` as it was on import, `NUMBA_NUM_THREADS`, joblib's limits (for nested
parallelism, and `n_jobs` of `joblib.parallel_config`) and those that threadpoolctl sets for OpenMP.
A task of a Dask worker gets one thread. A positive `n_jobs` is used as it is.
`python -m fastmlp info` prints which limit counts, and how much work a thread needs before it is
worth waking.

All fits and predictions of a process share one pool of threads. A thread without work spins for
0.2 ms, in case more work follows, and then sleeps. With `n_jobs=1`, no other thread takes part.

Results do not depend on threads: weights and predictions have the same bytes for any `n_jobs`, and
the prediction for a row does not depend on the other rows of `X`. Bytes may differ between CPUs of
different vector widths.

fastmlp uses neither OpenMP nor a Numba threading layer. Fits and predictions may run from many
threads at once, after `os.fork`, in pre-forking servers and under joblib. While one thread refits a
model, others may predict with it; each prediction uses either the old model or the new one.

Ctrl-C ends a fit with a warning and keeps the model trained so far, as in scikit-learn. `max_time`
and callbacks can end a fit as well.

On x86, training treats denormal numbers, those below 1.2e-38 in float32 or 2.2e-308 in float64, as
zero. They are too small to matter to a model, and slow to compute with.

## Deployment

**Latency.** `predict_proba` of a single row takes about 15 microseconds for a 784-100-10 network,
so a service can call it once per request.

**Containers.** Compile the kernels while you build the image, on a CPU of the kind that will serve:

```sh
NUMBA_CACHE_DIR=/var/cache/fastmlp python -m fastmlp warmup
```

Set the same `NUMBA_CACHE_DIR` when you run the image. The directory may be read-only then, and the
user another. Or let `python -m fastmlp warmup --beside-package` keep the kernels in the installed
package, where every user finds them without a variable.

**Where kernels are stored.** In `NUMBA_CACHE_DIR`, or in the user's cache directory if that is not
set or not writable: `~/.cache/fastmlp`, `~/Library/Caches/fastmlp` or `%LOCALAPPDATA%\\fastmlp`.
They are looked for there, in a read-only `NUMBA_CACHE_DIR`, and beside the package. If no directory
is writable, every process compiles what it does not find for itself, in memory.
`python -m fastmlp info` prints the directories in use.

A kernel is used only by the version of fastmlp, Numba and llvmlite, the kind of CPU and the
settings of Numba that it was compiled with, so environments may share a directory. Kernels that
nobody has used for 90 days are removed. Zip files and frozen applications keep their kernels in the
same places.

**Saved models.** An estimator pickles as arrays and built-in types. `skops` needs to trust only the
estimator's class.

**Shared weights.** `joblib.load("model.joblib", mmap_mode="r")` leaves the weights, and the
optimizer's state, in the file. Processes that load the same file, such as the workers of a server,
then share one copy in memory, and loading takes no longer than reading the file once. Predictions
have the same bytes. They take 1.03 to 1.4 times as long, up to 2.7 times for a single row and 1024
units, because rows in a file are not padded to whole vectors. `partial_fit` and `warm_start` make
a copy first. joblib's own workers share models in this way without being told. Replace such a file
by renaming another one; a process whose file is overwritten crashes.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from fastmlp import _mlflow
from fastmlp._compat.versions import check_versions
from fastmlp.version import __version__

try:
    from fastmlp._engine import jit as _jit  # noqa: F401 - before Numba, which it looks after
    from fastmlp._engine.kernels.custom_activation import CustomActivation
    from fastmlp._engine.kernels.custom_loss import CustomLoss
    from fastmlp.autoencoder import MLPAutoencoder
    from fastmlp.estimators import MLPClassifier, MLPRegressor
    from fastmlp.transformers import MLPTransformer
except (AttributeError, ImportError) as error:
    check_versions(error)
    raise

if TYPE_CHECKING:
    from fastmlp import dask as dask
    from fastmlp import displays as displays
    from fastmlp import inspection as inspection
    from fastmlp import interop as interop
    from fastmlp import tabular as tabular

__all__ = [
    "CustomActivation",
    "CustomLoss",
    "MLPAutoencoder",
    "MLPClassifier",
    "MLPRegressor",
    "MLPTransformer",
    "__version__",
    "show_versions",
]

_mlflow.register((MLPClassifier, MLPRegressor))

_LAZY = (
    "dask",
    "displays",
    "inspection",
    "interop",
    "tabular",
)  # submodules that load when they are used


def show_versions() -> None:
    """Print what a bug report needs.

    The output of `python -m fastmlp info`, then the versions of the packages that fastmlp needs or
    can use.

    See Also
    --------
    sklearn.show_versions : The same for scikit-learn.

    Examples
    --------
    >>> import fastmlp
    >>> fastmlp.show_versions()  # doctest: +ELLIPSIS
    fastmlp ...
    """
    from fastmlp import _report  # it imports Numba, which the engine must do first

    _report.print_rows(_report.machine())
    print()
    _report.print_rows(_report.dependencies())


def __getattr__(name: str) -> ModuleType:
    """Load a submodule when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'fastmlp' has no attribute {name!r}")
    try:
        return importlib.import_module(f"fastmlp.{name}")
    except ImportError as error:  # an extra is missing: hasattr shall be False, not fail
        raise AttributeError(str(error)) from error


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, *_LAZY, "autoencoder", "estimators", "transformers"])
