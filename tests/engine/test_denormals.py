"""Numbers too small for full precision: zeros in training on x86, themselves everywhere else."""

import platform

import numpy as np
import pytest

from fastmlp import MLPRegressor

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")
DTYPES = np.float32, np.float64
IDLE = slice(2, None)  # inputs that are always zero
FIRST = 20  # steps of the fit that tells how many more there are to the denormals

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer. Maximum iterations")


def data(dtype):
    X = np.random.RandomState(0).rand(40, 60).astype(dtype)
    X[:, IDLE] = 0  # their weights change by their penalty alone
    return X, X.sum(axis=1)


def halved(dtype, steps, n_jobs=None):
    """Weights (n_in, 6) after so many steps, each of which has halved those of the idle inputs."""
    X, y = data(dtype)
    model = MLPRegressor(
        hidden_layer_sizes=(6,), activation="tanh", solver="sgd", momentum=0, batch_size=40,
        alpha=400, learning_rate_init=0.05, max_iter=steps, tol=0, n_iter_no_change=steps,
        random_state=0, n_jobs=n_jobs,
    )  # fmt: skip
    return model.fit(X, y).coefs_[0]


def steps_to_denormals(dtype):
    """After how many steps the first idle weight is about to become denormal, and the last."""
    left = np.log2(np.abs(halved(dtype, FIRST)[IDLE])) - np.log2(np.finfo(dtype).tiny)
    return FIRST + int(left.min()), FIRST + int(left.max())


def is_denormal(array):
    return (array != 0) & (np.abs(array) < np.finfo(array.dtype).tiny)


@pytest.mark.skipif(not ON_X86, reason="only x86 processors are told to take them as zeros")
@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_that_shrink_for_ever_do_not_become_denormal(dtype):
    first, last = steps_to_denormals(dtype)
    assert (halved(dtype, first)[IDLE] != 0).all()
    for steps in (first + 2, (first + last) // 2, last + 1):
        assert not is_denormal(halved(dtype, steps)).any()
    # Without fused multiply-adds the penalty is a zero before the weight is.
    assert (np.abs(halved(dtype, steps)[IDLE]) < 4 * np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_thread_takes_denormals_alike(dtype, every_thread_works):
    _, last = steps_to_denormals(dtype)
    for steps in (last - 2, last + 2):
        expected = halved(dtype, steps, n_jobs=1)
        for n_jobs in (2, 3):
            np.testing.assert_array_equal(halved(dtype, steps, n_jobs), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_denormals_are_kept_again_after_a_fit(dtype):
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
