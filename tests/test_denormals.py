"""Numbers too small for full precision: zeros in training on x86, themselves everywhere else."""

import platform

import numpy as np
import pytest

from fastmlp import MLPClassifier, MLPRegressor

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
DTYPES = np.float32, np.float64
FIRST = 20  # steps of the fit that tells how many more there are to the denormals

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")


def data(dtype):
    X = np.random.RandomState(0).rand(40, 5).astype(dtype)
    X[:, 2] = 0  # its weights change by their penalty alone
    return X, X.sum(axis=1)


def halved(dtype, steps):
    """A model after so many steps, each of which has halved the weights of input 2."""
    X, y = data(dtype)
    return MLPRegressor(
        hidden_layer_sizes=(6,), activation="tanh", solver="sgd", momentum=0, batch_size=40,
        alpha=400, learning_rate_init=0.05, max_iter=steps, tol=0, n_iter_no_change=steps,
        random_state=0,
    ).fit(X, y)  # fmt: skip


def is_denormal(array):
    return (array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)


@pytest.mark.skipif(not ON_X86, reason="other processors are not told to")
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_shrink_for_ever_do_not_become_denormal(dtype):
    sizes = np.abs(halved(dtype, FIRST).coefs_[0][2])
    left = np.log2(sizes) - np.log2(np.finfo(dtype).tiny)
    near = FIRST + int(left.min())
    assert (halved(dtype, near).coefs_[0][2] != 0).all()
    for steps in (near + 2, near + 12, FIRST + int(left.max()) + 1):
        assert not any(is_denormal(coef).any() for coef in halved(dtype, steps).coefs_)
    # Without fused multiply-adds the penalty is a zero before the weight is.
    assert (np.abs(halved(dtype, steps).coefs_[0][2]) < 4 * np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_thread_takes_denormals_alike(dtype, every_thread_works):
    X = np.random.RandomState(0).rand(60, 40).astype(dtype)
    X[:, ::3] *= np.finfo(dtype).tiny * 4
    weights = []
    for n_jobs in (1, 2, 3):
        model = MLPClassifier(
            (30, 20), solver="sgd", batch_size=20, alpha=1, learning_rate_init=0.1, max_iter=40,
            random_state=0, n_jobs=n_jobs,
        ).fit(X, X.argmax(axis=1) % 3)  # fmt: skip
        weights.append(np.concatenate([coef.ravel() for coef in model.coefs_]))
    np.testing.assert_array_equal(weights[1], weights[0])
    np.testing.assert_array_equal(weights[2], weights[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_are_themselves_again_after_a_fit(dtype):
    tiny = np.full(100, np.finfo(dtype).tiny)
    halved(dtype, FIRST)
    assert is_denormal(tiny / 4).all()
    assert is_denormal(tiny / 8 * 2).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_predictions_keep_denormals(dtype):
    X, y = data(dtype)
    model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=2, random_state=0).fit(X, y)
    model.coefs_[-1][...] = 0
    model.intercepts_[-1][...] = np.finfo(dtype).tiny / 4
    np.testing.assert_array_equal(model.predict(X), np.finfo(dtype).tiny / 4)
