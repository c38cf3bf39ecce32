"""QuantileDisplay: predicted quantiles, and how many samples lie below them."""

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from fastmlp.displays.panels import panels

PANEL_SIZE = 4.5, 3.6  # inches
OPACITY = 0.25  # of one band; nested ones add up
MARKER_SIZE = 6  # square points, of a sample


class QuantileDisplay:
    """Quantiles predicted for samples, beside the share of samples that lie below each.

    Use samples that were held out: for those of the training, the shares are right by
    construction.

    Parameters
    ----------
    predictions : array-like of shape (n_samples, n_quantiles)
        The predicted quantiles.
    quantiles : array-like of shape (n_quantiles,)
        Which ones they are, in increasing order.
    y : array-like of shape (n_samples,)
        The values.

    Attributes
    ----------
    shares_ : ndarray of shape (n_quantiles,)
        The share of samples whose value is at most the predicted quantile.
    coverage_ : float
        The share of samples from the lowest quantile to the highest, both included.
    axes_ : ndarray of matplotlib Axes of shape (2,)
    figure_ : matplotlib Figure

    See Also
    --------
    fastmlp.MLPRegressor : Predicts quantiles with ``loss="quantile"``.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.displays import QuantileDisplay
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor("quantile", quantile=[0.1, 0.5, 0.9], solver="lbfgs", random_state=0)
    >>> display = QuantileDisplay.from_estimator(model.fit(X[:300], y[:300]), X[300:], y[300:])
    >>> bool(0.6 < display.coverage_ < 0.95)
    True
    """

    def __init__(self, *, predictions, quantiles, y):
        self.predictions, self.quantiles, self.y = predictions, quantiles, y

    @classmethod
    def from_estimator(cls, estimator, X, y, *, ax=None) -> "QuantileDisplay":
        """Draw the quantiles that a fitted regressor predicts.

        Parameters
        ----------
        estimator : MLPRegressor
            A fitted one, with ``loss="quantile"``.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The samples.
        y : array-like of shape (n_samples,)
            Their values.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.

        Returns
        -------
        QuantileDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If it predicts no quantiles, or those of several columns of y.
        """
        if getattr(estimator, "loss", None) != "quantile":
            raise ValueError(f"{type(estimator).__name__} needs loss='quantile'")
        predictions, quantiles = estimator.predict(X), np.atleast_1d(estimator.quantile)
        predictions = predictions.reshape(len(predictions), -1)
        if predictions.shape[1] != len(quantiles):
            raise ValueError("QuantileDisplay needs a model of one column of y")
        return cls(predictions=predictions, quantiles=quantiles, y=y).plot(ax)

    @classmethod
    def from_predictions(cls, y, predictions, quantiles, *, ax=None) -> "QuantileDisplay":
        """Draw predicted quantiles, from whatever source.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            The values.
        predictions : array-like of shape (n_samples, n_quantiles)
            The predicted quantiles.
        quantiles : array-like of shape (n_quantiles,)
            Which ones they are, in increasing order.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.

        Returns
        -------
        QuantileDisplay
        """
        return cls(predictions=predictions, quantiles=quantiles, y=y).plot(ax)

    def plot(self, ax=None) -> "QuantileDisplay":
        """Draw both panels.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            A single Axes is divided; an array must have two Axes. None creates a new figure.

        Returns
        -------
        QuantileDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If the shapes do not fit.
        """
        y, quantiles = column_or_1d(self.y), column_or_1d(self.quantiles)
        predictions = np.asarray(self.predictions)
        check_consistent_length(y, predictions)
        if predictions.ndim != 2 or predictions.shape[1] != len(quantiles):
            raise ValueError(
                f"predictions need a column for each of {len(quantiles)} quantiles; "
                f"their shape is {predictions.shape}"
            )
        self.shares_ = (y[:, None] <= predictions).mean(axis=0)
        low, high = predictions.min(axis=1), predictions.max(axis=1)
        self.coverage_ = float(((low <= y) & (y <= high)).mean())
        self.axes_ = panels(f"{type(self).__name__}.plot", ax, 2, 2, PANEL_SIZE)
        self.figure_ = self.axes_[0].figure
        _draw_bands(self.axes_[0], predictions, quantiles, y)
        _draw_shares(self.axes_[1], quantiles, self.shares_)
        return self


def _draw_bands(axes, predictions, quantiles, y) -> None:
    """The samples in the order of their middle quantile, with a band from each to its opposite."""
    count = len(quantiles)
    order = np.argsort(predictions[:, count // 2], kind="stable")
    drawn, places = predictions[order], np.arange(len(order))
    axes.scatter(places, y[order], s=MARKER_SIZE, color="black", label="y", zorder=3)
    for index in range(count // 2):
        low, high = quantiles[index], quantiles[-1 - index]
        columns = drawn[:, index], drawn[:, -1 - index]
        axes.fill_between(
            places, *columns, alpha=OPACITY, color="tab:blue", label=f"{low:g} to {high:g}"
        )
    if count % 2:
        axes.plot(
            places, drawn[:, count // 2], color="tab:blue", label=f"{quantiles[count // 2]:g}"
        )
    axes.set(title="Predicted quantiles", xlabel="Sample, by prediction", ylabel="y")
    axes.legend()


def _draw_shares(axes, quantiles, shares) -> None:
    """The share of samples below each quantile, which should be the quantile itself."""
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=0.8)
    axes.plot(quantiles, shares, "o-", color="tab:blue")
    axes.set(title="Calibration", xlabel="Quantile", ylabel="Share of samples below")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
