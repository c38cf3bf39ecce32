"""CustomActivation: an activation of the user's own."""

from collections.abc import Callable
from functools import cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.buffers import address_of_array
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.kernels.custom import (
    TOLERANCE,
    CustomFunction,
    for_kernels,
    largest_error,
)
from fastmlp._engine.simd.memory import I64, Span, view

# Where derivatives are checked: at every multiple of a twentieth.
GRID = np.linspace(-6, 6, 241)


@intrinsic
def call_activation(typingctx, address, values, derivatives, count):
    """Call the compiled activation at an address, see `_compiled`."""

    def codegen(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.VoidType(), [I64, I64, I64]).as_pointer()
        builder.call(builder.inttoptr(arguments[0], kind), arguments[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@cache
def _compiled(function: Callable, derivative: Callable, real: type) -> Kernel:
    """The loop over f and f', for numbers of a working type. It is kept as long as the process.

    It replaces each of `count` numbers z at address `values` by f(z). It also writes f'(z) to
    `derivatives`, unless that is 0.
    """
    f, df, zero = for_kernels(function), for_kernels(derivative), real(0)

    def activate(values, derivatives, count):
        values = view(zero, values, Span(0, count))
        if derivatives != 0:
            slopes = view(zero, derivatives, Span(0, count))
            for i in range(count):
                slopes[i] = df(values[i])
        for i in range(count):
            values[i] = f(values[i])

    signature = types.void(types.int64, types.int64, types.int64)
    return Kernel(activate, signature, is_kept=False)


class CustomActivation(CustomFunction):
    """An activation of your own for hidden layers, from a function and its derivative.

    Numba compiles both, and the kernels call them. The first use of a pair in a process takes some
    tenths of a second. Arithmetic is as fast as in the activations that have a name; functions of
    `math`, such as ``tanh``, take several times as long. Pass the object where an estimator takes
    the name of an activation.

    Parameters
    ----------
    function : callable
        The activation f(z): a function of one float that returns a float, in the part of Python
        that Numba compiles in nopython mode. It may be decorated with ``numba.njit``; options of
        the decorator have no effect. It must depend on nothing but its argument and constants, and
        must not raise exceptions.
    derivative : callable
        Its derivative f'(z), as a function of z, under the same conditions.
    name : str, default=None
        What plots and messages call it; None means the name of the function.
    check : bool, default=True
        Whether to compare the derivative with finite differences at 241 points from -6 to 6. At a
        kink, anything between the slopes on both sides will do. False allows derivatives that only
        stand for the true one, as those of step functions do.

    Raises
    ------
    TypeError
        If Numba cannot compile one of the functions, or if it is not a function of a number.
    ValueError
        If the derivative is wrong, if a value is not finite, or if a function raises exceptions.
        With check=False, values other than those at z = 0 may be infinite or NaN.

    See Also
    --------
    fastmlp.inspection.check_gradient : The gradient of a whole network against differences.
    fastmlp.displays.ActivationDisplay : Draws activations and derivatives.

    Notes
    -----
    Weights and predictions have the same bytes for any number of threads, as with every activation.
    Two objects with the same functions are equal. Initial weights are drawn like those of 'relu'.

    A pickle contains the functions by reference, so they must be at the top of a module, where the
    other process can import them. Functions from a notebook or a script reach joblib's workers by
    value; there, each task compiles them anew unless they are decorated with ``numba.njit``.

    scikit-learn, ONNX and C have no such activation: `to_sklearn`, `to_onnx` and `to_c` raise a
    ValueError.

    Examples
    --------
    >>> import math
    >>> from fastmlp import CustomActivation, MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> def snake(z):
    ...     return z + math.sin(z) ** 2
    >>> def snake_derivative(z):
    ...     return 1 + math.sin(2 * z)
    >>> X, y = load_digits(return_X_y=True)
    >>> activation = CustomActivation(snake, snake_derivative)
    >>> model = MLPClassifier((50,), activation, max_iter=20, random_state=0).fit(X / 16, y)
    >>> bool(model.score(X / 16, y) > 0.9)
    True
    """

    _ARGUMENTS = "one float"

    def __init__(
        self,
        function: Callable[[float], float],
        derivative: Callable[[float], float],
        *,
        name: str | None = None,
        check: bool = True,
    ) -> None:
        super().__init__(function, derivative, name=name, check=check)
        # Rows of activations are padded with f(0), and products multiply the padding by zero.
        if not np.isfinite(self.evaluate(0.0)).all():
            raise ValueError(f"the value and the derivative of {self!r} at z = 0 must be finite")

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

    def evaluate(self, z) -> tuple[np.ndarray, np.ndarray]:
        """Compute f(z) and f'(z) as the kernels do.

        Parameters
        ----------
        z : array-like
            In float32 or float64; other numbers are converted to float64.

        Returns
        -------
        values : ndarray
            The numbers f(z), of the shape and type of z.
        derivatives : ndarray
            The numbers f'(z).
        """
        values = np.array(z, order="C")
        if values.dtype != np.float32:
            values = values.astype(np.float64)
        derivatives = np.empty_like(values)
        loop = _compiled(self.function, self.derivative, values.dtype.type).function
        loop(address_of_array(values), address_of_array(derivatives), values.size)
        return values, derivatives

    def _check(self) -> None:
        values, derivatives = self.evaluate(GRID)
        for what, numbers in (("value", values), ("derivative", derivatives)):
            wrong = ~np.isfinite(numbers)
            if wrong.any():
                at = GRID[wrong][0]
                raise ValueError(f"the {what} of {self!r} at z = {at:g} is {numbers[wrong][0]}")
        at, difference, error = largest_error(lambda z: self.evaluate(z)[0], derivatives, GRID)
        if error > TOLERANCE:
            raise ValueError(
                f"the derivative of {self!r} at z = {GRID[at]:g} is {derivatives[at]:g}, but "
                f"finite differences give {difference:g}; check=False allows that"
            )
