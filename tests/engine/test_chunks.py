"""Chunks: the gradient of a narrow first layer in large batches, summed by the rows' own thread."""

import numpy as np
import pytest
from oracles.naive import assert_close
from oracles.problem import DTYPES, Problem
from scipy.sparse import csr_array

from fastmlp import MLPClassifier
from fastmlp._engine import training_workspace, workspace
from fastmlp._engine.jit.target import NARROW, column_shapes, column_width, target
from fastmlp._training import sgd

BATCH = 40  # a larger batch is summed by chunks
CHUNK, STRIP = 16, 8
ROWS = 5 * CHUNK + 11

pytestmark = pytest.mark.skipif(not column_shapes(), reason="too few registers")


@pytest.fixture
def small_chunks(monkeypatch):
    """Large batches have more than BATCH rows, and blocks of two chunks."""
    monkeypatch.setattr(sgd, "BLOCK_ROWS", BATCH)
    monkeypatch.setattr(sgd, "CHUNKED_BLOCK_ROWS", 2 * CHUNK)
    monkeypatch.setattr(training_workspace, "CHUNK_ROWS", CHUNK)
    monkeypatch.setattr(training_workspace, "STRIP_ROWS", STRIP)


def chunk_rows(descent) -> int:
    return int(descent.workspace.job["layout"]["chunk_rows"])


def trained(dtype, sizes=(70, 10, 4), epochs=3, alpha=0.2, weighted=True, **parameters):
    """Losses of some epochs of whole batches, and the parameters after them, as bytes."""
    problem = Problem(sizes, ROWS, dtype, output="softmax", alpha=alpha)
    if weighted:
        problem.weigh()
    descent, _ = problem.descent(**parameters)
    assert chunk_rows(descent) > 0
    with descent:
        losses = [descent.epoch() for _ in range(epochs)]
    return losses, problem.network.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", range(1, NARROW + 1))
@pytest.mark.parametrize("rows", [BATCH + 1, 3 * CHUNK, ROWS])
def test_gradients_summed_by_chunks_are_those_of_the_oracle(small_chunks, rows, units, dtype):
    problem = Problem([70, units, 3], rows, dtype, alpha=0.2)
    problem.weigh()
    oracle = problem.oracle()
    coefs, intercepts = problem.gradients()
    network = oracle.gradients(problem.X, problem.y, problem.weights)
    for got, expected in zip([*coefs, *intercepts], [*network[0], *network[1]], strict=True):
        assert_close(got, expected, units=200)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "options", [{}, {"max_grad_norm": 0.1}, {"dropout": 0.4}, {"solver": "sgd", "momentum": 0.5}]
)
def test_bits_of_chunks_depend_neither_on_threads_nor_on_blocks_nor_on_strips(
    small_chunks, every_thread_works, monkeypatch, options, dtype
):
    expected = trained(dtype, n_jobs=1, **options)
    for threads in (2, 3, 7):
        assert trained(dtype, n_jobs=threads, **options) == expected
    for block_rows in (CHUNK, 3 * CHUNK, 100 * CHUNK):
        monkeypatch.setattr(sgd, "CHUNKED_BLOCK_ROWS", block_rows)
        losses, parameters = trained(dtype, n_jobs=2, **options)
        assert parameters == expected[1]
        np.testing.assert_allclose(losses, expected[0], rtol=1e-14)
    monkeypatch.setattr(sgd, "CHUNKED_BLOCK_ROWS", 2 * CHUNK)
    for strip_rows in (1, 3, CHUNK, 2 * CHUNK):
        monkeypatch.setattr(training_workspace, "STRIP_ROWS", strip_rows)
        assert trained(dtype, n_jobs=2, **options) == expected
    for cache_bytes in (0, 1 << 40):  # with prefetches and without
        monkeypatch.setattr(workspace, "CORE_CACHE_BYTES", cache_bytes)
        assert trained(dtype, n_jobs=2, **options) == expected


def test_a_chunk_of_all_rows_has_the_bits_of_a_small_batch(monkeypatch):
    """One chunk begins with zeros, as the sums of a batch of one block do."""
    problem = Problem([70, 9, 5, 3], ROWS, np.float64, output="softmax")
    descent, _ = problem.descent()
    assert chunk_rows(descent) == 0
    with descent:
        descent.epoch()
    monkeypatch.setattr(sgd, "BLOCK_ROWS", BATCH)
    _, parameters = trained(np.float64, [70, 9, 5, 3], epochs=1, alpha=0.0, weighted=False)
    assert parameters == problem.network.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_large_dense_batches_of_trained_narrow_layers_have_chunks(small_chunks, dtype):
    def rows_of(sizes, rows=ROWS, is_sparse=False, **parameters):
        problem = Problem(sizes, rows, dtype)
        if is_sparse:
            problem.inputs = csr_array(problem.X)
        return chunk_rows(problem.descent(**parameters)[0])

    assert rows_of([70, 10, 4]) == CHUNK
    assert rows_of([70, 10, 4], batch_size=BATCH + 1) == CHUNK
    assert rows_of([70, 10, 4], batch_size=BATCH) == 0
    assert rows_of([70, NARROW + 1, 4]) == 0
    panel = column_width() * target().lanes(dtype)
    assert rows_of([panel, 10, 4]) == CHUNK
    assert rows_of([panel - 1, 10, 4]) == 0  # no whole panel
    assert rows_of([70, 10, 4], frozen_layers=[0]) == 0
    assert rows_of([70, 10, 4], is_sparse=True) == 0
    assert rows_of([300, 10, 4]) == 0  # split-K


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_frozen_layer_above_the_narrow_one_keeps_its_bits(small_chunks, dtype):
    problem = Problem([70, 10, 6, 4], ROWS, dtype, output="softmax")
    before = [coef.copy() for coef in problem.network.coefs]
    descent, _ = problem.descent(frozen_layers=[1], n_jobs=2)
    assert chunk_rows(descent) > 0
    with descent:
        descent.epoch()
    changed = [
        not np.array_equal(coef, old)
        for coef, old in zip(problem.network.coefs, before, strict=True)
    ]
    assert changed == [True, False, True]


def test_an_epoch_of_chunks_in_many_launches_is_one_epoch(small_chunks, monkeypatch):
    whole = trained(np.float32, n_jobs=2)
    monkeypatch.setattr(sgd, "FLOPS_PER_LAUNCH", 1)
    assert trained(np.float32, n_jobs=2) == whole


def test_a_descent_with_chunks_does_not_restart_with_a_small_batch(small_chunks, monkeypatch):
    monkeypatch.setattr(sgd, "CHUNKED_BLOCK_ROWS", 200)
    problem = Problem([70, 10, 3], ROWS, np.float64, output="softmax")
    descent, _ = problem.descent()
    descent.workspace.totals["first"] = ROWS
    assert descent.can_restart(problem.X) and descent.can_restart(problem.X[: BATCH + 1])
    assert not descent.can_restart(problem.X[:BATCH])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_descent_by_real_chunks_is_scikit_learns(dtype):
    from sklearn.neural_network import MLPClassifier as Peer

    rng = np.random.default_rng(0)
    X = rng.standard_normal((sgd.BLOCK_ROWS + 300, 100)).astype(dtype)
    y = (X[:, :5] @ rng.standard_normal((5, 3))).argmax(axis=1)
    models = [
        kind(
            (10,), solver="sgd", batch_size=len(X), max_iter=20, learning_rate_init=0.5,
            random_state=0,
        ).fit(X, y)
        for kind in (MLPClassifier, Peer)
    ]  # fmt: skip
    ours, theirs = models
    tolerance = 1e-9 if dtype == np.float64 else 2e-4
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=tolerance)
    for one, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
