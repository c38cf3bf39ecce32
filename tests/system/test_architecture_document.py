"""The NumPy step of the engine's document computes what the kernels compute."""

import numpy as np
import pytest
from recipes import recipe
from sklearn.datasets import load_iris

import fastmlp._engine
from fastmlp import MLPClassifier

MOST_LINES = 60
RATE, ALPHA = 0.01, 0.1
TINY = 1e-300  # a learning rate that changes no weight: it shows the initial ones


def one_batch(n_samples, rate):
    """A model whose partial_fit makes one step on all samples, in their order."""
    return MLPClassifier(
        (7, 5),
        "tanh",
        alpha=ALPHA,
        batch_size=n_samples,
        learning_rate_init=rate,
        shuffle=False,
        random_state=0,
    )


def test_the_step_is_short():
    code = recipe(fastmlp._engine.__doc__, "The step in NumPy")
    assert len(code.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("steps", [1, 3])
def test_the_step_is_that_of_the_kernels(steps):
    X, y = load_iris(return_X_y=True)
    document = {}
    exec(recipe(fastmlp._engine.__doc__, "The step in NumPy"), document)
    initial = one_batch(len(X), TINY).partial_fit(X, y, classes=range(3))
    W = [np.array(coef) for coef in initial.coefs_]
    b = [np.array(intercept) for intercept in initial.intercepts_]
    moments = [(np.zeros_like(each), np.zeros_like(each)) for each in W + b]
    model = one_batch(len(X), RATE)
    for t in range(1, steps + 1):
        loss = document["train_step"](X, y, W, b, moments, t, RATE, ALPHA)
        model.partial_fit(X, y, classes=range(3))
        np.testing.assert_allclose(model.loss_, loss, rtol=1e-12)
    for got, expected in zip(model.coefs_ + model.intercepts_, W + b, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    a = document["forward"](X, W, b)
    np.testing.assert_allclose(model.predict_proba(X), a[-1], rtol=1e-12)


def test_a_wrong_step_is_told_from_the_kernels():
    """The comparison above would see a derivative that is missing."""
    code = recipe(fastmlp._engine.__doc__, "The step in NumPy")
    with pytest.raises(AssertionError):
        wrong = code.replace("1 - a[l] ** 2", "1")
        assert wrong != code
        original = fastmlp._engine.__doc__
        try:
            fastmlp._engine.__doc__ = original.replace(code, wrong)
            test_the_step_is_that_of_the_kernels(1)
        finally:
            fastmlp._engine.__doc__ = original
