"""Cases for fenced memory: fits and predictions that dictionaries of plain values describe."""

import contextlib
import hashlib
import tempfile
import warnings
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import scipy.sparse
from fences import fenced, fenced_mapping

import fastmlp
from fastmlp._engine.network import Network
from fastmlp._inference.predictions import apply_network
from fastmlp.inspection import hidden_activations, input_gradient

# Constants that decide which code of the kernels a case runs, and that small shapes need smaller.
ENGINE = {
    "block_rows": "fastmlp._training.sgd.BLOCK_ROWS",
    "chunked_block_rows": "fastmlp._training.sgd.CHUNKED_BLOCK_ROWS",
    "chunk_rows": "fastmlp._engine.training_workspace.CHUNK_ROWS",
    "strip_rows": "fastmlp._engine.training_workspace.STRIP_ROWS",
    "rows_per_thread": "fastmlp._inference.predictions.ROWS_PER_THREAD",
    "core_cache_bytes": "fastmlp._engine.workspace.CORE_CACHE_BYTES",
    "least_compacted": "fastmlp._engine.inputs.LEAST_COMPACTED",
}
# Small work uses all threads that it may.
EAGER = {
    "fastmlp._training.sgd.FLOPS_PER_THREAD": 1,
    "fastmlp._training.sgd.FLOPS_PER_THREAD_OF_FIT": 1,
    "fastmlp._inference.predictions.FLOPS_PER_THREAD": 1,
}
# Each launch does as little as it can.
SHORT_LAUNCHES = {
    "fastmlp._training.sgd.FLOPS_PER_LAUNCH": 1,
    "fastmlp._inference.predictions.FLOPS_PER_LAUNCH": 1,
}


def samples_of(case: dict, rows: int, rng) -> np.ndarray:
    """A random dense X of `rows` rows."""
    X = rng.standard_normal((rows, case["n_in"])).astype(case["dtype"])
    if case["form"] in ("csr", "csc"):
        X[rng.random(X.shape) < 0.7] = 0
        X[rng.random(rows) < 0.2] = 0  # empty rows
    return X


def in_form(case: dict, X: np.ndarray):
    """X in the form of the case: order, strides or a sparse type."""
    form = case["form"]
    if form == "sub-array":
        whole = np.full((len(X) + 2, X.shape[1] + 3), np.nan, X.dtype)
        whole[1:-1, 2:-1] = X
        return whole[1:-1, 2:-1]
    if form == "reversed":
        return np.ascontiguousarray(X[::-1])[::-1]
    if form == "F":
        return np.asfortranarray(X)
    if form == "C":
        return X
    kind = {"csr": scipy.sparse.csr_array, "csc": scipy.sparse.csc_array}[form]
    sparse = kind(X)
    index = np.dtype(case["index"])
    sparse.indices, sparse.indptr = sparse.indices.astype(index), sparse.indptr.astype(index)
    return sparse


def targets_of(case: dict, rows: int, rng) -> np.ndarray:
    """A random y. Every class occurs in it."""
    n_out, kind = case["n_out"], case["kind"]
    if kind == "classes":
        return rng.permutation(np.arange(rows) % n_out)
    if kind == "multilabel":
        y = rng.integers(0, 2, (rows, n_out))
        y[: 2 * n_out : 2] = 1  # of each column, both labels
        y[1 : 2 * n_out : 2] = 0
        return y
    return np.abs(rng.standard_normal((rows, n_out))).squeeze(axis=1 if n_out == 1 else ())


def estimator_of(case: dict):
    """The unfitted estimator of a case."""
    parameters = {**case["parameters"], "random_state": case["seed"], "n_jobs": case["n_jobs"]}
    parameters["hidden_layer_sizes"] = tuple(parameters["hidden_layer_sizes"])
    if case["kind"] in ("classes", "multilabel"):
        return fastmlp.MLPClassifier(**parameters)
    return fastmlp.MLPRegressor(**parameters)


def _fit(case: dict, rng):
    """Fit, go on as the case says, and return the model."""
    rows, is_classifier = case["rows"], case["kind"] in ("classes", "multilabel")
    is_stochastic = case["parameters"].get("solver") != "lbfgs"
    X, y = samples_of(case, rows, rng), targets_of(case, rows, rng)
    weight = rng.uniform(0.1, 2, rows) if case["weighted"] else None
    model, options = estimator_of(case), {}
    if case["validates"] and is_stochastic:
        options = {"X_val": in_form(case, X[: rows // 2]), "y_val": y[: rows // 2]}
    X_in_form = in_form(case, X)
    model.fit(X_in_form, y, weight, **options)
    if case["warm_start"]:
        model.set_params(warm_start=True).fit(X_in_form, y, weight, **options)
    if is_stochastic and not model.early_stopping:
        model.set_params(class_weight=None) if is_classifier else None
        for count in case["partial_fits"]:
            part = slice(0, min(count, rows))
            model.partial_fit(
                in_form(case, X[part]), y[part], None if weight is None else weight[part]
            )
    return model


def _predictions(case: dict, model, rng) -> list[np.ndarray]:
    """What the model predicts for some numbers of rows, with its hidden layers and gradients."""
    name = "predict_proba" if case["kind"] in ("classes", "multilabel") else "predict"
    found = []
    for rows in case["predicted_rows"]:
        X = in_form(case, samples_of(case, rows, rng))
        # Of one output: each row of all would have pages of its own, more than a process may have.
        found += [getattr(model, name)(X), input_gradient(model, X, output=-1)]
        found += [hidden_activations(model, X, layer) for layer in range(len(model.coefs_) - 1)]
    return found


def run_fit(case: dict, side=None) -> list[np.ndarray]:
    """Fit and predict; return all weights, biases and predictions."""
    rng = np.random.default_rng(case["seed"])
    model = _fit(case, rng)
    return [*model.coefs_, *model.intercepts_, *_predictions(case, model, rng)]


def run_mapped(case: dict, side=None) -> list[np.ndarray]:
    """Predict with weights that stay in memory-mapped files."""
    rng, dtype = np.random.default_rng(case["seed"]), np.dtype(case["dtype"])
    sizes = [case["n_in"], *case["parameters"]["hidden_layer_sizes"], case["n_out"]]
    coefs = [rng.standard_normal(shape).astype(dtype) for shape in pairwise(sizes)]
    biases = [rng.standard_normal(size).astype(dtype) for size in sizes[1:]]
    strides = Network(sizes, dtype).layers["stride"].tolist()
    with tempfile.TemporaryDirectory() as folder:
        mapped = (
            coefs
            if side is None
            else [
                fenced_mapping(coef, Path(folder, str(n)), side, stride * coef.itemsize)
                for n, (coef, stride) in enumerate(zip(coefs, strides, strict=True))
            ]
        )
        network = Network.from_arrays(mapped, biases, dtype, leave_mapped=True)
        assert side is None or len(network.in_place) == len(coefs)
        names = [case["parameters"].get("activation", "relu")] * (len(sizes) - 2)
        return [
            apply_network(network, samples_of(case, rows, rng), names, "softmax", case["n_jobs"])[0]
            for rows in case["predicted_rows"]
        ]


RUNS = {"fit": run_fit, "mapped": run_mapped}


@contextlib.contextmanager
def settings_of(case: dict):
    """The engine's constants as the case sets them."""
    changes = EAGER | {ENGINE[name]: value for name, value in case["engine"].items()}
    changes |= SHORT_LAUNCHES if case["short_launches"] else {}
    with contextlib.ExitStack() as stack, warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for name, value in changes.items():
            stack.enter_context(mock.patch(name, value))
        yield


def outcome(case: dict, side=None) -> str:
    """A digest of what a case gives, or the error of a fit that fails."""
    try:
        arrays = RUNS[case["run"]](case, side)
    except ValueError as error:
        return f"ValueError: {error}"
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


def run_case(case: dict) -> dict:
    """Run a case without fences, then with either kind; the results must be the same.

    Returns the number of fenced launches, and the error of a fit that fails, if it does.
    """
    with settings_of(case):
        expected, launches = outcome(case), 0
        for side in ("end", "begin"):
            with fenced(side, case["rows_apart"]) as fences:
                assert outcome(case, side) == expected, f"other results with fences at the {side}"
            launches += fences.launches
    return {"launches": launches, "error": expected if " " in expected else None}
