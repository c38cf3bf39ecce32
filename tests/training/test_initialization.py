"""Initial weights: scikit-learn's, He's, and those drawn for the data, against NumPy."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier
from fastmlp._engine.network import Network
from fastmlp._estimator.initialization import POINTS, SAMPLE_ROWS, initialize
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NAMES = ["glorot", "he", "data"]
FUNCTIONS = {"identity": lambda z: z, "tanh": np.tanh, "relu": lambda z: np.maximum(z, 0)}


def drawn(rows, sizes=(4, 7, 5, 3), dtype=np.float64, seed=0, **parameters):
    """A network that is initialized but not trained."""
    model = MLPClassifier(sizes[1:-1], **{"initialization": "data", **parameters})
    network = Network(sizes, np.dtype(dtype))
    initialize(network, model, rows, np.random.RandomState(seed))
    return network


def naive(rows, sizes, activation, seed):
    """The weights and biases of `initialization='data'`, unit by unit."""
    random_state = np.random.RandomState(seed)
    if len(rows) > SAMPLE_ROWS:
        rows = rows[np.sort(random_state.choice(len(rows), SAMPLE_ROWS, replace=False))]
    coefs, intercepts = [], []
    for n_in, n_out in pairwise(sizes[:-1]):
        coef = random_state.standard_normal((n_in, n_out))
        coef /= (rows @ coef).std(axis=0)
        points = random_state.randint(len(rows), size=(POINTS, n_out))
        shares = random_state.exponential(size=(POINTS, n_out))
        intercept = np.array(
            [
                -np.average(rows[points[:, unit]], axis=0, weights=shares[:, unit]) @ coef[:, unit]
                for unit in range(n_out)
            ]
        )
        rows = FUNCTIONS[activation](rows @ coef + intercept)
        coefs.append(coef)
        intercepts.append(intercept)
    return [*coefs, np.zeros(sizes[-2:])], [*intercepts, np.zeros(sizes[-1])]


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("n_samples", [2, 150, 3 * SAMPLE_ROWS])
def test_weights_for_the_data_are_those_of_numpy(activation, n_samples):
    rows = np.random.RandomState(1).randn(n_samples, 4) * [1, 100, 1e-3, 1] + [0, 5, 0, -2]
    network = drawn(rows, activation=activation, seed=3)
    coefs, intercepts = naive(rows, (4, 7, 5, 3), activation, seed=3)
    for mine, theirs in zip([*network.coefs, *network.intercepts], coefs + intercepts, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


def test_each_unit_deviates_by_one_and_is_zero_within_the_data():
    rows = np.random.RandomState(0).lognormal(size=(500, 6)) * np.logspace(-3, 3, 6)
    network = drawn(rows, (6, 40, 2), seed=1)
    z = rows @ network.coefs[0] + network.intercepts[0]
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=1e-9)
    assert (z.min(axis=0) < 0).all()
    assert (z.max(axis=0) > 0).all()


def test_glorot_is_the_draw_of_scikit_learn_and_the_default():
    for given in ({}, {"initialization": "glorot"}):
        parameters = {"hidden_layer_sizes": (6, 5), "random_state": 3, "max_iter": 3}
        ours, theirs = MLPClassifier(**parameters, **given), SklearnMLPClassifier(**parameters)
        for mine, other in zip(ours.fit(X, Y).coefs_, theirs.fit(X, Y).coefs_, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_he_draws_uniformly_by_the_number_of_inputs():
    network = drawn(X, (4, 4000, 3), initialization="he")
    for coef, intercept in zip(network.coefs, network.intercepts, strict=True):
        bound = np.sqrt(6 / coef.shape[0])
        assert 0.99 * bound < np.abs(coef).max() <= bound
        np.testing.assert_allclose(coef.std(), bound / np.sqrt(3), rtol=0.03)
        assert not intercept.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_for_the_data_do_not_depend_on_thread_count_or_layout(dtype):
    rows = np.random.RandomState(0).rand(2000, 64).astype(dtype)
    rows[rows < 0.5] = 0
    first = drawn(rows, (64, 300, 200, 3), dtype, n_jobs=1)
    for other in (
        drawn(rows, (64, 300, 200, 3), dtype, n_jobs=2),
        drawn(np.asfortranarray(rows), (64, 300, 200, 3), dtype),
    ):
        for mine, theirs in zip(first.arrays(), other.arrays(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("kind", [csr_array, np.asarray])
@pytest.mark.parametrize("initialization", NAMES)
def test_sparse_and_dense_rows_train_alike(kind, initialization):
    model = MLPClassifier((9,), max_iter=5, random_state=0, initialization=initialization)
    expected = clone(model).fit(X, Y)
    for mine, theirs in zip(model.fit(kind(X), Y).coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "rows",
    [
        np.zeros((20, 3)),
        np.ones((1, 3)),
        np.full((20, 3), 1e300),
        np.linspace(0, 1e-310, 60).reshape(20, 3),
        np.linspace(-1e200, 1e200, 60).reshape(20, 3),
    ],
    ids=["zero", "one row", "huge", "tiny", "wide"],
)
def test_odd_columns_give_finite_weights(rows):
    network = drawn(rows, (3, 8, 2))
    assert network.is_finite()


def test_the_first_call_of_partial_fit_draws_and_later_ones_go_on():
    model = MLPClassifier((6,), initialization="data", random_state=0, learning_rate_init=1e-9)
    model.partial_fit(X[:50], Y[:50], classes=[0, 1, 2])
    first = model.coefs_[0].copy()
    np.testing.assert_allclose(first, drawn(X[:50], (4, 6, 3)).coefs[0], atol=1e-6)
    model.partial_fit(X[50:], Y[50:])
    np.testing.assert_allclose(model.coefs_[0], first, atol=1e-6)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_every_solver_learns_from_weights_for_the_data(solver):
    rate = 0.1 if solver == "sgd" else 0.01
    model = MLPClassifier(
        (20,), initialization="data", solver=solver, learning_rate_init=rate, random_state=0
    )
    assert model.fit(X, Y).score(X, Y) > 0.9


def test_a_network_without_hidden_layers_begins_at_zero():
    assert not any(each.any() for each in drawn(X, (4, 3)).arrays())


@pytest.mark.parametrize("initialization", NAMES)
@pytest.mark.parametrize("is_fitted", [False, True])
def test_gradients_are_right_before_and_after_a_fit(initialization, is_fitted):
    model = MLPClassifier(
        (5,), activation="tanh", initialization=initialization, random_state=0, max_iter=3
    )
    assert check_gradient(model.fit(X, Y) if is_fitted else model, X, Y) < 1e-7


def test_it_is_a_parameter_like_any_other():
    model = MLPClassifier((5,), max_iter=5, random_state=0)
    search = GridSearchCV(model, {"initialization": NAMES}).fit(X, Y)
    assert search.cv_results_["rank_test_score"].size == len(NAMES)
    fitted = model.set_params(initialization="data").fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    assert again.initialization == clone(fitted).initialization == "data"
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))
    with pytest.raises(ValueError, match="'initialization' parameter of MLPClassifier must be"):
        clone(model).set_params(initialization="normal").fit(X, Y)


def test_scikit_learn_has_no_counterpart():
    fitted = MLPClassifier((5,), max_iter=5, random_state=0, initialization="data").fit(X, Y)
    with pytest.raises(ValueError, match="no initialization; got 'data'"):
        to_sklearn(fitted)
    theirs = to_sklearn(fitted.set_params(initialization="glorot"))
    np.testing.assert_allclose(theirs.predict_proba(X), fitted.predict_proba(X), rtol=1e-9)
