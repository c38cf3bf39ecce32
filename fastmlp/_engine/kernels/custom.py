"""Functions of the user's own: compiled apart from the kernels, which call them by address.

So activations and losses stay data to the kernels. A call takes a few nanoseconds, once for the
rows of an item or for a row, and the loop over their elements is compiled with the user's
functions. The calling thread has claimed those rows, so plain accesses are safe.
"""

import dis
from abc import ABC, abstractmethod
from collections.abc import Callable

import numba
import numpy as np

from fastmlp._engine.compat.numba import global_compiler_lock
from fastmlp._engine.jit.device import inline, never_inline
from fastmlp._engine.jit.kernel import settings_for_kernels
from fastmlp._engine.jit.target import JIT

# Codes from here on are addresses of functions: no system maps the first page.
FIRST_ADDRESS = 4096

# Steps of the finite differences, relative to max(1, |z|); the best one counts. The first is the
# most accurate where f is smooth, the last where it is steep.
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
TOLERANCE = 1e-5  # relative to max(1, |f'(z)|)

# Intel's vector library, if Numba has it, gives other bits in vectors than the C library in the
# rest of a loop, which would let them depend on the number of threads. So keep it out of loops.
_place = never_inline if getattr(numba.config, "USING_SVML", False) else inline


def for_kernels(function: Callable) -> Callable:
    """A function of numbers, for compiled loops. Its result has the type of the last one."""
    with global_compiler_lock, settings_for_kernels():
        inner = numba.njit(**JIT)(getattr(function, "py_func", function))

        @numba.njit(**JIT)
        def outer(*numbers):
            _place()
            return type(numbers[-1])(inner(*numbers))

    return outer


class CustomFunction(ABC):
    """A function of the user's and its derivative: what activations and losses share.

    Parameters
    ----------
    function, derivative : callable
    name : str, optional
    check : bool
        Whether to compare the derivative with finite differences.
    """

    _ARGUMENTS: str  # of both functions, for messages

    def __init__(
        self,
        function: Callable[..., float],
        derivative: Callable[..., float],
        *,
        name: str | None = None,
        check: bool = True,
    ) -> None:
        self.function, self.derivative = function, derivative
        self.name: str = getattr(function, "__name__", "custom") if name is None else name
        for each in (function, derivative):
            _check_code(each)
        try:
            self.address(np.float64)
        except numba.errors.NumbaError as error:
            raise TypeError(
                f"{self!r} cannot be compiled: Numba's nopython mode must take both functions, of "
                f"{self._ARGUMENTS}, and they must return a float.\n{error}"
            ) from error
        if check:
            self._check()

    @abstractmethod
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

    @abstractmethod
    def _check(self) -> None:
        """Raise a ValueError if the derivative is wrong."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple:
        return self.function, self.derivative

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def __str__(self) -> str:
        return self.name


def _check_code(function: Callable) -> None:
    """Refuse what is no function, and a function that raises exceptions, which kernels cannot."""
    code = getattr(getattr(function, "py_func", function), "__code__", None)
    if code is None:
        raise TypeError(f"expected a function that Numba can compile, got {function!r}")
    if any(each.opname == "RAISE_VARARGS" for each in dis.get_instructions(code)):
        raise ValueError(f"{code.co_name} raises exceptions, which a kernel cannot handle")


def largest_error(
    f: Callable[[np.ndarray], np.ndarray], derivatives: np.ndarray, points: np.ndarray
) -> tuple[int, float, float]:
    """Compare derivatives with finite differences.

    At a kink, anything between the slopes on both sides is right. A point where neither a value
    nor a slope is finite is left out.

    Returns
    -------
    index : int
        Of the point with the largest error.
    difference : float
        The slope there.
    error : float
        Relative to max(1, |f'|).
    """
    values, scales = f(points), np.maximum(1, np.abs(derivatives))
    errors, differences = np.full(points.shape, np.inf), np.empty_like(points)
    for step in STEPS:
        h = step * np.maximum(1, np.abs(points))
        slopes = [  # to each side, to second order
            (4 * f(points + side * h) - f(points + 2 * side * h) - 3 * values) / (2 * side * h)
            for side in (-1, 1)
        ]
        nearest = np.clip(derivatives, np.minimum(*slopes), np.maximum(*slopes))
        error = np.abs(derivatives - nearest) / scales
        is_better = error < errors
        differences[is_better], errors[is_better] = nearest[is_better], error[is_better]
    errors[np.isinf(errors)] = 0  # no slope is finite
    worst = int(np.argmax(errors))
    return worst, float(differences[worst]), float(errors[worst])
