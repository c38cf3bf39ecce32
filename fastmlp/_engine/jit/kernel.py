"""Kernels: compiled C functions, the entry points from Python and from threads without it."""

from collections.abc import Callable
from functools import cached_property

from numba.core.ccallback import CFunc
from numba.core.typing.templates import Signature

from fastmlp._engine.jit.cache import EngineCache, cache_for
from fastmlp._engine.jit.target import JIT


class Kernel:
    """A C function, compiled when first asked for and cached on disk where that is possible.

    Parameters
    ----------
    function : callable
        Compiled code calls it by its address; it raises no exceptions.
    signature : Signature or callable
        Its types; or, where they depend on the working type, a function of numpy.float32 or
        numpy.float64 that gives them.
    variant : str
        What else its code depends on, such as the operating system.
    """

    def __init__(self, function: Callable, signature: Signature | Callable, variant: str = ""):
        self._function, self._signature, self._variant = function, signature, variant
        self._compiled: dict[type | None, CFunc] = {}
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def compiled(self, real: type | None = None) -> CFunc:
        """numba's compiled form for a working type."""
        if real not in self._compiled:
            signature = self._signature if real is None else self._signature(real)
            options = {**JIT, "nopython": True}
            form = CFunc(self._function, (signature.args, signature.return_type), {}, options)
            form._cache = cache_for(self._function, self._variant)
            form.compile()
            self._compiled[real] = form
        return self._compiled[real]

    def address(self, real: type | None = None) -> int:
        """Where the compiled form for a working type begins."""
        return self.compiled(real).address

    @cached_property
    def function(self) -> Callable:
        """The compiled form as Python calls it, without the GIL; only of one signature."""
        return self.compiled().ctypes

    @property
    def cache_hits(self) -> int:
        """How many forms were loaded instead of compiled in this process."""
        return sum(form.cache_hits for form in self._compiled.values())

    def cache_state(self) -> str:
        """Where compiled forms are kept, in words."""
        cache = cache_for(self._function, self._variant)
        if isinstance(cache, EngineCache):
            return cache.describe()
        return "in memory only: no writable directory was found"


def kernel(signature: Signature | Callable, variant: str = "") -> Callable[[Callable], Kernel]:
    """Declare a kernel; see `Kernel`."""
    return lambda function: Kernel(function, signature, variant)
