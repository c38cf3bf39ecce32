"""input_gradient: finite differences and NumPy agree, with the same bytes in any company."""

import numpy as np
import pytest
from oracles import naive
from scipy.sparse import csc_array, csr_matrix
from sklearn.datasets import load_diabetes
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import CODES
from fastmlp._inference import gradients
from fastmlp.inspection import input_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(30, 7)
Y = np.arange(30) % 3
MULTILABEL = np.column_stack([Y == 0, Y > 0, X[:, 0] > 0, X[:, 1] > 0]).astype(int)
VALUES = np.column_stack([np.abs(X[:, 0]), X[:, 1] ** 2])
STEP = 1e-5  # of the central differences; the error is some 1e-10 unless a kink is in between
# An estimator, its y, and the activation of its outputs.
OUTPUTS = {
    "softmax": (MLPClassifier, {}, Y),
    "two classes": (MLPClassifier, {}, Y > 0),
    "multilabel": (MLPClassifier, {}, MULTILABEL),
    "identity": (MLPRegressor, {}, VALUES),
    "one value": (MLPRegressor, {}, VALUES[:, 0]),
    "exp": (MLPRegressor, {"loss": "poisson"}, VALUES),
}


def fitted(kind="softmax", hidden=(9, 5), activation="tanh", dtype=np.float64):
    estimator, options, y = OUTPUTS[kind]
    model = estimator(hidden_layer_sizes=hidden, activation=activation, **options)
    return model.set_params(max_iter=3, learning_rate_init=0.05, random_state=0).fit(
        X.astype(dtype), y
    )


def outputs(model, rows):
    """The network's outputs (rows, n_outputs), by the model's own methods."""
    if hasattr(model, "predict_proba"):
        return model.predict_proba(rows)[:, -model.n_outputs_ :]
    return model.predict(rows).reshape(len(rows), -1)


def differences(function, rows):
    """The central differences (rows, n_outputs, n_features) of a function of rows."""
    columns = []
    for feature in range(rows.shape[1]):
        shift = np.zeros(rows.shape[1])
        shift[feature] = STEP
        columns.append((function(rows + shift) - function(rows - shift)) / (2 * STEP))
    return np.stack(columns, axis=-1)


def in_numpy(model, rows, names):
    """The Jacobian (rows, n_outputs, n_features) by the chain rule from the inputs upward."""
    a = np.asarray(rows, np.float64)
    jacobian = np.repeat(np.eye(a.shape[1])[None], len(a), axis=0)
    for W, b, name in zip(model.coefs_, model.intercepts_, names, strict=True):
        z = a @ W.astype(np.float64) + b
        jacobian = np.einsum("io,nif->nof", W.astype(np.float64), jacobian)
        if name == "softmax":
            a = naive.softmax(z)
            of_softmax = a[:, :, None] * (np.eye(a.shape[1]) - a[:, None])
            jacobian = np.einsum("nkj,njf->nkf", of_softmax, jacobian)
        elif name == "exp":
            a = np.exp(z)
            jacobian = a[:, :, None] * jacobian
        else:
            a = naive.ACTIVATIONS[name](z)
            jacobian = naive.DERIVATIVES[name](z)[:, :, None] * jacobian
    return jacobian


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("activation", CODES)
def test_finite_differences_agree_for_every_activation_and_output(activation, kind):
    model = fitted(kind, activation=activation)
    expected = differences(lambda rows: outputs(model, rows), X)
    assert np.abs(expected).max() > 1e-3
    got = input_gradient(model, X)
    if model.n_outputs_ == 1:
        expected = expected[:, 0]
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_finite_differences_agree_before_the_output_activation(kind):
    model = fitted(kind)

    def logits(rows):
        a = outputs(model, rows)
        if model.out_activation_ == "logistic":
            return np.log(a / (1 - a))
        return np.log(a) if model.out_activation_ in ("exp", "softmax") else a

    expected = differences(logits, X)
    got = input_gradient(model, X, pre_activation=True).reshape(expected.shape)
    if kind == "softmax":  # log a_k = z_k - log sum_j exp z_j
        mean = (outputs(model, X)[:, :, None] * got).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(got - mean, expected, rtol=1e-5, atol=1e-8)
    else:
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("names", [("relu", "gelu", "softplus"), ("mish", "elu", "identity"), ()])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_chain_rule_in_numpy_agrees_in_either_type(kind, names, dtype):
    model = fitted(kind, (9, 5, 17)[: len(names)], names, dtype)
    expected = in_numpy(model, X.astype(dtype), [*names, model.out_activation_])
    got = input_gradient(model, X)
    assert got.dtype == dtype
    naive.assert_close(got.reshape(expected.shape), expected, 200)


@pytest.mark.parametrize("kind", ["softmax", "multilabel", "identity"])
def test_one_output_is_a_slice_of_all(kind):
    model = fitted(kind)
    together = input_gradient(model, X)
    for output in range(-model.n_outputs_, model.n_outputs_):
        one = input_gradient(model, X, output)
        assert one.tobytes() == together[:, output].tobytes()
    z = input_gradient(model, X, pre_activation=True)
    assert input_gradient(model, X, 1, pre_activation=True).tobytes() == z[:, 1].tobytes()


@pytest.mark.parametrize("output", ["tanh", "relu", "logistic", "softmax", "gelu", "exp"])
def test_the_output_activation_may_be_set_by_hand(output):
    model = fitted("identity")
    model.out_activation_ = output
    np.testing.assert_allclose(
        input_gradient(model, X), differences(model.predict, X), rtol=1e-5, atol=1e-8
    )


@pytest.mark.parametrize("theirs", [SklearnMLPClassifier, SklearnMLPRegressor])
def test_scikit_learns_models_have_gradients_too(theirs):
    y = Y if theirs is SklearnMLPClassifier else VALUES
    model = theirs(hidden_layer_sizes=(9, 5), activation="tanh", max_iter=3, random_state=0)
    model.fit(X, y)
    expected = in_numpy(model, X, ["tanh", "tanh", model.out_activation_])
    naive.assert_close(input_gradient(model, X), expected, 100)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["softmax", "one value"])
def test_bytes_do_not_depend_on_threads_blocks_or_the_other_rows(
    kind, dtype, every_thread_works, monkeypatch
):
    model, rows = fitted(kind, dtype=dtype), np.vstack([X] * 5)
    expected = input_gradient(model.set_params(n_jobs=1), rows)
    for n_jobs, elements in ((2, 1 << 20), (3, 1), (1, 500), (5, 2000)):
        monkeypatch.setattr(gradients, "BLOCK_ELEMENTS", elements)
        assert input_gradient(model.set_params(n_jobs=n_jobs), rows).tobytes() == (
            expected.tobytes()
        )
        for first, last in ((0, 1), (5, 8), (3, 60)):
            part = input_gradient(model, rows[first:last])
            assert part.tobytes() == expected[first:last].tobytes()


@pytest.mark.parametrize("make", [csr_matrix, csc_array])
def test_sparse_rows_give_what_dense_ones_do(make):
    rows = np.where(X > 0.5, X, 0)
    for kind in ("softmax", "one value"):
        model = fitted(kind)
        got = input_gradient(model, make(rows))
        np.testing.assert_allclose(got, input_gradient(model, rows), rtol=1e-10, atol=1e-13)


def test_a_compact_first_layer_takes_sparse_and_dense_rows():
    wide = csr_matrix(np.where(RNG.rand(20, 40_000) < 0.001, 1.0, 0.0))
    model = MLPClassifier((4,), "tanh", max_iter=1, random_state=0).fit(wide, np.arange(20) % 2)
    assert model._fitted_network.is_compact
    p, a = model.predict_proba(wide)[:, 1:], np.tanh(wide @ model.coefs_[0] + model.intercepts_[0])
    expected = p * (1 - p) * ((model.coefs_[1].T * (1 - a**2)) @ model.coefs_[0].T)
    for rows in (wide, wide.toarray()):
        np.testing.assert_allclose(input_gradient(model, rows), expected, rtol=1e-9, atol=1e-15)


def test_rows_of_any_type_are_converted():
    model, rows = fitted(), np.round(X * 3)
    expected = input_gradient(model, rows)
    others = rows.astype(np.int8), rows.astype(np.float32), rows.tolist(), np.asfortranarray(rows)
    for other in others:
        np.testing.assert_array_equal(input_gradient(model, other), expected)


def test_probabilities_and_gradients_are_left_alone():
    model = fitted()
    expected = model.predict_proba(X).tobytes()
    weights = [coef.tobytes() for coef in model.coefs_]
    first = input_gradient(model, X)
    assert model.predict_proba(X).tobytes() == expected
    assert [coef.tobytes() for coef in model.coefs_] == weights
    model.coefs_[0][...] *= 2  # the next gradient is that of the new weights
    expected = differences(model.predict_proba, X)
    np.testing.assert_allclose(input_gradient(model, X), expected, rtol=1e-5, atol=1e-8)
    assert np.abs(first - expected).max() > 1e-3


def test_a_linear_model_has_its_weights_for_gradients():
    rows, y = load_diabetes(return_X_y=True)
    model = MLPRegressor("squared_error", (), solver="lbfgs").fit(scale(rows), y)
    gradient = input_gradient(model, scale(rows))
    np.testing.assert_array_equal(gradient, np.tile(model.coefs_[0].T, (len(rows), 1)))


def test_what_has_no_gradient_is_refused():
    model = fitted()
    for output in (3, -4):
        with pytest.raises(ValueError, match=rf"output={output} .* 3 outputs"):
            input_gradient(model, X, output)
    with pytest.raises(ValueError, match="1 output, the probability of the second class"):
        input_gradient(fitted("two classes"), X, 1)
    with pytest.raises(TypeError, match="integer"):
        input_gradient(model, X, "setosa")
    with pytest.raises(NotFittedError):
        input_gradient(MLPRegressor(), X)
    with pytest.raises(TypeError, match="multilayer perceptron, got Pipeline"):
        input_gradient(make_pipeline(StandardScaler(), MLPClassifier()).fit(X, Y), X)
    for bad, message in ((X[:, 1:], "6 features"), (X * np.nan, "NaN")):
        with pytest.raises(ValueError, match=message):
            input_gradient(model, bad)
