"""Saved models: plain state, other versions, tampered state."""

import pickle
import warnings

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.exceptions import InconsistentVersionWarning

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
PLAIN = (np.ndarray, np.generic, int, float, str, bool, type(None))


def fitted(estimator=MLPClassifier, **parameters):
    return estimator(hidden_layer_sizes=(6, 3), max_iter=5, random_state=0, **parameters).fit(X, Y)


def assert_plain(value, allowed=()):
    if isinstance(value, (list, tuple)):
        for each in value:
            assert_plain(each, allowed)
    elif isinstance(value, dict):
        assert_plain([*value.keys(), *value.values()], allowed)
    else:
        assert isinstance(value, PLAIN + allowed), type(value)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_state_is_arrays_and_builtins(estimator, parameters):
    state = fitted(estimator, **parameters).__getstate__()
    binarizer = state.pop("_label_binarizer", None)
    assert_plain(state)
    assert (binarizer is None) == (estimator is MLPRegressor)
    for coef in state["coefs_"]:
        assert coef.base is None and coef.flags.c_contiguous


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_skops_needs_to_trust_nothing_but_the_estimator(estimator):
    model = fitted(estimator)
    data = skops.io.dumps(model)
    untrusted = skops.io.get_untrusted_types(data=data)
    assert untrusted == [f"fastmlp.estimators.{estimator.__name__}"]
    copy = skops.io.loads(data, trusted=untrusted)
    np.testing.assert_array_equal(copy.predict(X), model.predict(X))
    for each in (copy, model):
        each.partial_fit(X, Y)
    np.testing.assert_array_equal(copy.coefs_[0], model.coefs_[0])


def reloaded(model, **changes):
    """The model after a pickle in which attributes were changed."""
    copy = pickle.loads(pickle.dumps(model))
    state = copy.__getstate__() | changes
    other = MLPClassifier.__new__(MLPClassifier)
    other.__setstate__(state)
    return other


def test_a_pickle_of_another_version_warns():
    model = fitted()
    with pytest.warns(InconsistentVersionWarning, match="0.0.1 of fastmlp"):
        reloaded(model, _fastmlp_version="0.0.1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reloaded(model)


def test_the_warning_of_another_version_points_at_who_restores_the_state():
    state = fitted().__getstate__() | {"_fastmlp_version": "0.0.1"}
    with pytest.warns(InconsistentVersionWarning) as caught:
        MLPClassifier.__new__(MLPClassifier).__setstate__(state)
    assert [each.filename for each in caught] == [__file__]


NEW_SINCE_THE_FIRST_VERSION = [
    "precision",
    "n_hidden_layers",
    "update_learning_rate",
    "frozen_layers",
    "initialization",
    "weight_averaging",
]


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_a_pickle_from_before_a_parameter_has_its_default(estimator):
    model = fitted(estimator).partial_fit(X, Y)
    state = model.__getstate__()
    for name in NEW_SINCE_THE_FIRST_VERSION:
        del state[name]
    old = estimator.__new__(estimator)
    old.__setstate__(state)
    assert old.get_params() == model.get_params()
    for each in (old, model):
        each.partial_fit(X, Y)
    np.testing.assert_array_equal(old.coefs_[0], model.coefs_[0])
    np.testing.assert_array_equal(old.fit(X, Y).coefs_[0], model.fit(X, Y).coefs_[0])


def tampered_arrays():
    rng = np.random.RandomState(0)
    good = [rng.randn(4, 6), rng.randn(6, 3), rng.randn(3, 3)]
    return {
        "a layer missing": good[:2],
        "no layers": [],
        "too few features": [good[0][:3], *good[1:]],
        "too many features": [rng.randn(5, 6), *good[1:]],
        "one row, which would broadcast": [good[0], good[1][:1], good[2]],
        "layers that do not follow": [good[0], rng.randn(5, 3), good[2]],
        "too many outputs": [*good[:2], rng.randn(3, 4)],
        "a vector": [good[0].ravel(), *good[1:]],
        "nan": [good[0] * np.nan, *good[1:]],
        "words": [np.full((4, 6), "x"), *good[1:]],
    }


@pytest.mark.parametrize("kind", tampered_arrays())
def test_tampered_weights_are_a_clear_error(kind):
    model = reloaded(fitted(), coefs_=tampered_arrays()[kind])
    with pytest.raises((ValueError, TypeError)) as caught:
        model.predict(X)
    assert str(caught.value)


def test_weights_of_another_type_are_converted():
    model = fitted()
    expected = model.predict_proba(X)
    for dtype in (np.float32, np.float16, np.longdouble):
        coefs = [coef.astype(dtype) for coef in model.coefs_]
        proba = reloaded(model, coefs_=coefs).predict_proba(X)
        np.testing.assert_allclose(proba, expected, rtol=0.1)
    fortran = [np.asfortranarray(coef) for coef in model.coefs_]
    np.testing.assert_array_equal(reloaded(model, coefs_=fortran).predict_proba(X), expected)


def test_tampered_optimizer_state_is_a_clear_error():
    model = fitted().partial_fit(X, Y)
    state = model.__getstate__()["_optimizer"]
    smaller = dict(state, moments=[[[np.zeros((2, 2))], [np.zeros(2)]]] * 2)
    fewer = dict(state, moments=state["moments"][:1])
    for optimizer in (smaller, fewer):
        other = reloaded(model, _optimizer=optimizer)
        np.testing.assert_array_equal(other.predict(X), model.predict(X))
        with pytest.raises(ValueError, match="optimizer"):
            other.partial_fit(X, Y)
