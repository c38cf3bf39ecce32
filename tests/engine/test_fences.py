"""No kernel reads or writes one element outside an array: each ends at a page without access.

``HYPOTHESIS_PROFILE=long python -m pytest tests/engine/test_fences.py`` runs many more cases.
"""

import os
import sys

import numpy as np
import pytest
from fenced_process import FencedProcess
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import FENCED, OF_CODE

from fastmlp._engine.jit.target import column_width, target

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
FORMS = ["C", "C", "F", "sub-array", "reversed", "csr", "csc"]


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
    last = len(chosen["hidden_layer_sizes"])
    frozen = draw(st.sets(st.integers(0, last), max_size=last))
    chosen["frozen_layers"] = sorted(frozen) if draw(st.booleans()) else None
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
        "chunked_block_rows": draw(st.sampled_from([16, 32, 8192])),
        "chunk_rows": draw(st.sampled_from([4, 16, 256])),
        "strip_rows": draw(st.sampled_from([4, 32])),
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
    chosen, form = draw(parameters(kind, rows)), draw(st.sampled_from(FORMS))
    if form not in ("csr", "csc") and chosen["solver"] != "lbfgs":
        chosen["precision"] = draw(st.sampled_from([None, None, "bfloat16"]))
    return {
        "run": run,
        "kind": kind,
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "form": form,
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
        "parameters": chosen,
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


# Fits that use the first and the last element of each array.
DENSE = {
    "run": "fit", "kind": "classes", "form": "C", "index": "int32", "dtype": "float32",
    "rows": 32, "n_in": 64, "n_out": 3, "weighted": True, "validates": False, "warm_start": False,
    "partial_fits": [], "predicted_rows": [8], "rows_apart": False, "seed": 0, "n_jobs": 1,
    "short_launches": False,
    "engine": {"block_rows": 8, "core_cache_bytes": 0, "least_compacted": 0},
    "parameters": {
        "hidden_layer_sizes": [33, 16], "max_iter": 1, "batch_size": 16, "dropout": 0.3,
        "max_grad_norm": 1.0,
    },
}  # fmt: skip
FROZEN = DENSE | {"parameters": DENSE["parameters"] | {"frozen_layers": [0]}}
# A panel in one tile of columns, and one whose tile overlaps it by as many rows as there can be.
PANELS = column_width() * target().lanes(np.float32) + target().tallest_single // 2 + 1
NARROW = DENSE | {"n_in": PANELS, "parameters": {"hidden_layer_sizes": [], "max_iter": 1}}
CHUNKS = NARROW | {
    "n_in": 32,
    "engine": DENSE["engine"] | {"chunked_block_rows": 16, "chunk_rows": 8, "strip_rows": 4},
}
SPLIT_K = DENSE | {"n_in": 320}
PAIRS = DENSE | {"parameters": DENSE["parameters"] | {"precision": "bfloat16"}}
SPARSE = DENSE | {
    "form": "csr",
    "parameters": {"hidden_layer_sizes": [33, 16], "max_iter": 1, "batch_size": 1},
}

# An array's name in a part of the job, and the layer if each has one of its own.
ARRAYS = [
    *[("inputs", name, 0, DENSE) for name in ("x", "order", "targets", "weights")],
    *[("inputs", name, 0, SPARSE) for name in ("values", "columns", "row_starts")],
    *[("tables", name, 0, DENSE) for name in ("layers", "panels", "ranges", "rows", "work")],
    ("tables", "trained_ranges", 0, FROZEN),
    *[("forward", name, 0, DENSE) for name in ("parameters", "tails", "activations", "outputs")],
    ("forward", "split_k_partial", 0, SPLIT_K),
    *[
        ("backward", name, 0, DENSE)
        for name in ("transposed", "deltas", "derivatives", "row_losses")
    ],
    ("backward", "zeros", 0, SPARSE),
    *[("update", name, 0, DENSE) for name in ("first_moment", "second_moment", "gradient")],
    *[("update", name, 0, DENSE) for name in ("norms", "gradient_norms", "step_sizes", "decays")],
    ("update", "touched", 0, SPARSE),
    ("update", "scratch", 0, NARROW),
    ("update", "chunks", 0, CHUNKS),
    *[
        ("layers", name, layer, DENSE)
        for name in ("weights", "bias", "outputs")
        for layer in range(3)
    ],
    ("layers", "input_rows", 0, NARROW),  # tiles of columns read ahead
    *[
        ("layers", name, layer, DENSE)
        for name in ("transposed", "input_rows", "delta_rows")
        for layer in (1, 2)
    ],
    ("layers", "tail", 0, DENSE),
    *[("layout", name, 0, DENSE) for name in ("ones_rows", "next_rows")],
    ("layout", "split_k_rows", 0, SPLIT_K),
    *[("forward", name, 0, PAIRS) for name in ("weight_pairs", "tails")],
    ("layers", "tail", 0, PAIRS),
    *[("backward", name, 0, PAIRS) for name in ("transposed_pairs", "stacked_deltas")],
    *[
        ("layers", name, layer, PAIRS)
        for name in ("weight_pairs", "stacked", "pair_rows", "gradient_rows")
        for layer in range(3)
    ],
    *[
        ("layers", name, layer, PAIRS)
        for name in ("transposed_pairs", "delta_rows")
        for layer in (1, 2)
    ],
]
# A queue word is the first of two cache lines, whose other words nobody touches.
PADDED = ("tables", "work", "end")


QUICK = "x", "outputs"  # read from and written to


@pytest.mark.parametrize("side", ["begin", "end"])
@pytest.mark.parametrize(
    "part, name, layer, case",
    [
        pytest.param(
            *array,
            id="-".join(map(str, array[:3])) + "-pairs" * (array[3] is PAIRS),
            marks=() if array[1] in QUICK else pytest.mark.slow,
        )
        for array in ARRAYS
    ],
)
def test_an_element_outside_an_array_is_fatal(process, part, name, layer, case, side):
    """The kernels take the array for one that begins an element earlier or later."""
    answer = process.ask({"case": case | {"side": side}, "shifted": [part, name, layer]})
    assert answer == {"code": 0 if (part, name, side) == PADDED else FENCED}


@pytest.mark.parametrize("case", [DENSE, NARROW, SPLIT_K, SPARSE, PAIRS])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_without_a_fault_nothing_is_fatal(process, case, dtype):
    process.run(case | {"dtype": dtype})


@pytest.mark.slow
@pytest.mark.parametrize("fault, side", list(zip(OF_CODE, ("end", "end", "begin"), strict=True)))
def test_a_fault_in_the_code_of_a_kernel_is_fatal(fault, side):
    case = DENSE | {
        "run": "mapped",
        "side": side,
        "n_in": 65,
        "predicted_rows": [5],
        "engine": {"rows_per_thread": 5},
    }
    with FencedProcess() as process:  # one that has compiled nothing yet
        assert process.ask({"case": case, "fault": fault}) == {"code": FENCED}


# Vectors and tiles that this processor can play, by register and multiply-add. The first are Arm's.
SHAPES = [("neon", "fma"), ("zmm", "fma"), ("ymm", "no"), ("xmm", "no")]


@pytest.mark.slow
@pytest.mark.skipif(not target().has_fma, reason="fused multiply-adds would be calls")
@pytest.mark.parametrize("shapes", SHAPES if IS_LONG else SHAPES[:1], ids="-".join)
def test_kernels_of_other_instruction_sets_stay_inside_their_arrays(shapes, other_cpu):
    folder = other_cpu(shapes="-".join(shapes))["NUMBA_CACHE_DIR"]
    with FencedProcess(arguments=(*shapes, folder)) as process:

        @settings(max_examples=2000 if IS_LONG else 30, deadline=None, derandomize=not IS_LONG)
        @given(case=cases().map(lambda case: case if IS_LONG else case | {"dtype": "float64"}))
        def run(case):
            process.run(case)

        run()
