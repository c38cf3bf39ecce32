"""Dropout: which units fall silent, and that nothing else follows from it."""

import itertools
import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits

from fastmlp import MLPClassifier
from fastmlp._engine.kernels.dropout import drop_units, row_key
from fastmlp.inspection import check_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = [np.float32, np.float64]
X, Y = load_digits(return_X_y=True)
X, Y = X[:400] / 16, Y[:400]


def masks(rows, units, rate=0.5, seed=1, step=2, layer=0, dtype=np.float64):
    """Factors (rows, units) of dropout."""
    outputs = np.ones((rows, units), dtype)
    derivatives = np.full((rows, units), 2, dtype)
    for row in range(rows):
        drop_units(np.uint64(row_key(seed, step, layer, row)), rate, outputs[row], derivatives[row])
    np.testing.assert_array_equal(derivatives, 2 * outputs)
    return outputs


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_dropped_units_are_as_many_as_the_rate_says_and_others_are_scaled_up(rate, dtype):
    factors = masks(200, 500, rate, dtype=dtype)
    assert set(np.unique(factors)) == {0, dtype(1 / (1 - rate))}
    spread = np.sqrt(rate * (1 - rate) / factors.size)
    assert abs((factors == 0).mean() - rate) < 4 * spread
    for axis in (0, 1):  # no row and no unit is favoured: counts vary as they should
        counts = (factors == 0).sum(axis=axis)
        expected = rate * (1 - rate) * factors.shape[axis]
        assert 0.7 < counts.var() / expected < 1.3


def test_a_rate_of_zero_changes_nothing():
    assert (masks(50, 100, 0.0) == 1).all()


def test_masks_of_different_seeds_steps_layers_and_rows_are_independent():
    base = masks(100, 400)
    others = [
        masks(100, 400, **{name: value})
        for name, values in {"seed": (0, 3, 2**31), "step": (0, 1, 3), "layer": (1, 2)}.items()
        for value in values
    ]
    others += [np.roll(base, shift, axis) for shift, axis in ((1, 0), (7, 0), (1, 1), (32, 1))]
    for one, other in itertools.combinations([base, *others], 2):
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(base.size)


def test_the_same_place_in_the_fit_has_the_same_mask():
    np.testing.assert_array_equal(masks(20, 300), masks(20, 300))
    np.testing.assert_array_equal(masks(20, 300)[:5, :77], masks(5, 77))


def fitted(**parameters):
    base = {"hidden_layer_sizes": (40, 30), "max_iter": 4, "batch_size": 64, "random_state": 0}
    return MLPClassifier(**{**base, **parameters}).fit(X, Y)


def bytes_of(model):
    return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)


def test_bits_do_not_depend_on_thread_count_with_every_option_on(every_thread_works):
    for loss, activation in (("log_loss", ("gelu", "relu")), ("squared_error", ("mish", "elu"))):
        options = {
            "dropout": (0.3, 0.1),
            "activation": activation,
            "solver": "adamw",
            "learning_rate": "one_cycle",
            "warmup": 1,
            "max_grad_norm": 0.5,
            "label_smoothing": 0.1,
            "loss": loss,
        }
        models = [fitted(n_jobs=n_jobs, **options) for n_jobs in (1, 2, 3)]
        assert len({bytes_of(model) for model in models}) == 1
        assert len({tuple(model.loss_curve_) for model in models}) == 1


def test_bits_do_not_depend_on_how_a_batch_is_cut_into_blocks(monkeypatch):
    whole = fitted(dropout=0.3, activation="relu", batch_size=400)
    monkeypatch.setattr("fastmlp._training.sgd.BLOCK_ROWS", 100)
    pieces = fitted(dropout=0.3, activation="relu", batch_size=400)
    for a, b in zip(whole.coefs_, pieces.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_rate_of_zero_gives_the_model_without_dropout():
    assert bytes_of(fitted(dropout=[0, 0.0])) == bytes_of(fitted())
    assert bytes_of(fitted(dropout=[0, 0.1])) != bytes_of(fitted())


def test_the_same_seed_gives_the_same_model_and_predictions_drop_nothing():
    model = fitted(dropout=0.4)
    assert bytes_of(model) == bytes_of(fitted(dropout=0.4))
    assert bytes_of(model) != bytes_of(fitted(dropout=0.4, random_state=1))
    expected = model.predict_proba(X)
    assert model.predict_proba(X).tobytes() == expected.tobytes()
    model.dropout = 0.0
    assert model.predict_proba(X).tobytes() == expected.tobytes()


def test_partial_fit_draws_new_masks_at_every_call():
    model = MLPClassifier((30,), dropout=0.5, shuffle=False, batch_size=400, random_state=0)
    first = [model.partial_fit(X, Y, classes=np.arange(10)).loss_ for _ in range(3)]
    assert len(set(first)) == 3
    copy = pickle.loads(pickle.dumps(model))
    assert copy.partial_fit(X, Y).loss_ == model.partial_fit(X, Y).loss_


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "gelu", "softplus"])
def test_the_gradient_is_right_under_a_frozen_mask(activation):
    weight = np.random.RandomState(0).uniform(0, 2, 60)
    model = MLPClassifier((6, 5), activation, dropout=(0.3, 0.5), alpha=0.1, random_state=0)
    assert check_gradient(model, X[:60, 20:30], Y[:60], weight) < 1e-7


def test_dropped_units_get_no_gradient():
    def biases(rate):
        model = MLPClassifier((400,), "softplus", dropout=0.3, solver="sgd", max_iter=1)
        model.set_params(learning_rate_init=rate, alpha=0, random_state=0)
        return model.fit(X[:1], Y[:1]).intercepts_[0]

    still = (biases(1e-300) == biases(0.1)).mean()
    assert 0.2 < still < 0.4


def test_lbfgs_refuses_dropout():
    with pytest.raises(ValueError, match="dropout"):
        MLPClassifier(solver="lbfgs", dropout=0.1).fit(X, Y)
