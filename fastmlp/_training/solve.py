"""From a network and samples to a trained network: choose the solver, prepare it, run it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.network import Network
from fastmlp._training import lbfgs
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.denoising import DenoisingDescent
from fastmlp._training.history import History
from fastmlp._training.loop import batch_size_clipped, best_weights_kept, descend, has_diverged
from fastmlp._training.optimizer import STOCHASTIC_SOLVERS, OptimizerState, Settings
from fastmlp._training.sgd import Descent
from fastmlp._training.validation import HeldOut, Targets, ValidationScorer
from fastmlp._training.weights import scale_penalty, scale_weights, scaling_exponent


@dataclass
class Problem:
    """Everything that a solver needs.

    Attributes
    ----------
    model : MLPClassifier or MLPRegressor
        The draft. Solvers only read its public parameters.
    with_network : callable
        Takes a network; returns a copy of the model that predicts with it, in its current state.
    targets : Targets
    settings : Settings
    network : Network
        The network before training.
    samples : (X, y, sample_weight)
        Validated. y contains labels or values; the weights are an ndarray or None.
    held_out : HeldOut or None
        The user's validation data.
    history : History
        The history of the fits that this one continues, or a new one.
    optimizer : OptimizerState or None
        The state to continue from; None for a new one.
    random_state : RandomState
    one_epoch : bool
        Whether this is a call of partial_fit.
    tasks : FitTasks or None
        Callbacks.
    descent : Descent or None
        Of the last call of partial_fit; this one restarts it.
    spare : OptimizerState or None
        Of the call before that. Its memory is reused.
    """

    model: Any
    with_network: Callable[[Network], Any]
    targets: Targets
    settings: Settings
    network: Network
    samples: tuple
    held_out: HeldOut | None
    history: History
    optimizer: OptimizerState | None
    random_state: np.random.RandomState
    one_epoch: bool
    tasks: FitTasks | None = None
    descent: Descent | None = None
    spare: OptimizerState | None = None

    def kernel_data(self, chosen: np.ndarray | None = None) -> tuple[Settings, tuple]:
        """Settings for the kernels; X, targets and weights in the network's dtype.

        The weights, and alpha in the settings, are multiplied by a power of two; see `weights`.
        `chosen` has the indices of the samples to train on; None means all.
        """
        X, y, sample_weight = self.samples
        dtype = self.network.dtype
        trained = (
            sample_weight if chosen is None or sample_weight is None else sample_weight[chosen]
        )
        exponent = scaling_exponent(trained)
        data = (
            rows_in_place(X, dtype),
            self.targets.encode(y, dtype),
            scale_weights(sample_weight, exponent, dtype),
        )
        return scale_penalty(self.settings, exponent, dtype), data

    def snapshot(self, history: History | None) -> dict:
        """The attributes of the model if the fit ended with the network's current state."""
        attributes = vars(self.with_network(self.network.copy()))
        return attributes if history is None else attributes | history.attributes()


@dataclass
class Solution:
    """The result of a solver.

    Attributes
    ----------
    network : Network
        The trained network.
    attributes : dict
        Other attributes of the fitted estimator.
    warnings : list of Warning
        To be given once the model is committed: a filter may turn them into errors.
    history : History or None
        More attributes: it is finished when nothing can fail any more. None for 'lbfgs'.
    descent : Descent or None
        Done; another call of partial_fit can restart it.
    """

    network: Network
    attributes: dict[str, Any]
    warnings: list[Warning] = field(default_factory=list)
    history: History | None = None
    descent: Descent | None = None


def solve(problem: Problem) -> Solution:
    """Train with the solver that the settings name.

    Raises
    ------
    ValueError
        If partial_fit is used with early stopping, or the optimizer's state does not fit.
    """
    if problem.settings.solver in STOCHASTIC_SOLVERS:
        return _solve_by_descent(problem)
    return _solve_by_lbfgs(problem)


def _solve_by_descent(problem: Problem) -> Solution:
    """Train with stochastic gradient descent."""
    model, network, history = problem.model, problem.network, problem.history
    if model.early_stopping and problem.one_epoch:
        raise ValueError("partial_fit does not support early_stopping=True")
    if problem.settings.weight_averaging and problem.one_epoch:
        raise ValueError(
            f"partial_fit does not support weight_averaging={problem.settings.weight_averaging:g}, "
            "which averages the epochs of a fit"
        )
    if problem.optimizer is None:
        state = OptimizerState.begin(network, problem.settings)
    else:
        state = problem.optimizer.copy_for(network, problem.spare)
        if model.update_learning_rate:
            state.follow(problem.settings.learning_rate_init)
    training, held_out = None, problem.held_out
    if model.early_stopping and held_out is None:
        stratification = problem.targets.stratification(problem.samples[1])
        training, held_out = HeldOut.split(
            problem.samples, model.validation_fraction, stratification, problem.random_state
        )
    elif history.validation_scores:  # the best network of earlier calls competes with later ones
        history.best = network.copy()
    validate = None
    if held_out is not None:
        judged = problem.with_network(network)
        validate = ValidationScorer(judged, problem.targets, problem.settings, network, held_out)
    settings, (X, encoded, sample_weight) = problem.kernel_data(training)
    n_samples = X.shape[0] if training is None else len(training)
    warnings = [batch_size_clipped()] if settings.clips_batches(n_samples) else []
    data = X, encoded, sample_weight, state
    if problem.descent is None:
        epochs = 1 if problem.one_epoch else settings.max_iter
        kind = DenoisingDescent if settings.noise else Descent
        descent = kind(network, settings, model.out_activation_, *data, training, epochs)
    else:
        descent = problem.descent.restart(network, settings, *data)
    if problem.tasks is not None:
        problem.tasks.begin(partial(problem.snapshot, history))
    warnings += descend(
        descent, history, problem.random_state, problem.one_epoch, validate, problem.tasks
    )
    kept = network
    if model.restore_best_weights and history.best is not None:
        kept = history.best
        if has_diverged(history, network):
            warnings.append(best_weights_kept(settings, history))
    return Solution(kept, {"_optimizer": state}, warnings, history, descent)


def _solve_by_lbfgs(problem: Problem) -> Solution:
    """Train with L-BFGS, in float64 like SciPy. The weights stay so, unless `precision` is set."""
    dtype = problem.network.dtype
    network = problem.network.copy(np.dtype(np.float64))
    problem = replace(problem, network=network)
    settings, data = problem.kernel_data()
    if problem.tasks is not None:
        problem.tasks.begin(partial(problem.snapshot, None))
    loss, n_iter, warnings = lbfgs.minimize(
        network,
        settings,
        problem.model.out_activation_,
        *data,
        max_fun=problem.model.max_fun,
        tasks=problem.tasks,
    )
    if problem.model.precision is not None:
        network = network.copy(dtype)
    return Solution(network, {"loss_": loss, "n_iter_": n_iter}, warnings)
