"""Random configurations: valid ones give scikit-learn's model, invalid ones a clear error.

The number of examples is small by default; ``HYPOTHESIS_PROFILE=long python -m pytest
tests/training/test_fuzz.py`` runs for some minutes.
"""

import os
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import neural_network

import fastmlp

settings.register_profile("short", max_examples=40, deadline=None, derandomize=True)
settings.register_profile("long", max_examples=3000, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))

CONFIGURATIONS = st.fixed_dictionaries(
    {
        "hidden_layer_sizes": st.lists(st.integers(1, 40), max_size=4).map(tuple),
        "activation": st.sampled_from(["identity", "logistic", "tanh", "relu"]),
        "solver": st.sampled_from(["sgd", "adam"]),
        "alpha": st.sampled_from([0.0, 1e-4, 0.3]),
        "batch_size": st.one_of(st.just("auto"), st.integers(1, 90)),
        "learning_rate": st.sampled_from(["constant", "invscaling", "adaptive"]),
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "nesterovs_momentum": st.booleans(),
        "shuffle": st.booleans(),
        "early_stopping": st.booleans(),
        "warm_start": st.booleans(),
        "random_state": st.integers(0, 2**31),
        "beta_1": st.sampled_from([0.0, 0.9]),
        "beta_2": st.sampled_from([0.5, 0.999]),
    }
)
SHAPES = st.tuples(st.integers(20, 70), st.integers(1, 45), st.integers(2, 20))


@st.composite
def problems(draw):
    n_samples, n_features, n_outputs = draw(SHAPES)
    random_state = np.random.RandomState(draw(st.integers(0, 1000)))
    X = random_state.randn(n_samples, n_features)
    form = draw(st.sampled_from(["C", "F", "csr"]))
    kind = draw(st.sampled_from(["classes", "multilabel", "regression", "poisson"]))
    if kind == "classes":
        y = np.r_[np.arange(n_outputs).repeat(2), random_state.randint(0, n_outputs, n_samples)]
        y = y[:n_samples]
    elif kind == "multilabel":
        y = random_state.randint(0, 2, (n_samples, n_outputs))
    else:
        y = np.abs(random_state.randn(n_samples, draw(st.integers(1, 3)))).squeeze()
    if form == "csr":
        X[random_state.rand(*X.shape) < 0.7] = 0
    weight = random_state.uniform(0.1, 2, n_samples) if draw(st.booleans()) else None
    return (
        kind,
        {"C": np.asarray, "F": np.asfortranarray, "csr": scipy.sparse.csr_array}[form](X),
        y,
        weight,
    )


def estimator(library, kind, **parameters):
    if kind in ("classes", "multilabel"):
        return library.MLPClassifier(**parameters)
    return library.MLPRegressor("poisson" if kind == "poisson" else "squared_error", **parameters)


def outcome(model, X, y, weight):
    """The fitted model, or the exception that came instead."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return model.fit(X, y, weight)
        except ValueError as error:
            return error


@pytest.mark.slow
@given(problem=problems(), parameters=CONFIGURATIONS, n_jobs=st.sampled_from([None, 1, 3]))
def test_valid_configurations_give_scikit_learns_model(problem, parameters, n_jobs):
    kind, X, y, weight = problem
    parameters |= {"max_iter": 3, "learning_rate_init": 1e-3}
    ours = outcome(estimator(fastmlp, kind, n_jobs=n_jobs, **parameters), X, y, weight)
    theirs = outcome(estimator(neural_network, kind, **parameters), X, y, weight)
    if isinstance(theirs, ValueError):
        assert isinstance(ours, ValueError) and str(ours) == str(theirs)
        return
    assert not isinstance(ours, ValueError), ours
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-7)
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, other = ours.predict(X), theirs.predict(X)
    if kind in ("classes", "multilabel"):
        assert np.mean(mine == other) > 0.99
    else:
        np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9)


BAD_VALUES = st.one_of(
    st.none(), st.text(max_size=3), st.floats(), st.integers(-3, 0), st.lists(st.text(max_size=1))
)


@given(
    name=st.sampled_from(sorted(fastmlp.MLPClassifier().get_params())),
    value=BAD_VALUES,
)
def test_any_parameter_value_fits_or_is_a_clear_error(name, value):
    X, y = np.random.RandomState(0).randn(20, 2), np.arange(20) % 2
    base = {"hidden_layer_sizes": (2,), "max_iter": 1, "random_state": 0}
    model = fastmlp.MLPClassifier(**base | {name: value})
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model.fit(X, y)
        except (ValueError, TypeError) as error:
            assert str(error)
            assert not hasattr(model, "coefs_")
        else:
            assert np.isfinite(model.predict_proba(X)).all()


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    value=st.sampled_from([0.0, np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324]),
    labels=st.lists(st.sampled_from([0, 1, 2, "a", None, 1.5]), max_size=4),
)
def test_any_data_fit_or_are_a_clear_error(shape, value, labels):
    X = np.full(shape, value)
    model = fastmlp.MLPClassifier((2,), max_iter=2, random_state=0)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            model.fit(X, labels)
        except (ValueError, TypeError) as error:
            assert str(error)
            assert not hasattr(model, "coefs_")
        else:
            assert all(np.isfinite(coef).all() for coef in model.coefs_)


pytestmark = pytest.mark.filterwarnings("ignore")
