"""No kernel reads or writes one element outside an array: each ends at a page without access.

``HYPOTHESIS_PROFILE=long python -m pytest tests/engine/test_fences.py`` runs many more cases.
"""

import os
import sys

import pytest
from fenced_process import FencedProcess
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="memory is protected otherwise")

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"

# On and beside whole vectors of every instruction set, groups of vectors, tiles and tails.
LANES = 2, 4, 8, 16
EDGES = sorted(
    {
        edge
        for lanes in LANES
        for vectors in (1, 2, 3, 4, 6, 7)
        for edge in range(vectors * lanes - 1, vectors * lanes + 3)
    }
)
WIDTHS = st.one_of(st.sampled_from(EDGES), st.integers(1, 40))
INPUTS = st.one_of(WIDTHS, st.sampled_from([1, 2, 255, 256, 257, 271, 300, 513]))  # with split-K
ROWS = st.one_of(st.integers(1, 17), st.integers(1, 130))


@st.composite
def parameters(draw, kind, rows):
    """The estimator's parameters."""
    solver = draw(st.sampled_from(["sgd", "adam", "adam", "adamw", "lbfgs"]))
    chosen = {
        "solver": solver,
        "hidden_layer_sizes": draw(st.lists(WIDTHS, max_size=3)),
        "activation": draw(st.sampled_from(["identity", "relu", "tanh", "logistic", "gelu"])),
        "alpha": draw(st.sampled_from([0.0, 1e-4])),
        "max_iter": draw(st.integers(1, 2)),
    }
    if solver != "lbfgs":
        chosen |= {
            "batch_size": draw(st.one_of(st.just("auto"), ROWS)),
            "shuffle": draw(st.booleans()),
            "dropout": draw(st.sampled_from([0.0, 0.3])),
            "max_grad_norm": draw(st.sampled_from([None, None, 0.5])),
            "momentum": draw(st.sampled_from([0.0, 0.9])),
            "nesterovs_momentum": draw(st.booleans()),
            "early_stopping": draw(st.booleans()) and rows >= 40,
        }
    if kind in ("classes", "multilabel"):
        chosen["loss"] = draw(st.sampled_from(["log_loss", "squared_error"]))
        if solver != "lbfgs":
            chosen["label_smoothing"] = draw(st.sampled_from([0.0, 0.1]))
        if kind == "classes":
            chosen["class_weight"] = draw(st.sampled_from([None, "balanced"]))
    else:
        losses = ["squared_error", "poisson", "absolute_error", "huber"]
        chosen["loss"] = draw(st.sampled_from(losses))
    return chosen


@st.composite
def engines(draw):
    """The engine's constants: blocks, pieces, and what counts as large."""
    large = draw(st.booleans())
    return {
        "block_rows": draw(st.sampled_from([3, 16, 70, 1024])),
        "rows_per_thread": draw(st.sampled_from([3, 16, 128])),
        "core_cache_bytes": 0 if large else 1 << 20,
        "least_compacted": 0 if draw(st.booleans()) else 1 << 20,
    }


@st.composite
def cases(draw, run="fit"):
    """A fit and what follows, or predictions with mapped weights; see `fenced_cases`."""
    kind = draw(st.sampled_from(["classes", "classes", "multilabel", "regression"]))
    n_out = draw(st.one_of(st.integers(1, 17), st.sampled_from(EDGES)))
    if kind != "regression":
        n_out = max(n_out, 2)
    rows = draw(ROWS) if kind == "regression" else 2 * n_out + draw(ROWS)
    return {
        "run": run,
        "kind": kind,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "form": draw(st.sampled_from(["C", "C", "F", "sub-array", "reversed", "csr", "csc"])),
        "index": draw(st.sampled_from(["int32", "int64"])),
        "rows": rows,
        "n_in": draw(INPUTS),
        "n_out": n_out,
        "weighted": draw(st.booleans()),
        "validates": draw(st.booleans()),
        "warm_start": draw(st.booleans()),
        "partial_fits": draw(st.lists(ROWS, max_size=2)),
        "predicted_rows": draw(st.lists(ROWS, max_size=2)),
        "rows_apart": draw(st.booleans()),
        "short_launches": draw(st.booleans()),
        "seed": draw(st.integers(0, 1000)),
        "n_jobs": draw(st.integers(1, 3)),
        "parameters": draw(parameters(kind, rows)),
        "engine": draw(engines()),
    }


@pytest.fixture(scope="module")
def process():
    with FencedProcess() as process:
        yield process


@pytest.mark.slow
@settings(max_examples=6000 if IS_LONG else 60, deadline=None, derandomize=not IS_LONG)
@given(case=cases())
def test_fits_and_predictions_stay_inside_their_arrays(process, case):
    process.run(case)


@settings(max_examples=2000 if IS_LONG else 15, deadline=None, derandomize=not IS_LONG)
@given(case=cases("mapped"))
def test_predictions_stay_inside_weights_in_files(process, case):
    process.run(case)


# Arrays of the job, by the case that uses their first and last elements.
DENSE = {
    "run": "fit", "kind": "classes", "form": "C", "index": "int32", "dtype": "float32",
    "rows": 32, "n_in": 64, "n_out": 3, "weighted": True, "validates": False, "warm_start": False,
    "partial_fits": [], "predicted_rows": [], "rows_apart": False, "seed": 0, "n_jobs": 1,
    "short_launches": False,
    "engine": {"block_rows": 8, "core_cache_bytes": 0, "least_compacted": 0},
    "parameters": {
        "hidden_layer_sizes": [33, 16], "max_iter": 1, "batch_size": 16, "dropout": 0.3,
        "max_grad_norm": 1.0,
    },
}  # fmt: skip
