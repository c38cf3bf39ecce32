"""State and input that contradict themselves: an error, never a read or write out of bounds."""

import io
from contextlib import redirect_stdout

import numpy as np
import pytest
import scipy.sparse
from interrupting import assert_no_interrupt_is_swallowed
from sklearn import neural_network

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._inference import predictions
from fastmlp._training.sgd import Descent

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(60, 64)
Y = np.arange(60) % 8


def fitted(**parameters):
    defaults = {"hidden_layer_sizes": (7,), "max_iter": 3, "random_state": 0}
    return MLPClassifier(**defaults | parameters).fit(X, Y)


def test_predicting_in_the_middle_of_a_refit_uses_the_old_model():
    model = fitted(verbose=True)
    expected = model.predict_proba(X)
    seen = []

    class Watching(io.StringIO):
        def write(self, text):
            if "Iteration 2" in text:
                seen.append(model.predict_proba(X))
            return len(text)

    with redirect_stdout(Watching()):
        model.fit(X[:, :5], Y)
    np.testing.assert_array_equal(seen[0], expected)
    assert model.n_features_in_ == 5 and model.predict(X[:, :5]).shape == (60,)


@pytest.mark.parametrize("width", [2, 63, 65, 10**6])
def test_a_changed_number_of_features_is_refused(width):
    wide = scipy.sparse.csr_array((1, width)) if width > 100 else np.zeros((1, width))
    for change in ("set", "delete"):
        model = fitted()
        if change == "set":
            model.n_features_in_ = width
        else:
            del model.n_features_in_
        with pytest.raises(ValueError, match="features"):
            model.predict_proba(wide)


@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("method", ["predict", "predict_proba", "partial_fit"])
def test_no_rows_are_refused(method, make):
    model = fitted().partial_fit(X, Y)
    nothing = make(np.empty((0, 64)))
    with pytest.raises(ValueError, match="0 sample"):
        getattr(model, method)(nothing, *([Y[:0]] if method == "partial_fit" else []))


def spoil(name, index, value):
    matrix = scipy.sparse.csr_array(X)
    getattr(matrix, name)[index] = value
    return matrix


@pytest.mark.parametrize(
    "name, index, value",
    [
        ("indices", 5, 10**8),
        ("indices", 63, 80),
        ("indices", 0, -5),
        ("indices", 60 * 64 - 1, 64),
        ("indices", 60 * 64 - 1, np.iinfo(np.int32).min),
        ("indptr", 3, 10**9),
        ("indptr", 3, -1),
        ("indptr", -1, 10**6),
    ],
)
def test_invalid_sparse_matrices_are_refused(name, index, value):
    model = fitted()
    for call in (lambda matrix: MLPClassifier(max_iter=1).fit(matrix, Y), model.predict_proba):
        with pytest.raises(ValueError, match=r"ind(ices|ex|ptr)"):
            call(spoil(name, index, value))


@pytest.mark.parametrize(
    "name, index, value",
    [("indices", 50 * 64, 64), ("indices", 50 * 64, -1), ("indptr", 50, 2**30)],
)
def test_invalid_sparse_matrices_are_refused_in_pieces_too(name, index, value, monkeypatch):
    model = fitted()
    monkeypatch.setattr(predictions, "FLOPS_PER_LAUNCH", 1)
    monkeypatch.setattr(predictions, "ROWS_PER_THREAD", 8)
    assert model.predict_proba(scipy.sparse.csr_array(X)).shape == (60, 8)
    with pytest.raises(ValueError, match=r"ind(ices|ex|ptr)"):
        model.predict_proba(spoil(name, index, value))


def test_column_numbers_are_not_cut_to_32_bits():
    matrix = scipy.sparse.csr_array(X)
    matrix.indices, matrix.indptr = matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64)
    expected = fitted().predict_proba(X)
    np.testing.assert_allclose(fitted().predict_proba(matrix), expected, rtol=1e-12)
    matrix.indices[5] += 1 << 32
    with pytest.raises(ValueError, match=r"ind(ices|ex)"):
        fitted().predict_proba(matrix)


def test_stale_flags_of_sparse_matrices_are_not_trusted(every_thread_works):
    matrix = scipy.sparse.csr_array(X)
    assert matrix.has_canonical_format  # remembered from here on
    reversed_rows = np.concatenate([np.arange(64)[::-1] + 64 * row for row in range(60)])
    matrix.indices[:] = matrix.indices[reversed_rows]
    matrix.data[:] = matrix.data[reversed_rows]
    models = [
        MLPClassifier((7,), max_iter=3, random_state=0, n_jobs=n_jobs).fit(matrix, Y)
        for n_jobs in (1, 2, 3)
    ]
    expected = MLPClassifier((7,), max_iter=3, random_state=0).fit(X, Y)
    for model in models:
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-9)


@pytest.mark.parametrize("classes", [np.arange(8)[::-1], np.arange(8) + 1, np.arange(7)])
def test_tampered_classes_are_refused(classes):
    model = fitted().partial_fit(X, Y)
    model.classes_ = classes.copy()
    with pytest.raises(ValueError):
        model.partial_fit(X, Y)


@pytest.mark.parametrize("yes, no", [(2, 0), (1, -1), (0.5, 0)])
def test_any_indicator_values_mean_what_they_mean_to_scikit_learn(yes, no):
    labels = np.where(RANDOM.rand(60, 3) < 0.5, yes, no)
    try:
        theirs = neural_network.MLPClassifier(max_iter=3, random_state=0).fit(X, labels)
    except ValueError:
        with pytest.raises(ValueError):
            MLPClassifier(max_iter=3, random_state=0).fit(X, labels)
        return
    ours = MLPClassifier(max_iter=3, random_state=0).fit(X, labels)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.1},
        {"nesterovs_momentum": False},
        {"learning_rate": "invscaling"},
        {"learning_rate_init": 0.1},
        {"solver": "adam"},
        {"beta_1": 0.1},
        {"beta_2": 0.5},
        {"epsilon": 1.0},
        {"alpha": 1.0},
    ],
)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_keeps_its_optimizer_as_scikit_learn_does(solver, change):
    y = X @ RANDOM.rand(64)
    models = [
        library.MLPRegressor(
            hidden_layer_sizes=(9,), solver=solver, learning_rate_init=1e-3, random_state=0
        )
        for library in (fastmlp, neural_network)
    ]
    for model in models:
        for _ in range(2):
            model.partial_fit(X, y)
        model.set_params(**change)
        for _ in range(3):
            model.partial_fit(X, y)
    np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-8)


def test_a_failed_warm_start_leaves_everything_as_it_was(monkeypatch):
    model = fitted(warm_start=True, early_stopping=True)
    curves = list(model.loss_curve_), list(model.validation_scores_)
    coefs = [coef.copy() for coef in model.coefs_]
    whole, epochs = Descent.epoch, []

    def fails_in_the_third(self):
        epochs.append(whole(self))
        if len(epochs) == 3:
            raise MemoryError("no room")
        return epochs[-1]

    monkeypatch.setattr(Descent, "epoch", fails_in_the_third)
    with pytest.raises(MemoryError, match="no room"):
        model.fit(X, Y)
    assert (model.loss_curve_, model.validation_scores_) == curves
    for coef, before in zip(model.coefs_, coefs, strict=True):
        np.testing.assert_array_equal(coef, before)


@pytest.mark.parametrize("sizes", [(10.7,), np.array([5.0, 3.0]), 4.5, ("5",)])
def test_layer_sizes_that_are_no_integers_are_refused(sizes):
    with pytest.raises((TypeError, ValueError)):
        MLPClassifier(sizes, max_iter=1).fit(X, Y)


def test_targets_that_are_no_numbers_are_refused():
    for y in (np.full(60, "2020-01-01", "M8[D]"), np.arange(60).astype(str)):
        with pytest.raises(ValueError, match="numbers"):
            MLPRegressor(max_iter=1).fit(X, y)


def test_numbers_in_an_array_of_objects_are_targets():
    X = np.random.RandomState(0).randn(30, 2)
    model, other = (
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, random_state=0) for _ in range(2)
    )
    validation = {"X_val": X, "y_val": X[:, 1].astype(object)}
    model.fit(X, X[:, 0].astype(object), **validation)
    other.fit(X, X[:, 0], X_val=X, y_val=X[:, 1])
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])
    assert model.validation_loss_curve_ == other.validation_loss_curve_


def test_sparse_targets_of_a_regressor_are_refused():
    with pytest.raises(ValueError, match="sparse y is not supported"):
        MLPRegressor(max_iter=1).fit(X, scipy.sparse.csr_array(X[:, :2]))


def test_values_beyond_the_models_type_are_refused():
    model = MLPClassifier((5,), max_iter=1).fit(X.astype(np.float32), Y)
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="range of float32"):
        model.predict(X * 1e300)


def test_weights_that_are_no_arrays_of_numbers_are_a_clear_error():
    model = fitted()
    model.coefs_ = [coef.tolist() for coef in model.coefs_]
    assert model.predict(X).shape == (60,)
    model.coefs_ = [np.array(coef) + 1j for coef in model.coefs_]
    with pytest.raises(ValueError, match="real numbers"):
        model.predict(X)


def test_idle_workspaces_are_few():
    from concurrent.futures import ThreadPoolExecutor

    model = fitted()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda _: model.predict_proba(X), range(200)))
    idle = model._fitted_network.idle_workspaces
    assert all(len(each) <= predictions.MOST_IDLE for each in idle.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 5, 70])
@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_array])
def test_predictions_refuse_nan_and_infinity_wherever_they_stand(make, n_features, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((300, n_features)).astype(dtype), rng.integers(0, 3, 300)
    model = MLPClassifier((4,), max_iter=1, random_state=0, n_jobs=2).fit(X, y)
    expected = model.predict_proba(X)
    for value in (np.nan, np.inf, -np.inf):
        for row in (0, 150, 299):
            bad = X.copy()
            bad[row, row % n_features] = value
            with pytest.raises(ValueError, match="NaN" if np.isnan(value) else "infinity"):
                model.predict_proba(make(bad))
    bad = X.copy()
    bad[7, 0], bad[7, -1] = np.inf, -np.inf if n_features > 1 else np.inf
    with pytest.raises(ValueError, match="infinity"):
        model.predict(make(bad))
    np.testing.assert_array_equal(model.predict_proba(X), expected)


@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_array])
def test_finite_rows_with_an_infinite_sum_are_predicted(make):
    X = np.full((6, 3), np.finfo(np.float32).max, dtype=np.float32)
    y = np.arange(6) % 2
    model = MLPClassifier((4,), max_iter=1, random_state=0).fit(np.zeros_like(X), y)
    model.coefs_[0][...] = 0
    expected = model.predict_proba(np.zeros_like(X))
    np.testing.assert_array_equal(model.predict_proba(make(X)), expected)


@pytest.mark.parametrize("labels", [[0, 1], [-1, 2], ["no", "yes"], [False, True]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_two_classes_are_decoded_as_scikit_learn_does(labels, dtype):
    model = MLPClassifier((3,), max_iter=1).fit(np.eye(6), np.array(labels * 3))
    half = dtype(0.5)
    near = [np.nextafter(half, dtype(0)), half, np.nextafter(half, dtype(1)), 0, 1, np.nan]
    outputs = np.array(near, dtype).reshape(-1, 1)
    expected = model._label_binarizer.inverse_transform(outputs.ravel())
    decoded = kind_of_targets(model).of(model).decode(outputs)
    np.testing.assert_array_equal(decoded, expected)
    assert decoded.dtype == expected.dtype


@pytest.mark.parametrize("changes", [{"neg_label": -1}, {"pos_label": 3}, {"classes_": ["p", "q"]}])
def test_a_binarizer_set_by_hand_decides(changes):
    model = MLPClassifier((3,), max_iter=1).fit(np.eye(6), [0, 1] * 3)
    vars(model._label_binarizer).update(changes)
    outputs = np.linspace(-1, 4, 30).reshape(-1, 1)
    expected = model._label_binarizer.inverse_transform(outputs.ravel())
    np.testing.assert_array_equal(kind_of_targets(model).of(model).decode(outputs), expected)


@pytest.mark.parametrize("labels", [np.arange(6) % 3, np.array(["a", "b", "c"] * 2)])
def test_no_interrupt_while_labels_are_encoded_is_taken_for_unknown_labels(labels):
    """NumPy's array_equal would say that the labels differ."""
    model = MLPClassifier((3,), max_iter=1).fit(np.eye(6), labels)
    encode = kind_of_targets(model).of(model).encode
    assert_no_interrupt_is_swallowed(encode, labels, np.float64)
