"""History: the progress of a fit, and whether it still improves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from fastmlp._engine.network import Network

TRAINING_LOSS = "training loss"  # the criterion without early stopping


class Curve:
    """A value for each epoch: those of earlier calls, and those of this one.

    The earlier list stays as it is until `finish` extends it, which `undo` takes back. So a fit
    that fails changes nothing, and a call of partial_fit takes the same time however many came
    before.

    Parameters
    ----------
    earlier : list of float, optional
    """

    def __init__(self, earlier: list[float] | None = None):
        self.earlier = [] if earlier is None else earlier
        self.new: list[float] = []
        self._n_earlier = len(self.earlier)

    def __len__(self) -> int:
        return self._n_earlier + len(self.new)

    def append(self, value: float) -> None:
        """Add the value of an epoch."""
        self.new.append(value)

    @property
    def latest(self) -> float:
        """The value of the last epoch."""
        return (self.new or self.earlier)[-1]

    @latest.setter
    def latest(self, value: float) -> None:
        (self.new or self.earlier)[-1] = value

    def so_far(self) -> list[float]:
        """All values, in a list of their own."""
        return [*self.earlier, *self.new]

    def finish(self) -> None:
        """Extend the earlier list."""
        self.earlier.extend(self.new)

    def undo(self) -> None:
        """Shorten the earlier list to what it was."""
        del self.earlier[self._n_earlier :]


def _own(value: Any) -> Any:
    """The value, or a copy of a list."""
    return value.copy() if isinstance(value, list) else value


@dataclass
class History:
    """The progress of a fit, from which a later call continues.

    Attributes
    ----------
    criterion : str, callable or None
        The measure of improvement: `TRAINING_LOSS`, or the estimator's `scoring`.
    n_iter : int
        Epochs of this call.
    samples_seen : int
        Samples of all calls.
    loss_curve : Curve
    validation_loss_curve : Curve or None
        As long as `loss_curve`, NaN for epochs without validation data; None without any.
    best_loss : float or None
        None if a validation score decides.
    no_improvement_count : int
    validation_scores : list of float or None
    best_validation_score : float or None
    best : Network or None
        Parameters at the best validation score.
    """

    criterion: str | Callable | None = TRAINING_LOSS
    n_iter: int = 0
    samples_seen: int = 0
    loss_curve: Curve = field(default_factory=Curve)
    validation_loss_curve: Curve | None = None
    best_loss: float | None = np.inf
    no_improvement_count: int = 0
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    best: Network | None = None

    # Fields and the estimator's attributes: those that always continue, and those that continue
    # only under the same criterion.
    _KEPT: ClassVar[dict[str, str]] = {
        "samples_seen": "t_",
    }
    _CURVES: ClassVar[dict[str, str]] = {
        "loss_curve": "loss_curve_",
        "validation_loss_curve": "validation_loss_curve_",
    }
    _JUDGED: ClassVar[dict[str, str]] = {
        "best_loss": "best_loss_",
        "no_improvement_count": "_no_improvement_count",
        "validation_scores": "validation_scores_",
        "best_validation_score": "best_validation_score_",
    }

    @classmethod
    def begin(cls, estimator) -> "History":
        """The history before the first epoch."""
        if estimator.early_stopping:
            return cls(
                criterion=estimator.scoring,
                best_loss=None,
                validation_scores=[],
                best_validation_score=-np.inf,
            )
        return cls()

    @classmethod
    def of(cls, estimator) -> "History":
        """The history recorded in a fitted estimator's attributes."""
        history = cls.begin(estimator)
        fitted = vars(estimator)
        # Models of scikit-learn or older versions record no criterion: infer it from the scores.
        assumed = TRAINING_LOSS if fitted.get("validation_scores_") is None else None
        same = fitted.get("_criterion", assumed) == history.criterion
        for name, attribute in (cls._KEPT | cls._JUDGED if same else cls._KEPT).items():
            if attribute in fitted:
                setattr(history, name, _own(fitted[attribute]))
        for name, attribute in cls._CURVES.items():
            values = fitted.get(attribute)
            if values is not None:
                setattr(history, name, Curve(values if type(values) is list else list(values)))
        return history

    def attributes(self) -> dict[str, Any]:
        """The estimator's attributes after this progress."""
        return self._attributes(Curve.so_far)

    def unfinished_attributes(self) -> dict[str, Any]:
        """The same, but with the lists of earlier calls, which `finish` extends."""
        return self._attributes(lambda curve: curve.earlier)

    def finish(self) -> None:
        """Extend the lists of earlier calls."""
        for curve in self._curves():
            curve.finish()

    def undo(self) -> None:
        """Take `finish` back, done or half done."""
        for curve in self._curves():
            curve.undo()

    def _curves(self) -> list[Curve]:
        return [each for each in (self.loss_curve, self.validation_loss_curve) if each is not None]

    def _attributes(self, values_of: Callable[[Curve], list[float]]) -> dict[str, Any]:
        names = self._KEPT | self._JUDGED
        curves = {attribute: getattr(self, name) for name, attribute in self._CURVES.items()}
        return {
            **{attribute: _own(getattr(self, name)) for name, attribute in names.items()},
            "n_iter_": self.n_iter,
            "loss_": self.loss_curve.latest if len(self.loss_curve) else np.inf,
            "_criterion": self.criterion,
            **{key: None if each is None else values_of(each) for key, each in curves.items()},
        }

    def record(self, loss: float, n_samples: int) -> None:
        """Record an epoch and its mean loss."""
        self.n_iter += 1
        self.samples_seen += n_samples
        self.loss_curve.append(loss)
        if self.validation_loss_curve is not None:
            self.validation_loss_curve.append(np.nan)
        if self.validation_scores is not None:
            self.validation_scores.append(np.nan)

    def record_validation(self, loss: float, score: float | None) -> None:
        """Record the validation loss after the last epoch and, with early stopping, the score."""
        if self.validation_loss_curve is None:
            self.validation_loss_curve = Curve([np.nan] * len(self.loss_curve))
        self.validation_loss_curve.latest = loss
        if score is not None and self.validation_scores is not None:
            self.validation_scores[-1] = score

    @property
    def has_scorer(self) -> bool:
        """Whether the user's `scoring` decides."""
        return self.criterion not in (None, TRAINING_LOSS)

    def judge(self, tol: float, network: Network) -> None:
        """Count epochs that did not improve by tol, and keep the best result so far.

        A NaN or infinite score of the user's scorer improves only if it exceeds the best one. The
        default score counts a NaN as an improvement, as in scikit-learn: training has diverged.
        """
        if self.validation_scores is not None:
            latest = self.validation_scores[-1]
            assert self.best_validation_score is not None
            improves = not latest < self.best_validation_score + tol
            if self.has_scorer and not np.isfinite(latest):
                improves = latest > self.best_validation_score
            if latest > self.best_validation_score:
                self.best_validation_score = latest
                self.best = network.copy()
        else:
            latest = self.loss_curve.latest
            assert self.best_loss is not None
            improves = not latest > self.best_loss - tol
            if latest < self.best_loss:
                self.best_loss = latest
        self.no_improvement_count = 0 if improves else self.no_improvement_count + 1

    def report(self) -> None:
        """Print the last epoch in scikit-learn's format."""
        print(f"Iteration {self.n_iter}, loss = {self.loss_curve.latest:.8f}")
        if self.validation_scores is not None:
            print(f"Validation score: {self.validation_scores[-1]:f}")
