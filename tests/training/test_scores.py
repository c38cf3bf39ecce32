"""What a scorer returns must be a number, and one that is never a number ends in an error."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._training import loop
from fastmlp._training.losses import LOSSES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(120, 4)
CLASSES, VALUES = (X[:, 0] > 0).astype(int), X[:, 0] - X[:, 1]
KINDS = [(MLPClassifier, CLASSES), (MLPRegressor, VALUES)]
NAN = float("nan")


def stopping(estimator, scores, **parameters):
    """An estimator whose scorer returns one value for each epoch, the last one for ever."""
    left = list(scores)
    defaults = {"hidden_layer_sizes": (5,), "max_iter": 40, "random_state": 0}

    def scorer(model, X, y):
        return left.pop(0) if len(left) > 1 else left[0]

    return estimator(**defaults | parameters, early_stopping=True, scoring=scorer)


NO_NUMBERS = [
    None,
    "0.5",
    b"1",
    [0.5],
    (0.5,),
    {"accuracy": 0.5},
    np.array([0.5, 0.5]),
    np.array([]),
    np.array("0.5"),
    pd.Series([0.5, 0.6]),
    1j,
    np.complex128(1),
    object(),
    max,
]


@pytest.mark.parametrize(("estimator", "y"), KINDS)
@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("epoch", [0, 2])
def test_what_is_no_number_is_a_clear_error(estimator, y, value, epoch):
    model = stopping(estimator, [0.1] * epoch + [value])
    with pytest.raises(
        ValueError, match=r"(?s)scoring must return a number, got .*scorer"
    ) as error:
        model.fit(X, y)
    assert type(value).__name__ in str(error.value)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    "value",
    [1, True, np.float32(0.5), np.int8(1), np.array(0.5), np.array([0.5]), Decimal(1), Fraction(1)],
)
def test_every_real_number_will_do(value):
    model = stopping(MLPClassifier, [value], max_iter=3).fit(X, CLASSES)
    assert model.validation_scores_ == [float(np.ravel(value)[0])] * 3
    assert {type(each) for each in model.validation_scores_} == {float}


@pytest.mark.parametrize(("estimator", "y"), KINDS)
@pytest.mark.parametrize("options", [{}, {"n_iter_no_change": 2}, {"max_iter": 3}])
@pytest.mark.parametrize("restores", [True, False])
def test_a_score_that_is_never_a_number_is_an_error(estimator, y, options, restores):
    epochs = []

    def scorer(model, X, y):
        epochs.append(model)
        return NAN

    model = stopping(
        estimator, [NAN], restore_best_weights=restores, **{"max_iter": 10**6} | options
    )
    model.set_params(scoring=scorer)
    with pytest.raises(ValueError, match=r"scoring=.*scorer.* NaN"):
        model.fit(X, y)
    assert not hasattr(model, "coefs_")
    assert len(epochs) == min(model.max_iter, model.n_iter_no_change + 1)


def test_a_score_may_be_nan_at_first():
    model = stopping(MLPClassifier, [NAN] * 8 + [0.5, 0.6, 0.7]).fit(X, CLASSES)
    assert model.best_validation_score_ == 0.7
    assert model.n_iter_ == 11 + model.n_iter_no_change + 1


@pytest.mark.parametrize("last", [NAN, -np.inf])
def test_a_score_that_becomes_nan_does_not_improve(last):
    model = stopping(MLPClassifier, [0.5, last], max_iter=10**6).fit(X, CLASSES)
    assert model.n_iter_ == 1 + model.n_iter_no_change + 1
    assert model.best_validation_score_ == 0.5


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinite_score_improves_once_at_most(value):
    model = stopping(MLPClassifier, [value], max_iter=10**6).fit(X, CLASSES)
    assert model.n_iter_ == (value > 0) + model.n_iter_no_change + 1
    assert model.best_validation_score_ == value


@pytest.mark.parametrize("ending", ["interrupted", "max_time"])
def test_a_fit_that_is_ended_early_is_kept_although_its_scores_are_nan(ending, monkeypatch):
    def scorer(model, X, y):
        if ending == "interrupted":
            raise KeyboardInterrupt
        monkeypatch.setattr(loop.TimeLimit, "is_over", lambda _: True)
        return NAN

    model = stopping(MLPClassifier, [NAN]).set_params(scoring=scorer, max_time=1e6)
    with pytest.warns(UserWarning if ending == "interrupted" else ConvergenceWarning, match=ending):
        model.fit(X, CLASSES)
    assert model.predict(X).shape == (120,)


def test_a_named_scorer_that_gives_nan_is_named():
    model = MLPClassifier((5,), early_stopping=True, scoring="roc_auc", random_state=0)
    data = {"X_val": X[CLASSES == 1], "y_val": CLASSES[CLASSES == 1]}
    with pytest.warns(match="Only one class"), pytest.raises(ValueError, match="roc_auc"):
        model.fit(X, CLASSES, **data)


def test_early_stopping_by_a_score_needs_two_rows():
    model = MLPRegressor(hidden_layer_sizes=(5,), early_stopping=True)
    with pytest.raises(ValueError, match="early stopping needs 2 rows, got 1"):
        model.fit(X, X[:, 0], X_val=X[:1], y_val=X[:1, 0])
    assert len(model.fit(X, X[:, 0], X_val=X[:2], y_val=X[:2, 0]).validation_scores_) > 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sure_error_costs_as_much_as_a_probability_of_epsilon(dtype):
    function = LOSSES["log_loss"].functions["logistic"]
    for targets, outputs in ([[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]):
        rows = (np.array([each], dtype).T for each in (targets, outputs))
        loss = function(None, *rows, None)
        np.testing.assert_allclose(loss, -np.log(np.finfo(dtype).eps), rtol=0.01)
