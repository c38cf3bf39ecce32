"""`precision="bfloat16"`: models, options and errors; tests/engine/test_bfloat16.py has kernels."""

import pickle
import warnings
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import EfficiencyWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPAutoencoder, MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp._engine.jit.target import target
from fastmlp._engine.kernels import activations
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._estimator import parameters
from fastmlp._training import sgd
from fastmlp.inspection import check_gradient, hidden_activations, input_gradient
from fastmlp.interop import to_onnx, to_sklearn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.EfficiencyWarning"),
]

DIGITS = load_digits(return_X_y=True)
X, Y = (DIGITS[0][:400] / 16).astype(np.float32), DIGITS[1][:400]
FIRST = {"fit": {}, "partial_fit": {"classes": range(10)}}  # of a first call
OPTIONS = {"hidden_layer_sizes": (24, 11), "max_iter": 5, "random_state": 0}


def classifier(**options):
    return MLPClassifier(**OPTIONS | {"precision": "bfloat16"} | options)


def distance(one, other):
    """|one - other| / |other| over all arrays of two lists."""
    flat = [np.concatenate([each.ravel() for each in arrays]) for arrays in (one, other)]
    return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def gradients(kind, dtype, precision, **options):
    """The gradient of all digits: minus the change of the weights by a step of rate 1."""
    features = (DIGITS[0] / 16).astype(dtype)
    y = DIGITS[1] if kind is MLPClassifier else features[:, 10:13] + 1
    options |= {"solver": "sgd", "momentum": 0, "batch_size": len(y), "max_iter": 1, "alpha": 0}
    options |= {"hidden_layer_sizes": (30, 20), "precision": precision, "random_state": 0}
    before, after = (
        kind(learning_rate_init=rate, **options).fit(features, y).coefs_ for rate in (1e-30, 1.0)
    )
    return [a.astype(np.float64) - b for a, b in zip(before, after, strict=True)]


LOSSES = [
    *[(MLPClassifier, {"loss": loss}) for loss in ("log_loss", "squared_error")],
    (MLPClassifier, {"label_smoothing": 0.1}),
    *[
        (MLPRegressor, {"loss": loss})
        for loss in ("squared_error", "poisson", "absolute_error", "huber", "quantile")
    ],
]


@pytest.mark.parametrize("activation", sorted(activations.CODES))
def test_gradients_are_those_of_float64_to_2_percent_for_each_activation(activation):
    exact = gradients(MLPClassifier, np.float64, None, activation=activation)
    got = gradients(MLPClassifier, np.float32, "bfloat16", activation=activation)
    assert 1e-5 < distance(got, exact) < 0.02


@pytest.mark.parametrize("kind, options", LOSSES, ids=str)
def test_gradients_are_those_of_float64_to_2_percent_for_each_loss(kind, options):
    exact = gradients(kind, np.float64, None, activation="tanh", **options)
    got = gradients(kind, np.float32, "bfloat16", activation="tanh", **options)
    assert 1e-5 < distance(got, exact) < 0.02


EVERY_OPTION = [
    {"dropout": 0.2}, {"max_grad_norm": 0.5}, {"class_weight": "balanced"}, {"alpha": 0.1},
    {"early_stopping": True, "restore_best_weights": True}, {"solver": "sgd"},
    {"solver": "adamw", "weight_decay": 0.1}, {"learning_rate": "one_cycle"},
    {"frozen_layers": [0]}, {"frozen_layers": [1]}, {"batch_size": 400}, {"batch_size": 13},
    {"shuffle": False}, {"hidden_layer_sizes": ()}, {"hidden_layer_sizes": (1,)},
    {"hidden_layer_sizes": (7, 300, 5)}, {"activation": ["tanh", "gelu"]}, {"initialization": "he"},
]  # fmt: skip


@pytest.mark.parametrize("options", EVERY_OPTION, ids=str)
def test_a_model_with_any_option_is_near_that_of_float32(options):
    ours, theirs, begun = (
        classifier(precision=precision, learning_rate_init=rate, **options).fit(X, Y)
        for precision, rate in (("bfloat16", 1e-3), ("float32", 1e-3), ("float32", 1e-30))
    )
    assert ours.coefs_[0].dtype == np.float32
    moved = distance(begun.coefs_, theirs.coefs_)
    assert 0 < distance(ours.coefs_, theirs.coefs_) < 0.1 * moved
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=0.01)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=0.03)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.2, "max_grad_norm": 1.0}])
def test_models_do_not_depend_on_the_number_of_threads(options, monkeypatch):
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD", 1)
    monkeypatch.setattr(sgd, "FLOPS_PER_THREAD_OF_FIT", 1)
    one, two = (classifier(n_jobs=n_jobs, **options).fit(X, Y) for n_jobs in (1, 2))
    for ours, theirs in zip(one.coefs_, two.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_partial_fit_goes_on_as_fit_does():
    model, whole = classifier(shuffle=False, batch_size=50), classifier(shuffle=False)
    for _ in range(2):
        model.partial_fit(X, Y, classes=range(10))
    whole.set_params(batch_size=50, max_iter=2).fit(X, Y)
    assert distance(model.coefs_, whole.coefs_) < 1e-6


def test_a_copy_predicts_the_same_bytes():
    model = classifier().fit(X, Y)
    expected = model.predict_proba(X)
    for copy in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        np.testing.assert_array_equal(copy.predict_proba(X), expected)
        np.testing.assert_array_equal(copy.predict_proba(X[7:8]), expected[7:8])
    assert clone(model).precision == "bfloat16"
    replaced = deepcopy(model)
    replaced.coefs_ = [each.copy() for each in model.coefs_]
    np.testing.assert_array_equal(replaced.predict_proba(X), expected)
    changed = deepcopy(model)
    changed.coefs_[0][...] *= 2  # weights are packed anew for each prediction
    assert not np.array_equal(changed.predict_proba(X), expected)


def test_float64_data_and_models_are_taken_over():
    model = classifier().fit(X.astype(np.float64), Y)
    np.testing.assert_array_equal(model.coefs_[0], classifier().fit(X, Y).coefs_[0])
    assert model.predict_proba(X.astype(np.float64)).dtype == np.float32
    double = classifier(precision=None).fit(X.astype(np.float64), Y)
    before = deepcopy(double)
    double.set_params(precision="bfloat16").partial_fit(X, Y)
    before.partial_fit(X, Y)
    assert double.coefs_[0].dtype == np.float32
    assert 0 < distance(double.coefs_, before.coefs_) < 0.01


def test_pipelines_and_searches_take_it():
    pipeline = make_pipeline(StandardScaler(), classifier(learning_rate_init=0.05))
    grid = {"mlpclassifier__precision": ["bfloat16", "float32"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, Y)
    scores = search.cv_results_["mean_test_score"]
    assert scores.min() > 0.5 and abs(scores[0] - scores[1]) < 0.05


def test_activations_of_ones_own_work():
    swish = CustomActivation(
        lambda z: z / (1 + np.exp(-z)),
        lambda z: (1 + z * (1 - 1 / (1 + np.exp(-z)))) / (1 + np.exp(-z)),
    )
    own, built_in = classifier(activation=swish).fit(X, Y), classifier(activation="silu").fit(X, Y)
    assert distance(own.coefs_, built_in.coefs_) < 1e-3


def test_what_explains_and_exports_a_model_takes_it():
    to_array = pytest.importorskip("onnx.numpy_helper").to_array
    model = classifier(activation="tanh").fit(X, Y)
    single = clone(model).set_params(precision="float32").fit(X, Y)
    single.coefs_ = [each.copy() for each in model.coefs_]
    single.intercepts_ = [each.copy() for each in model.intercepts_]
    np.testing.assert_allclose(
        hidden_activations(model, X), hidden_activations(single, X), atol=0.02
    )
    assert distance([input_gradient(model, X)], [input_gradient(single, X)]) < 0.02
    assert check_gradient(classifier(hidden_layer_sizes=(3,)), X[:20], Y[:20]) < 1e-6
    np.testing.assert_allclose(
        to_sklearn(model).predict_proba(X), single.predict_proba(X), rtol=1e-4, atol=1e-6
    )
    weights = to_array(next(each for each in to_onnx(model).graph.initializer if each.dims[0] > 1))
    np.testing.assert_array_equal(weights, model.coefs_[0])


@pytest.mark.parametrize("kind", [MLPAutoencoder, MLPRegressor])
def test_other_estimators_take_it(kind):
    y = () if kind is MLPAutoencoder else (X[:, 30],)
    ours, theirs = (
        kind(hidden_layer_sizes=(20, 8, 20), max_iter=5, random_state=0, precision=precision).fit(
            X, *y
        )
        for precision in ("bfloat16", "float32")
    )
    assert 0 < distance(ours.coefs_, theirs.coefs_) < 0.02
    if kind is MLPRegressor:
        ours, theirs = (MLPTransformer(each).fit(X, *y) for each in (ours, theirs))
    got, expected = ours.transform(X), theirs.transform(X)
    assert 0 < distance([got], [expected]) < 0.02


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sparse_data_are_refused_by_name(method):
    with pytest.raises(ValueError, match="precision='bfloat16' takes dense X only"):
        getattr(classifier(), method)(csr_array(X), Y, **FIRST[method])
    model = classifier().fit(X, Y)
    assert not model.__sklearn_tags__().input_tags.sparse
    model.partial_fit(X, Y)
    for again in (model, model.set_params(alpha=0.1)):  # with and without what a call has left
        with pytest.raises(ValueError, match="dense X only"):
            again.partial_fit(csr_array(X), Y)
    with pytest.raises(ValueError, match="dense X only"):
        model.predict(csr_array(X))
    with pytest.raises(ValueError, match="dense X only"):
        model.fit(X, Y, X_val=csr_array(X[:50]), y_val=Y[:50])
    assert model.fit(X, Y).score(X, Y) == classifier(alpha=0.1).fit(X, Y).score(X, Y)


def test_wide_sparse_rows_do_not_continue_a_model_in_another_precision():
    wide = csr_array((Y.astype(float), (np.arange(400), np.arange(400))), shape=(400, 9000))
    model = classifier(precision="float32").partial_fit(wide, Y, classes=range(10))
    before = [each.copy() for each in model.coefs_]
    with pytest.raises(ValueError, match="precision='bfloat16' takes dense X only"):
        model.set_params(precision="bfloat16").partial_fit(wide, Y)
    for kept, coef in zip(before, model.coefs_, strict=True):
        np.testing.assert_array_equal(kept, coef)


def test_lbfgs_is_refused_by_name():
    with pytest.raises(ValueError, match="'lbfgs' does not support precision='bfloat16'"):
        classifier(solver="lbfgs").fit(X, Y)


@pytest.mark.parametrize("has_it", [True, False])
def test_a_warning_tells_when_it_saves_no_time(has_it, monkeypatch):
    found = replace(target(), has_bfloat16=has_it)
    monkeypatch.setattr(parameters, "target", lambda: found)
    if has_it:
        with warnings.catch_warnings():
            warnings.simplefilter("error", EfficiencyWarning)
            classifier().fit(X, Y)
        return
    with pytest.warns(EfficiencyWarning, match="saves no time on this processor"):
        classifier().fit(X, Y)
    model = classifier()
    with pytest.warns(EfficiencyWarning):
        model.partial_fit(X, Y, classes=range(10))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_fit(X, Y)


@pytest.mark.slow
def test_it_costs_no_accuracy_on_digits():
    scores = {"bfloat16": [], "float32": []}
    for seed in range(5):
        train, test, y_train, y_test = train_test_split(
            DIGITS[0] / 16, DIGITS[1], random_state=seed, stratify=DIGITS[1]
        )
        for precision, found in scores.items():
            model = MLPClassifier((64,), max_iter=40, random_state=seed, precision=precision)
            found.append(model.fit(train, y_train).score(test, y_test))
    assert abs(np.mean(scores["bfloat16"]) - np.mean(scores["float32"])) < 0.005
