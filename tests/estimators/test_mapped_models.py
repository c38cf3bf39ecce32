"""Models whose weights stay in a memory-mapped file: the same bytes, no copy, no harm."""

import mmap
import pickle

import joblib
import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.jit.target import target
from fastmlp._engine.kernels import optimizers
from fastmlp._engine.mapping import can_stay
from fastmlp._engine.network import Network, padded
from fastmlp._engine.training_workspace import TrainingWorkspace
from fastmlp.inspection import check_gradient, hidden_activations, input_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
# Rows that end on and beside whole vectors, in tails, and in padding against cache conflicts.
LAYERS = [(100,), (3,), (1,), (512, 17), (66, 68), (65, 20), (128, 128), ()]
DTYPES = [np.float32, np.float64]


def trained(hidden, dtype=np.float32, features=37, estimator=MLPClassifier, **parameters):
    X = RNG.randn(60, features).astype(dtype)
    y = np.arange(60) % 10
    parameters = {"max_iter": 2, "random_state": 0} | parameters
    return estimator(hidden_layer_sizes=hidden, **parameters).fit(X, y), X, y


def mapped(model, folder, mode="r"):
    """The model, loaded from a file that is mapped."""
    joblib.dump(model, folder / "model.joblib")
    return joblib.load(folder / "model.joblib", mmap_mode=mode)


def in_a_file(model):
    """Whether each matrix that predictions read lies in a mapped file."""
    network = model._fitted_network
    assert all(a is b for a, b in zip(network.coefs, model.coefs_, strict=True))
    return [isinstance(coef, np.memmap) for coef in network.coefs]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", LAYERS)
def test_predictions_have_the_same_bytes(hidden, dtype, tmp_path):
    model, X, _ = trained(hidden, dtype)
    copy = mapped(model, tmp_path)
    assert sum(in_a_file(copy)) >= len(hidden)  # where a file's pages end, one may be a copy
    for rows in (1, 2, 3, 4, 5, 60):
        assert copy.predict_proba(X[:rows]).tobytes() == model.predict_proba(X[:rows]).tobytes()
    sparse = scipy.sparse.csr_array(np.where(np.abs(X) > 1, X, 0))
    assert copy.predict_proba(sparse).tobytes() == model.predict_proba(sparse).tobytes()
    for n_jobs in (1, 3):
        copy.set_params(n_jobs=n_jobs)
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("parameters", [{}, {"solver": "sgd"}, {"solver": "lbfgs", "tol": 0}])
def test_training_goes_on_with_a_copy(estimator, parameters, tmp_path):
    model, X, y = trained((20,), np.float64, estimator=estimator, **parameters)
    copy = mapped(model, tmp_path)
    before = (tmp_path / "model.joblib").read_bytes()
    for each in (model, copy):
        if parameters.get("solver") == "lbfgs":
            each.set_params(warm_start=True).fit(X, y)
        else:
            each.partial_fit(X, y).partial_fit(X, y)
    pairs = zip(model.coefs_ + model.intercepts_, copy.coefs_ + copy.intercepts_, strict=True)
    for own, other in pairs:
        np.testing.assert_array_equal(own, other)
        assert other.flags.writeable and not isinstance(other, np.memmap)
    assert (tmp_path / "model.joblib").read_bytes() == before


def test_changes_in_place_are_seen_where_the_file_allows_them(tmp_path):
    model, X, _ = trained((20,))
    fixed, copied = mapped(model, tmp_path), mapped(model, tmp_path, "c")
    with pytest.raises(ValueError, match="read-only"):
        fixed.coefs_[0][0, 0] = 1
    for each in (model, copied):
        each.coefs_[0][...] *= 2
        each.intercepts_[1][...] += 1
    assert in_a_file(copied) == [True, True]
    np.testing.assert_array_equal(copied.predict_proba(X), model.predict_proba(X))
    assert not np.array_equal(fixed.predict_proba(X), model.predict_proba(X))


def test_a_pickle_of_a_mapped_model_is_that_of_a_plain_one(tmp_path):
    model, X, _ = trained((20,))
    copy = mapped(model, tmp_path)
    for array in copy.__getstate__()["coefs_"]:
        assert type(array) is np.ndarray and array.base is None
    again = pickle.loads(pickle.dumps(copy))
    assert in_a_file(again) == [False, False]
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert not hasattr(clone(copy), "coefs_")


def test_nan_in_a_file_is_a_clear_error(tmp_path):
    model, X, _ = trained((20,))
    path = tmp_path / "weights.npy"
    for value in (np.nan, np.inf, -np.inf):
        np.save(path, np.where(np.arange(37 * 20).reshape(37, 20) == 7, value, model.coefs_[0]))
        model.coefs_[0] = np.load(path, mmap_mode="r")
        with pytest.raises(ValueError, match="NaN or infinity"):
            model.predict(X)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [*DTYPES, np.float16])
def test_weights_of_any_layout_may_be_mapped(dtype, order, tmp_path):
    model, X, _ = trained((20,))
    plain = np.array(model.coefs_[0], dtype=dtype, order=order)
    np.save(tmp_path / "weights.npy", plain)
    expected = clone(model)
    vars(expected).update(vars(model) | {"coefs_": [plain, model.coefs_[1]]})
    model.coefs_[0] = np.load(tmp_path / "weights.npy", mmap_mode="r")
    assert model.predict_proba(X).tobytes() == expected.predict_proba(X).tobytes()


def test_a_matrix_stays_only_where_whole_vectors_can_be_read_after_it(tmp_path):
    dtype, n_in, n_out = np.dtype(np.float32), 64, target().lanes(np.float32) + 1
    stride = padded(n_out, dtype)
    size, padding = n_in * n_out * dtype.itemsize, (stride - n_out) * dtype.itemsize
    (tmp_path / "weights").write_bytes(bytes(4 * mmap.PAGESIZE))
    for left in range(0, 2 * padding, dtype.itemsize):  # bytes between the matrix and a page's end
        offset = 3 * mmap.PAGESIZE - left - size
        coef = np.memmap(tmp_path / "weights", dtype, "r", offset, (n_in, n_out))
        assert can_stay(coef, dtype, stride) == (left >= padding)
        assert can_stay(np.asarray(coef), dtype, stride) == (left >= padding)
    coef = np.memmap(tmp_path / "weights", dtype, "r", 0, (n_in, n_out))
    assert can_stay(coef, dtype, stride)
    for other in (coef.T, coef[:, 1:], coef[0], coef.view(np.int32), np.array(coef), [[1.0]]):
        assert not can_stay(other, dtype, stride)
    unaligned = np.memmap(tmp_path / "weights", np.uint8, "r", 1, (size,)).view(dtype)
    assert not can_stay(unaligned.reshape(n_in, n_out), dtype, stride)


def test_a_mapped_network_is_never_trained_in_place(tmp_path):
    model, X, y = trained((20,), np.float64)
    copy = mapped(model, tmp_path)
    network = copy._fitted_network
    assert isinstance(network.coefs[0], np.memmap)
    fresh = [network.zeros_like(), network.zeros_like()]
    training = TrainingWorkspace(network.copy(), 8, 1, optimizers.ADAM, fresh)
    moments = copy._optimizer.moments
    for weights, state in ((network, [network.copy()] * 2), (network.copy(), moments)):
        with pytest.raises(ValueError, match="not be trained"):
            training.take_network(weights, state)
    for each in (network, *moments):
        assert each.zeros_like().in_place == {} and not each.zeros_like().coefs[0].any()
        np.testing.assert_array_equal(network.copy(into=each).coefs[0], network.coefs[0])
    check_gradient(copy, X, y)
    assert not isinstance(network.copy().coefs[0], np.memmap)
    assert Network.from_arrays(copy.coefs_, copy.intercepts_, np.float64).in_place == {}


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_neither_weights_nor_the_optimizers_state_take_memory(solver, tmp_path):
    model, X, y = trained((300,), features=200, solver=solver)
    copy = mapped(model, tmp_path)
    moments = copy._optimizer.moments
    assert len(moments) == {"adam": 2, "sgd": 1}[solver]
    for network in (copy._fitted_network, *moments):
        assert network.parameters.nbytes < 0.02 * sum(coef.nbytes for coef in network.coefs)
    copy.partial_fit(X, y)
    for network in (copy._fitted_network, *copy._optimizer.moments):
        assert network.in_place == {} and network.parameters.size == network.size


@pytest.mark.parametrize("dtype", DTYPES)
def test_hidden_layers_and_gradients_have_the_same_bytes(dtype, tmp_path):
    model, X, _ = trained((65, 20, 128), dtype)
    copy = mapped(model, tmp_path)
    assert sum(in_a_file(copy)) >= 3
    for layer in range(3):
        expected = hidden_activations(model, X, layer)
        assert hidden_activations(copy, X, layer).tobytes() == expected.tobytes()
    assert input_gradient(copy, X).tobytes() == input_gradient(model, X).tobytes()
