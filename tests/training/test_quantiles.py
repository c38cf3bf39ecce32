"""Quantiles: the pinball loss, several outputs of one column, predictions that do not cross."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import QuantileRegressor
from sklearn.metrics import d2_pinball_score, mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.utils._param_validation import InvalidParameterError

from fastmlp import MLPRegressor
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_c, to_onnx, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(400, 5)
Y = X[:, 0] - 2 * X[:, 1] + np.exp(X[:, 2] / 2) * RNG.randn(400)
WEIGHT = RNG.uniform(0.1, 2, len(Y))
SEVERAL = (0.1, 0.5, 0.9)


def quick(**parameters):
    given = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0, "loss": "quantile"}
    return MLPRegressor(**{**given, **parameters})


def linear(quantile):
    """A linear model, trained for long."""
    return quick(
        hidden_layer_sizes=(), quantile=quantile, alpha=0.0, max_iter=600, learning_rate_init=0.02,
        learning_rate="cosine", n_iter_no_change=1000,
    )  # fmt: skip


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_a_linear_model_is_as_good_as_scikit_learns(quantile):
    ours = linear(quantile).fit(X, Y).predict(X)
    theirs = QuantileRegressor(quantile=quantile, alpha=0).fit(X, Y).predict(X)
    losses = [mean_pinball_loss(Y, each, alpha=quantile) for each in (ours, theirs)]
    assert losses[1] <= losses[0] <= 1.003 * losses[1]


def test_each_quantile_has_its_share_of_the_samples_below():
    below = Y[:, None] < linear(SEVERAL).fit(X, Y).predict(X)
    np.testing.assert_allclose(below.mean(axis=0), SEVERAL, atol=0.02)


def test_several_quantiles_are_outputs_that_train_together():
    """Without hidden layers they have nothing in common, so each is a model of its own."""
    together = linear(SEVERAL).set_params(max_iter=20).fit(X, Y)
    assert together.predict(X).shape == (len(Y), 3)
    assert together.n_outputs_ == 3
    start = linear(SEVERAL).set_params(max_iter=1, learning_rate_init=1e-12).fit(X, Y)
    for column, quantile in enumerate(SEVERAL):
        alone = linear(quantile).set_params(max_iter=20)
        weights = {
            "coefs_init": [start.coefs_[0][:, [column]]],
            "intercepts_init": [start.intercepts_[0][[column]]],
        }
        # The shuffles are those of the first: draw as many weights before.
        alone.set_params(shuffle=False).fit(X, Y, **weights)
        other = (
            clone(together)
            .set_params(shuffle=False)
            .fit(X, Y, coefs_init=start.coefs_, intercepts_init=start.intercepts_)
        )
        np.testing.assert_allclose(other.predict(X)[:, column], alone.predict(X), rtol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_median_trains_as_half_the_absolute_error(dtype):
    """Half the loss by half the rate of SGD: the same steps."""
    options = {"solver": "sgd", "alpha": 0.0, "momentum": 0.0, "nesterovs_momentum": False}
    median = quick(**options, quantile=0.5, learning_rate_init=0.02).fit(X.astype(dtype), Y)
    absolute = quick(**options, learning_rate_init=0.01, loss="absolute_error")
    absolute.fit(X.astype(dtype), Y)
    for mine, other in zip(median.coefs_, absolute.coefs_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4 if dtype == np.float32 else 1e-10)
    np.testing.assert_allclose(2 * np.array(median.loss_curve_), absolute.loss_curve_, rtol=1e-5)


@pytest.mark.parametrize("quantile", [0.3, SEVERAL])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_the_gradient_is_right(quantile, weight):
    model = quick(quantile=quantile, activation="tanh")
    assert check_gradient(model, X, 100 + Y, weight) < 1e-7  # far from the kink
    assert check_gradient(model, X, Y - 100, weight) < 1e-7


@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "lbfgs"])
def test_the_loss_curve_is_the_mean_pinball_loss(solver):
    model = quick(quantile=SEVERAL, solver=solver, alpha=0.0, batch_size=len(Y), max_iter=1)
    before = model.set_params(learning_rate_init=1e-14).fit(X, Y)
    if solver == "lbfgs":
        before.set_params(max_iter=30).fit(X, Y)
    losses = [
        mean_pinball_loss(Y, column, alpha=q)
        for column, q in zip(before.predict(X).T, SEVERAL, strict=True)
    ]
    np.testing.assert_allclose(before.loss_, np.mean(losses), rtol=1e-8)


def test_sorted_quantiles_do_not_cross():
    model = quick(quantile=np.linspace(0.4, 0.6, 5), max_iter=1).fit(X, Y)
    plain = model.predict(X)
    assert (np.diff(plain) < 0).any()
    ordered = model.set_params(sort_quantiles=True).predict(X)
    np.testing.assert_array_equal(ordered, np.sort(plain, axis=1))
    one = quick(quantile=0.4, sort_quantiles=True).fit(X, np.column_stack([Y, -Y]))
    assert (np.diff(one.predict(X)) < 0).any()  # columns of y keep their order


@pytest.mark.parametrize("quantile", [0.8, (0.8,), SEVERAL])
def test_the_score_is_d2_of_the_pinball_loss(quantile):
    model = quick(quantile=quantile, max_iter=30).fit(X, Y)
    predictions = model.predict(X).reshape(len(Y), -1)
    expected = [
        d2_pinball_score(Y, column, sample_weight=WEIGHT, alpha=q)
        for column, q in zip(predictions.T, np.atleast_1d(quantile), strict=True)
    ]
    np.testing.assert_allclose(model.score(X, Y, WEIGHT), np.mean(expected))
    stopped = clone(model).set_params(early_stopping=True, max_iter=3)
    stopped.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=WEIGHT)
    best = stopped.score(X, Y, WEIGHT)
    np.testing.assert_allclose(stopped.best_validation_score_, best)


def test_several_columns_share_one_quantile():
    model = quick(quantile=0.9, max_iter=300, learning_rate_init=0.01).fit(
        X, np.column_stack([Y, -Y])
    )
    assert model.predict(X).shape == (len(Y), 2)
    below = np.column_stack([Y, -Y]) < model.predict(X)
    assert (np.abs(below.mean(axis=0) - 0.9) < 0.08).all()
    with pytest.raises(ValueError, match="several quantiles need a y of one column, got 2"):
        quick(quantile=SEVERAL).fit(X, np.column_stack([Y, Y]))


@pytest.mark.parametrize("value", [0, 1, -0.1, np.nan, "half", None, [0.5, 1.0], ["a"], [[0.5]]])
def test_what_is_no_quantile_is_refused(value):
    with pytest.raises(InvalidParameterError, match="'quantile' parameter of MLPRegressor must"):
        quick(quantile=value).fit(X, Y)


@pytest.mark.parametrize("value", [[], [0.5, 0.5], [0.9, 0.1]])
def test_quantiles_that_do_not_increase_are_refused(value):
    with pytest.raises(ValueError, match="quantile must hold increasing numbers"):
        quick(quantile=value).fit(X, Y)


def test_the_number_of_quantiles_cannot_change_between_calls():
    model = quick(quantile=SEVERAL).fit(X, Y).partial_fit(X[:50], Y[:50])
    model.partial_fit(X[:50], Y[:50])
    with pytest.raises(ValueError, match="continue with the fitted layers"):
        model.set_params(quantile=(0.2, 0.8)).partial_fit(X, Y)


@pytest.mark.parametrize("quantile", [0.9, SEVERAL])
def test_bits_do_not_depend_on_thread_count(quantile):
    models = [
        quick(quantile=quantile, hidden_layer_sizes=(300, 200), batch_size=300, n_jobs=n).fit(X, Y)
        for n in (1, 2)
    ]
    for one, two in zip(*(each.coefs_ for each in models), strict=True):
        np.testing.assert_array_equal(one, two)


def test_quantiles_can_be_searched_cloned_and_pickled():
    search = GridSearchCV(quick(), {"quantile": [0.2, 0.5]}, cv=2).fit(X, Y)
    assert search.best_params_["quantile"] in (0.2, 0.5)
    model = quick(quantile=SEVERAL).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X), model.predict(X))


def test_other_tools_take_the_network_or_say_why_not():
    model = quick(quantile=SEVERAL).fit(X.astype(np.float32), Y)
    with pytest.raises(ValueError, match="quantile"):
        to_sklearn(model)
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = runtime.InferenceSession(to_onnx(model).SerializeToString())
    (outputs,) = session.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(outputs, model.predict(X.astype(np.float32)), rtol=1e-4, atol=1e-5)
    model.set_params(sort_quantiles=True)
    for convert in (to_onnx, to_c):
        with pytest.raises(ValueError, match="sort_quantiles=True has no"):
            convert(model)


def test_intervals_hold_on_real_data():
    data, target = load_diabetes(return_X_y=True)
    model = quick(quantile=(0.1, 0.9), solver="lbfgs", max_iter=300).fit(data[:300], target[:300])
    low, high = model.predict(data[300:]).T
    assert 0.65 < ((low <= target[300:]) & (target[300:] <= high)).mean() < 0.95
