"""Depth and width as two numbers: `n_hidden_layers` layers of the one size given."""

import pickle

import numpy as np
import pytest
from scipy.stats import randint
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - for the halving
from sklearn.model_selection import GridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp.inspection import check_gradient
from fastmlp.interop import from_sklearn, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
BOTH = [(MLPClassifier, SklearnMLPClassifier), (MLPRegressor, SklearnMLPRegressor)]


def quick(estimator=MLPClassifier, **parameters):
    return estimator(**{"max_iter": 3, "random_state": 0} | parameters)


def widths(model):
    return tuple(coef.shape[1] for coef in model.coefs_[:-1])


def assert_same_bytes(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b, strict=True)


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("depth", [0, 1, 2, 5])
@pytest.mark.parametrize("width", [7, (7,), [7], np.int32(7), np.array([7])])
def test_two_numbers_are_the_tuple(estimator, solver, depth, width):
    model = quick(estimator, hidden_layer_sizes=width, n_hidden_layers=depth, solver=solver)
    explicit = quick(estimator, hidden_layer_sizes=(7,) * depth, solver=solver)
    assert_same_bytes(model.fit(X, Y), explicit.fit(X, Y))
    assert widths(model) == (7,) * depth and model.n_layers_ == depth + 2


def test_the_default_width_may_be_repeated():
    assert widths(quick(n_hidden_layers=3).fit(X, Y)) == (100, 100, 100)


@pytest.mark.parametrize(("estimator", "theirs"), BOTH)
def test_the_model_is_that_of_scikit_learn(estimator, theirs):
    model = quick(estimator, hidden_layer_sizes=6, n_hidden_layers=3).fit(X, Y)
    expected = quick(theirs, hidden_layer_sizes=(6, 6, 6)).fit(X, Y)
    for a, b in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("sizes", [5, (5,), (5, 4), ()])
def test_none_changes_nothing(sizes):
    model = quick(hidden_layer_sizes=sizes, n_hidden_layers=None)
    assert_same_bytes(model.fit(X, Y), quick(hidden_layer_sizes=sizes).fit(X, Y))


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("sizes", [(), (5, 5), [5, 4], np.array([5, 4, 3])])
def test_a_number_beside_several_sizes_is_an_error_even_if_they_agree(count, sizes):
    model = quick(hidden_layer_sizes=sizes, n_hidden_layers=count)
    with pytest.raises(ValueError, match=rf"n_hidden_layers={count} needs one size .*; got hidden"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("count", [-1, 1.0, 2.5, "2", (2,), np.nan])
def test_what_is_no_number_of_layers_is_refused(count):
    with pytest.raises(InvalidParameterError, match="'n_hidden_layers' parameter"):
        quick(n_hidden_layers=count).fit(X, Y)


@pytest.mark.parametrize("count", [True, False])
def test_a_boolean_is_no_number_of_layers(count):
    with pytest.raises(TypeError, match="n_hidden_layers must be an integer, not a boolean"):
        quick(n_hidden_layers=count).fit(X, Y)


def test_a_wrong_size_is_refused_at_depth_0_too():
    with pytest.raises(TypeError, match="not booleans"):
        quick(hidden_layer_sizes=[True], n_hidden_layers=2).fit(X, Y)
    for count in (0, 2):
        with pytest.raises(ValueError, match="must be > 0"):
            quick(hidden_layer_sizes=[-3], n_hidden_layers=count).fit(X, Y)


def test_activations_and_dropout_per_layer_count_the_repeated_layers():
    parameters = {"activation": ["tanh", "relu", "gelu"], "dropout": (0.1, 0.0, 0.2)}
    model = quick(hidden_layer_sizes=6, n_hidden_layers=3, **parameters).fit(X, Y)
    assert_same_bytes(model, quick(hidden_layer_sizes=(6, 6, 6), **parameters).fit(X, Y))
    with pytest.raises(ValueError, match="activation has length 3, but the network has 2"):
        model.set_params(n_hidden_layers=2).fit(X, Y)
    with pytest.raises(ValueError, match="dropout has length 2, but the network has 4"):
        quick(hidden_layer_sizes=6, n_hidden_layers=4, dropout=(0.1, 0.1)).fit(X, Y)


def space():
    return {
        "mlpclassifier__hidden_layer_sizes": randint(2, 9),
        "mlpclassifier__n_hidden_layers": randint(1, 4),
    }


SEARCHES = {
    "grid": lambda model: GridSearchCV(
        model, {name: [2, 3] for name in space()}, cv=2, error_score="raise"
    ),
    "randomized": lambda model: RandomizedSearchCV(
        model, space(), n_iter=4, cv=2, random_state=0, error_score="raise"
    ),
    "halving": lambda model: HalvingRandomSearchCV(
        model, space(), n_candidates=4, cv=2, random_state=0, error_score="raise"
    ),
}


@pytest.mark.parametrize("kind", SEARCHES)
def test_searches_vary_both_numbers_in_a_pipeline(kind):
    search = SEARCHES[kind](make_pipeline(StandardScaler(), quick())).fit(X, Y)
    width, depth = (search.best_params_[name] for name in space())
    assert widths(search.best_estimator_[-1]) == (width,) * depth
    tried = [tuple(params.values()) for params in search.cv_results_["params"]]
    assert len(set(tried)) >= 3


def test_a_tuner_that_suggests_numbers_needs_no_wrapper():
    scores = {}
    template = quick(max_iter=20)
    rng = np.random.default_rng(0)  # in place of trial.suggest_int
    for _ in range(4):
        numbers = {
            "hidden_layer_sizes": rng.integers(4, 17),
            "n_hidden_layers": rng.integers(1, 4),
        }
        model = clone(template).set_params(**numbers).fit(X, Y)
        assert widths(model) == (numbers["hidden_layer_sizes"],) * numbers["n_hidden_layers"]
        scores[tuple(numbers.values())] = model.score(X, Y)
    assert len(scores) >= 3


def test_clone_pickle_and_partial_fit_keep_the_numbers():
    model = quick(hidden_layer_sizes=6, n_hidden_layers=2).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    assert again.n_hidden_layers == clone(model).n_hidden_layers == 2
    assert_same_bytes(again.partial_fit(X, Y), model.partial_fit(X, Y))
    assert_same_bytes(clone(model).fit(X, Y), quick(hidden_layer_sizes=(6, 6)).fit(X, Y))


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_depth_is_noticed_between_calls(method):
    model = quick(hidden_layer_sizes=6, n_hidden_layers=2, warm_start=True)
    for _ in range(2):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    before = [coef.copy() for coef in model.coefs_]
    model.set_params(n_hidden_layers=3)
    with pytest.raises(ValueError, match=r"\[4, 6, 6, 3\], now they are \[4, 6, 6, 6, 3\]"):
        getattr(model, method)(X, Y)
    for a, b in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(a, b)
    model.set_params(hidden_layer_sizes=(6, 6), n_hidden_layers=None)
    getattr(model, method)(X, Y)


@pytest.mark.parametrize(("estimator", "theirs"), BOTH)
@pytest.mark.parametrize("depth", [0, 1, 3])
def test_conversion_to_scikit_learn_expands_the_numbers(estimator, theirs, depth):
    model = quick(estimator, hidden_layer_sizes=6, n_hidden_layers=depth).fit(X, Y)
    converted = to_sklearn(model)
    assert type(converted) is theirs and converted.hidden_layer_sizes == (6,) * depth
    np.testing.assert_allclose(converted.predict(X), model.predict(X), rtol=1e-9)
    for each in (converted, model):
        each.partial_fit(X, Y)
    np.testing.assert_allclose(converted.coefs_[0], model.coefs_[0], rtol=1e-8, atol=1e-12)
    back = from_sklearn(converted)
    assert back.n_hidden_layers is None and back.hidden_layer_sizes == (6,) * depth


def test_the_template_of_a_converted_search_is_expanded_too():
    model = quick(hidden_layer_sizes=6, n_hidden_layers=2)
    search = GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert to_sklearn(search).estimator.hidden_layer_sizes == (6, 6)


def test_what_reads_the_layers_before_a_fit_counts_the_repeated_ones():
    model = quick(hidden_layer_sizes=6, n_hidden_layers=3, activation="tanh")
    assert check_gradient(model, X[:20], Y[:20]) < 1e-7
    hidden = MLPTransformer(model, layer=2).fit(X, Y)
    assert hidden.transform(X).shape == (150, 6)
    with pytest.raises(ValueError, match="layer"):
        MLPTransformer(model, layer=3).fit(X, Y)
