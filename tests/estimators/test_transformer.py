"""MLPTransformer: a hidden layer as a step of scikit-learn's tools."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp.inspection import hidden_activations
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)


def quick(hidden=(8, 3), **parameters):
    defaults = dict(tol=0.01, learning_rate_init=0.02, random_state=0)
    return MLPClassifier(hidden, "tanh", **defaults | parameters)


FITTED = quick().fit(X, Y)


# The checks pass `classes` to the partial_fit of classifiers only. With 'lbfgs' there is none.
@parametrize_with_checks(
    [
        MLPTransformer(MLPClassifier((5,), solver="lbfgs", max_iter=20, random_state=0)),
        MLPTransformer(MLPRegressor("huber", (5, 4), max_iter=5, random_state=0), layer=0),
    ]
)
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("layer", [-2, -1, 0, 1])
def test_it_transforms_into_the_hidden_layer_of_a_clone(layer):
    estimator = quick()
    transformer = MLPTransformer(estimator, layer).fit(X, Y)
    assert not hasattr(estimator, "coefs_")
    expected = hidden_activations(FITTED, X, layer)
    np.testing.assert_array_equal(transformer.transform(X), expected)
    np.testing.assert_array_equal(clone(transformer).fit_transform(X, Y), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(transformer)).transform(X), expected)


def test_another_layer_may_be_chosen_after_the_fit():
    transformer = MLPTransformer(quick()).fit(X, Y)
    assert transformer.transform(X).shape == (150, 3)
    assert transformer.set_params(layer=0).transform(X).shape == (150, 8)
    assert len(transformer.get_feature_names_out()) == 8


def test_columns_have_names_and_frames_keep_their_index():
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(150) + 7)
    transformer = MLPTransformer(quick()).set_output(transform="pandas").fit(frame, Y)
    result = transformer.transform(frame)
    names = ["mlptransformer0", "mlptransformer1", "mlptransformer2"]
    assert list(result.columns) == list(transformer.get_feature_names_out()) == names
    assert (result.index == frame.index).all()
    assert list(transformer.feature_names_in_) == list("abcd") and transformer.n_features_in_ == 4
    assert not hasattr(transformer.fit(X, Y), "feature_names_in_")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_type_of_the_data_is_kept(dtype):
    assert MLPTransformer(quick()).fit_transform(X.astype(dtype), Y).dtype == dtype


def test_it_stands_in_pipelines_unions_and_searches():
    union = FeatureUnion([("hidden", MLPTransformer(quick())), ("raw", "passthrough")])
    model = make_pipeline(StandardScaler(), union, LogisticRegression()).fit(X, Y)
    assert model[:-1].transform(X).shape == (150, 7)
    assert model[:-1].get_feature_names_out()[:2].tolist() == [
        "hidden__mlptransformer0", "hidden__mlptransformer1",
    ]  # fmt: skip
    pipeline = make_pipeline(MLPTransformer(quick()), KNeighborsClassifier())
    assert cross_val_score(pipeline, X, Y, cv=3).min() > 0.85
    grid = {
        "mlptransformer__layer": [0, 1],
        "mlptransformer__estimator__activation": ["tanh", "relu"],
    }
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.85
    assert set(search.best_params_) == set(grid)


@pytest.mark.parametrize("estimator", [FITTED, FrozenEstimator(FITTED)], ids=["plain", "frozen"])
def test_a_model_that_is_fitted_already_is_copied(estimator):
    expected = hidden_activations(FITTED, X)
    transformer = MLPTransformer(estimator, prefit=True)
    for _ in range(2):  # before fit and after
        np.testing.assert_array_equal(transformer.transform(X), expected)
        assert len(transformer.get_feature_names_out()) == 3
        transformer.fit(X)
    transformer.partial_fit(X, Y)
    np.testing.assert_array_equal(transformer.transform(X), expected)
    assert transformer.n_features_in_ == 4
    assert transformer.estimator is estimator and transformer.estimator_ is not FITTED


def test_a_frozen_model_survives_cloning():
    pipeline = make_pipeline(MLPTransformer(FrozenEstimator(FITTED)), LogisticRegression())
    assert cross_val_score(pipeline, X, Y, cv=3).min() > 0.85
    np.testing.assert_array_equal(
        clone(pipeline).fit(X, Y)[:-1].transform(X), hidden_activations(FITTED, X)
    )


def test_a_model_that_should_be_fitted_and_is_not():
    transformer = MLPTransformer(quick(), prefit=True)
    for method in (transformer.fit, transformer.partial_fit, transformer.transform):
        with pytest.raises(NotFittedError, match="expected to be a fitted estimator"):
            method(X)
    with pytest.raises(NotFittedError):
        MLPTransformer(FITTED).transform(X)


def test_partial_fit_goes_on_where_it_stopped():
    transformer, model = MLPTransformer(quick()), quick()
    for first in range(0, 150, 30):
        rows = slice(first, first + 30)
        transformer.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
        model.partial_fit(X[rows], Y[rows], classes=[0, 1, 2])
    np.testing.assert_array_equal(transformer.transform(X), hidden_activations(model, X))
    assert not hasattr(MLPTransformer(quick(solver="lbfgs")), "partial_fit")


def test_what_fit_takes_is_passed_on():
    weight = np.arange(150.0) + 1
    expected = hidden_activations(quick().fit(X, Y, weight), X)
    got = MLPTransformer(quick()).fit(X, Y, sample_weight=weight).transform(X)
    np.testing.assert_array_equal(got, expected)
    model = MLPTransformer(quick()).fit(X, Y, X_val=X, y_val=Y).estimator_
    assert len(model.validation_loss_curve_) == model.n_iter_


def test_metadata_are_routed_to_the_estimator():
    weight = np.arange(150.0) + 1
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(sample_weight=True)
        model.set_partial_fit_request(sample_weight=True, classes=True)
        got = make_pipeline(MLPTransformer(model)).fit(X, Y, sample_weight=weight).transform(X)
        transformer = MLPTransformer(model)
        for _ in range(2):
            transformer.partial_fit(X, Y, sample_weight=weight, classes=[0, 1, 2])
        with pytest.raises(TypeError, match="unexpected"):
            MLPTransformer(quick()).fit(X, Y, other=weight)
    np.testing.assert_array_equal(got, hidden_activations(quick().fit(X, Y, weight), X))
    assert transformer.estimator_.t_ == 300


def test_scikit_learns_perceptron_and_sparse_rows_will_do():
    theirs = SklearnMLPClassifier((8, 3), "tanh", max_iter=5, random_state=0)
    rows = csr_array(np.where(X > 0, X, 0))
    got = MLPTransformer(theirs).fit(rows, Y).transform(rows)
    ours = MLPTransformer(quick(max_iter=5, learning_rate_init=0.001)).fit(rows, Y).transform(rows)
    np.testing.assert_allclose(got, ours, rtol=1e-8)


def test_a_bad_layer_is_an_error_before_a_long_fit():
    transformer = MLPTransformer(quick(max_iter=10**9, n_iter_no_change=np.inf), layer=2)
    for method in (transformer.fit, transformer.partial_fit):
        with pytest.raises(ValueError, match=r"layer=2 is out of range: .* 2 hidden layers"):
            method(X, Y)
    with pytest.raises(ValueError, match="no hidden layers"):
        MLPTransformer(quick(())).fit(X, Y)
    with pytest.raises(ValueError, match="layer=-3 is out of range"):
        MLPTransformer(FITTED, -3, prefit=True).fit(X)
    with pytest.raises(ValueError, match="layer=5 is out of range"):
        MLPTransformer(SklearnMLPClassifier((3,), max_iter=1), 5).fit(X, Y)


def test_another_estimator_is_refused():
    with pytest.raises(TypeError, match="multilayer perceptron, got LogisticRegression"):
        MLPTransformer(LogisticRegression()).fit(X, Y)
    with pytest.raises(ValueError, match="'estimator' parameter of MLPTransformer"):
        MLPTransformer("tanh").fit(X, Y)
    with pytest.raises(ValueError, match="'layer' parameter of MLPTransformer"):
        MLPTransformer(quick(), "last").fit(X, Y)


def test_a_fit_that_fails_leaves_the_last_one():
    transformer = MLPTransformer(quick()).fit(X, Y)
    expected = transformer.transform(X)
    with pytest.raises(ValueError):
        transformer.fit(X * np.nan, Y)
    np.testing.assert_array_equal(transformer.transform(X), expected)


def test_scikit_learn_has_no_counterpart():
    for model in (MLPTransformer(quick()), make_pipeline(MLPTransformer(quick()))):
        with pytest.raises(ValueError, match="no counterpart of MLPTransformer"):
            to_sklearn(model.fit(X, Y))
