"""Epochs: batches, blocks, launches and threads, and the predictions after them."""

import numpy as np
import pytest
from oracles import naive
from oracles.naive import assert_close
from oracles.problem import DTYPES, SPREAD, Problem, assert_all_close

from fastmlp import MLPClassifier
from fastmlp._engine import training_workspace, workspace
from fastmlp._engine.jit.target import tail_columns
from fastmlp._estimator.parameters import settings_of
from fastmlp._training import sgd
from fastmlp._training.lbfgs import LossAndGradient

TAILED = 66  # units that end in a tail of two, but where vectors are short

ORACLE_RULES = {
    "sgd": ({"solver": "sgd", "momentum": 0}, naive.Sgd),
    "momentum": (
        {"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": False},
        naive.Momentum,
    ),
    "nesterov": ({"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": True}, naive.Nesterov),
    "adam": ({"solver": "adam", "epsilon": 1e-3}, naive.Adam),
}


def three_epochs(descent):
    """The losses of three epochs."""
    with descent:
        return [descent.epoch() for _ in range(3)]


def assert_same_bits(results):
    """All (losses, parameters) are equal, and the losses those of a fit that moved."""
    losses, parameters = results[0]
    assert len(set(losses)) == len(losses)
    for other_losses, other_parameters in results[1:]:
        assert other_losses == losses
        np.testing.assert_array_equal(other_parameters, parameters)


def padding(network):
    """The parameters that are none: what fills rows and matrices up to whole vectors."""
    rest = network.copy()
    for array in (*rest.coefs, *rest.intercepts):
        assert np.abs(array).max() > 0
        array[...] = 0
    return rest.parameters


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [5, 1024])
def test_loss_and_gradient_follow_the_parameters_they_are_given(block, dtype, monkeypatch):
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    problem = Problem([5, 17, 6, 4], 30, dtype, output="softmax", alpha=0.7)
    problem.weigh()
    settings = settings_of(MLPClassifier(activation=problem.hidden, alpha=0.7, n_jobs=1), 2)
    samples = problem.X, problem.targets, problem.weights
    with LossAndGradient(problem.network, settings, "softmax", *samples) as function:
        for scale in (1.0, -0.5, 1.5):
            point = problem.network.pack() * dtype(scale)
            loss, gradient = function(point)
            np.testing.assert_array_equal(problem.network.pack(), point)
            oracle = problem.oracle()
            expected = oracle.gradients(problem.X, problem.y, problem.weights)
            packed = np.concatenate([each.ravel() for each in expected[0] + expected[1]])
            assert_close(gradient, packed, units=200)
            expected_loss = oracle.loss(problem.X, problem.y, problem.weights)
            np.testing.assert_allclose(loss, expected_loss, rtol=50 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_batch_of_weight_zero_changes_nothing(dtype):
    problem = Problem([5, 8, 3], 6, dtype, alpha=0.5)
    problem.weights = np.zeros(6, dtype)
    before = problem.network.copy()
    problem.train(solver="sgd", momentum=0)
    np.testing.assert_array_equal(problem.network.parameters, before.parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ORACLE_RULES)
@pytest.mark.parametrize("output", naive.OUTPUTS)
def test_training_follows_the_oracle_over_epochs_of_batches(output, rule, dtype):
    parameters, oracle_rule = ORACLE_RULES[rule]
    problem = Problem([9, 21, 18, 4], 50, dtype, output=output, alpha=0.2)
    problem.weigh()
    oracle, step = problem.oracle(), oracle_rule(0.03, momentum=0.8, epsilon=1e-3)
    before = [coef.copy() for coef in oracle.coefs]
    losses, state = problem.train(epochs=5, batch_size=12, learning_rate=0.03, **parameters)
    batches = problem.batches(12)
    rows = [len(X) for X, _, _ in batches]
    expected = [np.average(oracle.train(batches, step), weights=rows) for _ in range(5)]
    assert state.step == 5 * len(batches)
    np.testing.assert_allclose(losses, expected, rtol=200 * np.finfo(dtype).eps)
    for got, after, start in zip(problem.network.coefs, oracle.coefs, before, strict=True):
        assert np.abs(after - start).max() > 0.02
        assert_close(got, after, units=200)


@pytest.mark.parametrize("dtype", DTYPES)
def test_training_on_chosen_samples_reads_only_those_in_their_order(dtype):
    problem = Problem([9, 21, 4], 50, dtype)
    chosen = np.random.default_rng(0).permutation(50)[:31]
    problem.X[np.setdiff1d(np.arange(50), chosen)] = np.nan
    oracle = problem.oracle()
    oracle.train(problem.batches(7, chosen), naive.Sgd(0.1))
    problem.train(batch_size=7, chosen=chosen, solver="sgd", momentum=0)
    assert_all_close(problem.network.coefs, oracle.coefs, units=100)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", ORACLE_RULES)
def test_padding_stays_zero_and_the_transposed_weights_stay_transposed(rule, dtype):
    tailed = [70, TAILED, TAILED, 2]
    for sizes in ([5, 3, 2, 4], [20, 17, 33, 1], [3, 16, 16, 2], [5, *SPREAD, 2], tailed):
        problem = Problem(sizes, 23, dtype, hidden="logistic", alpha=0.5)
        parameters, _ = ORACLE_RULES[rule]
        descent, state = problem.descent(batch_size=9, **parameters)
        start = problem.network.copy()
        with descent:
            descent.epoch()
            descent.epoch()
        assert not np.array_equal(problem.network.parameters, start.parameters)
        for network in (problem.network, *state.moments):
            assert (padding(network) == 0).all()
        transposed = descent.workspace.transposed
        for layer, coef in zip(problem.network.layers[1:], problem.network.coefs[1:], strict=True):
            first, stride = layer["transposed"], layer["transposed_stride"]
            rows = transposed[first : first + layer["stride"] * stride].reshape(-1, stride)
            expected = np.zeros_like(rows)
            expected[: layer["n_out"], : layer["n_in"]] = coef.T
            np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_transpose_of_a_tail_follows_the_weights(n_jobs, dtype, every_thread_works):
    problem = Problem([TAILED + 5, TAILED, TAILED, 2], 23, dtype, alpha=0.5)
    descent, _ = problem.descent(batch_size=9, n_jobs=n_jobs)
    layers, tails = descent.workspace.layers, descent.workspace.held("forward", "tails")
    assert ((layers["tail_stride"] > 0) == (tail_columns(dtype) >= 2)).all()
    with descent:
        for _ in range(3):
            descent.epoch()
            for layer, coef in zip(layers, problem.network.coefs, strict=True):
                first, stride, n_in = layer["tail"], layer["tail_stride"], layer["n_in"]
                if stride:
                    rows = tails[first : first + 2 * stride].reshape(2, stride)
                    np.testing.assert_array_equal(rows[:, :n_in], coef[:, -2:].T)
                    assert (rows[:, n_in:] == 0).all()


@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_epoch_sees_weights_that_were_changed_since_the_last_one(
    n_jobs, dtype, every_thread_works
):
    problem = Problem([TAILED + 5, TAILED, TAILED, 2], 23, dtype, alpha=0.5)
    other = Problem([TAILED + 5, TAILED, TAILED, 2], 23, dtype, alpha=0.5)
    descent, _ = problem.descent(batch_size=9, n_jobs=n_jobs, solver="sgd", momentum=0.0)
    with descent:
        descent.epoch()
        problem.network.parameters[:] *= 0.5
        other.network.parameters[:] = problem.network.parameters
        loss = descent.epoch()
    descent, _ = other.descent(batch_size=9, n_jobs=n_jobs, solver="sgd", momentum=0.0)
    with descent:
        assert descent.epoch() == loss
    assert other.network.parameters.tobytes() == problem.network.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 4, 5, 8, 22])
@pytest.mark.parametrize("features, units", [(9, 21), (301, 21), (70, TAILED), (301, TAILED)])
def test_a_batch_in_several_blocks_is_one_batch(features, units, block, dtype, monkeypatch):
    def trained(batch_size):
        problem = Problem([features, units, 18, 4], 46, dtype, output="softmax", alpha=0.2)
        problem.weigh()
        oracle = problem.oracle()
        rule = naive.Adam(0.1, epsilon=1e-3)
        losses, state = problem.train(epochs=3, batch_size=batch_size, epsilon=1e-3)
        for _ in range(3):
            oracle.train(problem.batches(batch_size), rule)
        assert state.step == rule.t
        assert_all_close(problem.network.coefs, oracle.coefs, units=200)
        return losses, problem.network.parameters

    for batch_size in (23, 46, 30):
        whole_losses, whole = trained(batch_size)
        with monkeypatch.context() as patch:
            patch.setattr(sgd, "BLOCK_ROWS", block)
            losses, parameters = trained(batch_size)
        # A sum goes on where the last block left it: not even its rounding changes.
        np.testing.assert_array_equal(parameters, whole)
        np.testing.assert_allclose(losses, whole_losses, rtol=20 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bytes_of_a_block_change_no_weight(dtype, monkeypatch):
    features, rows = 2 * sgd.LEAST_BLOCK_ROWS + 9, sgd.BLOCK_ROWS + 1  # split-K for the least block

    def trained(block_bytes):
        monkeypatch.setattr(sgd, "BLOCK_BYTES", block_bytes)
        problem = Problem([features, 10, 4], rows, dtype, alpha=0.2)
        losses, _ = problem.train(epochs=2, batch_size=rows, solver="adam")
        return losses, problem.network.parameters

    whole_losses, whole = trained(1 << 40)
    losses, parameters = trained(0)
    np.testing.assert_array_equal(parameters, whole)
    np.testing.assert_allclose(losses, whole_losses, rtol=20 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("row_bytes", [4, 3136, 6272, 1 << 20])
def test_a_small_batch_is_one_block_and_a_large_one_has_blocks_of_few_bytes(row_bytes):
    assert sgd._block_rows(sgd.BLOCK_ROWS, row_bytes, False) == sgd.BLOCK_ROWS
    rows = sgd._block_rows(sgd.BLOCK_ROWS + 1, row_bytes, False)
    assert sgd.LEAST_BLOCK_ROWS <= rows <= sgd.BLOCK_ROWS
    assert rows == sgd.LEAST_BLOCK_ROWS or rows * row_bytes <= sgd.BLOCK_BYTES


def test_blocks_with_chunks_are_whole_chunks_of_any_width():
    rows = sgd._block_rows(sgd.CHUNKED_BLOCK_ROWS + 1, 1 << 20, True)
    assert rows == sgd.CHUNKED_BLOCK_ROWS and rows % training_workspace.CHUNK_ROWS == 0
    assert sgd._block_rows(sgd.BLOCK_ROWS + 1, 4, True) == sgd.BLOCK_ROWS + 1


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("features", [9, 301])
def test_an_epoch_in_many_launches_is_one_epoch(features, block, monkeypatch):
    def trained():
        problem = Problem([features, 21, 4], 46, np.float64, alpha=0.2)
        losses, _ = problem.train(epochs=3, batch_size=10, solver="adam")
        return losses, problem.network.parameters

    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    whole_losses, whole = trained()
    monkeypatch.setattr(sgd, "FLOPS_PER_LAUNCH", 1)
    losses, parameters = trained()
    np.testing.assert_array_equal(parameters, whole)
    np.testing.assert_allclose(losses, whole_losses, rtol=20 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [6, 1024])
@pytest.mark.parametrize(
    "sizes",
    [[30, 50, 20, 3], [301, 50, 20, 3], [257, 3], [70, TAILED, TAILED, 3], [270, TAILED, 3]],
)
def test_the_number_of_threads_changes_no_bit_of_a_fit(
    sizes, block, dtype, monkeypatch, every_thread_works
):
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    results = []
    for threads in (1, 2, 3, 7):
        problem = Problem(sizes, 40, dtype, output="softmax", alpha=0.1)
        problem.weigh()
        descent, _ = problem.descent(batch_size=13, n_jobs=threads)
        assert descent.workspace.threads == threads
        results.append((three_epochs(descent), problem.network.parameters))
    assert_same_bits(results)


@pytest.mark.parametrize("sizes", [[300, 50, 3], [784, 512, 512, 10], [257, 3]])
def test_two_threads_write_the_halves_of_the_first_layer_that_they_read(sizes, every_thread_works):
    descent, _ = Problem(sizes, 40, np.float32).descent(n_jobs=2)
    panels, ranges = descent.workspace.panels, descent.workspace.ranges
    first_layer = (panels["layer"] == 0) & (panels["is_bias"] == 0)
    is_second = panels["first"] >= descent.workspace.layers[0]["split_k_at"]
    whose = np.repeat([0, 1], np.diff(ranges))
    strangers = first_layer & (whose != is_second)
    assert np.count_nonzero(strangers) <= 1


def test_tables_of_rows_do_not_overlap():
    descent, _ = Problem([300, 50, 3], 40, np.float32).descent(n_jobs=1)
    layers, layout = descent.workspace.layers, descent.workspace.job["layout"]
    starts = [*layers["input_rows"], *layers["delta_rows"]]
    starts += [layout[name] for name in ("ones_rows", "split_k_rows", "next_rows")]
    assert (np.diff(np.sort([*starts, descent.workspace.rows.size])) >= 40).all()


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("features", [30, 301])
@pytest.mark.parametrize("block", [6, 1024])
def test_prefetching_rows_changes_no_bit_of_a_fit(
    features, block, pairs, monkeypatch, every_thread_works
):
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    results = []
    for exceeds_cache, threads in [(False, 1), (True, 1), (True, 2), (True, 3)]:
        problem = Problem([features, 50, 3], 40, np.float32, output="softmax", pairs=pairs)
        monkeypatch.setattr(workspace, "CORE_CACHE_BYTES", 0 if exceeds_cache else problem.X.nbytes)
        chosen = np.random.default_rng(0).permutation(40)[:31]
        descent, _ = problem.descent(batch_size=13, chosen=chosen, n_jobs=threads)
        assert descent.workspace.inputs["exceeds_cache"] == exceeds_cache
        results.append((three_epochs(descent), problem.network.parameters))
    assert_same_bits(results)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", naive.OUTPUTS)
def test_bits_of_a_prediction_do_not_depend_on_the_other_rows(output, dtype, every_thread_works):
    problem = Problem([70, TAILED, 37, 5], 131, dtype, output=output)
    whole = problem.predict()
    assert_close(whole, problem.oracle().predict(problem.X), units=40)
    order = np.random.default_rng(0).permutation(131)
    np.testing.assert_array_equal(problem.predict(problem.X[order]), whole[order])
    for count in range(1, 20):
        np.testing.assert_array_equal(
            problem.predict(problem.X[count : 2 * count]), whole[count : 2 * count]
        )
    for row in range(131):
        np.testing.assert_array_equal(problem.predict(problem.X[row : row + 1]), whole[[row]])
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(problem.predict(n_jobs=threads), whole)


@pytest.mark.parametrize("dtype", DTYPES)
def test_prediction_of_more_rows_than_a_block_equals_the_oracle(dtype):
    problem = Problem([4, 6, 3], 1001, dtype, output="softmax")
    assert_close(problem.predict(), problem.oracle().predict(problem.X), units=40)


def test_a_thread_is_started_only_for_enough_work(monkeypatch):
    problem = Problem([30, 20, 3], 60, np.float32)
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD_OF_FIT", 5 * problem.network.flops(60))

    def threads(**parameters):
        return problem.descent(n_jobs=3, **parameters)[0].workspace.threads

    assert [threads(max_iter=epochs) for epochs in (1, 9, 10, 14, 15, 200)] == [1, 1, 2, 2, 3, 3]
    assert [threads(max_iter=np.int8(epochs)) for epochs in (9, 10, 127)] == [1, 2, 3]
    assert threads(max_iter=2**62) == threads(max_iter=np.int64(2**62)) == 3


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_partial_fit_uses_fewer_threads_than_a_fit(monkeypatch):
    started, workspace = [], sgd.TrainingWorkspace

    def start(network, block_rows, threads, *others, **options):
        started.append(threads)
        return workspace(network, block_rows, threads, *others, **options)

    monkeypatch.setattr(sgd, "TrainingWorkspace", start)
    X = np.random.RandomState(0).rand(200, 64)
    model = MLPClassifier((100,), n_jobs=2).partial_fit(X, np.arange(200) % 10, classes=range(10))
    model.partial_fit(X, np.arange(200) % 10)
    model.set_params(max_iter=1000).fit(X, np.arange(200) % 10)
    assert started == [1, 2]  # the second call restarts the descent of the first
