"""What hypothesis draws: parameters, valid or not, and samples."""

from collections import namedtuple

import numpy as np
import scipy.sparse
from hypothesis import strategies as st

SHARED = {
    "hidden_layer_sizes": [(4,), (5, 3), ()],
    "activation": ["relu", "tanh", "logistic", "identity"],
    "solver": ["adam", "adam", "adam", "sgd", "sgd", "lbfgs"],
    "early_stopping": [False] * 5 + [True],
    "warm_start": [False, True],
    "shuffle": [True, True, False],
    "batch_size": ["auto", 5, 7, 64],
    "random_state": [0, 1, 2],
    "max_iter": [1, 2, 3],
    "learning_rate": ["constant", "invscaling", "adaptive"],
    "n_iter_no_change": [1, 10],
    "alpha": [0.0, 1e-4, 0.1],
    "momentum": [0.0, 0.9],
    "nesterovs_momentum": [True, False],
    "learning_rate_init": [1e-3, 1e-2],
    "n_jobs": [None, 1, 2, 3],
}
OWN = {
    "solver": ["adamw"],
    "activation": ["gelu", "silu"],
    "learning_rate": ["cosine", "one_cycle"],
    "dropout": [0.0, 0.3],
    "max_grad_norm": [None, 0.5],
    "weight_decay": [0.01, 0.1],
    "precision": [None, "float32", "float64"],
    "scoring": [None, "loss"],
    "restore_best_weights": [True, False],
    "warmup": [0.0, 1],
}
OWN_OF_CLASSIFIERS = {"label_smoothing": [0.0, 0.1], "class_weight": [None, "balanced"]}
INVALID = [
    {"alpha": -1.0}, {"solver": "newton"}, {"hidden_layer_sizes": (0,)}, {"max_iter": 0},
    {"momentum": 2}, {"activation": "step"}, {"random_state": "zero"}, {"early_stopping": "yes"},
]  # fmt: skip
FAMILIES = ["binary", "three", "strings", "single", "several", "wide", "nan", "unknown", "short"]


# What to make samples of, see `samples_of`.
Samples = namedtuple("Samples", "family rows seed form weighted")


def values_of(table, at_most):
    """Some parameters with values from a table."""
    one = st.sampled_from(sorted(table)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(table[name]))
    )
    return st.lists(one, min_size=1, max_size=at_most).map(dict)


def samples(families):
    return st.builds(
        Samples,
        family=st.sampled_from(families),
        rows=st.integers(8, 30),
        seed=st.integers(0, 5),
        form=st.sampled_from(["C"] * 6 + ["F", "csr", "csc", "list", "float32"]),
        weighted=st.booleans(),
    )


SAMPLES = samples(["home"] * 12 + FAMILIES)
METHODS = st.sampled_from(["fit", "partial_fit", "partial_fit"])


def samples_of(samples, for_classifier):
    """X, y and sample weights of a few rows."""
    random_state = np.random.RandomState(samples.seed)
    X = random_state.randn(samples.rows, 4 if samples.family == "wide" else 3)
    y = _labels(samples, X) if for_classifier else _values(samples, X)
    if samples.family == "nan":
        X[samples.rows // 2, 1] = np.nan
    forms = {
        "F": np.asfortranarray,
        "csr": scipy.sparse.csr_array,
        "csc": scipy.sparse.csc_array,
        "float32": lambda X: X.astype(np.float32),
        "list": np.ndarray.tolist,
    }
    weight = random_state.uniform(0.1, 2, samples.rows) if samples.weighted else None
    return forms.get(samples.form, np.asarray)(X), y, weight


def _labels(samples, X):
    numbers = np.arange(samples.rows) % 3
    labels = {
        "three": numbers,
        "strings": np.array(["a", "b", "c"])[numbers],
        "single": np.zeros(samples.rows, dtype=int),
        "several": (X[:, :3] > 0).astype(int),
        "unknown": numbers + 5,
        "short": numbers[:-1],
    }
    return labels.get(samples.family, numbers % 2)


def _values(samples, X):
    values = np.abs(X[:, 0] + X[:, 1] ** 2)
    values_of = {
        "several": np.abs(X[:, :2]),
        "strings": np.array(["a", "b"])[np.arange(samples.rows) % 2],
        "short": values[:-1],
    }
    return values_of.get(samples.family, values)
