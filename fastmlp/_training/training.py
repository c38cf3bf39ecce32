"""The fit loop: epochs, shuffling, learning-rate schedules, stopping, interrupts."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from time import monotonic

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import ConvergenceWarning

from fastmlp._engine.kernels import losses, optimizers
from fastmlp._engine.kernels.training import train
from fastmlp._engine.layerwise import per_layer
from fastmlp._engine.network import Network
from fastmlp._engine.threads import useful_threads
from fastmlp._engine.workspace import TrainingWorkspace
from fastmlp._training import schedules
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.history import Progress

BLOCK_ROWS = 1024  # a batch up to this size is one block, and needs no gradient buffer
# A step's share per thread below which a second thread gains nothing: 5 us at 200 GFLOP/s.
FLOPS_PER_THREAD = 1_000_000
# And a whole fit's share, 1 ms at that speed: to start and end a thread takes half of that.
FLOPS_PER_STARTED_THREAD = 200_000_000
# The kernel returns to Python after so much work, which lets signals in: 20 ms on two fast cores,
# under 200 ms on a single slow one.
FLOPS_PER_LAUNCH = 8_000_000_000
BLOCKS_PER_LAUNCH = 20_000  # and after so many: a tiny block takes a microsecond, whatever its work
LEAST_LEARNING_RATE = 1e-6  # below it, the adaptive schedule stops instead of dividing further
ADAPTIVE_DIVISOR = 5.0


@dataclass(frozen=True)
class Settings:
    """Parameters of stochastic gradient descent, named and meant as the estimators' own."""

    activation: str | Sequence[str]
    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    tol: float
    verbose: bool
    momentum: float
    nesterovs_momentum: bool
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    n_jobs: int | None
    max_time: float | None = None
    dropout: float | Sequence[float] = 0.0
    weight_decay: float = 0.01
    warmup: float = 0.0
    max_grad_norm: float | None = None
    loss: str = "log_loss"
    label_smoothing: float = 0.0
    huber_delta: float = 1.0

    @classmethod
    def of(cls, estimator) -> "Settings":
        """Read every field from an estimator's parameter of the same name, if it has that."""
        names = [each.name for each in fields(cls) if hasattr(estimator, each.name)]
        return cls(**{name: getattr(estimator, name) for name in names})

    @property
    def update_rule(self) -> int:
        """Code of the update rule."""
        if self.solver in ("adam", "adamw"):
            return optimizers.ADAM
        if self.momentum == 0:
            return optimizers.SGD
        return optimizers.NESTEROV if self.nesterovs_momentum else optimizers.MOMENTUM


@dataclass
class OptimizerState:
    """What an optimizer carries from step to step.

    Attributes
    ----------
    settings : Settings
        Of the first call: as in scikit-learn, later changes of rates wait for a new fit.
    update_rule : int
        A code of `engine.optimizers`.
    learning_rate : float
    step : int
        Updates done.
    moments : list of Network
        Arrays shaped like the parameters, as many as the update rule needs.
    epochs : int
        Done; where the schedules stand. A call of partial_fit is one, however few its steps.
    """

    settings: Settings
    update_rule: int
    learning_rate: float
    step: int
    moments: list[Network]
    epochs: int = 0

    @classmethod
    def begin(cls, network: Network, settings: Settings) -> "OptimizerState":
        """Before the first step: all moments zero."""
        update_rule = settings.update_rule
        count = optimizers.MOMENTS[update_rule]
        moments = [Network(network.layer_sizes, network.dtype) for _ in range(count)]
        return cls(settings, update_rule, float(settings.learning_rate_init), 0, moments)

    def step_sizes(self, count: int) -> tuple[np.ndarray, np.ndarray | float]:
        """Of each of the next `count` steps, an epoch: step size eta and factor of the weights.

        eta is the learning rate; Adam's is rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) at its step
        t. The factor is AdamW's weight decay, 1 - rate * weight_decay, and 1 for other solvers.
        """
        settings = self.settings
        rates = self.learning_rate * schedules.factors(
            settings.learning_rate, self.epochs * count, count, settings.max_iter, settings.warmup
        )
        decays = 1.0 - rates * settings.weight_decay if settings.solver == "adamw" else 1.0
        if self.update_rule == optimizers.ADAM:
            power_1, power_2 = (
                np.cumprod([beta ** (self.step + 1), *[beta] * (count - 1)])
                for beta in (float(settings.beta_1), float(settings.beta_2))
            )
            rates = rates * np.sqrt(1.0 - power_2) / (1.0 - power_1)
        return rates, decays

    def end_epoch(self, samples_seen: int) -> None:
        """Lower the learning rate where the schedule says so: eta = eta_0 / (t + 1)^power."""
        self.epochs += 1
        settings = self.settings
        if settings.solver == "sgd" and settings.learning_rate == "invscaling":
            decay = float(samples_seen + 1) ** settings.power_t
            self.learning_rate = settings.learning_rate_init / decay

    def copy(self, dtype: np.dtype) -> "OptimizerState":
        """A state of its own, its moments of the given type."""
        return replace(self, moments=[moment.copy(dtype) for moment in self.moments])

    def as_arrays(self) -> dict:
        """Builtins and arrays of the parameters' shapes, for pickles."""
        moments = [
            [[np.array(each, order="C") for each in arrays] for arrays in pair]
            for pair in ((moment.coefs, moment.intercepts) for moment in self.moments)
        ]
        return {**vars(self), "settings": asdict(self.settings), "moments": moments}

    @classmethod
    def from_arrays(cls, state: dict) -> "OptimizerState":
        """The inverse of `as_arrays`."""
        moments = [
            Network.from_arrays(coefs, intercepts, coefs[0].dtype)
            for coefs, intercepts in state["moments"]
        ]
        return cls(**{**state, "settings": Settings(**state["settings"]), "moments": moments})


class OutOfTime(Exception):
    """max_time has passed before the fit was done."""


def deadline(settings: Settings) -> float:
    """The moment, in seconds of the monotonic clock, when max_time will have passed."""
    return np.inf if settings.max_time is None else monotonic() + settings.max_time


def warn_of_time(settings: Settings) -> None:
    """Say that max_time was not enough."""
    warnings.warn(
        f"max_time={settings.max_time:g} seconds have passed and the optimization hasn't "
        "converged yet.",
        ConvergenceWarning,
        stacklevel=2,
    )


class Descent:
    """Stochastic gradient descent of one network on one set of samples.

    Parameters
    ----------
    network : Network
        Trained in place.
    settings : Settings
    output : str
        Output activation.
    X : ndarray or CSR of shape (n_samples, n_features)
        As `inputs.rows_in_place` gives it; not copied.
    targets : ndarray of shape (n_samples, n_columns)
        Of the network's dtype: class numbers for softmax, else one column per output.
    sample_weight : ndarray of shape (n_samples,) or None
    state : OptimizerState
        Carried on in place.
    chosen : ndarray of int, optional
        Indices of the samples to train on; all by default.
    epochs : int, optional
        How many there will be at most: few small ones are not worth threads. settings.max_iter
        by default.
    """

    def __init__(
        self,
        network: Network,
        settings: Settings,
        output: str,
        X,
        targets,
        sample_weight,
        state: OptimizerState,
        chosen=None,
        epochs: int | None = None,
    ):
        self.network, self.settings, self.state = network, settings, state
        if chosen is None:
            self.order = np.arange(X.shape[0], dtype=np.int64)
        else:
            self.order = np.array(chosen, dtype=np.int64)
        n_samples = self.n_samples = self.order.size
        batch_size = resolve_batch_size(settings.batch_size, n_samples)
        block_rows = min(batch_size, BLOCK_ROWS)
        epochs = int(settings.max_iter if epochs is None else epochs)  # NumPy's may overflow
        worth = min(
            network.flops(block_rows) // FLOPS_PER_THREAD,
            network.flops(n_samples) * epochs // FLOPS_PER_STARTED_THREAD,
        )
        threads = useful_threads(settings.n_jobs, worth)
        self.workspace = workspace = TrainingWorkspace(
            network,
            block_rows,
            threads,
            state.update_rule,
            state.moments,
            has_gradient=batch_size > block_rows or issparse(X) or bool(settings.max_grad_norm),
            batches=-(-n_samples // batch_size),
        )
        n_hidden = len(network.layer_sizes) - 2
        workspace.set_hidden(
            per_layer(settings.activation, n_hidden, "activation"),
            per_layer(settings.dropout, n_hidden, "dropout"),
        )
        _check_targets(targets, output, network.layer_sizes[-1])
        workspace.take_samples(X, targets, sample_weight, self.order)
        blocks = FLOPS_PER_LAUNCH // max(1, network.flops(block_rows))
        workspace.job["cursor"]["blocks"] = np.clip(blocks, 1, BLOCKS_PER_LAUNCH)
        self._set_hyperparameters(batch_size, output)

    def _set_hyperparameters(self, batch_size: int, output: str) -> None:
        """Tell the kernels what the settings ask for."""
        settings, state = self.settings, self.state
        hyperparameters = self.workspace.job["hyperparameters"]
        hyperparameters["batch_size"] = batch_size
        hyperparameters["output"] = losses.CODES[output]
        hyperparameters["loss_function"] = losses.LOSSES[settings.loss]
        hyperparameters["update_rule"] = state.update_rule
        hyperparameters["max_grad_norm"] = settings.max_grad_norm or 0.0
        for name in ("alpha", "label_smoothing", "huber_delta"):
            hyperparameters[name] = getattr(settings, name)
        for name in ("momentum", "beta_1", "beta_2"):  # of the first call, as in scikit-learn
            hyperparameters[name] = getattr(state.settings, name)
        # Padding has moments of zero, which no epsilon of zero may divide.
        tiny = np.finfo(self.network.dtype).tiny
        hyperparameters["epsilon"] = max(state.settings.epsilon, tiny)

    def __enter__(self) -> "Descent":
        self.deadline = deadline(self.settings)
        return self

    def __exit__(self, *exception) -> None:
        """Nothing is to be undone: threads belong to the process."""

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Draw a new order from the last one, with scikit-learn's own random numbers.

        scikit-learn shuffles an index and takes the old order by that: the same swaps in another
        place.
        """
        random_state.shuffle(self.order)

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Seed dropout; where there is none, nothing is drawn."""
        if self.workspace.layers["dropout"].any():
            self.workspace.job["hyperparameters"]["seed"] = random_state.randint(
                np.iinfo(np.int32).max
            )

    def epoch(self) -> float:
        """Train on every sample once; returns the mean loss, each batch's before its update.

        Raises
        ------
        OutOfTime
            At the first launch after max_time; the batches before it are done.
        """
        workspace, state = self.workspace, self.state
        cursor, totals = workspace.job["cursor"], workspace.totals
        workspace.step_sizes[:], workspace.decays[:] = state.step_sizes(workspace.step_sizes.size)
        cursor["first"], cursor["step"], totals["loss"] = 0, state.step, 0.0
        while cursor["first"] < self.n_samples:
            if monotonic() >= self.deadline:
                raise OutOfTime
            workspace.run(train)
            for name in ("first", "step"):
                cursor[name] = totals[name]
            state.step = int(totals["step"])
        return float(totals["loss"]) / self.n_samples


def _check_targets(targets: np.ndarray, output: str, n_outputs: int) -> None:
    """Refuse class numbers or columns that the output layer does not have."""
    columns, largest = targets.shape[1], targets.max(initial=0)
    if output == "softmax":
        fits = columns == 1 and targets.min(initial=0) >= 0 and largest < n_outputs
    else:
        fits = columns == n_outputs
    if not fits:
        raise ValueError(
            f"targets of {columns} columns up to {largest} do not fit {n_outputs} {output} outputs"
        )


def resolve_batch_size(batch_size: int | str, n_samples: int) -> int:
    """The batch size in rows; warns where more is asked for than there are samples."""
    if batch_size == "auto":
        return min(200, n_samples)
    if batch_size > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return int(np.clip(batch_size, 1, n_samples))


def descend(
    descent: Descent,
    progress: Progress,
    random_state: np.random.RandomState,
    one_epoch: bool = False,
    validate: Callable[[], tuple[float, float | None]] | None = None,
    tasks: FitTasks | None = None,
) -> None:
    """Run epochs until the loss or the validation score stops improving.

    Parameters
    ----------
    descent : Descent
    progress : Progress
        Carried on in place.
    random_state : RandomState
        For the shuffles.
    one_epoch : bool
        Stop after the first epoch, as partial_fit does.
    validate : callable, optional
        Loss and score on validation data of the network as it stands. The score, where it is not
        None, decides instead of the training loss.
    tasks : FitTasks, optional
        Told of every epoch; ends the fit if a callback asks for it.

    Warns
    -----
    ConvergenceWarning
        If max_iter epochs were not enough, or max_time.
    UserWarning
        If Ctrl-C ended the fit; the network is left as it was at that moment.
    """
    settings = descent.settings
    progress.n_iter = 0
    descent.draw_seed(random_state)
    try:
        with descent:
            for _ in range(settings.max_iter):
                if tasks is not None:
                    tasks.begin_epoch()
                if settings.shuffle:
                    descent.shuffle(random_state)
                progress.record(descent.epoch(), descent.n_samples)
                if validate is not None:
                    progress.record_validation(*validate())
                progress.judge(settings.tol, descent.network)
                if settings.verbose:
                    progress.report()
                descent.state.end_epoch(progress.samples_seen)
                is_over = _gives_up(progress, descent) or one_epoch
                if tasks is not None:
                    is_over |= tasks.end_epoch()
                if is_over:
                    break
            else:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({settings.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except OutOfTime:
        warn_of_time(settings)
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)


def _gives_up(progress: Progress, descent: Descent) -> bool:
    """Whether to stop. Where improvement has ceased, a schedule may go on at a lower rate."""
    settings, state = descent.settings, descent.state
    if progress.no_improvement_count <= settings.n_iter_no_change:
        return False
    is_adaptive = state.settings.solver == "sgd" and state.settings.learning_rate == "adaptive"
    what = "Validation score" if progress.validation_scores is not None else "Training loss"
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
        progress.no_improvement_count = 0
        stops = False
    if settings.verbose:
        print(message)
    return stops
