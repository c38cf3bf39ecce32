"""Extreme sizes, extreme numbers, and memory."""

import gc
import subprocess
import sys
import weakref

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.optimizer import OptimizerState
from fastmlp._training.sgd import Descent

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`"),
]


def data(n_samples, n_features, n_classes=2, dtype=np.float64):
    random_state = np.random.RandomState(0)
    y = np.arange(n_samples) % n_classes
    return random_state.randn(n_samples, n_features).astype(dtype), y


@pytest.mark.parametrize(
    "n_samples, n_features, n_classes, hidden, batch_size",
    [
        (1, 3, 1, (4,), "auto"),
        (2, 1, 2, (4,), 1),
        (5, 1, 2, (1,), 100),
        (40, 3, 2, (1, 1, 1), 7),
        (40, 3, 3, (2,) * 50, 13),
        (2000, 20, 1000, (16,), 100),
        (50, 3, 2, (8192,), 25),
        (50, 8192, 2, (3,), 25),
        (60, 5, 7, (1030,), 60),
        (2100, 5, 3, (12, 9), 2100),
    ],
)
def test_any_size_gives_scikit_learns_model(n_samples, n_features, n_classes, hidden, batch_size):
    X, y = data(n_samples, n_features, n_classes)
    parameters = dict(hidden_layer_sizes=hidden, batch_size=batch_size, max_iter=2, random_state=0)
    ours = MLPClassifier(**parameters).fit(X, y)
    theirs = SklearnMLPClassifier(**parameters).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-8)
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_a_hundred_thousand_features_are_learned():
    X, y = data(30, 100_000, dtype=np.float32)
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(X, y)
    assert model.score(X, y) == 1


def test_rows_may_lie_further_apart_than_32_bits_count(tmp_path):
    """Seven rows in a sparse file of 6 GB: their offsets in bytes and in elements exceed 2**31."""
    row_bytes = 1 << 30
    file = np.memmap(
        tmp_path / "rows", dtype=np.float32, mode="w+", shape=(6 * row_bytes // 4 + 9,)
    )
    far = as_strided(file, shape=(7, 9), strides=(row_bytes, 4))
    near, y = data(7, 9, dtype=np.float32)
    far[...] = near
    parameters = dict(hidden_layer_sizes=(6,), max_iter=3, batch_size=3, random_state=0)
    expected = MLPClassifier(**parameters).fit(near, y)
    model = MLPClassifier(**parameters).fit(far, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(model.predict_proba(far), expected.predict_proba(near))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_and_tiny_numbers_never_give_a_silent_nan_model(dtype):
    X, y = data(60, 4, 3, dtype)
    for scale in (1e30, 1e15, 1e-30, np.finfo(dtype).smallest_subnormal):
        for solver in ("adam", "sgd", "lbfgs"):
            model = MLPClassifier((5,), solver=solver, max_iter=5, random_state=0)
            try:
                with np.errstate(all="ignore"):
                    model.fit((X * dtype(scale)).astype(dtype), y)
            except ValueError as error:
                assert "non-finite" in str(error)
                assert not hasattr(model, "coefs_")
            else:
                assert all(np.isfinite(coef).all() for coef in model.coefs_)


def test_constant_columns_and_denormal_inputs_train():
    X, _ = data(60, 4)
    y = X[:, 0] > 0
    X[:, 1] = 7.0
    X[:, 2] = 5e-324
    model = MLPClassifier((8,), max_iter=300, learning_rate_init=0.05, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8


def test_nothing_keeps_the_data_alive_after_a_fit():
    X, y = data(300, 20)
    weights = np.ones(300)
    for model in (MLPClassifier(max_iter=2), MLPRegressor(max_iter=2, early_stopping=True)):
        model.fit(X, y, weights)
        model.predict(X)
    references = [weakref.ref(array) for array in (X, weights)]
    gc.disable()
    try:
        del X, weights
        assert [reference() for reference in references] == [None, None]
    finally:
        gc.enable()


MEMORY = """
import sys, numpy as np
from fastmlp import MLPClassifier
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024
rows = 330_000
X = np.memmap(sys.argv[1], dtype=np.float32, mode="w+", shape=(rows, 784))
X[::1000] = np.random.RandomState(0).rand(330, 784)
y = (np.arange(rows) % 3).astype(np.int8)
MLPClassifier((4,), max_iter=1, random_state=0).fit(X[:1000], y[:1000])
peak, before = 0.0, anonymous()
from fastmlp._training.sgd import Descent
whole = Descent.epoch
def epoch(self):
    global peak
    loss = whole(self)
    peak = max(peak, anonymous())
    return loss
Descent.epoch = epoch
MLPClassifier((100,), max_iter=1, random_state=0).fit(X, y)
print(peak - before)
small, labels = np.array(X[::1000]), y[::1000]
model = MLPClassifier((10,), max_iter=1, random_state=0)
for repeat in range(100):
    model.fit(small, labels).predict(small)
before = anonymous()
for repeat in range(1000):
    model.fit(small, labels).predict(small)
print(anonymous() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux", reason="measures memory by /proc, which only Linux has"
)
def test_a_memory_map_is_not_loaded_and_fits_do_not_leak(tmp_path):
    """1 GB of rows add under 60 MB (page cache aside), 1000 fits under 5 MB."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEMORY, str(tmp_path / "rows")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    mapped, leaked = map(float, run.stdout.split())
    assert mapped < 60 and leaked < 5


def test_launches_of_a_tiny_network_are_short():
    X, y = np.zeros((50_000, 2)), np.zeros((50_000, 1))
    network = Network([2, 1, 1], np.float64)
    model = MLPRegressor(hidden_layer_sizes=(1,), batch_size=1)
    settings = settings_of(model, 1)
    state = OptimizerState.begin(network, settings)
    descent = Descent(network, settings, "identity", X, y, None, state)
    assert descent.workspace.job["cursor"]["blocks"] <= 20_000


def test_an_order_of_any_integers_and_an_epsilon_of_zero_are_taken():
    X, y = np.random.RandomState(0).rand(50, 3).astype(np.float32), np.zeros((50, 1), np.float32)
    results = []
    for kind in (np.int64, np.int32):
        network = Network([3, 5, 1], np.float32)
        settings = settings_of(MLPRegressor(epsilon=1e-46), 1)
        state = OptimizerState.begin(network, settings)
        order = np.arange(50, dtype=kind)
        with Descent(network, settings, "identity", X, y, None, state, order) as descent:
            descent.epoch()
        assert np.isfinite(network.parameters).all()
        results.append(network.parameters.copy())
    np.testing.assert_array_equal(*results)
