"""Learning rates that change between calls of partial_fit: by parameter, and by hand."""

import pickle

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.datasets import load_iris

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._estimator import continuation
from fastmlp._estimator.base import BaseMLP

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
ROWS = np.random.RandomState(0).permutation(len(X)).reshape(6, 25)
RATES = (0.01, 0.01, 0.03, 0.001, 0.001, 0.02)


def make(kind=MLPClassifier, **parameters):
    return kind(**{"hidden_layer_sizes": (9,), "random_state": 0} | parameters)


def train(model, set_rate, rates=RATES, from_scratch=False):
    """A call of partial_fit for each rate, set before it, from the second on."""
    first = {} if isinstance(model, MLPRegressor) else {"classes": np.unique(Y)}
    for number, (rate, rows) in enumerate(zip(rates, ROWS, strict=True)):
        if number > 0:
            set_rate(model, rate)
        if from_scratch:
            continuation.take(model)
        model.partial_fit(X[rows], Y[rows], **({} if number else first))
    return model


def by_parameter(model, rate):
    model.set_params(learning_rate_init=rate)


def by_initial_rate(model, rate):
    model._optimizer.learning_rate_init = rate


def by_current_rate(model, rate):
    model._optimizer.learning_rate = rate


def nothing(model, rate):
    pass


def bytes_of(model):
    return [array.tobytes() for array in model.coefs_ + model.intercepts_]


def assert_close(ours, theirs):
    mine, other = ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_
    for a, b in zip(mine, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * np.abs(b).max())
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-8)


SET_BY_HAND = [
    ({"solver": "adam"}, by_initial_rate),
    ({"solver": "sgd", "learning_rate": "invscaling"}, by_initial_rate),
    ({"solver": "sgd", "learning_rate": "invscaling"}, by_current_rate),
    ({"solver": "sgd"}, by_current_rate),
    ({"solver": "sgd", "momentum": 0.0}, by_current_rate),
    ({"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1}, by_current_rate),
]


@pytest.mark.parametrize("from_scratch", [False, True])
@pytest.mark.parametrize(("parameters", "set_rate"), SET_BY_HAND)
def test_a_rate_set_by_hand_counts_as_in_scikit_learn(parameters, set_rate, from_scratch):
    ours = train(make(**parameters), set_rate, from_scratch=from_scratch)
    theirs = train(make(neural_network.MLPClassifier, **parameters), set_rate)
    assert_close(ours, theirs)
    assert bytes_of(ours) != bytes_of(train(make(**parameters), nothing))


@pytest.mark.parametrize("schedule", ["constant", "adaptive", "cosine"])
def test_an_initial_rate_that_nobody_would_read_cannot_be_set(schedule):
    model = train(make(solver="sgd", learning_rate=schedule), nothing)
    before = bytes_of(model), pickle.dumps(model._optimizer.as_arrays())
    with pytest.raises(AttributeError, match="set learning_rate instead"):
        model._optimizer.learning_rate_init = 0.1
    assert (bytes_of(model), pickle.dumps(model._optimizer.as_arrays())) == before


@pytest.mark.parametrize("rate", [0, -1.0, np.nan, np.inf, "0.1", None, 1j])
def test_a_rate_must_be_a_positive_number(rate):
    model = train(make(), nothing)
    with pytest.raises(ValueError, match="learning_rate_init must be a positive number"):
        model._optimizer.learning_rate_init = rate
    assert model._optimizer.learning_rate == model._optimizer.learning_rate_init == 0.001


@pytest.mark.parametrize("name", ["learning_rate", "learning_rate_init"])
@pytest.mark.parametrize("call", ["fit", "partial_fit", "slow partial_fit", "lbfgs"])
def test_the_rate_of_a_replaced_optimizer_cannot_be_set(call, name):
    model = train(make(), nothing)
    old = model._optimizer
    if call == "slow partial_fit":
        continuation.take(model)
    if call == "lbfgs":
        model.set_params(solver="lbfgs", max_iter=1, tol=10.0)
    method = model.partial_fit if "partial" in call else model.fit
    method(X[:25], Y[:25])
    with pytest.raises(AttributeError, match=rf"its {name} has no effect"):
        setattr(old, name, 0.1)
    if call != "lbfgs":
        setattr(model._optimizer, name, 0.1)


def test_a_failed_call_replaces_no_optimizer():
    model = train(make(), nothing)
    with pytest.raises(ValueError, match="NaN"):
        model.partial_fit(np.full((5, 4), np.nan), Y[:5])
    model._optimizer.learning_rate_init = 0.5
    assert model._optimizer.learning_rate == 0.5


FOLLOWING = [
    ({"solver": "adam"}, by_initial_rate),
    ({"solver": "adamw", "weight_decay": 0.3}, by_initial_rate),
    ({"solver": "adam", "learning_rate": "cosine", "warmup": 2}, by_initial_rate),
    ({"solver": "sgd"}, by_current_rate),
    ({"solver": "sgd", "momentum": 0.0, "learning_rate": "one_cycle"}, by_current_rate),
]


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(("parameters", "by_hand"), FOLLOWING)
def test_a_changed_parameter_counts_like_a_rate_set_by_hand(parameters, by_hand, kind):
    models = [
        train(make(kind, update_learning_rate=True, **parameters), by_parameter, from_scratch=slow)
        for slow in (False, True)
    ]
    expected = train(make(kind, **parameters), by_hand)
    assert bytes_of(models[0]) == bytes_of(models[1]) == bytes_of(expected)


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive"])
def test_a_changed_rate_keeps_the_progress_of_its_schedule(schedule):
    parameters = {"solver": "sgd", "learning_rate": schedule, "learning_rate_init": 0.01}
    parameters |= {"n_iter_no_change": 1, "tol": 10.0}
    unchanged = train(make(**parameters), nothing)
    model = train(make(**parameters, update_learning_rate=True), by_parameter)
    progress = unchanged._optimizer.learning_rate / 0.01
    assert progress < 0.9
    np.testing.assert_allclose(model._optimizer.learning_rate, RATES[-1] * progress, rtol=1e-12)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_without_the_option_a_changed_parameter_does_not_count(solver):
    changed = train(make(solver=solver), by_parameter)
    assert bytes_of(changed) == bytes_of(train(make(solver=solver), nothing))
    changed.set_params(update_learning_rate=True).partial_fit(X[:5], Y[:5])  # now it does
    assert changed._optimizer.learning_rate == RATES[-1]


def test_the_option_changes_nothing_while_the_parameter_stays():
    models = [train(make(update_learning_rate=given), nothing) for given in (False, True)]
    assert bytes_of(models[0]) == bytes_of(models[1])


def test_a_rate_set_by_hand_stays_until_the_parameter_changes():
    model = train(make(update_learning_rate=True), nothing)
    model._optimizer.learning_rate_init = 0.5
    for _ in range(2):
        model.partial_fit(X[:5], Y[:5])
        assert model._optimizer.learning_rate_init == model._optimizer.learning_rate == 0.5
    model.set_params(learning_rate_init=0.25).partial_fit(X[:5], Y[:5])
    assert model._optimizer.learning_rate_init == model._optimizer.learning_rate == 0.25


def test_an_unchanged_call_still_takes_the_fast_path(monkeypatch):
    model, calls = train(make(update_learning_rate=True), by_parameter), []
    monkeypatch.setattr(BaseMLP, "_fit", lambda *_, **__: calls.append(1))
    for rate in (0.5, 0.25):
        by_initial_rate(model, rate)
        model.partial_fit(X[:5], Y[:5])
        assert model._optimizer.learning_rate == rate
    assert calls == []


@pytest.mark.parametrize("update", [False, True])
def test_a_warm_start_begins_with_the_current_rate(update):
    model = make(warm_start=True, max_iter=2, tol=9.0, n_iter_no_change=1)
    model.set_params(update_learning_rate=update).fit(X, Y)
    theirs = fastmlp.interop.to_sklearn(model.set_params(update_learning_rate=False))
    for each in (model.set_params(update_learning_rate=update), theirs):
        each.set_params(learning_rate_init=0.05).fit(X, Y)
    assert_close(model, theirs)
    assert model._optimizer.learning_rate == 0.05


@pytest.mark.parametrize(
    "parameters", [{}, {"solver": "sgd", "learning_rate": "invscaling"}], ids=str
)
def test_a_rate_set_by_hand_is_in_pickles_and_in_what_scikit_learn_gets(parameters):
    model = train(make(**parameters), nothing)
    by_initial_rate(model, 0.05)
    copies = [pickle.loads(pickle.dumps(model)), fastmlp.interop.to_sklearn(model)]
    for each in (model, *copies):
        each.partial_fit(X[:25], Y[:25])
        each.partial_fit(X[25:50], Y[25:50])
    assert bytes_of(copies[0]) == bytes_of(model)
    assert_close(model, copies[1])


def test_scikit_learn_has_no_such_option():
    with pytest.raises(ValueError, match="no update_learning_rate"):
        fastmlp.interop.to_sklearn(train(make(update_learning_rate=True), nothing))
