"""LossCurveDisplay: training and validation curves."""

from itertools import cycle, islice

import numpy as np
from sklearn.base import is_classifier

from fastmlp._estimator.architecture import Architecture
from fastmlp._training.losses import LOSSES, loss_of
from fastmlp.displays.panels import panels, pyplot

FIGURE_SIZE = (6.4, 4.8)  # inches
MARKERS = "osD^vPX"  # tell estimators apart without colours
MARKERS_PER_CURVE = 10
BEST_MARKER = {"marker": "*", "markersize": 13, "markeredgecolor": "black", "linestyle": "none"}


class LossCurveDisplay:
    """The loss of each epoch, with validation curves if there are any.

    A star marks the best epoch: the one with the highest validation score, else with the lowest
    validation loss, else with the lowest training loss. A validation loss is drawn beside the
    training loss. If there are only validation scores, they get an axis of their own on the right.
    Several displays may share an Axes; each has its own marker.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        The mean training loss of each epoch.
    validation_loss_curve : array-like of shape (n_epochs,), default=None
        The same on validation data.
    validation_scores : array-like of shape (n_epochs,), default=None
        Scores on validation data; higher is better.
    name : str, default=None
        The name of this curve in the legend.
    loss_label, score_label : str
        Labels of the y axes.

    Attributes
    ----------
    best_epoch_ : int or None
        The epoch with the star, counted from 1; None if no value is finite.
    line_, validation_line_, best_marker_ : matplotlib Line2D
        The training curve, the validation curve and the star; None if absent.
    ax_, score_ax_ : matplotlib Axes
        The Axes of the losses and of the scores; `score_ax_` is None without scores.
    figure_ : matplotlib Figure

    See Also
    --------
    NetworkDisplay : A diagram of the layers.
    WeightsDisplay : The weights of the layers.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.displays import LossCurveDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier(early_stopping=True, tol=0.01, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model, name="digits")
    >>> display.ax_.get_xlabel(), display.ax_.get_ylabel()
    ('Epoch', 'Loss per sample (log loss, nats)')
    """

    def __init__(
        self,
        *,
        loss_curve,
        validation_loss_curve=None,
        validation_scores=None,
        name=None,
        loss_label="Loss per sample",
        score_label="Validation score",
    ):
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.validation_scores = validation_scores
        self.name = name
        self.loss_label = loss_label
        self.score_label = score_label

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs) -> "LossCurveDisplay":
        """Draw the curves of a fitted estimator of fastmlp or scikit-learn.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            Fitted by any solver but 'lbfgs'.
        ax : matplotlib Axes, default=None
            As in `plot`.
        name : str, default=None
            The name in the legend; None uses the name of the estimator's class.
        **kwargs
            As in `plot`.

        Returns
        -------
        LossCurveDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the estimator has no loss curve, as after solver 'lbfgs'.
        """
        Architecture.of(estimator)
        loss_curve = getattr(estimator, "loss_curve_", None)
        if not loss_curve:
            raise ValueError(f"solver={estimator.solver!r} left no loss curve to draw")
        display = cls(
            loss_curve=loss_curve,
            validation_loss_curve=getattr(estimator, "validation_loss_curve_", None),
            validation_scores=getattr(estimator, "validation_scores_", None),
            name=type(estimator).__name__ if name is None else name,
            loss_label=_loss_label(estimator),
            score_label=_score_label(estimator),
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, name=None, **kwargs) -> "LossCurveDisplay":
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            May be the `ax_` of another display. None creates a new figure.
        name : str, default=None
            The name in the legend; None uses the attribute `name`.
        **kwargs
            Properties of the lines, passed to matplotlib's ``plot``.

        Returns
        -------
        LossCurveDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = panels(f"{type(self).__name__}.plot", ax, 1, 1, FIGURE_SIZE)[0]
        self.figure_, self.score_ax_ = self.ax_.figure, None
        name = self.name if name is None else name
        prefix = "" if name is None else f"{name}: "
        self.line_ = self._training_line(f"{prefix}training", kwargs)
        self.validation_line_ = self._validation_line(f"{prefix}validation", kwargs)
        self._mark_best()
        self._label_axes()
        return self

    def _training_line(self, label, kwargs):
        if not self.ax_.lines:  # later displays on these axes continue the cycle
            self.ax_.set_prop_cycle(_style_cycle(f"{type(self).__name__}.plot"))
        epochs = np.arange(1, len(self.loss_curve) + 1)
        style = {"label": label, "markevery": -(-len(epochs) // MARKERS_PER_CURVE)}
        return self.ax_.plot(epochs, self.loss_curve, **style | kwargs)[0]

    def _validation_line(self, label, kwargs):
        curve, ax = self.validation_loss_curve, self.ax_
        if curve is None and self.validation_scores is not None:
            curve, ax = self.validation_scores, _score_axes(self.ax_)
            self.score_ax_ = ax
        if curve is None:
            return None
        style = {"color": self.line_.get_color(), "marker": self.line_.get_marker()}
        style |= {"label": label, "markevery": self.line_.get_markevery(), "linestyle": "--"}
        style |= {"markerfacecolor": "white"}
        return ax.plot(np.arange(1, len(curve) + 1), curve, **style | kwargs)[0]

    def _mark_best(self):
        """Draw the star on the curve that determines the best epoch, and name it in the label."""
        line = self.validation_line_ or self.line_
        curve, sign = np.asarray(line.get_ydata(), dtype=float), -1
        if self.validation_scores is not None:
            curve, sign = np.asarray(self.validation_scores, dtype=float), 1
        merit = np.where(np.isfinite(curve), sign * curve, -np.inf)
        best = int(merit.argmax())
        self.best_epoch_, self.best_marker_ = None, None
        if np.isfinite(merit[best]) and best < len(line.get_ydata()):
            self.best_epoch_ = best + 1
            line.set_label(f"{line.get_label()}, ★ best at epoch {self.best_epoch_}")
            point = [self.best_epoch_], [line.get_ydata()[best]]
            self.best_marker_ = line.axes.plot(*point, color=line.get_color(), **BEST_MARKER)[0]

    def _label_axes(self):
        ax = self.ax_
        same = ax.get_ylabel() in ("", self.loss_label)
        ax.set(
            title="Loss by epoch",
            xlabel="Epoch",
            ylabel=self.loss_label if same else "Loss per sample",
        )
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        scores = _score_axes_of(ax)
        if scores is None:
            ax.legend()
            return
        if self.score_ax_ is not None:
            same = scores.get_ylabel() in ("", self.score_label)
            scores.set_ylabel(self.score_label if same else "Validation score")
        handles = [*ax.get_legend_handles_labels()[0], *scores.get_legend_handles_labels()[0]]
        scores.legend(
            handles=handles, loc="center right"
        )  # falling and rising curves cross on the left


def _loss_label(estimator) -> str:
    default = "log_loss" if is_classifier(estimator) else "squared_error"
    loss = getattr(estimator, "loss", default)
    if isinstance(loss, str) and loss not in LOSSES:
        return "Loss per sample"
    return f"Loss per sample ({loss_of(loss).label})"


def _score_label(estimator) -> str:
    scoring = getattr(estimator, "scoring", None)
    if scoring is None:
        scoring = "accuracy" if is_classifier(estimator) else "R²"
    return f"Validation {scoring.replace('_', ' ') if isinstance(scoring, str) else 'score'}"


def _style_cycle(caller: str):
    """The user's colour cycle, with a marker for each colour."""
    colors = pyplot(caller).rcParams["axes.prop_cycle"].by_key().get("color", ["black"])
    from cycler import cycler  # a dependency of matplotlib

    return cycler(color=colors, marker=list(islice(cycle(MARKERS), len(colors))))


def _score_axes_of(ax):
    """The Axes that an earlier display has laid over `ax` for its scores, or None."""
    siblings = ax.get_shared_x_axes().get_siblings(ax)
    return next((s for s in siblings if s is not ax and s.bbox.bounds == ax.bbox.bounds), None)


def _score_axes(ax):
    scores = _score_axes_of(ax)
    return ax.twinx() if scores is None else scores
