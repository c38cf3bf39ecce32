"""The fit loop: epochs, stopping, callbacks, interrupts."""

from collections.abc import Callable
from time import monotonic
from typing import Protocol, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp._engine.network import Network
from fastmlp._training.averaging import WeightAverage
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.history import History
from fastmlp._training.optimizer import OptimizerState, Settings

LEAST_LEARNING_RATE = 1e-6  # at or below it, the adaptive schedule stops instead of dividing
ADAPTIVE_DIVISOR = 5.0


class OutOfTime(Exception):
    """max_time passed before the fit was done."""


class TimeLimit:
    """The time at which max_time will have passed.

    Parameters
    ----------
    seconds : float or None
        Counted from now; None for no limit.
    """

    def __init__(self, seconds: float | None):
        self.end = None if seconds is None else monotonic() + seconds

    def is_over(self) -> bool:
        """Whether the limit has passed."""
        return self.end is not None and monotonic() >= self.end

    def check(self) -> None:
        """Raise OutOfTime if the limit has passed."""
        if self.is_over():
            raise OutOfTime


def out_of_time(settings: Settings) -> Warning:
    """The warning that max_time ended the fit."""
    return ConvergenceWarning(
        f"max_time={settings.max_time:g} seconds have passed and the optimization hasn't "
        "converged yet."
    )


def interrupted() -> Warning:
    """The warning that Ctrl-C ended the fit."""
    return UserWarning("Training interrupted by user.")


def divergence(settings: Settings, history: History, one_epoch: bool = False) -> str:
    """The epoch by which training has diverged, and what to try.

    For partial_fit (`one_epoch`), the number of the epoch is its place in the loss curve.
    """
    if settings.max_grad_norm is None:
        limit = "set max_grad_norm"
    else:
        limit = f"lower max_grad_norm={settings.max_grad_norm:g}"
    advice = f"Scale X, lower learning_rate_init={settings.learning_rate_init:g} or {limit}."
    if history.n_iter == 0:  # max_time or Ctrl-C ended the first epoch
        return advice
    epoch = len(history.loss_curve) if one_epoch else history.n_iter
    return f"The loss of epoch {epoch} is {history.loss_curve.latest:g}. {advice}"


def has_diverged(history: History, network: Network) -> bool:
    """Whether the last loss is not finite, and neither is a parameter: no step can repair that.

    An infinite loss alone does not end a fit. Adam's steps are finite even where the squared error
    overflows.
    """
    if history.n_iter == 0 or np.isfinite(history.loss_curve.latest):
        return False
    return not network.is_finite()


def best_weights_kept(settings: Settings, history: History) -> Warning:
    """The warning that early stopping keeps the best weights of a fit that diverged."""
    return ConvergenceWarning(
        f"Training diverged. {divergence(settings, history)} "
        "The weights with the best validation score are kept."
    )


def batch_size_clipped() -> Warning:
    """The warning that a batch has all samples, because there are fewer than batch_size."""
    return UserWarning(
        "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
    )


class EpochRunner(Protocol):
    """What the loop drives: `sgd.Descent` on one machine, `ClusterDescent` on a cluster.

    Attributes
    ----------
    network : Network
        Trained in place.
    settings : Settings
    state : OptimizerState
        Updated in place.
    n_samples : int
        Samples of an epoch.
    """

    network: Network
    settings: Settings
    state: OptimizerState
    n_samples: int

    def __enter__(self) -> Self:
        """Acquire what the epochs need, and start the clock of max_time."""
        ...

    def __exit__(self, *exception: object) -> None:
        """Release it."""
        ...

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Draw a seed for dropout, if there is any."""
        ...

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Draw the order of samples in the next epoch."""
        ...

    def epoch(self) -> float:
        """Train on every sample once and return the mean loss; OutOfTime ends the fit."""
        ...


def descend(
    runner: EpochRunner,
    history: History,
    random_state: np.random.RandomState,
    one_epoch: bool = False,
    validate: Callable[[], tuple[float, float | None]] | None = None,
    tasks: FitTasks | None = None,
) -> list[Warning]:
    """Run epochs until the loss or the validation score stops improving, or training diverges.

    Parameters
    ----------
    runner : EpochRunner
    history : History
        Updated in place.
    random_state : RandomState
        For the shuffles.
    one_epoch : bool
        Stop after the first epoch, as partial_fit does.
    validate : callable, optional
        Returns the network's current loss and score on validation data. The score, unless None,
        decides instead of the training loss.
    tasks : FitTasks, optional
        Callbacks. They see every epoch and may end the fit.

    Returns
    -------
    list of Warning
        To be given once the model is committed: a ConvergenceWarning if max_iter or max_time ended
        the fit, a UserWarning if Ctrl-C did. The network stays as it was at that moment, or has the
        average of its weights. There is none for divergence: the caller can tell it from the
        network.
    """
    settings = runner.settings
    average = WeightAverage(runner.network, settings.weight_averaging)
    is_over = False
    runner.draw_seed(random_state)
    try:
        with runner:
            for _ in range(settings.max_iter):
                if tasks is not None:
                    tasks.begin_epoch()
                _run_epoch(runner, history, random_state)
                average.take_in()
                with average.in_place():
                    _judge(runner, history, validate)
                    is_over = _gives_up(history, runner) or one_epoch
                    is_over |= has_diverged(history, runner.network)
                    if tasks is not None:
                        is_over |= tasks.end_epoch()
                if is_over:
                    break
    except OutOfTime:
        return [out_of_time(settings)]
    except KeyboardInterrupt:
        return [interrupted()]
    finally:
        average.keep()
    _check_scores(history, runner.network)
    if is_over:
        return []
    return [
        ConvergenceWarning(
            f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) "
            "reached and the optimization hasn't converged yet."
        )
    ]


def _run_epoch(runner: EpochRunner, history: History, random_state: np.random.RandomState) -> None:
    """Train for an epoch and record it."""
    if runner.settings.shuffle:
        runner.shuffle(random_state)
    history.record(runner.epoch(), runner.n_samples)


def _judge(
    runner: EpochRunner,
    history: History,
    validate: Callable[[], tuple[float, float | None]] | None,
) -> None:
    """Check the epoch for improvement, and tell the optimizer that it is over."""
    settings = runner.settings
    if validate is not None:
        history.record_validation(*validate())
    history.judge(settings.tol, runner.network)
    if settings.verbose:
        history.report()
    runner.state.end_epoch(history.samples_seen)


def _check_scores(history: History, network: Network) -> None:
    """Raise an error if no score of the user's scorer was a number, unless training diverged."""
    scores = history.validation_scores
    if not scores or not history.has_scorer or not np.isnan(scores).all():
        return
    if network.is_finite():
        raise ValueError(
            f"scoring={history.criterion!r} gave NaN in each of the {len(scores)} epochs, "
            "so early stopping has nothing to maximize"
        )


def _gives_up(history: History, runner: EpochRunner) -> bool:
    """Whether to stop for lack of improvement; the adaptive schedule first lowers the rate."""
    settings, state = runner.settings, runner.state
    if history.no_improvement_count <= settings.n_iter_no_change:
        return False
    is_adaptive = state.settings.solver == "sgd" and state.settings.learning_rate == "adaptive"
    what = "Validation score" if history.validation_scores is not None else "Training loss"
    message = (
        f"{what} did not improve more than tol={settings.tol:f} "
        f"for {settings.n_iter_no_change} consecutive epochs."
    )
    stops = True
    if not is_adaptive:
        message += " Stopping."
    elif state.learning_rate <= LEAST_LEARNING_RATE:
        message += " Learning rate too small. Stopping."
    else:
        state.learning_rate /= ADAPTIVE_DIVISOR
        message += f" Setting learning rate to {state.learning_rate:f}"
        history.no_improvement_count = 0
        stops = False
    if settings.verbose:
        print(message)
    return stops
