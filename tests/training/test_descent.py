"""A descent: its blocks, the targets that it takes, and the rows that it restarts with."""

import numpy as np
import pytest
from oracles.problem import DTYPES, Problem
from scipy.sparse import csr_array

from fastmlp._engine import training_workspace as workspaces
from fastmlp._training import sgd


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_bytes_of_a_block_are_those_of_its_rows_of_x(dtype):
    features = sgd.BLOCK_BYTES // (2 * sgd.LEAST_BLOCK_ROWS * np.dtype(dtype).itemsize)
    problem = Problem([features, 20], sgd.BLOCK_ROWS + 1, dtype)  # too many units for chunks
    descent, _ = problem.descent(batch_size=sgd.BLOCK_ROWS + 1)
    assert descent.workspace.block_rows == 2 * sgd.LEAST_BLOCK_ROWS


@pytest.mark.parametrize(
    ("columns", "values", "output"),
    [
        (1, [0, 3], "softmax"),
        (1, [-1, 2], "softmax"),
        (2, [0, 2], "softmax"),
        (2, [0, 2], "identity"),
        (4, [0, 1], "logistic"),
    ],
)
def test_targets_that_the_outputs_cannot_have_are_refused(columns, values, output):
    problem = Problem([5, 3], 2, np.float64, output=output)
    problem.targets = np.repeat(np.array(values, float)[:, None], columns, axis=1)
    message = rf"{columns} columns up to {max(values)}\.0 do not fit 3 {output} outputs"
    with pytest.raises(ValueError, match=message):
        problem.descent()


def test_a_descent_restarts_only_with_rows_that_a_new_one_would_treat_alike():
    def ended(rows, features=9, **parameters):
        problem = Problem([features, 8, 3], rows, np.float64)
        descent, _ = problem.descent(**parameters)
        descent.workspace.totals["first"] = rows
        return descent, problem.X

    descent, X = ended(40, batch_size=200)
    assert descent.can_restart(X) and descent.can_restart(X[:39])
    assert not descent.can_restart(csr_array(X))
    assert not descent.can_restart(np.vstack([X, X[:1]]))  # more rows than its block holds
    descent.workspace.totals["first"] = 39  # interrupted
    assert not descent.can_restart(X)

    descent, X = ended(40, batch_size=20)
    assert descent.can_restart(X[:20]) and not descent.can_restart(X[:21])

    features = workspaces.LEAST_SPLIT_K_INPUTS
    most = features // workspaces.INPUTS_PER_ROW  # rows that split-K pays off for
    descent, X = ended(most + 9, features)
    assert descent.can_restart(X[: most + 1]) and not descent.can_restart(X[:most])
    descent, X = ended(most, features)  # with split-K
    assert descent.can_restart(X) and descent.can_restart(X[:1])


@pytest.mark.parametrize(("per_step", "per_fit"), [(1, 0.01), (0.01, 1)])
def test_a_descent_of_several_threads_restarts_only_with_work_for_as_many(
    per_step, per_fit, monkeypatch
):
    problem = Problem([30, 20, 3], 60, np.float32)
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD", per_step * problem.network.flops(30))
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD_OF_FIT", per_fit * problem.network.flops(30))
    for n_jobs, restarts in ((1, True), (2, False)):
        descent, _ = problem.descent(n_jobs=n_jobs)
        descent.workspace.totals["first"] = 60
        assert descent.workspace.threads == n_jobs and descent.can_restart(problem.X)
        assert descent.can_restart(problem.X[:30]) == restarts


def test_a_launch_takes_a_block_and_more_only_while_python_may_wait(monkeypatch):
    flops = Problem([30, 20, 3], 6, np.float32).network.flops(6)
    for allowed, blocks in ((0, 1), (1, 1), (3, 3), (1 << 40, sgd.BLOCKS_PER_LAUNCH)):
        monkeypatch.setattr(sgd, "FLOPS_PER_LAUNCH", allowed * flops)
        descent, _ = Problem([30, 20, 3], 60, np.float32).descent(batch_size=6)
        assert descent.workspace.job["cursor"]["blocks"] == blocks


@pytest.mark.parametrize("sparse", [False, True])
def test_samples_of_one_batch_are_read_in_their_own_order(sparse):
    """The sums are the same but for rounding; the order costs a third of a step of 784-10-10."""
    weights = []
    for seed in (0, 1):
        problem = Problem([9, 5, 3], 40, np.float64)
        if sparse:
            problem.thin_out().compressed()
        descent, _ = problem.descent(batch_size=40)
        with descent:
            for _ in range(3):
                descent.shuffle(np.random.RandomState(seed))
                descent.epoch()
        weights.append(problem.network.parameters.tobytes())
    assert weights[0] == weights[1]


def test_the_order_of_chosen_samples_is_kept():
    """As many as X has rows, but not all of them."""
    chosen = np.repeat(np.arange(20), 2)
    one, other = (Problem([9, 5, 3], 40, np.float64) for _ in range(2))
    other.X[...], other.targets[...] = one.X[chosen], one.targets[chosen]
    for problem, indices in ((one, chosen), (other, None)):
        descent, _ = problem.descent(batch_size=40, chosen=indices)
        with descent:
            descent.epoch()
    np.testing.assert_array_equal(one.network.parameters, other.network.parameters)
