"""`precision`: the type of a model, whatever the type of its data."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TYPES = ["float32", "float64"]
DIGITS = load_digits(return_X_y=True)
X, Y = DIGITS[0][:300] / 16, DIGITS[1][:300]
FIRST = {"fit": {}, "partial_fit": {"classes": range(10)}}  # of a first call
OPTIONS = {"hidden_layer_sizes": (12, 7), "max_iter": 4, "random_state": 0}


def same(one, other):
    arrays = zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True)
    return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)


def classifier(**options):
    return MLPClassifier(**OPTIONS | options)


@pytest.mark.parametrize("kind", [np.asarray, csr_matrix])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "sgd"}])
def test_a_fit_is_that_of_converted_data(options, dtype, kind):
    data = kind(X)
    model = classifier(precision=dtype, **options).fit(data, Y)
    expected = classifier(**options).fit(data.astype(dtype), Y)
    assert model.coefs_[0].dtype == dtype and same(model, expected)
    assert model.loss_curve_ == expected.loss_curve_
    probabilities = model.predict_proba(data)
    assert probabilities.dtype == dtype
    np.testing.assert_array_equal(probabilities, expected.predict_proba(data.astype(dtype)))


@pytest.mark.parametrize("given", [*TYPES, "int64"])
def test_none_leaves_the_choice_to_the_data(given):
    model = classifier().fit((16 * X).astype(given), Y)
    assert model.coefs_[0].dtype == ("float32" if given == "float32" else "float64")


@pytest.mark.parametrize("dtype", TYPES)
def test_a_regressor_has_the_type_too(dtype):
    features, target = load_diabetes(return_X_y=True)
    model = MLPRegressor(**OPTIONS, precision=dtype).fit(features, target)
    expected = MLPRegressor(**OPTIONS).fit(features.astype(dtype), target)
    assert model.predict(features).dtype == dtype and same(model, expected)


@pytest.mark.parametrize("dtype", TYPES)
def test_lbfgs_trains_in_float64_and_rounds_its_result(dtype):
    model = classifier(solver="lbfgs", precision=dtype).fit(X, Y)
    expected = classifier(solver="lbfgs").fit(X.astype(dtype), Y)
    for own, other in zip(model.coefs_, expected.coefs_, strict=True):
        assert own.dtype == dtype
        np.testing.assert_allclose(own, other, rtol=1e-6)


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_of_another_type_continue_a_model(dtype):
    other = "float64" if dtype == "float32" else "float32"
    model, expected = classifier(precision=dtype), classifier()
    for start in range(0, 300, 50):
        rows, labels = X[start : start + 50], Y[start : start + 50]
        rows = rows.astype("float32")
        model.partial_fit(rows.astype(other), labels, classes=range(10))
        expected.partial_fit(rows.astype(dtype), labels, classes=range(10))
    assert same(model, expected)


@pytest.mark.parametrize("change", [{"precision": "float64"}, {"precision": None}])
@pytest.mark.parametrize("method", ["partial_fit", "fit"])
def test_a_model_continues_in_the_type_that_is_asked_for_now(method, change):
    options = {"warm_start": method == "fit"}
    model = getattr(classifier(precision="float32", **options), method)(X, Y, **FIRST[method])
    unchanged = deepcopy(model)
    for each in (model.set_params(**change), unchanged):
        getattr(each, method)(X, Y)
    assert model.coefs_[0].dtype == (change["precision"] or "float32")
    for own, other in zip(model.coefs_, unchanged.coefs_, strict=True):
        np.testing.assert_allclose(own, other, atol=1e-4)
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.filterwarnings("ignore:overflow")
def test_values_beyond_the_type_are_an_error_that_changes_nothing():
    model = classifier(precision="float32").fit(X, Y)
    before = pickle.dumps(model.coefs_)
    huge = X.copy()
    huge[3, 5] = 1e39
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="too large for dtype"):
            call(huge, Y)
    assert pickle.dumps(model.coefs_) == before
    assert classifier(precision="float64").fit(huge, Y).coefs_[0].dtype == "float64"


def test_the_type_travels_with_clones_pickles_pipelines_and_searches():
    model = classifier(precision="float32").fit(X, Y)
    assert clone(model).precision == "float32"
    assert same(pickle.loads(pickle.dumps(model)), model)
    pipeline = make_pipeline(StandardScaler(), model)
    search = GridSearchCV(pipeline, {"mlpclassifier__precision": TYPES}, cv=2).fit(X, Y)
    chosen = search.best_params_["mlpclassifier__precision"]
    assert search.predict_proba(X).dtype == chosen


def test_gradients_are_checked_in_float64():
    model = classifier(precision="float32", hidden_layer_sizes=(3,), activation="tanh")
    assert check_gradient(model, X[:20, 20:30], Y[:20]) < 1e-7


def test_scikit_learn_gets_the_weights_as_they_are():
    exported = to_sklearn(classifier(precision="float32").fit(X, Y))
    assert exported.coefs_[0].dtype == "float32"


@pytest.mark.parametrize("wrong", ["half", "float16", np.float32, 32, True])
def test_other_types_are_refused(wrong):
    with pytest.raises(InvalidParameterError, match="'precision'"):
        classifier(precision=wrong).fit(X, Y)
