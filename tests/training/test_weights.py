"""Only ratios of sample weights matter beside alpha, however small or large the weights are."""

import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.weights import scale_penalty, scale_weights, scaling_exponent
from fastmlp.inspection import check_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(300, 4)
CLASSES = np.digitize(X[:, 0] - X[:, 1], [-1, 1])
VALUES = X[:, 0] - 2 * X[:, 1]
WEIGHTS = np.exp(RNG.randn(300))
PARAMETERS = {"hidden_layer_sizes": (8,), "max_iter": 6, "random_state": 0}
KINDS = [(MLPClassifier, CLASSES), (MLPRegressor, VALUES)]
OPTIONS = [
    {},
    {"solver": "lbfgs"},
    {"solver": "sgd", "max_grad_norm": 0.5},
    {"early_stopping": True},
    {"early_stopping": True, "scoring": "loss"},
    {"batch_size": 7, "dropout": 0.3},
]
EXPONENTS = {np.float32: (-400, -133, -20, 5, 200), np.float64: (-1060, -200, 3, 1000)}
CASES = [(dtype, exponent) for dtype, all_ in EXPONENTS.items() for exponent in all_]


def assert_same_model(one, other):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(one, name), getattr(other, name), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    assert one.loss_ == other.loss_
    if one.solver != "lbfgs":
        assert one.loss_curve_ == other.loss_curve_
        assert one.validation_loss_curve_ == other.validation_loss_curve_
        assert one.validation_scores_ == other.validation_scores_


@pytest.mark.parametrize(("estimator", "y"), KINDS)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("dtype", "exponent"), CASES)
def test_without_penalty_a_common_factor_changes_no_bit(estimator, y, options, dtype, exponent):
    """Weights of few bits: tiny ones are exact even where they are subnormal."""
    weights = np.round(WEIGHTS * 8) / 8 + 0.125
    model = estimator(**PARAMETERS, **options, alpha=0)
    expected = model.fit(X.astype(dtype), y, weights).__dict__.copy()
    model.fit(X.astype(dtype), y, np.ldexp(weights, exponent))
    reference = estimator()
    reference.__dict__.update(expected)
    assert_same_model(model, reference)
    assert model.score(X.astype(dtype), y) > (0.4 if "lbfgs" in options.values() else -9)


@pytest.mark.parametrize(("estimator", "y"), KINDS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("exponent", [-60, 7])
def test_a_factor_of_weights_and_alpha_changes_no_bit(estimator, y, sparse, exponent):
    for dtype in (np.float32, np.float64):
        rows = csr_array(X.astype(dtype)) if sparse else X.astype(dtype)
        one = estimator(**PARAMETERS, alpha=0.25).fit(rows, y, WEIGHTS)
        other = estimator(**PARAMETERS, alpha=np.ldexp(0.25, exponent))
        assert_same_model(other.fit(rows, y, np.ldexp(WEIGHTS, exponent)), one)


@pytest.mark.parametrize("factor", [1e-290, 1e-60, 1.0, 1e60, 1e290])
@pytest.mark.parametrize("alpha", [0, 1e-4])
def test_float64_is_scikit_learns_model(factor, alpha):
    for ours, theirs, y in (
        (MLPClassifier, SklearnMLPClassifier, CLASSES),
        (MLPRegressor, SklearnMLPRegressor, VALUES),
    ):
        parameters = PARAMETERS | {"alpha": alpha * factor, "max_iter": 3}
        models = [each(**parameters).fit(X, y, WEIGHTS * factor) for each in (ours, theirs)]
        np.testing.assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-8)
        np.testing.assert_allclose(models[0].coefs_[0], models[1].coefs_[0], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("mean", [-1, -80, -90, -120, -400, 80, 200])
def test_importance_weights_train_a_float32_network(mean):
    weights = np.exp(mean + RNG.randn(300))
    model = MLPRegressor(
        hidden_layer_sizes=(20,), alpha=0, max_iter=150, learning_rate_init=0.01, random_state=0
    )
    assert model.fit(X.astype(np.float32), VALUES, weights).score(X, VALUES) > 0.9
    for _ in range(3):
        before = model.coefs_[0].copy()
        model.partial_fit(X[:50].astype(np.float32), VALUES[:50], weights[:50])
        assert not np.array_equal(before, model.coefs_[0])


def test_class_weights_may_be_tiny_too():
    rows = X.astype(np.float32)
    tiny = {label: 1e-60 * (label + 1) for label in range(3)}
    plain = {label: 1.0 * (label + 1) for label in range(3)}
    for weights in (None, WEIGHTS, WEIGHTS * 1e-100):
        model = MLPClassifier(**PARAMETERS, alpha=0, class_weight=tiny).fit(rows, CLASSES, weights)
        expected = MLPClassifier(**PARAMETERS, alpha=0, class_weight=plain)
        scaled = None if weights is None else weights / weights.max()
        expected.fit(rows, CLASSES, scaled)
        np.testing.assert_allclose(model.coefs_[0], expected.coefs_[0], rtol=1e-3, atol=1e-4)
        assert model.loss_ == pytest.approx(expected.loss_, rel=1e-4)


@pytest.mark.parametrize(("estimator", "y"), KINDS)
@pytest.mark.parametrize("factor", [2.0**-140, 2.0**-100, 2.0**120])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_validation_weights_may_have_any_size(estimator, y, factor, kind):
    rows, weights = X.astype(np.float32), (np.round(WEIGHTS * 4) + 1).astype(kind)
    curves = []
    for each in (weights, weights * kind(factor)):
        for scoring in (None, "loss"):
            model = estimator(**PARAMETERS, early_stopping=True, scoring=scoring)
            model.fit(rows, y, X_val=rows, y_val=y, sample_weight_val=each)
            curves.append((model.validation_loss_curve_, model.validation_scores_))
    assert curves[:2] == curves[2:] and np.isfinite(curves).all()


def test_a_scorer_gets_the_weights_as_given():
    seen = []

    def scorer(estimator, X, y, sample_weight=None):
        seen.append(sample_weight)
        return float(len(seen))

    model = MLPClassifier(**PARAMETERS, early_stopping=True, scoring=scorer)
    model.fit(X, CLASSES, X_val=X, y_val=CLASSES, sample_weight_val=WEIGHTS * 1e-50)
    np.testing.assert_array_equal(seen[0], WEIGHTS * 1e-50)


def test_a_huge_weight_in_the_validation_split_leaves_those_of_training():
    seen = []

    def scorer(estimator, X, y):
        seen.append(X)
        return float(len(seen))

    rows = X.astype(np.float32)
    model = MLPClassifier(**PARAMETERS, early_stopping=True, alpha=0, scoring=scorer)
    expected = model.fit(rows, CLASSES).loss_curve_
    weights = np.where((rows == seen[0][0]).all(axis=1), 1e60, 1.0)
    assert (weights > 1).sum() == 1 and model.fit(rows, CLASSES, weights).loss_curve_ == expected


def test_the_gradient_is_right_for_tiny_weights():
    model = MLPClassifier((4,), "tanh", random_state=0, alpha=1e-302)
    assert check_gradient(model, X[:40], CLASSES[:40], WEIGHTS[:40] * 1e-300) < 1e-6


def test_a_penalty_beyond_the_range_is_an_error_or_a_model_without_a_word_from_numpy():
    model = MLPRegressor(**PARAMETERS, alpha=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            model.fit(X.astype(np.float32), VALUES, WEIGHTS * 1e-60)
        except ValueError as error:
            assert "non-finite" in str(error)


def test_scaling_is_exact():
    weights = np.float32([1e-45, 3, 0])
    assert scaling_exponent(weights) == -1 and scaling_exponent(None) == 0
    np.testing.assert_array_equal(scale_weights(weights[:1], 149), np.float32([1]), strict=True)
    huge = scale_weights(np.array([1.0, 1e300]), 0, np.dtype(np.float32))
    np.testing.assert_array_equal(huge, np.float32([1, np.inf]), strict=True)
    settings = settings_of(MLPClassifier(alpha=0.5), 1)
    for exponent in range(-3, 4):
        assert scale_penalty(settings, exponent, np.dtype(np.float64)).alpha == 0.5 * 2**exponent
        assert scaling_exponent(np.array([0.0, 1.5 * 2.0**-exponent])) == exponent
    assert scaling_exponent(np.zeros(3)) == scaling_exponent(np.zeros(0)) == 0


def test_scaling_beyond_the_range_is_silent_however_numpy_is_set():
    settings = settings_of(MLPClassifier(alpha=0.5), 1)
    with np.errstate(all="raise"):
        scaled = scale_weights(np.array([1e-300, 1.0, 1e300]), 0, np.dtype(np.float32))
        least = scale_penalty(settings, -1100, np.dtype(np.float64)).alpha
        largest = scale_penalty(settings, 1100, np.dtype(np.float32)).alpha
    np.testing.assert_array_equal(scaled, np.float32([0, 1, np.inf]), strict=True)
    assert least == 0 and largest == np.finfo(np.float32).max
