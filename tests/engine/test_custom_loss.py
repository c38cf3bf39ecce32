"""CustomLoss: a loss of the user's, compiled and called by the kernels."""

import math
import pickle

import numpy as np
import pytest
from scipy.special import huber
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import scale

from fastmlp import CustomLoss, MLPClassifier, MLPRegressor
from fastmlp.displays import LossCurveDisplay
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_c, to_onnx, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_diabetes(return_X_y=True)
X, Y = scale(X)[:150], scale(Y)[:150]
BOTH = np.column_stack([Y, Y**2])
DTYPES = [np.float32, np.float64]


def half_square(y, a):
    return 0.5 * (a - y) ** 2


def error(y, a):
    return a - y


def huber_loss(y, a):
    e = abs(a - y)
    return 0.5 * e * e if e < 1 else e - 0.5


def clipped_error(y, a):
    return min(max(a - y, -1.0), 1.0)


def log_cosh(y, a):
    return math.log(math.cosh(a - y))


def tanh_error(y, a):
    return math.tanh(a - y)


def pinball(y, a):
    return 0.9 * (y - a) if y > a else 0.1 * (a - y)


def pinball_slope(y, a):
    return -0.9 if y > a else 0.1


SQUARE = CustomLoss(half_square, error)
HUBER = CustomLoss(huber_loss, clipped_error)
LOG_COSH = CustomLoss(log_cosh, tanh_error, name="log cosh")
PINBALL = CustomLoss(pinball, pinball_slope)
PAIRS = [(SQUARE, "squared_error"), (HUBER, "huber")]


def quick(loss, **parameters):
    defaults = dict(hidden_layer_sizes=(9, 5), max_iter=8, random_state=0)
    return MLPRegressor(loss, **defaults | parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (7, 5), (300,)])
def test_losses_and_derivatives_are_those_of_the_functions(shape, dtype):
    random_state = np.random.RandomState(0)
    y, a = (random_state.normal(size=shape).astype(dtype) for _ in range(2))
    before = a.copy()
    losses, derivatives = HUBER.evaluate(y, a)
    assert losses.dtype == np.float64 and derivatives.dtype == dtype
    np.testing.assert_allclose(losses, huber(1, a - y), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(derivatives, np.clip(a - y, -1, 1), rtol=1e-6)
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("y", [Y, BOTH], ids=["one", "two"])
@pytest.mark.parametrize(("own", "name"), PAIRS)
def test_a_network_is_the_one_with_the_same_loss_by_name(own, name, y, solver):
    weight = np.arange(150) % 5 + 1.0
    ours, theirs = (quick(loss, solver=solver).fit(X, y, weight) for loss in (own, name))
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-9)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-8)


@pytest.mark.parametrize("own", [SQUARE, HUBER, LOG_COSH])
@pytest.mark.parametrize("y", [Y, BOTH], ids=["one", "two"])
def test_the_gradient_is_right(own, y):
    model = quick(own, hidden_layer_sizes=(4,), activation="tanh")
    assert check_gradient(model, X[:20], y[:20], np.arange(20) + 1.0) < 1e-7


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("own", [LOG_COSH, PINBALL], ids=str)
def test_bits_do_not_depend_on_threads(own, dtype, monkeypatch):
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD", 1)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD_OF_FIT", 1)
    one, *others = (
        quick(own, n_jobs=n_jobs, batch_size=64).fit(X.astype(dtype), BOTH) for n_jobs in (1, 2, 3)
    )
    for model in others:
        assert model.loss_curve_ == one.loss_curve_
        for ours, theirs in zip(model.coefs_, one.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("own", "name"), PAIRS)
@pytest.mark.parametrize("y", [Y, BOTH], ids=["one", "two"])
def test_validation_computes_it_too(own, name, y):
    options = dict(early_stopping=True, scoring="loss")
    weights = {"sample_weight_val": np.arange(150) + 1.0, "X_val": X, "y_val": y}
    for given in ({}, weights):
        ours, theirs = (quick(loss, **options).fit(X, y, **given) for loss in (own, name))
        np.testing.assert_allclose(
            ours.validation_loss_curve_, theirs.validation_loss_curve_, rtol=1e-8
        )


def test_the_pinball_loss_finds_the_quantile():
    model = quick(PINBALL, hidden_layer_sizes=(), solver="sgd", max_iter=400, alpha=0, tol=0)
    model.set_params(learning_rate_init=0.05, n_iter_no_change=400)
    quantile = model.fit(X * 0, Y).predict(X * 0)
    assert abs((quantile > Y).mean() - 0.9) < 0.03


def test_clones_pickles_searches_and_partial_fit():
    model = quick(LOG_COSH).fit(X, Y)
    expected = model.predict(X)
    np.testing.assert_array_equal(clone(model).fit(X, Y).predict(X), expected)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.predict(X), expected)
    assert copied.loss == LOG_COSH and hash(copied.loss) == hash(LOG_COSH)
    assert copied.loss.address(np.float32) == LOG_COSH.address(np.float32)
    search = GridSearchCV(quick(LOG_COSH), {"loss": [LOG_COSH, "huber", SQUARE]}, cv=2).fit(X, Y)
    assert len(search.cv_results_["params"]) == 3
    ours, theirs = quick(SQUARE), quick("squared_error")
    for _ in range(3):
        ours.partial_fit(X, Y)
        theirs.partial_fit(X, Y)
    assert ours._continuation is not None
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-6, atol=1e-9)


def test_a_plots_axis_has_its_name():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    display = LossCurveDisplay.from_estimator(quick(LOG_COSH).fit(X, Y))
    assert display.ax_.get_ylabel() == "Loss per sample (log cosh)"
    plt.close("all")


def test_scikit_learn_refuses_it_by_name_and_predictions_are_exported():
    model = quick(LOG_COSH).fit(X, Y)
    with pytest.raises(ValueError, match=r"'loss' parameter.*CustomLoss\(log cosh\)"):
        to_sklearn(model)
    assert "predict" in to_c(model)
    pytest.importorskip("onnx")
    assert to_onnx(model).graph.output[0].name == "variable"


def test_other_objects_are_refused():
    for model in (MLPClassifier(loss=half_square), MLPClassifier(loss="huber")):
        with pytest.raises(ValueError, match="'loss' parameter of MLPClassifier"):
            model.fit(X, Y > 0)
    with pytest.raises(ValueError, match="'loss' parameter of MLPRegressor"):
        quick(half_square).fit(X, Y)
    assert repr(SQUARE) == "CustomLoss(half_square)" and SQUARE != HUBER


@pytest.mark.parametrize(
    ("function", "derivative", "message"),
    [
        (half_square, clipped_error, "the derivative of CustomLoss.half_square. at y = "),
        (half_square, lambda y, a: y - a, "finite differences give"),
        (pinball, lambda y, a: 0.95 if y == a else pinball_slope(y, a), "check=False allows that"),
    ],
)
def test_the_check_finds_wrong_derivatives(function, derivative, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CustomLoss(function, derivative)


def test_the_check_leaves_out_where_the_loss_is_not_finite():
    CustomLoss(
        lambda y, a: a - y * math.log(a) if y >= 0 and a > 0 else math.nan,
        lambda y, a: 1 - y / a,
    )


def test_what_nopython_mode_does_not_take_is_refused():
    for function in (lambda y: y, lambda y, a: str(a), lambda y, a: (y, a)):
        with pytest.raises(TypeError, match="of two floats"):
            CustomLoss(function, error)
    with pytest.raises(ValueError, match="shape"):
        SQUARE.evaluate([1.0], [1.0, 2.0])
