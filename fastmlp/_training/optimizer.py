"""The optimizer: its settings, and its state between steps."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from fastmlp._engine.kernels import optimizers
from fastmlp._engine.network import Network
from fastmlp._training import schedules

STOCHASTIC_SOLVERS = ("sgd", "adam", "adamw")
AUTO_BATCH_SIZE = 200  # rows; scikit-learn's


@dataclass(frozen=True)
class Settings:
    """Training parameters, with the estimators' names and meanings.

    `activation` and `dropout` have one entry per hidden layer.
    """

    activation: Sequence[str]
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
    loss: str = "log_loss"
    label_smoothing: float = 0.0
    huber_delta: float = 1.0

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
        From the first call: as in scikit-learn, changed rates take effect in a new fit only.
    update_rule : int
        A code of `kernels.optimizers`.
    learning_rate : float
    step : int
        Updates done.
    moments : list of Network
        Arrays shaped like the parameters, as many as the update rule needs.
    epochs : int
        Epochs done, for the schedules. Every call of partial_fit counts as one.
    """

    settings: Settings
    update_rule: int
    learning_rate: float
    step: int
    moments: list[Network]
    epochs: int = 0

    @classmethod
    def begin(cls, network: Network, settings: Settings) -> "OptimizerState":
        """The state before the first step, with all moments zero."""
        update_rule = settings.update_rule
        count = optimizers.MOMENTS[update_rule]
        moments = [network.zeros_like() for _ in range(count)]
        return cls(settings, update_rule, float(settings.learning_rate_init), 0, moments)

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
            self.learning_rate = settings.learning_rate_init / decay

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
        return replace(self, moments=moments)

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
