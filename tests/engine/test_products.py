"""The three products of a layer at every edge, read through the kernels that train and predict.

Momentum with learning rate 1, from velocity zero, leaves minus the gradient in its first moment:
no gradient array exists in the engine.
"""

import ctypes
from threading import Thread

import numpy as np
import pytest
from numba import types
from oracles import naive
from oracles.naive import assert_close
from oracles.problem import DTYPES, SPREAD, Problem, assert_all_close

from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.jit.target import (
    LEAST_TAIL_DEPTH,
    tail_columns,
    target,
    tile_shapes,
)
from fastmlp._engine.kernels.forward import layer_at
from fastmlp._engine.kernels.prefetch import OWNERSHIP_DEPTH
from fastmlp._engine.kernels.products import weight_gradient
from fastmlp._engine.kernels.training import Block, panel_at
from fastmlp._engine.network import CONFLICTING_BYTES
from fastmlp._engine.records import job_pointer
from fastmlp._engine.simd.memory import dereference
from fastmlp._engine.training_workspace import INPUTS_PER_ROW, LEAST_SPLIT_K_INPUTS
from fastmlp._training import sgd

PANELS_SUMMED = 100_000  # some tenths of a second


@kernel(lambda real: types.void(types.int64, job_pointer(real)))
def sum_panel(index, pointer):
    """The gradient sums of a panel again and again, as if its parameters were changed next."""
    job = dereference(pointer)
    panel = panel_at(job.tables.panels, index)
    layer = layer_at(job.tables.layers, panel.layer)
    rows = job.layout.block_rows
    block = Block(0, rows, rows, True, True, rows, 0, 1.0, 0.0, 1.0)
    for _ in range(PANELS_SUMMED):
        weight_gradient(job, layer, panel, block, job.layout.overlap)


def run_sum_panel(workspace, index):
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
    call(sum_panel.address(workspace.dtype.type))(index, workspace.address)


MOST_ROWS = 2 * max(height for height, _ in tile_shapes()) + 1


def most_units(dtype):
    """Two of the widest column groups and one unit more."""
    return 2 * target().widest * target().lanes(dtype) + 1


def edge_units(dtype):
    """Unit counts on and beside whole vectors, up to `most_units`."""
    lanes = target().lanes(dtype)
    counts = {v * lanes + d for v in range(2 * target().widest + 1) for d in (-1, 0, 1)}
    return sorted(count for count in counts if count > 0)


def assert_step_is_right(problem):
    """Outputs, loss, gradients and the step itself agree with the oracle's."""
    oracle = problem.oracle()
    assert_close(problem.predict(), oracle.predict(problem.X), units=20)
    coefs, intercepts = oracle.gradients(problem.X, problem.y, problem.weights)
    got = problem.gradients()
    assert_all_close(got[0], coefs, units=200)
    assert_all_close(got[1], intercepts, units=1000)  # deltas of either sign cancel out
    new = [W - g for W, g in zip(oracle.coefs, coefs, strict=True)]
    assert_all_close(problem.network.coefs, new, units=200)


def test_the_oracles_gradient_is_the_slope_of_its_loss():
    for hidden in naive.ACTIVATIONS:
        for output in naive.OUTPUTS:
            n_out = 1 if output == "identity" else 3
            problem = Problem([3, 4, 5, n_out], 6, np.float64, hidden, output, alpha=0.3)
            problem.weigh()
            oracle, step = problem.oracle(), 1e-4
            samples = problem.X, problem.y, problem.weights
            gradients = oracle.gradients(*samples)
            for array, gradient in zip(
                oracle.coefs + oracle.intercepts, gradients[0] + gradients[1], strict=True
            ):
                for index in np.ndindex(array.shape):
                    values = []
                    for shift in (-2, -1, 1, 2):
                        before = array[index]
                        array[index] = before + shift * step
                        values.append(oracle.loss(*samples))
                        array[index] = before
                    slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
                    np.testing.assert_allclose(gradient[index], slope, rtol=1e-7, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_for_every_number_of_rows(dtype):
    for rows in range(1, MOST_ROWS + 1):
        for units in edge_units(dtype):
            assert_step_is_right(Problem([7, units, 3], rows, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_for_every_number_of_units(dtype):
    most = most_units(dtype)
    for units in range(1, most + 1):
        other = 1 + units * 29 % most  # so that both sides of a product meet all edges
        for rows in (1, 5, MOST_ROWS):
            assert_step_is_right(Problem([other, units, other, units], rows, dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_for_every_number_of_features(dtype):
    for features in range(1, MOST_ROWS + 1):
        for units in edge_units(dtype):
            assert_step_is_right(Problem([features, units, 2], 9, dtype))


@pytest.mark.parametrize("rest", sorted({3, target().tallest - 1}))
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_leave_the_parameters_of_other_units_alone(rest, dtype):
    """A last tile lies over the panel before, whose thread may be changing it meanwhile."""
    features, wide = 16 + rest, target().widest * target().lanes(dtype)
    descent, _ = Problem([features, 2 * wide, 2], 2 * OWNERSHIP_DEPTH, dtype).descent()
    with descent:
        descent.epoch()  # fills the tables of rows
    workspace = descent.workspace
    panels = workspace.panels
    (index,) = np.flatnonzero((panels["layer"] == 0) & (panels["is_bias"] == 0))[-1:]
    before = descent.network.coefs[0][panels["first"][index] - 1]
    before[:] = zero = 1 / np.finfo(dtype).eps  # from here on every count changes the last bits
    sum_panel.address(dtype)  # compiled before the two run at once
    other = Thread(target=run_sum_panel, args=(workspace, index))
    other.start()
    count = 0
    while other.is_alive():
        before += 1
        count += 1
    assert count > 0
    np.testing.assert_array_equal(before - zero, count)


def tail_units(dtype):
    """Unit counts that are whole vectors, end in a tail, or in one column more."""
    lanes, most = target().lanes(dtype), tail_columns(dtype)
    return [2 * lanes + beyond for beyond in range(most + 2)] + [max(most, 1)]


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_with_the_last_columns_a_tail(dtype):
    lanes, least = target().lanes(dtype), LEAST_TAIL_DEPTH
    for units in tail_units(dtype):
        for depth in [*range(least - 1, least + lanes + 2), LEAST_SPLIT_K_INPUTS + 9]:
            for rows in (1, 3, 4, 6, MOST_ROWS):
                assert_step_is_right(Problem([depth, units, 3], rows, dtype, alpha=0.1))
        for other in tail_units(dtype):
            wide = least + lanes + other
            assert_step_is_right(Problem([5, wide, wide, units, wide, 2], 13, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [3, 40])
def test_predictions_see_a_change_of_a_tails_weights(rows, dtype):
    problem = Problem([70, 66, 66, 2], rows, dtype)
    for coef in problem.network.coefs:
        before = problem.predict()
        coef[:, -1] *= 2
        after = problem.predict()
        assert not np.array_equal(after, before)
        assert_close(after, problem.oracle().predict(problem.X), units=20)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tail_is_the_last_columns_of_a_product_deep_enough(dtype):
    lanes, most = target().lanes(dtype), tail_columns(dtype)
    for units, left in [(8 * lanes, 0), *((8 * lanes + j, j) for j in range(1, lanes))]:
        for depth, is_deep in [(LEAST_TAIL_DEPTH - 1, False), (LEAST_TAIL_DEPTH, True)]:
            problem = Problem([depth, units, depth, 3], 2, dtype)
            descent, _ = problem.descent(batch_size=2)
            layers, has_tail = descent.workspace.layers, is_deep and 0 < left <= most
            assert (layers["tail_stride"][0] > 0) == has_tail
            assert layers["back_tail"].tolist() == [-1, units - left if has_tail else -1, -1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_with_split_k(dtype):
    for features in range(LEAST_SPLIT_K_INPUTS, LEAST_SPLIT_K_INPUTS + MOST_ROWS + 1):
        for rows, units in [(1, 3), (9, 40), (MOST_ROWS, most_units(dtype))]:
            problem = Problem([features, units, 2], rows, dtype, alpha=0.1)
            descent, _ = problem.descent(batch_size=rows, n_jobs=1)
            assert features / 2 <= descent.workspace.layers[0]["split_k_at"] < features
            assert_step_is_right(problem)


@pytest.mark.parametrize(
    "features, rows, is_split",
    [
        (LEAST_SPLIT_K_INPUTS, LEAST_SPLIT_K_INPUTS // INPUTS_PER_ROW, True),
        (LEAST_SPLIT_K_INPUTS - 1, 1, False),
        (LEAST_SPLIT_K_INPUTS, LEAST_SPLIT_K_INPUTS // INPUTS_PER_ROW + 1, False),
    ],
)
def test_split_k_needs_many_inputs_and_few_rows(features, rows, is_split):
    problem = Problem([features, 3, 2], rows, np.float32)
    descent, _ = problem.descent(batch_size=rows, n_jobs=1)
    assert (descent.workspace.layers["split_k_at"] > 0).tolist() == [is_split, False]


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_for_every_number_of_classes(dtype):
    for classes in edge_units(dtype):
        if classes > 1:
            assert_step_is_right(Problem([5, 4, classes], 11, dtype, output="softmax"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [[6, 3], [1, 1], [3, 5, 6, 4, 7, 4], [50, 120, 90, 70, 3]])
@pytest.mark.parametrize("hidden", naive.ACTIVATIONS)
def test_step_is_right_at_every_depth(hidden, sizes, dtype):
    for rows in (1, 2, 203):
        assert_step_is_right(Problem(sizes, rows, dtype, hidden, seed=rows))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_conflict_in_the_cache_are_padded_and_right(dtype):
    for output in ("softmax", "logistic"):
        conflicting = 2 * 1024 // np.dtype(dtype).itemsize
        ends_in_no_tail = [70, conflicting - target().lanes(dtype) + 1, 70, 3]
        for sizes in ([6, *SPREAD, 3], [2, 3, conflicting], ends_in_no_tail):
            problem = Problem(sizes, 21, dtype, output=output, alpha=0.3)
            strides = problem.network.layers["stride"] * np.dtype(dtype).itemsize
            assert (strides % CONFLICTING_BYTES != 0).all()
            assert_step_is_right(problem)


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_with_weights_and_penalty(dtype):
    for output in naive.OUTPUTS:
        for rows in (2, 9, 40):
            problem = Problem([5, 17, 6, 4], rows, dtype, output=output, alpha=0.7)
            problem.weigh()
            assert_step_is_right(problem)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_rows_take_the_step_of_the_oracle(dtype):
    for features in (1, 2, 3, 7, 16, 33):
        for units in edge_units(dtype):
            problem = Problem([features, units, 2], 12, dtype, alpha=0.1)
            problem.X[0] = 1
            problem.X[1:][np.random.default_rng(0).random((11, features)) < 0.6] = 0
            assert_step_is_right(problem.compressed())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [5, 1024])
def test_sparse_rows_give_the_bits_of_the_same_dense_rows(
    block, dtype, monkeypatch, every_thread_works
):
    """But in a tail, whose sums go by lanes where X is dense: 21 units end in none."""
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    for features in (2, 9, 40, 301):
        results = []
        for compressed, threads in [(False, 1), (True, 1), (True, 2), (True, 3), (True, 7)]:
            problem = Problem([features, 21, 4], 50, dtype, output="softmax", alpha=0.1)
            problem.thin_out().weigh()
            if compressed:
                problem.compressed()
            chosen = np.random.default_rng(0).permutation(50)[:41]
            losses, _ = problem.train(epochs=3, batch_size=13, chosen=chosen, n_jobs=threads)
            results.append((losses, problem.network.parameters, problem.predict()))
        for losses, parameters, outputs in results[1:]:
            assert losses == results[0][0]
            np.testing.assert_array_equal(parameters, results[0][1])
            np.testing.assert_array_equal(outputs, results[0][2])
