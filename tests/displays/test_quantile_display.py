"""QuantileDisplay: bands of predicted quantiles, and the share of samples below each."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from fastmlp import MLPRegressor
from fastmlp.displays import QuantileDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(60, 3)
Y = X[:, 0] + RNG.randn(60)
SEVERAL = [0.1, 0.25, 0.5, 0.75, 0.9]


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def fitted(**parameters):
    return MLPRegressor("quantile", (5,), max_iter=20, random_state=0, **parameters).fit(X, Y)


def test_shares_and_coverage_are_counts_of_samples():
    model = fitted(quantile=SEVERAL)
    display = QuantileDisplay.from_estimator(model, X, Y)
    predictions = model.predict(X)
    expected = [
        np.mean([y <= q for y, q in zip(Y, column, strict=True)]) for column in predictions.T
    ]
    np.testing.assert_allclose(display.shares_, expected)
    inside = [row.min() <= y <= row.max() for y, row in zip(Y, predictions, strict=True)]
    assert display.coverage_ == np.mean(inside)
    (_, line) = display.axes_[1].lines
    np.testing.assert_allclose(line.get_xydata(), np.column_stack([SEVERAL, expected]))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_each_pair_of_quantiles_has_a_band_and_the_middle_one_a_line(count):
    quantiles = np.linspace(0.1, 0.9, count)
    predictions = np.sort(RNG.randn(60, count), axis=1)
    display = QuantileDisplay.from_predictions(Y, predictions, quantiles)
    first = display.axes_[0]
    assert len(first.collections) == 1 + count // 2  # the samples, and the bands
    assert len(first.lines) == count % 2
    labels = [each.get_text() for each in first.get_legend().get_texts()]
    assert len(labels) == 1 + count // 2 + count % 2
    heights = first.collections[0].get_offsets()[:, 1]
    np.testing.assert_array_equal(heights, Y[np.argsort(predictions[:, count // 2])])


def test_a_single_axes_is_divided_and_an_array_is_used():
    model = fitted(quantile=SEVERAL)
    figure, axes = plt.subplots(1, 2)
    display = QuantileDisplay.from_estimator(model, X, Y, ax=axes)
    assert display.figure_ is figure
    assert list(display.axes_) == list(axes)
    assert QuantileDisplay.from_estimator(model, X, Y, ax=plt.subplots()[1]).axes_.size == 2


def test_what_predicts_no_quantiles_is_refused():
    with pytest.raises(ValueError, match="MLPRegressor needs loss='quantile'"):
        QuantileDisplay.from_estimator(MLPRegressor(max_iter=2).fit(X, Y), X, Y)
    with pytest.raises(NotFittedError):
        QuantileDisplay.from_estimator(MLPRegressor("quantile"), X, Y)
    both = MLPRegressor("quantile", max_iter=2).fit(X, np.column_stack([Y, Y]))
    with pytest.raises(ValueError, match="one column of y"):
        QuantileDisplay.from_estimator(both, X, Y)
    with pytest.raises(ValueError, match=r"a column for each of 2 quantiles; .* \(60, 3\)"):
        QuantileDisplay.from_predictions(Y, np.zeros((60, 3)), [0.1, 0.9])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        QuantileDisplay.from_predictions(Y[:5], np.zeros((60, 2)), [0.1, 0.9])
