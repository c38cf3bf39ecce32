"""The three products of a layer at every edge, read through the kernels that train and predict.

Momentum with learning rate 1, from velocity zero, leaves minus the gradient in its first moment:
no gradient array exists in the engine.
"""

import naive
import numpy as np
import pytest
from naive import assert_close
from scipy.sparse import csr_array

from fastmlp import MLPClassifier, MLPRegressor, training, workspace
from fastmlp.engine.config import target, tile_shapes
from fastmlp.inference import apply_network
from fastmlp.lbfgs import LossAndGradient
from fastmlp.network import CONFLICTING_BYTES, Network
from fastmlp.training import Descent, OptimizerState, Settings
from fastmlp.workspace import INPUTS_PER_ROW, LEAST_SPLIT_INPUTS

DTYPES = [np.float32, np.float64]
SPREAD = 512, 256  # units; one of them fills conflicting rows, in either type
MOST_ROWS = 2 * max(height for height, _ in tile_shapes()) + 1
ORACLE_RULES = {
    "sgd": ({"solver": "sgd", "momentum": 0}, naive.Sgd),
    "momentum": (
        {"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": False},
        naive.Momentum,
    ),
    "nesterov": ({"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": True}, naive.Nesterov),
    "adam": ({"solver": "adam", "epsilon": 1e-3}, naive.Adam),
}


def most_units(dtype):
    """Two of the widest column groups and one unit more."""
    return 2 * target().widest * target().lanes(dtype) + 1


def edge_units(dtype):
    """Unit counts on and beside whole vectors, up to `most_units`."""
    lanes = target().lanes(dtype)
    counts = {v * lanes + d for v in range(2 * target().widest + 1) for d in (-1, 0, 1)}
    return sorted(count for count in counts if count > 0)


class Problem:
    """A random network with random samples, and what the oracle says of them.

    Rows of X are cut from a larger array of NaN: a read past their end would show.
    """

    def __init__(self, sizes, rows, dtype, hidden="tanh", output="logistic", alpha=0.0, seed=0):
        rng = np.random.default_rng(seed)
        self.dtype, self.hidden, self.output, self.alpha = dtype, hidden, output, alpha
        self.network = Network(sizes, dtype)
        for coef, intercept in zip(self.network.coefs, self.network.intercepts, strict=True):
            coef[...] = rng.standard_normal(coef.shape) / np.sqrt(coef.shape[0])
            intercept[...] = rng.uniform(0, 1, intercept.shape)  # keeps some units of relu alive
        whole = np.full((2 * rows + 1, sizes[0] + 3), np.nan, dtype)
        self.X = whole[1::2, 1 : sizes[0] + 1]
        self.X[...] = rng.standard_normal(self.X.shape)
        if output == "softmax":
            self.targets = rng.integers(sizes[-1], size=(rows, 1)).astype(dtype)
            self.y = naive.one_hot(self.targets, sizes[-1])
        else:
            labels = rng.integers(2 if output == "logistic" else 5, size=(rows, sizes[-1]))
            self.targets, self.y = labels.astype(dtype), labels.astype(np.float64)
        self.weights = None
        self.inputs = self.X  # or the same in compressed sparse rows

    def weigh(self):
        """Give every row a weight, some of them zero."""
        weights = np.random.default_rng(1).uniform(0.5, 3, len(self.X))
        weights[::3] = 0
        self.weights = weights.astype(self.dtype)

    def thin_out(self, seed=0):
        """Make most of X zero: a whole row, a whole column and some here and there."""
        rng = np.random.default_rng(seed)
        self.X[rng.random(self.X.shape) < 0.6] = 0
        self.X[rng.integers(self.X.shape[0])] = 0
        self.X[:, rng.integers(self.X.shape[1])] = 0
        return self

    def compressed(self):
        """Let the kernels read X as compressed sparse rows."""
        self.inputs = csr_array(self.X)
        return self

    def oracle(self):
        """A plain network with the same parameters."""
        network, eps = self.network, np.finfo(self.dtype).eps
        arrays = network.coefs, network.intercepts
        return naive.Mlp(*arrays, self.hidden, self.output, self.alpha, eps)

    def batches(self, size, order=None):
        """The samples as `naive.Mlp.train` takes them."""
        order = np.arange(len(self.X)) if order is None else order
        weights = np.ones(len(self.X)) if self.weights is None else self.weights
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [(self.X[part], self.y[part], weights[part]) for part in parts]

    def descent(self, batch_size=None, chosen=None, learning_rate=0.1, n_jobs=1, **parameters):
        """(Descent, its state) on the problem's own network."""
        losses = {"identity": "squared_error", "exp": "poisson"}
        kind = {"loss": losses[self.output]} if self.output in losses else {}
        estimator = (MLPRegressor if kind else MLPClassifier)(
            **kind,
            activation=self.hidden,
            alpha=self.alpha,
            batch_size=batch_size or len(self.X),
            learning_rate_init=learning_rate,
            n_jobs=n_jobs,
            **parameters,
        )
        settings = Settings.of(estimator)
        state = OptimizerState.begin(self.network, settings)
        samples = self.inputs, self.targets, self.weights
        return Descent(self.network, settings, self.output, *samples, state, chosen), state

    def train(self, epochs=1, **parameters):
        """Losses of some epochs, and the optimizer's state after them."""
        descent, state = self.descent(**parameters)
        with descent:
            return [descent.epoch() for _ in range(epochs)], state

    def gradients(self):
        """(coefs, intercepts) of the gradient of the whole batch; the network is left changed."""
        rule = {"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False}
        _, state = self.train(learning_rate=1.0, **rule)
        velocity = state.moments[0]
        return [-each for each in velocity.coefs], [-each for each in velocity.intercepts]

    def predict(self, X=None, n_jobs=1):
        """Outputs for X, by default for the problem's own samples."""
        X = self.inputs if X is None else X
        return apply_network(self.network, X, self.hidden, self.output, n_jobs)[0]


def assert_all_close(got, expected, units):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other, units)


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


def padding(network):
    """The parameters that are none: what fills rows and matrices up to whole vectors."""
    rest = network.copy()
    for array in (*rest.coefs, *rest.intercepts):
        assert np.abs(array).max() > 0
        array[...] = 0
    return rest.parameters


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


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_for_every_number_of_features(dtype):
    for features in range(1, MOST_ROWS + 1):
        for units in edge_units(dtype):
            assert_step_is_right(Problem([features, units, 2], 9, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_step_is_right_where_the_input_layer_is_two_sums(dtype):
    for features in range(LEAST_SPLIT_INPUTS, LEAST_SPLIT_INPUTS + MOST_ROWS + 1):
        for rows, units in [(1, 3), (9, 40), (MOST_ROWS, most_units(dtype))]:
            problem = Problem([features, units, 2], rows, dtype, alpha=0.1)
            descent, _ = problem.descent(batch_size=rows, n_jobs=1)
            assert features / 2 <= descent.workspace.layers[0]["split_at"] < features
            assert_step_is_right(problem)


@pytest.mark.parametrize(
    "features, rows, is_split",
    [
        (LEAST_SPLIT_INPUTS, LEAST_SPLIT_INPUTS // INPUTS_PER_ROW, True),
        (LEAST_SPLIT_INPUTS - 1, 1, False),
        (LEAST_SPLIT_INPUTS, LEAST_SPLIT_INPUTS // INPUTS_PER_ROW + 1, False),
    ],
)
def test_the_input_layer_is_two_sums_where_many_inputs_meet_few_rows(features, rows, is_split):
    problem = Problem([features, 3, 2], rows, np.float32)
    descent, _ = problem.descent(batch_size=rows, n_jobs=1)
    assert (descent.workspace.layers["split_at"] > 0).tolist() == [is_split, False]


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
def test_rows_of_conflicting_lengths_are_spread_and_right(dtype):
    for output in ("softmax", "logistic"):
        for sizes in ([6, *SPREAD, 3], [2, 3, 1024 // np.dtype(dtype).itemsize * 2]):
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
def test_sparse_rows_give_the_bits_of_the_same_dense_rows(block, dtype, monkeypatch):
    monkeypatch.setattr(training, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(training, "BLOCK_ROWS", block)
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


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [5, 1024])
def test_loss_and_gradient_follow_the_parameters_they_are_given(block, dtype, monkeypatch):
    monkeypatch.setattr(training, "BLOCK_ROWS", block)
    problem = Problem([5, 17, 6, 4], 30, dtype, output="softmax", alpha=0.7)
    problem.weigh()
    settings = Settings.of(MLPClassifier(activation=problem.hidden, alpha=0.7, n_jobs=1))
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
def test_a_batch_without_weight_changes_nothing(dtype):
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
    for sizes in ([5, 3, 2, 4], [20, 17, 33, 1], [3, 16, 16, 2], [5, *SPREAD, 2]):
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
        transposed = descent.workspace.buffers.transposed
        expected = np.zeros_like(transposed)
        problem.network.transpose_into(expected)
        np.testing.assert_array_equal(transposed, expected)
        for layer, coef in zip(problem.network.layers[1:], problem.network.coefs[1:], strict=True):
            first, stride = layer["transposed"], layer["transposed_stride"]
            rows = transposed[first : first + layer["n_out"] * stride].reshape(-1, stride)
            np.testing.assert_array_equal(rows[:, : layer["n_in"]], coef.T)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [1, 4, 5, 8, 22])
@pytest.mark.parametrize("features", [9, 301])
def test_a_batch_in_several_blocks_is_one_batch(features, block, dtype, monkeypatch):
    def trained(batch_size):
        problem = Problem([features, 21, 18, 4], 46, dtype, output="softmax", alpha=0.2)
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
            patch.setattr(training, "BLOCK_ROWS", block)
            losses, parameters = trained(batch_size)
        # A sum goes on where the last block left it: not even its rounding changes.
        np.testing.assert_array_equal(parameters, whole)
        np.testing.assert_allclose(losses, whole_losses, rtol=20 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("features", [9, 301])
def test_an_epoch_in_many_launches_is_one_epoch(features, block, monkeypatch):
    def trained():
        problem = Problem([features, 21, 4], 46, np.float64, alpha=0.2)
        losses, _ = problem.train(epochs=3, batch_size=10, solver="adam")
        return losses, problem.network.parameters

    monkeypatch.setattr(training, "BLOCK_ROWS", block)
    whole_losses, whole = trained()
    monkeypatch.setattr(training, "FLOPS_PER_LAUNCH", 1)
    losses, parameters = trained()
    np.testing.assert_array_equal(parameters, whole)
    np.testing.assert_allclose(losses, whole_losses, rtol=20 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("block", [6, 1024])
@pytest.mark.parametrize("sizes", [[30, 50, 20, 3], [301, 50, 20, 3], [257, 3]])
def test_the_number_of_threads_changes_no_bit_of_a_fit(sizes, block, dtype, monkeypatch):
    monkeypatch.setattr(training, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(training, "BLOCK_ROWS", block)
    results = []
    for threads in (1, 2, 3, 7):
        problem = Problem(sizes, 40, dtype, output="softmax", alpha=0.1)
        problem.weigh()
        descent, _ = problem.descent(batch_size=13, n_jobs=threads)
        assert descent.workspace.plan["threads"] == threads
        with descent:
            losses = [descent.epoch() for _ in range(3)]
        results.append((losses, problem.network.parameters))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        np.testing.assert_array_equal(parameters, results[0][1])


@pytest.mark.parametrize("features", [30, 301])
@pytest.mark.parametrize("block", [6, 1024])
def test_asking_for_rows_to_come_changes_no_bit_of_a_fit(features, block, monkeypatch):
    monkeypatch.setattr(training, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(training, "BLOCK_ROWS", block)
    results = []
    for is_long, threads in [(False, 1), (True, 1), (True, 2), (True, 3)]:
        problem = Problem([features, 50, 3], 40, np.float32, output="softmax")
        monkeypatch.setattr(workspace, "LONG_BYTES", 0 if is_long else problem.X.nbytes)
        chosen = np.random.default_rng(0).permutation(40)[:31]
        descent, _ = problem.descent(batch_size=13, chosen=chosen, n_jobs=threads)
        assert descent.workspace.plan["is_long"] == is_long
        with descent:
            losses = [descent.epoch() for _ in range(3)]
        results.append((losses, problem.network.parameters))
    for losses, parameters in results[1:]:
        assert losses == results[0][0]
        np.testing.assert_array_equal(parameters, results[0][1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", naive.OUTPUTS)
def test_a_row_is_predicted_to_the_same_bits_in_any_company(output, dtype, monkeypatch):
    monkeypatch.setattr("fastmlp.inference.FLOPS_PER_THREAD", 1)
    problem = Problem([9, 50, 37, 5], 131, dtype, output=output)
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
