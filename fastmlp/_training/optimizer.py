"""The optimizer: its settings, and its state between steps."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Real

import numpy as np

from fastmlp._engine.kernels import optimizers
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp._engine.kernels.custom_loss import CustomLoss
from fastmlp._engine.network import Network
from fastmlp._training import schedules

STOCHASTIC_SOLVERS = ("sgd", "adam", "adamw")
AUTO_BATCH_SIZE = 200  # rows; scikit-learn's


@dataclass(frozen=True)
class Settings:
    """Training parameters, with the estimators' names and meanings.

    `activation` and `dropout` have one entry per hidden layer, `quantile` one for all outputs or
    one for each. `frozen_layers` has indices from 0 on, in order.
    """

    activation: Sequence[str | CustomActivation]
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
    dropout: Sequence[float] = ()
    weight_decay: float = 0.01
    warmup: float = 0.0
    max_grad_norm: float | None = None
    loss: str | CustomLoss = "log_loss"
    label_smoothing: float = 0.0
    huber_delta: float = 1.0
    quantile: tuple[float, ...] = (0.5,)
    noise: float = 0.0
    frozen_layers: tuple[int, ...] = ()
    weight_averaging: float = 0.0

    def batch_rows(self, n_samples: int) -> int:
        """The number of rows in a batch, except the last of an epoch."""
        batch_size = AUTO_BATCH_SIZE if self.batch_size == "auto" else int(self.batch_size)
        return min(batch_size, n_samples)

    def clips_batches(self, n_samples: int) -> bool:
        """Whether a batch is to have more rows than there are."""
        return self.batch_size != "auto" and int(self.batch_size) > n_samples

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
    """The state of an optimizer between steps.

    Attributes
    ----------
    settings : Settings
        From the first call: as in scikit-learn, changes take effect in a new fit only, but see
        `follow`.
    update_rule : int
        A code of `kernels.optimizers`.
    learning_rate : float
        The current rate, before the factor of a schedule that is known in advance.
    step : int
        Updates done.
    moments : list of Network
        Arrays shaped like the parameters, as many as the update rule needs.
    epochs : int
        Epochs done, for the schedules. Every call of partial_fit counts as one.
    given_rate : float or None
        The `learning_rate_init` set by hand; None for that of the settings.
    """

    settings: Settings
    update_rule: int
    learning_rate: float
    step: int
    moments: list[Network]
    epochs: int = 0
    given_rate: float | None = None

    @classmethod
    def begin(cls, network: Network, settings: Settings) -> "OptimizerState":
        """The state before the first step, with all moments zero."""
        update_rule = settings.update_rule
        count = optimizers.MOMENTS[update_rule]
        moments = [network.zeros_like() for _ in range(count)]
        return cls(settings, update_rule, float(settings.learning_rate_init), 0, moments)

    @property
    def learning_rate_init(self) -> float:
        """The initial learning rate; scikit-learn's optimizers have an attribute of this name.

        If set between calls of partial_fit, it takes effect as it does there: at once for Adam,
        after the next epoch for 'invscaling'.

        Raises
        ------
        AttributeError
            If it is set where scikit-learn never reads it again.
        ValueError
            If it is set to anything but a positive, finite number.
        """
        settings = self.settings
        return settings.learning_rate_init if self.given_rate is None else self.given_rate

    @learning_rate_init.setter
    def learning_rate_init(self, rate: float) -> None:
        settings = self.settings
        if settings.solver == "sgd" and settings.learning_rate != "invscaling":
            raise AttributeError(
                f"setting learning_rate_init has no effect on 'sgd' with {settings.learning_rate!r}"
                " after the first step; set learning_rate instead"
            )
        if not isinstance(rate, Real) or not 0 < rate < np.inf:
            raise ValueError(f"learning_rate_init must be a positive number, got {rate!r}")
        self.given_rate = float(rate)
        if settings.solver != "sgd":
            self.learning_rate = self.given_rate

    def follow(self, rate: float) -> None:
        """Take over the estimator's `learning_rate_init` if it has changed; keep the moments.

        'invscaling' and 'adaptive' scale the new rate as they have scaled the old one.
        """
        settings = self.settings
        if rate == settings.learning_rate_init:
            return
        decays = settings.solver == "sgd" and settings.learning_rate in ("invscaling", "adaptive")
        decay = self.learning_rate / self.learning_rate_init if decays else 1.0
        self.settings, self.given_rate = replace(settings, learning_rate_init=rate), None
        self.learning_rate = rate * decay

    def step_sizes(self, count: int) -> tuple[np.ndarray, np.ndarray | float]:
        """The step sizes eta and weight-decay factors of the next epoch, of `count` steps.

        eta is the learning rate; Adam's is rate * sqrt(1 - beta_2^t) / (1 - beta_1^t) at step t.
        The factor is 1 - rate * weight_decay for AdamW, and 1 for other solvers.
        """
        settings = self.settings
        rates = self.learning_rate * schedules.factors(
            settings.learning_rate,
            self.epochs * count,
            count,
            settings.max_iter,
            settings.warmup,
        )
        decays = 1.0 - rates * settings.weight_decay if settings.solver == "adamw" else 1.0
        if self.update_rule == optimizers.ADAM:
            power_1, power_2 = (
                self._powers(float(beta), count) for beta in (settings.beta_1, settings.beta_2)
            )
            rates = rates * np.sqrt(1.0 - power_2) / (1.0 - power_1)
        return rates, decays

    def _powers(self, beta: float, count: int) -> np.ndarray | float:
        """beta^t for the next `count` steps t."""
        first = beta ** (self.step + 1)
        if count == 1:  # arrays would take longer than a step on few rows
            return first
        powers = np.full(count, beta)
        powers[0] = first
        return np.multiply.accumulate(powers)

    def end_epoch(self, samples_seen: int) -> None:
        """Count an epoch; with 'invscaling', set eta = eta_0 / (samples_seen + 1)^power_t."""
        self.epochs += 1
        settings = self.settings
        if settings.solver == "sgd" and settings.learning_rate == "invscaling":
            decay = float(samples_seen + 1) ** settings.power_t
            self.learning_rate = self.learning_rate_init / decay

    def copy_for(self, network: Network, into: "OptimizerState | None" = None) -> "OptimizerState":
        """An independent state, with moments in the type and the layout of a network.

        It takes over the memory of `into`, a state for the same network that nobody needs any more.
        """
        dtype, is_compact = network.dtype, network.is_compact
        buffers = [None] * len(self.moments) if into is None else into.moments
        moments = [
            moment.copy(dtype, buffer, is_compact)
            for moment, buffer in zip(self.moments, buffers, strict=True)
        ]
        return OptimizerState(**{**vars(self), "moments": moments})

    def as_arrays(self) -> dict:
        """The state as builtins and arrays shaped like the parameters, for pickles."""
        moments = [
            [[np.array(each, order="C") for each in arrays] for arrays in pair]
            for pair in ((moment.coefs, moment.intercepts) for moment in self.moments)
        ]
        return {**vars(self), "settings": asdict(self.settings), "moments": moments}

    @classmethod
    def from_arrays(cls, state: dict) -> "OptimizerState":
        """The inverse of `as_arrays`. Moments in a memory-mapped file stay there until a `copy`."""
        moments = [
            Network.from_arrays(coefs, intercepts, coefs[0].dtype, leave_mapped=True)
            for coefs, intercepts in state["moments"]
        ]
        return cls(**{**state, "settings": Settings(**state["settings"]), "moments": moments})


class ReplacedState(OptimizerState):
    """A state that its estimator no longer uses, because a later call has left another one."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in ("learning_rate", "learning_rate_init"):
            raise AttributeError(
                f"this optimizer was replaced by a later call of fit or partial_fit, so its {name} "
                "has no effect; set that of the model's current _optimizer"
            )
        super().__setattr__(name, value)
