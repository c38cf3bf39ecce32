"""Parameters beyond scikit-learn's: what is refused, and how they travel."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp._engine.kernels.activations import CODES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
WRONG = {
    "activation": ["swish", 3, None, ("relu", "swish"), ("relu", 3)],
    "solver": ["adamax", 1],
    "learning_rate": ["linear", 0.1],
    "dropout": [-0.1, 1.0, 1.5, "half", None, np.nan, (0.1, 1.0), (0.1, "half"), (0.1, None)],
    "weight_decay": [-1, "much", None, np.nan],
    "warmup": [-1, "long", None],
    "max_grad_norm": [0, -1.0, "small", np.nan],
    "label_smoothing": [-0.1, 1, "some", None],
    "weight_averaging": [-0.1, 1, "some", None],
    "loss": ["huber", "poisson", 1, None],
}
OPTIONS = {
    "hidden_layer_sizes": (7, 5),
    "activation": ("gelu", "leaky_relu"),
    "solver": "adamw",
    "learning_rate": "cosine",
    "dropout": (0.2, 0.1),
    "weight_decay": 0.1,
    "warmup": 0.5,
    "max_grad_norm": 1.0,
    "max_iter": 5,
    "random_state": 0,
}
MODELS = [
    MLPClassifier(**OPTIONS, label_smoothing=0.1, loss="squared_error"),
    MLPRegressor("huber", **OPTIONS, huber_delta=0.5),
]


@pytest.mark.parametrize(
    "name, value", [(name, value) for name, values in WRONG.items() for value in values]
)
def test_a_wrong_value_is_refused_by_its_name(name, value):
    model = MLPClassifier((4, 3)).set_params(**{name: value})
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    "name, value", [("huber_delta", 0), ("huber_delta", -1), ("huber_delta", None), ("loss", "l1")]
)
def test_a_wrong_value_of_the_regressor_is_refused(name, value):
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
        MLPRegressor().set_params(**{name: value}).fit(X, Y)


@pytest.mark.parametrize("name, value", [("activation", ["relu"]), ("dropout", [0.1, 0.1, 0.1])])
def test_a_sequence_needs_one_value_per_hidden_layer(name, value):
    with pytest.raises(ValueError, match=f"{name} has length {len(value)}, but the network has 2"):
        MLPClassifier((4, 3)).set_params(**{name: value}).fit(X, Y)


@pytest.mark.parametrize(
    "name, value", [("activation", {"tanh", "relu"}), ("dropout", {0: 0.1, 1: 0.2})]
)
def test_unordered_collections_are_refused(name, value):
    with pytest.raises(ValueError, match=f"'?{name}'? "):
        MLPClassifier((4, 3)).set_params(**{name: value}).fit(X, Y)


def test_a_nested_activation_is_a_clear_error():
    with pytest.raises(InvalidParameterError, match="'activation' parameter"):
        MLPClassifier((4,), [["tanh"]]).fit(X, Y)


@pytest.mark.parametrize("model", MODELS, ids=["classifier", "regressor"])
def test_options_survive_clone_and_pickle(model):
    fitted = clone(model).fit(X, Y)
    assert clone(fitted).get_params() == model.get_params()
    again = pickle.loads(pickle.dumps(fitted))
    assert again.get_params() == model.get_params()
    np.testing.assert_array_equal(again.predict(X), fitted.predict(X))
    np.testing.assert_array_equal(clone(again).fit(X, Y).coefs_[0], fitted.coefs_[0])
    again.partial_fit(X, Y)
    fitted.partial_fit(X, Y)
    np.testing.assert_array_equal(again.coefs_[0], fitted.coefs_[0])


def test_options_work_in_a_search():
    grid = {
        "activation": ["relu", ("silu", "mish")],
        "dropout": [0.0, (0.2, 0.0)],
        "loss": ["log_loss", "squared_error"],
        "label_smoothing": [0.0, 0.1],
        "max_grad_norm": [None, 1.0],
    }
    search = GridSearchCV(MODELS[0], grid, cv=2, error_score="raise").fit(X, Y)
    assert len({float(score) for score in search.cv_results_["mean_test_score"]}) > 3


@pytest.mark.parametrize("activation", CODES)
def test_every_activation_learns_iris(activation):
    model = MLPClassifier((20,), activation, solver="lbfgs", max_iter=300, random_state=0)
    assert model.fit(X, Y).score(X, Y) > 0.95


def test_one_name_and_the_same_name_for_each_layer_are_one_model():
    for name in CODES:
        one = MLPClassifier((6, 5), name, max_iter=3, random_state=0).fit(X, Y)
        each = MLPClassifier((6, 5), [name, name], max_iter=3, random_state=0).fit(X, Y)
        for a, b in zip(one.coefs_, each.coefs_, strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(one.predict_proba(X), each.predict_proba(X))


def test_layers_of_unlike_activation_are_run_in_their_order():
    model = MLPClassifier((6, 5), ("tanh", "relu"), solver="lbfgs", random_state=0).fit(X, Y)
    (V, W, U), (a, b, c) = model.coefs_, model.intercepts_
    z = np.maximum(np.tanh(X @ V + a) @ W + b, 0) @ U + c
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9, atol=1e-12)


def test_robust_losses_shrug_off_outliers():
    X, y = load_diabetes(return_X_y=True)
    X, y = 10 * X, (y - y.mean()) / y.std()
    spoiled = y.copy()
    spoiled[:300:12] += 30
    errors = {}
    for loss in ("squared_error", "absolute_error", "huber"):
        model = MLPRegressor(loss, (), max_iter=300, learning_rate_init=0.01, random_state=0)
        model.fit(X[:300], spoiled[:300])
        errors[loss] = np.abs(model.predict(X[300:]) - y[300:]).mean()
    assert errors["absolute_error"] < 0.6 * errors["squared_error"]
    assert errors["huber"] < 0.6 * errors["squared_error"]


def test_warm_start_repeats_its_schedule():
    model = MLPClassifier((5,), learning_rate="cosine", max_iter=3, warm_start=True, random_state=0)
    first = model.fit(X, Y).coefs_[0].copy()
    assert not np.array_equal(model.fit(X, Y).coefs_[0], first)
