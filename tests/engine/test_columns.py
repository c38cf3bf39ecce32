"""Tiles of columns: the gradient of a narrow first layer, beside the other tiles and NumPy."""

import numpy as np
import pytest
from oracles.naive import assert_close

from fastmlp import MLPClassifier
from fastmlp._engine import training_workspace
from fastmlp._engine.jit.target import NARROW, column_shapes, column_width, target
from fastmlp._engine.network import Network, padded
from fastmlp._engine.training_workspace import TrainingWorkspace
from fastmlp._training import sgd

DTYPES = [np.float32, np.float64]
BLOCK_ROWS = 40

pytestmark = pytest.mark.skipif(not column_shapes(), reason="too few registers")


@pytest.fixture
def small_blocks(monkeypatch):
    """Batches of more than BLOCK_ROWS rows have several blocks."""
    monkeypatch.setattr(sgd, "BLOCK_ROWS", BLOCK_ROWS)


def step(n_in, units, rows, dtype, **parameters):
    """Samples, the weights before a step of descent at rate 1 on all of them, and after it."""
    rng = np.random.default_rng(n_in + units)
    X, y = rng.standard_normal((rows, n_in)).astype(dtype), np.arange(rows) % 3
    models = [
        MLPClassifier(
            (units,), solver="sgd", momentum=0, alpha=0, learning_rate_init=rate, random_state=0,
            batch_size=rows, max_iter=1, activation="tanh", shuffle=False, **parameters,
        ).fit(X, y)
        for rate in (1e-30, 1.0)
    ]  # fmt: skip
    return X, y, *(model.coefs_ + model.intercepts_ for model in models)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [3, BLOCK_ROWS, 2 * BLOCK_ROWS + 1])
@pytest.mark.parametrize("units", range(1, NARROW + 2))
def test_columns_change_no_bit_of_any_gradient(monkeypatch, small_blocks, units, rows, dtype):
    panel = column_width() * target().lanes(dtype)
    for n_in in (1, panel - 1, panel, 3 * panel + 1):
        _, _, _, with_columns = step(n_in, units, rows, dtype)
        with monkeypatch.context() as patch:
            patch.setattr(training_workspace, "column_shapes", list)
            _, _, _, without = step(n_in, units, rows, dtype)
        for ours, theirs in zip(with_columns, without, strict=True):
            assert ours.tobytes() == theirs.tobytes()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_narrow_layer_is_that_of_numpy(small_blocks, dtype):
    X, y, before, after = step(100, 10, 3 * BLOCK_ROWS, dtype)
    X, (W1, W2, b1, b2) = X.astype(float), (array.astype(float) for array in before)
    a = np.tanh(X @ W1 + b1)
    powers = np.exp(a @ W2 + b2)
    delta = powers / powers.sum(axis=1, keepdims=True) - np.eye(3)[y]
    dW = X.T @ ((delta @ W2.T) * (1 - a**2)) / len(X)
    assert_close(after[0], (W1 - dW).astype(dtype), units=100)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [1, 5, 9])
def test_sums_of_wider_layers_do_not_get_into_the_padding(monkeypatch, units, dtype):
    """The padding would count for the norms of the weights and of the gradient."""

    def fit():
        rng = np.random.default_rng(units)
        X, y = rng.standard_normal((60, 50)).astype(dtype), np.arange(60) % 3
        model = MLPClassifier(
            (units, 100), alpha=1, max_grad_norm=0.1, batch_size=10, max_iter=2, random_state=0
        )
        return model.fit(X, y)

    with_columns = fit()
    monkeypatch.setattr(training_workspace, "column_shapes", list)
    without = fit()
    np.testing.assert_allclose(with_columns.loss_curve_, without.loss_curve_, rtol=1e-6)
    for ours, theirs in zip(with_columns.coefs_, without.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_only_narrow_layers_have_columns(dtype):
    def height(units, **options):
        network = Network([50, units, 3], dtype, **options)
        return TrainingWorkspace(network, 8, 1, 0, []).layers["column_height"].tolist()

    least = min(column_shapes())[0]
    for units in range(1, NARROW + 1):
        stride = padded(units, np.dtype(dtype))
        if stride < least:  # vectors of two elements
            assert height(units) == [0, 0]
        else:
            assert units <= height(units)[0] <= min(max(units + 1, least), stride)
    assert height(NARROW + 1) == [0, 0]
    assert height(10, is_compact=True) == [0, 0]
