"""CustomLoss: a loss of the user's own."""

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.buffers import address_of_array
from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.kernels.custom import (
    TOLERANCE,
    CustomFunction,
    for_kernels,
    largest_error,
)
from fastmlp._engine.simd.memory import I64, Span, view

# Where derivatives are checked: all pairs of these targets y and predictions a.
TARGETS = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
PREDICTIONS = np.linspace(-4, 4, 161)


def _emit_call(builder, address, targets, outputs, count):
    """Call the compiled loss at an address, see `_compiled`."""
    kind = ir.FunctionType(ir.DoubleType(), [I64] * 4).as_pointer()
    function = builder.inttoptr(address, kind)
    return builder.call(function, [targets, outputs, I64(0), count])


@intrinsic
def call_loss(typingctx, address, targets, outputs, count):
    """The sum of L(y, a) of some outputs, which dL/da replaces, by the compiled loss."""

    def codegen(context, builder, signature, arguments):
        return _emit_call(builder, *arguments)

    return types.float64(*[types.int64] * 4), codegen


@intrinsic
def call_loss_of_one(typingctx, address, target, output):
    """L(y, a) and dL/da of one output, by the compiled loss."""

    def codegen(context, builder, signature, arguments):
        y, a = (cgutils.alloca_once_value(builder, value) for value in arguments[1:])
        places = [builder.ptrtoint(place, I64) for place in (y, a)]
        loss = _emit_call(builder, arguments[0], *places, I64(1))
        return context.make_tuple(builder, signature.return_type, (loss, builder.load(a)))

    return types.Tuple((types.float64, output))(types.int64, output, output), codegen


@cache
def _compiled(function: Callable, derivative: Callable, real: type) -> Kernel:
    """The loop over L and dL/da, for numbers of a working type. It is kept as long as the process.

    It returns the sum of L(y, a) over `count` targets y and outputs a at these addresses, and
    replaces each a by dL/da. It also writes each L to `losses`, in float64, unless that is 0.
    """
    f, df, zero = for_kernels(function), for_kernels(derivative), real(0)

    def loss_and_delta(targets, outputs, losses, count):
        y, a = view(zero, targets, Span(0, count)), view(zero, outputs, Span(0, count))
        loss = 0.0
        for j in range(count):
            loss += f(y[j], a[j])
        if losses != 0:
            each = view(0.0, losses, Span(0, count))
            for j in range(count):
                each[j] = f(y[j], a[j])
        for j in range(count):
            a[j] = df(y[j], a[j])
        return loss

    signature = types.float64(*[types.int64] * 4)
    return Kernel(loss_and_delta, signature, is_kept=False)


class CustomLoss(CustomFunction):
    """A loss of your own, from a function and its derivative.

    Numba compiles both, and the kernels call them. The first use of a pair in a process takes some
    tenths of a second. Pass the object where an estimator takes the name of a loss. A regressor's
    output activation is then the identity; a classifier's stays softmax or, with two classes or
    multilabel y, logistic.

    Parameters
    ----------
    function : callable
        The loss L(y, a) of a prediction a where the target is y. For a classifier, a is the
        probability of a class, clipped to between epsilon and 1 - epsilon, and y is 1 for the true
        class and 0 for others, or what `label_smoothing` makes of them. It is a function of two
        floats that returns a float, in the part of Python that Numba compiles in nopython mode. It
        may be decorated with ``numba.njit``; options of the decorator have no effect. It must
        depend on nothing but its arguments and constants, and must not raise exceptions.
    derivative : callable
        Its derivative by the prediction, dL/da, as a function of y and a, under the same
        conditions.
    name : str, default=None
        What plots and messages call it; None means the name of the function.
    check : bool, default=True
        Whether to compare the derivative with finite differences at 1127 pairs of y from -2 to 2
        and a from -4 to 4, except those where the loss is not finite. At a kink, anything between
        the slopes on both sides will do.

    Raises
    ------
    TypeError
        If Numba cannot compile one of the functions, or if it is not a function of two numbers.
    ValueError
        If the derivative is wrong, or if a function raises exceptions.

    See Also
    --------
    CustomActivation : An activation of your own.
    fastmlp.inspection.check_gradient : The gradient of a whole network against differences.

    Notes
    -----
    The loss of a classifier is the sum over its outputs: with more than two classes, all of them.
    With several outputs of a regressor, the reported loss is the mean over them, and the gradient
    is that of the sum. Both are as for 'squared_error'. Weights have the same bytes for any number
    of threads.

    A pickle contains the functions by reference, so they must be at the top of a module, where the
    other process can import them. Functions from a notebook or a script reach joblib's workers by
    value; there, each task compiles them anew unless they are decorated with ``numba.njit``.

    `to_sklearn` raises a ValueError. `to_onnx` and `to_c` do not need the loss.

    Examples
    --------
    A loss for which it is three times as bad to predict too little:

    >>> from fastmlp import CustomLoss, MLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> def lopsided(y, a):
    ...     return (a - y) ** 2 if a > y else 3 * (a - y) ** 2
    >>> def lopsided_derivative(y, a):
    ...     return 2 * (a - y) if a > y else 6 * (a - y)
    >>> X, y = load_diabetes(return_X_y=True)
    >>> loss = CustomLoss(lopsided, lopsided_derivative)
    >>> model = MLPRegressor(loss, (), solver="lbfgs", random_state=0).fit(X, y / 100)
    >>> bool((model.predict(X) > y / 100).mean() > 0.6)
    True

    The focal loss, for rare classes (Lin et al. 2017, "Focal loss for dense object detection"):

    >>> from math import log
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.preprocessing import scale
    >>> def focal(y, a):
    ...     return -y * (1 - a) ** 2 * log(a) - (1 - y) * a**2 * log(1 - a)
    >>> def focal_derivative(y, a):
    ...     rare = 2 * (1 - a) * log(a) - (1 - a) ** 2 / a
    ...     return y * rare - (1 - y) * (2 * a * log(1 - a) - a**2 / (1 - a))
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> loss = CustomLoss(focal, focal_derivative)
    >>> model = MLPClassifier(solver="lbfgs", loss=loss, random_state=0).fit(scale(X), y)
    >>> bool(model.score(scale(X), y) > 0.95)
    True
    """

    _ARGUMENTS = "two floats"

    def address(self, real: type) -> int:
        """The address of the compiled loop for numpy.float32 or numpy.float64.

        Parameters
        ----------
        real : type
            The type of the numbers.

        Returns
        -------
        int
            The same throughout the process.
        """
        return _compiled(self.function, self.derivative, real).address()

    def evaluate(self, y, a) -> tuple[np.ndarray, np.ndarray]:
        """Compute L(y, a) and dL/da as the kernels do.

        Parameters
        ----------
        y : array-like
            Targets.
        a : array-like
            Predictions, of the shape of y; float32 stays so, other numbers become float64.

        Returns
        -------
        losses : float64 ndarray
            Of the shape of a.
        derivatives : ndarray
            Of the shape and type of a.
        """
        derivatives = np.array(a, order="C")
        if derivatives.dtype != np.float32:
            derivatives = derivatives.astype(np.float64)
        real = derivatives.dtype.type
        targets = np.ascontiguousarray(y, real)
        if targets.shape != derivatives.shape:
            raise ValueError(f"y has shape {targets.shape}, a has shape {derivatives.shape}")
        losses = np.empty(derivatives.shape)
        addresses = [address_of_array(each) for each in (targets, derivatives, losses)]
        _compiled(self.function, self.derivative, real).function(*addresses, losses.size)
        return losses, derivatives

    def _check(self) -> None:
        y, a = (each.ravel() for each in np.meshgrid(TARGETS, PREDICTIONS))
        _, derivatives = self.evaluate(y, a)
        at, difference, error = largest_error(lambda a: self.evaluate(y, a)[0], derivatives, a)
        if error > TOLERANCE:
            raise ValueError(
                f"the derivative of {self!r} at y = {y[at]:g}, a = {a[at]:g} is "
                f"{derivatives[at]:g}, but finite differences give {difference:g}; check=False "
                "allows that"
            )
