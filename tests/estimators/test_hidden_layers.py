"""hidden_activations: the layers of NumPy, with the same bytes in any company."""

import threading

import numpy as np
import pandas as pd
import pytest
from oracles import naive
from scipy.sparse import csc_matrix, csr_array
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import CODES
from fastmlp.inspection import hidden_activations

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(60, 37)
Y = np.arange(60) % 3
SPARSE = np.where(np.abs(X) > 1, X, 0)


def fitted(hidden=(20, 17, 5), activation="tanh", dtype=np.float64, kind=MLPClassifier, **options):
    options = {"max_iter": 2, "random_state": 0} | options
    return kind(hidden_layer_sizes=hidden, activation=activation, **options).fit(X.astype(dtype), Y)


def layers_in_numpy(model, X, names):
    """The activations of each hidden layer, in float64."""
    a, layers = np.asarray(X, np.float64), []
    for W, b, name in zip(model.coefs_, model.intercepts_, names, strict=False):
        a = naive.ACTIVATIONS[name](a @ W.astype(np.float64) + b)
        layers.append(a)
    return layers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CODES)
def test_every_layer_is_that_of_numpy(name, dtype):
    model = fitted((20, 6), name, dtype)
    expected = layers_in_numpy(model, X.astype(dtype), [name] * 2)
    for layer in (0, 1):
        got = hidden_activations(model, X.astype(dtype), layer)
        assert got.dtype == dtype
        naive.assert_close(got, expected[layer], 300)


def test_each_layer_has_its_own_activation():
    names = ("relu", "gelu", "logistic")
    model = fitted(activation=names)
    for layer, expected in enumerate(layers_in_numpy(model, X, names)):
        naive.assert_close(hidden_activations(model, X, layer), expected, 100)


@pytest.mark.parametrize("kind", [SklearnMLPClassifier, SklearnMLPRegressor])
def test_scikit_learns_models_have_hidden_layers_too(kind):
    model = fitted(activation="logistic", kind=kind)
    before = set(vars(model))
    for layer, expected in enumerate(layers_in_numpy(model, X, ["logistic"] * 3)):
        naive.assert_close(hidden_activations(model, X, layer), expected, 100)
    assert set(vars(model)) == before


def test_the_output_follows_from_the_last_hidden_layer():
    model = fitted(kind=MLPRegressor)
    outputs = hidden_activations(model, X) @ model.coefs_[-1] + model.intercepts_[-1]
    np.testing.assert_allclose(outputs.ravel(), model.predict(X), rtol=1e-12, atol=1e-14)


def test_layers_count_like_the_indices_of_a_sequence():
    model = fitted((4, 3, 2))
    layers = [hidden_activations(model, X, layer) for layer in range(3)]
    assert [layer.shape for layer in layers] == [(60, 4), (60, 3), (60, 2)]
    for layer in (-3, -2, -1, np.int64(1)):
        np.testing.assert_array_equal(hidden_activations(model, X, layer), layers[layer])
    for layer in (3, -4):
        with pytest.raises(ValueError, match=rf"layer={layer} .* 3 hidden layers, from 0 to 2"):
            hidden_activations(model, X, layer)
    with pytest.raises(TypeError, match="integer"):
        hidden_activations(model, X, 1.0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [2, 3, 5])
def test_bytes_do_not_depend_on_threads_or_on_the_other_rows(n_jobs, dtype, every_thread_works):
    model = fitted(dtype=dtype)
    rows = np.vstack([X] * 9).astype(dtype)
    for layer in range(3):
        expected = hidden_activations(model.set_params(n_jobs=1), rows, layer)
        assert hidden_activations(model.set_params(n_jobs=n_jobs), rows, layer).tobytes() == (
            expected.tobytes()
        )
        for first, last in ((0, 1), (5, 8), (3, 60)):
            part = hidden_activations(model, rows[first:last], layer)
            assert part.tobytes() == expected[first:last].tobytes()


@pytest.mark.parametrize("make", [csr_array, csc_matrix])
def test_sparse_rows_give_what_dense_ones_do(make):
    model = fitted()
    for layer in range(3):
        expected = hidden_activations(model, SPARSE, layer)
        np.testing.assert_allclose(
            hidden_activations(model, make(SPARSE), layer), expected, rtol=1e-12, atol=1e-14
        )


def test_a_compact_first_layer_takes_sparse_and_dense_rows():
    wide = csr_array(np.where(RNG.rand(40, 40_000) < 0.001, 1.0, 0.0))
    model = MLPClassifier((4, 3), "tanh", max_iter=1, random_state=0).fit(wide, np.arange(40) % 2)
    assert model._fitted_network.is_compact
    expected = layers_in_numpy(model, wide.toarray(), ["tanh"] * 2)
    for layer in range(2):
        for rows in (wide, wide.toarray()):
            np.testing.assert_allclose(
                hidden_activations(model, rows, layer), expected[layer], rtol=1e-12, atol=1e-14
            )


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float16, bool, np.longdouble])
def test_rows_of_any_type_are_converted(dtype):
    model, rows = fitted(), np.abs(X * 3).astype(dtype)
    np.testing.assert_array_equal(
        hidden_activations(model, rows), hidden_activations(model, rows.astype(float))
    )


def test_data_frames_are_checked_by_name():
    frame = pd.DataFrame(X[:, :2], columns=["a", "b"])
    model = MLPClassifier((3,), max_iter=1, random_state=0).fit(frame, Y)
    assert hidden_activations(model, frame).shape == (60, 3)
    with pytest.raises(ValueError, match="feature names"):
        hidden_activations(model, frame[["b", "a"]])


def test_weights_set_by_hand_are_used():
    model = MLPRegressor(activation="relu")
    model.coefs_ = [np.array([[1.0, -1.0]]), np.ones((2, 1))]
    model.intercepts_ = [np.zeros(2), np.zeros(1)]
    before = set(vars(model))
    np.testing.assert_array_equal(hidden_activations(model, [[2.0], [-3.0]]), [[2, 0], [0, 3]])
    assert set(vars(model)) == before
    model.coefs_[0][0, 0] = 10
    np.testing.assert_array_equal(hidden_activations(model, [[2.0]]), [[20, 0]])


def test_predictions_and_hidden_layers_take_turns():
    model = fitted()
    expected = model.predict_proba(X).tobytes(), hidden_activations(model, X, 0).tobytes()
    for _ in range(3):
        assert hidden_activations(model, X, 0).tobytes() == expected[1]
        assert model.predict_proba(X).tobytes() == expected[0]
    with pytest.warns(ConvergenceWarning):
        model.set_params(warm_start=True, max_iter=1).fit(X, Y)
    assert hidden_activations(model, X, 0).tobytes() != expected[1]


def test_many_threads_get_the_bytes_of_one():
    model = fitted()
    expected = [hidden_activations(model, X, layer).tobytes() for layer in range(3)]
    got = [set(), set(), set()]

    def work(layer):
        for _ in range(50):
            got[layer].add(hidden_activations(model, X, layer).tobytes())

    threads = [threading.Thread(target=work, args=(number % 3,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [{each} for each in expected]


def test_what_has_no_hidden_layers_is_refused():
    with pytest.raises(ValueError, match="no hidden layers"):
        hidden_activations(fitted(()), X)
    with pytest.raises(NotFittedError):
        hidden_activations(MLPClassifier(), X)
    with pytest.raises(TypeError, match="multilayer perceptron, got Pipeline"):
        hidden_activations(make_pipeline(StandardScaler(), MLPClassifier()).fit(X, Y), X)
    for bad, message in ((X[:, 1:], "36 features"), (np.full((1, 37), np.nan), "NaN")):
        with pytest.raises(ValueError, match=message):
            hidden_activations(fitted(), bad)
