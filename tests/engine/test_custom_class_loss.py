"""CustomLoss for classifiers: the chain rule through softmax and logistic outputs."""

import math
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

from fastmlp import CustomLoss, MLPClassifier
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_c, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, SPECIES = load_iris(return_X_y=True)
TARGETS = {
    "two classes": (SPECIES > 0).astype(int),
    "three classes": SPECIES,
    "several labels": np.column_stack([SPECIES > 0, SPECIES > 1, X[:, 0] > 6]).astype(int),
}


def half_square(y, a):
    return (a - y) ** 2 / 2


def error(y, a):
    return a - y


def binary_log_loss(y, a):
    return -y * math.log(a) - (1 - y) * math.log(1 - a)


def binary_error(y, a):
    return (a - y) / (a * (1 - a))


def one_sided_log_loss(y, a):
    return -y * math.log(a)


def one_sided_error(y, a):
    return -y / a


def focal(y, a):
    return -y * (1 - a) ** 2 * math.log(a) - (1 - y) * a**2 * math.log(1 - a)


def focal_derivative(y, a):
    true = 2 * (1 - a) * math.log(a) - (1 - a) ** 2 / a
    return y * true - (1 - y) * (2 * a * math.log(1 - a) - a**2 / (1 - a))


BRIER = CustomLoss(half_square, error)
BINARY = CustomLoss(binary_log_loss, binary_error)
CROSS_ENTROPY = CustomLoss(one_sided_log_loss, one_sided_error)
FOCAL = CustomLoss(focal, focal_derivative)


def quick(loss, **parameters):
    defaults = dict(hidden_layer_sizes=(9, 5), max_iter=8, random_state=0)
    return MLPClassifier(loss=loss, **defaults | parameters)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"solver": "lbfgs"}], ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_a_network_is_the_one_with_the_same_loss_by_name(kind, options):
    pairs = [(BRIER, "squared_error")]
    pairs.append((CROSS_ENTROPY if kind == "three classes" else BINARY, "log_loss"))
    weight = np.arange(150) % 5 + 1.0
    for own, name in pairs:
        ours, theirs = (
            quick(loss, **options).fit(X, TARGETS[kind], weight) for loss in (own, name)
        )
        np.testing.assert_allclose(
            ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-9
        )
        assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)


@pytest.mark.parametrize("own", [BRIER, BINARY, CROSS_ENTROPY, FOCAL], ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_the_gradient_is_right(own, kind):
    rows = slice(40, 110, 3)
    for smoothing in (0.0, 0.2):
        model = quick(own, hidden_layer_sizes=(4,), activation="tanh", label_smoothing=smoothing)
        y = TARGETS[kind][rows]
        assert check_gradient(model, X[rows], y, np.arange(len(y)) + 1.0) < 1e-7


@pytest.mark.parametrize("kind", TARGETS)
def test_validation_computes_it_too(kind):
    options = dict(early_stopping=True, scoring="loss")
    for given in ({}, {"X_val": X, "y_val": TARGETS[kind]}):
        ours, theirs = (
            quick(loss, **options).fit(X, TARGETS[kind], **given)
            for loss in (BRIER, "squared_error")
        )
        np.testing.assert_allclose(
            ours.validation_loss_curve_, theirs.validation_loss_curve_, rtol=1e-8
        )


@pytest.mark.parametrize("kind", TARGETS)
def test_a_reported_loss_is_the_mean_of_sums_over_the_outputs(kind):
    y = TARGETS[kind]
    model = quick(FOCAL, learning_rate_init=1e-30, alpha=0).fit(X, y)
    a = model.predict_proba(X)
    if kind == "two classes":
        a = a[:, 1:]
    targets = np.eye(3)[y] if kind == "three classes" else y.reshape(len(y), -1)
    exact = -targets * (1 - a) ** 2 * np.log(a) - (1 - targets) * a**2 * np.log(1 - a)
    assert model.loss_ == pytest.approx(exact.sum(axis=1).mean(), rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_do_not_depend_on_threads(dtype, monkeypatch):
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD", 1)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD_OF_FIT", 1)
    one, *others = (
        quick(FOCAL, n_jobs=n_jobs, batch_size=64).fit(X.astype(dtype), SPECIES)
        for n_jobs in (1, 2, 3)
    )
    for model in others:
        assert model.loss_curve_ == one.loss_curve_
        for ours, theirs in zip(model.coefs_, one.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("own", [BINARY, CROSS_ENTROPY, FOCAL], ids=str)
def test_certain_outputs_have_finite_losses(own, dtype):
    model = quick(own, solver="sgd", learning_rate_init=50.0, momentum=0, alpha=0, max_iter=20)
    model.fit(X.astype(dtype), SPECIES)
    assert np.isin(model.predict_proba(X.astype(dtype)), (0, 1)).any()
    assert np.isfinite(model.loss_curve_).all()


def test_clones_pickles_searches_and_partial_fit():
    model = quick(FOCAL, class_weight="balanced").fit(X, SPECIES)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(clone(model).fit(X, SPECIES).predict_proba(X), expected)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(X), expected)
    assert copied.loss == FOCAL
    search = GridSearchCV(quick(FOCAL), {"loss": [FOCAL, "log_loss", BRIER]}, cv=2)
    assert len(search.fit(X, SPECIES).cv_results_["params"]) == 3
    ours, theirs = quick(BRIER), quick("squared_error")
    for _ in range(3):
        ours.partial_fit(X, SPECIES, classes=range(3))
        theirs.partial_fit(X, SPECIES, classes=range(3))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)


def test_scikit_learn_refuses_it_by_name_and_predictions_are_exported():
    model = quick(FOCAL).fit(X, SPECIES)
    with pytest.raises(ValueError, match=r"CustomLoss\(focal\)"):
        to_sklearn(model)
    assert "predict" in to_c(model)
