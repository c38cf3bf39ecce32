"""Kernels: compiled C functions, the entry points for Python and for the pool's threads."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numba

from fastmlp._engine.compat import numba as internals
from fastmlp._engine.jit.cache import KernelCache, NoCache, cache_for
from fastmlp._engine.jit.target import JIT

# Without Numba's compiler there are no kernels; and with full debug information, nothing would be
# inlined, so no loop would vectorize. Both settings are for the user's own functions.
OVERRIDDEN = {"DISABLE_JIT": 0, "DEBUGINFO_DEFAULT": 0}


@contextlib.contextmanager
def _remembering_types() -> Iterator[None]:
    """Let Numba choose an operation's signature once for each combination of argument types.

    It tries dozens of NumPy's functions at every `+` of two integers. The caller holds the
    compiler's lock. With this, and without garbage collections, the first fit compiles 20 % sooner.
    """
    choose, chosen = internals.BaseFunction.get_call_type, {}

    def remember(function, context, args, kws):
        key = function, args, tuple(kws.items())
        if key not in chosen:
            chosen[key] = choose(function, context, args, kws)
        return chosen[key]

    collects = gc.isenabled()
    gc.disable()
    internals.BaseFunction.get_call_type = remember
    try:
        yield
    finally:
        internals.BaseFunction.get_call_type = choose
        if collects:
            gc.enable()


@contextlib.contextmanager
def settings_for_kernels() -> Iterator[None]:
    """Replace Numba's settings while it compiles a kernel; the caller holds the compiler's lock."""
    numba.config.reload_config()  # the compiler would, and undo the replacement
    before = {name: getattr(numba.config, name) for name in OVERRIDDEN}
    vars(numba.config).update(OVERRIDDEN)
    try:
        yield
    finally:
        vars(numba.config).update(before)


class Kernel:
    """A C function, compiled on first use and cached on disk if possible.

    Parameters
    ----------
    function : callable
        Must not raise exceptions: compiled code calls it by address.
    signature : numba signature or callable
        Its types or, if they depend on the working type, a function that returns them for
        numpy.float32 or numpy.float64.
    variant : str
        What else its code depends on, such as the operating system.
    is_kept : bool
        Whether to keep compiled forms on disk. Their names tell nothing of the functions that
        `function` holds as a closure.
    """

    def __init__(self, function: Callable, signature: Any, variant: str = "", is_kept: bool = True):
        self._function, self._signature, self._variant = function, signature, variant
        self._is_kept = is_kept
        self._compiled: dict[type | None, Any] = {}
        self.__name__, self.__doc__ = function.__name__, function.__doc__

    def compiled(self, real: type | None = None) -> Any:
        """Numba's compiled form for a working type; threads that ask at once share one."""
        form = self._compiled.get(real)
        if form is None:
            with internals.global_compiler_lock, settings_for_kernels():
                form = self._compiled.get(real) or self._compile(real)
                self._compiled[real] = form
        return form

    def _compile(self, real: type | None) -> Any:
        signature = self._signature if real is None else self._signature(real)
        options = {**JIT, "nopython": True}
        if not internals.HAS_COMPILER:
            return numba.cfunc(signature, **options)(self._function)
        form = internals.CFunc(self._function, (signature.args, signature.return_type), {}, options)
        form._cache = self._cache()
        with _remembering_types():
            form.compile()
        return form

    def address(self, real: type | None = None) -> int:
        """Address of the compiled form for a working type."""
        return self.compiled(real).address

    @cached_property
    def function(self) -> Callable:
        """The compiled form for calls from Python, without the GIL; for fixed signatures only."""
        return self.compiled().ctypes

    @property
    def cache_hits(self) -> int:
        """The number of forms loaded from disk in this process."""
        return sum(form.cache_hits for form in self._compiled.values())

    def cache_state(self) -> str:
        """Where compiled forms are kept, for people to read."""
        return self._cache().describe()

    def _cache(self) -> KernelCache | NoCache:
        if not self._is_kept:
            return NoCache("it has functions that no file name tells")
        return cache_for(self._function, self._variant)


def kernel(signature: Any, variant: str = "") -> Callable[[Callable], Kernel]:
    """Declare a kernel; see `Kernel`."""
    return lambda function: Kernel(function, signature, variant)
