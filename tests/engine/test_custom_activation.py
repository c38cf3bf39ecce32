"""CustomActivation: functions of the user's, compiled and called by the kernels."""

import math
import pickle
import re
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numba import njit
from oracles.naive import ACTIVATIONS, DERIVATIVES
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from fastmlp import CustomActivation, MLPAutoencoder, MLPClassifier, MLPRegressor
from fastmlp._engine.jit.device import inline, never_inline
from fastmlp._engine.kernels import custom, custom_activation
from fastmlp.displays import ActivationDisplay, NetworkDisplay
from fastmlp.inspection import check_gradient, hidden_activations, input_gradient
from fastmlp.interop import to_c, to_onnx, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
DTYPES = [np.float32, np.float64]
SOLVERS = ["adam", "sgd", "lbfgs"]


def snake(z):
    return z + math.sin(z) ** 2


def snake_derivative(z):
    return 1 + math.sin(2 * z)


def hyperbolic(z):
    return math.tanh(z)


def hyperbolic_derivative(z):
    return 1 - math.tanh(z) ** 2


def rectified(z):
    return max(z, 0.0)


def rectified_derivative(z):
    return 1 if z > 0 else 0


def cubic(z):
    return z * z * z + z


def cubic_derivative(z):
    return 3 * z * z + 1


def softplus(z):  # not 0 at 0, where the padding is
    return math.log1p(math.exp(z))


def softplus_derivative(z):
    return 1 / (1 + math.exp(-z))


SNAKE = CustomActivation(snake, snake_derivative)
TANH = CustomActivation(hyperbolic, hyperbolic_derivative)
RELU = CustomActivation(rectified, rectified_derivative)
CUBIC = CustomActivation(cubic, cubic_derivative, name="z^3 + z")
SOFTPLUS = CustomActivation(softplus, softplus_derivative)
PAIRS = [(TANH, "tanh"), (RELU, "relu"), (SOFTPLUS, "softplus")]


def quick(activation=SNAKE, hidden=(9, 5), estimator=MLPClassifier, **parameters):
    defaults = dict(hidden_layer_sizes=hidden, activation=activation, max_iter=5, random_state=0)
    return estimator(**defaults | parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 3, 17, 1000])
def test_values_and_derivatives_are_those_of_the_functions(count, dtype):
    z = np.linspace(-5, 5, count).astype(dtype)
    before = z.copy()
    for own in (SNAKE, TANH, RELU, CUBIC):
        values, derivatives = own.evaluate(z)
        assert values.dtype == derivatives.dtype == dtype
        for got, function in ((values, own.function), (derivatives, own.derivative)):
            expected = np.array([function(float(each)) for each in z])
            np.testing.assert_allclose(got, expected, rtol=10 * np.finfo(dtype).eps, atol=1e-6)
    np.testing.assert_array_equal(z, before)
    assert SNAKE.evaluate([[1, 2]])[0].shape == (1, 2)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("own", "name"), PAIRS)
def test_a_network_is_the_one_with_the_same_activation_by_name(own, name, solver):
    ours, theirs = (quick(each, solver=solver).fit(X, Y) for each in (own, name))
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)


@pytest.mark.parametrize("own", [SNAKE, CUBIC, [SNAKE, "gelu", CUBIC], ["tanh", RELU, SNAKE]])
@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_the_gradient_is_right(estimator, own):
    model = quick(own, hidden=(4, 3, 5), estimator=estimator)
    assert check_gradient(model, X[::8] / 2, Y[::8]) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", [SNAKE, CUBIC, RELU], ids=str)
def test_bits_do_not_depend_on_threads_or_on_other_rows(own, dtype, monkeypatch):
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD", 1)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD_OF_FIT", 1)
    monkeypatch.setattr("fastmlp._inference.predictions.FLOPS_PER_THREAD", 1)
    rows = X.astype(dtype)
    one, *others = (
        quick(own, (33, 7), n_jobs=n_jobs, dropout=0.1, batch_size=64).fit(rows, Y)
        for n_jobs in (1, 2, 3)
    )
    expected = one.predict_proba(rows)
    for model in others:
        for ours, theirs in zip(model.coefs_, one.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(model.predict_proba(rows), expected)
    for first in range(0, 150, 13):
        np.testing.assert_array_equal(one.predict_proba(rows[first : first + 13]),
                                      expected[first : first + 13])  # fmt: skip


@pytest.mark.slow
def test_the_vector_library_is_kept_out_of_loops(monkeypatch):
    uses_it = getattr(custom.numba.config, "USING_SVML", False)
    assert custom._place is (never_inline if uses_it else inline)

    def calls():
        loop = custom_activation._compiled.__wrapped__(
            cubic, cubic_derivative, np.float64
        ).compiled()
        return re.findall(r"call .*outer", loop.inspect_llvm())

    monkeypatch.setattr(custom, "_place", inline)
    assert not calls()
    monkeypatch.setattr(custom, "_place", never_inline)
    assert calls()


def test_it_serves_wherever_the_name_of_an_activation_does():
    model = quick([SNAKE, "relu"], early_stopping=True, max_iter=3).fit(X, Y)
    hidden = hidden_activations(model, X, 0)
    z = X @ model.coefs_[0] + model.intercepts_[0]
    np.testing.assert_allclose(hidden, z + np.sin(z) ** 2, rtol=1e-9, atol=1e-12)
    gradients, step = input_gradient(model, X), 1e-6
    shifted = [model.predict_proba(X + side * step * np.eye(4)[2]) for side in (1, -1)]
    np.testing.assert_allclose(
        gradients[:, :, 2], (shifted[0] - shifted[1]) / (2 * step), rtol=1e-4, atol=1e-6
    )
    code = quick(SNAKE, (3,), MLPAutoencoder).fit_transform(X)
    assert code.shape == (150, 3)


@pytest.mark.slow
def test_plots_call_it_by_its_name():
    plt.switch_backend("Agg")
    display = ActivationDisplay.from_names(["tanh", CUBIC])
    assert [ax.get_title() for ax in display.axes_] == ["tanh", "z^3 + z"]
    np.testing.assert_allclose(display.derivatives["z^3 + z"], 3 * display.z**2 + 1)
    texts = NetworkDisplay.from_estimator(quick().fit(X, Y)).ax_.texts
    assert any("snake" in text.get_text() for text in texts)
    plt.close("all")


@pytest.mark.parametrize("export", [to_sklearn, to_onnx, to_c])
def test_exports_refuse_it_by_name(export):
    if export is to_onnx:
        pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=r"(?i)activation.*CustomActivation\(snake\)"):
        export(quick().fit(X, Y))


def test_clones_pickles_and_searches():
    model = quick().fit(X, Y)
    expected = model.predict_proba(X)
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict_proba(X), expected)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict_proba(X), expected)
    assert copied.activation == SNAKE and hash(copied.activation) == hash(SNAKE)
    assert copied.activation.address(np.float64) == SNAKE.address(np.float64)
    assert SNAKE != TANH and SNAKE != "snake" and repr(SNAKE) == "CustomActivation(snake)"
    grid = {"activation": [SNAKE, "tanh", [CUBIC, "relu"]]}
    search = GridSearchCV(quick(max_iter=30), grid, cv=2).fit(X, Y)
    assert search.best_score_ > 0.5


def test_partial_fit_goes_on_as_with_a_name():
    ours, theirs = quick(TANH), quick("tanh")
    for model in (ours, theirs):
        for _ in range(3):
            model.partial_fit(X, Y, classes=[0, 1, 2])
    assert ours._continuation is not None
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)


def test_functions_may_be_compiled_already_or_call_others():
    helper = njit(snake)
    own = CustomActivation(njit(lambda z: helper(z)), njit(snake_derivative))
    z = np.linspace(-3, 3, 7)
    for got, expected in zip(own.evaluate(z), SNAKE.evaluate(z), strict=True):
        np.testing.assert_array_equal(got, expected)
    assert str(own) == "<lambda>"


def test_it_is_compiled_where_numba_is_switched_off(monkeypatch):
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    monkeypatch.setattr(custom.numba.config, "DISABLE_JIT", 1)
    values, _ = CustomActivation(lambda z: z * z, lambda z: 2 * z).evaluate([3.0])
    assert values[0] == 9 and custom.numba.config.DISABLE_JIT == 1


def python_only(z):
    return sys.intern(str(z))


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (python_only, snake_derivative),
        (snake, python_only),
        (lambda z: (z, z), snake_derivative),
        (lambda z, w: z, snake_derivative),
    ],
)
def test_what_nopython_mode_does_not_take_is_refused(function, derivative):
    with pytest.raises(TypeError, match=r"cannot be compiled: Numba's nopython mode"):
        CustomActivation(function, derivative)


def raising(z):
    if z > 100:
        raise ValueError("large")
    return z


def asserting(z):
    assert z < 100
    return z


def test_functions_that_raise_and_objects_that_are_none_are_refused():
    for function in (raising, asserting):
        with pytest.raises(ValueError, match=f"{function.__name__} raises exceptions"):
            CustomActivation(function, snake_derivative)
    for other in ("tanh", None, math.tanh, np.tanh):
        with pytest.raises(TypeError, match="expected a function that Numba can compile"):
            CustomActivation(other, snake_derivative)


def test_a_division_by_zero_is_infinite_as_in_numpy():
    own = CustomActivation(lambda z: 1 / (z - 1), lambda z: -1 / (z - 1) ** 2, check=False)
    assert own.evaluate([1.0])[0][0] == np.inf


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda z: 1 / z, lambda z: -1 / (z * z)),
        (lambda z: math.sqrt(abs(z)), lambda z: 0.5 / math.sqrt(abs(z))),
    ],
)
def test_what_is_not_finite_at_zero_would_spoil_products_by_their_padding(function, derivative):
    with pytest.raises(ValueError, match="at z = 0 must be finite"):
        CustomActivation(function, derivative, check=False)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_check_accepts_right_derivatives(name):
    f, df = ACTIVATIONS[name], DERIVATIVES[name]

    class Plain(CustomActivation):
        def __init__(self):
            self.function, self.derivative, self.name = f, df, name

        def evaluate(self, z):
            return f(z), df(z)

    Plain()._check()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "derivative", "message"),
    [
        (snake, hyperbolic_derivative, "the derivative of .*snake.* at z = "),
        (cubic, lambda z: 3 * z * z + 1.001, "finite differences give"),
        (rectified, lambda z: 1.0 if z > 0.12 else 0.0, "at z = 0.05 is 0"),
        (rectified, lambda z: 1.5 if z == 0 else 1.0 * (z > 0), "at z = 0 is 1.5"),
        (lambda z: 1.0 * (z > 0), hyperbolic_derivative, "check=False allows that"),
        (lambda z: math.log(z), lambda z: 1 / z, "the value of .* at z = -6 is nan"),
        (lambda z: math.sqrt(abs(z)), lambda z: 0.5 / math.sqrt(z), "the derivative of .* is nan"),
    ],
)
def test_the_check_finds_wrong_derivatives(function, derivative, message):
    with pytest.raises(ValueError, match=message):
        CustomActivation(function, derivative)


@pytest.mark.slow
@pytest.mark.parametrize("at_the_kink", [0.0, 0.3, 1.0])
def test_at_a_kink_any_slope_between_will_do(at_the_kink):
    CustomActivation(
        lambda z: max(z, 0.0), lambda z: at_the_kink if z == 0 else (1.0 if z > 0 else 0.0)
    )


def test_a_step_may_have_the_derivative_of_something_else():
    step = CustomActivation(lambda z: 1.0 * (z > 0), hyperbolic_derivative, check=False)
    model = quick(step, (20,), max_iter=100, learning_rate_init=0.02).fit(X, Y)
    assert set(np.unique(hidden_activations(model, X))) <= {0, 1}
    assert model.score(X, Y) > 0.85


def test_a_wrong_parameter_is_named():
    for wrong in (snake, 3, [SNAKE, snake]):
        with pytest.raises(ValueError, match="'activation' parameter of MLPClassifier"):
            quick(wrong).fit(X, Y)
    with pytest.raises(ValueError, match="activation has length 1"):
        quick([SNAKE]).fit(X, Y)
