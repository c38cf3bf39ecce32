"""The quasi-Newton solver: SciPy's L-BFGS-B, with loss and gradient from the kernels."""

from dataclasses import replace

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp._engine.kernels.optimizers import GRADIENT
from fastmlp._training.callbacks import FitTasks
from fastmlp._training.loop import TimeLimit, interrupted, out_of_time
from fastmlp._training.optimizer import OptimizerState, Settings
from fastmlp._training.sgd import Descent
from fastmlp._training.used_inputs import UsedInputs

# SciPy's status after convergence, and after a callback raised StopIteration.
CONVERGED, STOPPED = 0, 99


class LossAndGradient:
    """The mean loss over all samples and its gradient, as functions of the packed parameters.

    Those of frozen layers are not among them. A context manager, like `sgd.Descent`.

    Parameters
    ----------
    network : Network
        Overwritten by every evaluation.
    settings : Settings
        Read for activation, loss, alpha, frozen_layers and n_jobs.
    output : str
        Output activation.
    X, targets, sample_weight
        As for `sgd.Descent`.
    """

    def __init__(self, network, settings: Settings, output: str, X, targets, sample_weight):
        self.network = network
        self.gradient, self.frozen = network.zeros_like(), settings.frozen_layers
        state = OptimizerState(settings, GRADIENT, 0.0, 0, [self.gradient])
        one_batch = replace(settings, batch_size=X.shape[0], max_time=None, max_grad_norm=None)
        self.descent = Descent(network, one_batch, output, X, targets, sample_weight, state)

    def __enter__(self) -> "LossAndGradient":
        self.descent.__enter__()
        return self

    def __exit__(self, *exception) -> None:
        self.descent.__exit__(*exception)

    def __call__(self, packed: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient (n_parameters,) at `packed` (n_parameters,)."""
        self.move_to(packed)
        return self.descent.epoch(), self.gradient.pack(self.frozen)

    def point(self) -> np.ndarray:
        """The network's packed parameters."""
        return self.network.pack(self.frozen)

    def move_to(self, packed: np.ndarray) -> None:
        """The inverse of `point`."""
        self.network.unpack(packed, self.frozen)


class Iterations:
    """Tracks the iterations of one run: the last point, callbacks and the time limit.

    Parameters
    ----------
    function : LossAndGradient
    settings : Settings
    tasks : FitTasks or None
    used : UsedInputs or None
        What the function's network is a part of.

    Attributes
    ----------
    packed : ndarray of shape (n_parameters,)
        The parameters at the end of the last iteration.
    loss : float
        The loss there.
    count : int
    warnings : list of Warning
        To be given once the model is committed.
    """

    def __init__(
        self,
        function: LossAndGradient,
        settings: Settings,
        tasks: FitTasks | None,
        used: UsedInputs | None,
    ):
        self.function, self.settings, self.tasks, self.used = function, settings, tasks, used
        self.time_limit = TimeLimit(settings.max_time)
        self.packed, self.loss, self.count = function.point(), np.inf, 0
        self._latest_loss, self.warnings = np.inf, list[Warning]()
        self._latest_gradient = self.packed

    def evaluate(self, packed: np.ndarray) -> tuple[float, np.ndarray]:
        """The loss and its gradient, for SciPy."""
        if self.tasks is not None:
            self.tasks.begin_epoch()
        self._latest_loss, self._latest_gradient = self.function(packed)
        return self._latest_loss, self._latest_gradient

    def is_flat(self) -> bool:
        """Whether the gradient meets the tolerance where SciPy, which sees a part, cannot tell."""
        if self.used is None:
            return False
        return self.used.largest_slope(self._latest_gradient) <= self.settings.tol

    def end(self, packed: np.ndarray) -> None:
        """Record an iteration, given SciPy's copy of the point; raise StopIteration to end."""
        self.packed, self.loss, self.count = packed, self._latest_loss, self.count + 1
        if self.tasks is not None:
            self.function.move_to(packed)
            if self.tasks.end_epoch():
                raise StopIteration
        if self.count < self.settings.max_iter and self.is_flat():
            raise StopIteration
        if self.time_limit.is_over():
            self.warnings.append(out_of_time(self.settings))
            raise StopIteration


def minimize(
    network,
    settings: Settings,
    output: str,
    X,
    targets,
    sample_weight,
    max_fun: int,
    tasks: FitTasks | None = None,
) -> tuple[float, int, list[Warning]]:
    """Train `network` in place.

    Parameters
    ----------
    network, settings, output, X, targets, sample_weight
        As for `LossAndGradient`.
    max_fun : int
        Maximum number of evaluations of the loss.
    tasks : FitTasks, optional
        Callbacks. They see every iteration as an epoch and may end the fit.

    Returns
    -------
    loss : float
    n_iter : int
    warnings : list of Warning
        To be given once the model is committed: a ConvergenceWarning if max_iter, max_fun or
        max_time ended the run, a UserWarning if Ctrl-C did. The network then keeps the result of
        the last iteration.
    """
    used = None
    if tasks is None and 0 not in settings.frozen_layers:  # callbacks see all parameters
        used = UsedInputs.of(network, X)
    if used is not None:
        network, X = used.network, used.X
    function = LossAndGradient(network, settings, output, X, targets, sample_weight)
    iterations = Iterations(function, settings, tasks, used)
    try:
        loss, warnings = _run(iterations, max_fun)
    except KeyboardInterrupt:
        function.move_to(iterations.packed)
        loss, warnings = float(iterations.loss), [interrupted()]
    if used is not None:
        used.restore()
    return loss, iterations.count, warnings


def _run(iterations: Iterations, max_fun: int) -> tuple[float, list[Warning]]:
    """Let SciPy iterate; leave the result in the network. Returns its loss and the warnings."""
    function, settings = iterations.function, iterations.settings
    with function:
        if iterations.used is not None:
            loss, _ = iterations.evaluate(function.point())
            if iterations.is_flat():
                return loss, []
        result = scipy.optimize.minimize(
            iterations.evaluate,
            function.point(),
            method="L-BFGS-B",
            jac=True,
            options={"maxfun": max_fun, "maxiter": settings.max_iter, "gtol": settings.tol},
            callback=iterations.end,
        )
    function.move_to(result.x)
    if result.status not in (CONVERGED, STOPPED):
        iterations.warnings.append(_did_not_converge(result, settings.max_iter))
    iterations.count = result.nit
    return float(result.fun), iterations.warnings


def _did_not_converge(result: scipy.optimize.OptimizeResult, max_iter: int) -> Warning:
    """The warning that L-BFGS ended early, in the words of scikit-learn."""
    message = (
        f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n"
        f"{result.message}\n"
    )
    if result.nit == max_iter:
        message += (
            f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
        )
    message += (
        "\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
    return ConvergenceWarning(message)
