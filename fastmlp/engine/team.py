"""Threads that run one kernel together: launches, barrier, stop flag, and the Python side.

The calling thread is number 0 and works too. The others live as long as the team: between two
launches each waits inside the kernel, without the GIL, for some microseconds, and after that in
Python, asleep.
"""

import ctypes
import os
import threading

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp.engine.cache import entry_point
from fastmlp.engine.config import CACHE_LINE
from fastmlp.engine.part import part

# Slots of the int64 array `sync`, each on cache lines of its own (cores fetch lines in pairs).
SLOT = 2 * CACHE_LINE // 8
BARRIER, LAUNCH, STOP, SERVED = 0, SLOT, 2 * SLOT, 3 * SLOT  # SERVED: one slot per thread from here

# A pause is some 20 ns: spin for about 20 us, longer than threads drift apart in a step; then
# give the core away, and when that goes on (more threads than cores) sleep.
SPINS = 1000
YIELDS = 200
NAP_MICROSECONDS = 50
LAUNCH_SPINS = 10_000  # about 200 us: longer than the Python code between two epochs


def _register_symbols() -> None:
    """Give the compiled code the operating system's yield and sleep under names of our own."""
    if os.name == "nt":
        library = ctypes.windll.kernel32
        functions = {"fastmlp_yield": library.SwitchToThread, "fastmlp_sleep": library.Sleep}
    else:
        library = ctypes.CDLL(None)
        functions = {"fastmlp_yield": library.sched_yield, "fastmlp_sleep": library.usleep}
    for name, function in functions.items():
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)


_register_symbols()
_yield_core = types.ExternalFunction("fastmlp_yield", types.int32())
_sleep = types.ExternalFunction("fastmlp_sleep", types.int32(types.uint32))
NAP = 1 if os.name == "nt" else NAP_MICROSECONDS  # Windows counts milliseconds


def _element(context, builder, array, arguments):
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def _atomic_add(typingctx, array, index, value):
    """array[index] += value as one step; returns the sum."""

    def codegen(context, builder, signature, arguments):
        at = _element(context, builder, array, arguments)
        return builder.add(builder.atomic_rmw("add", at, arguments[2], "seq_cst"), arguments[2])

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def _atomic_load(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_element(context, builder, array, arguments), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def _pause(typingctx):
    """Tell the core that this is a spin loop."""

    def codegen(context, builder, signature, arguments):
        triple, void = builder.module.triple, ir.VoidType()
        if triple.startswith(("x86", "i686")):
            kind, arguments, name = ir.FunctionType(void, []), [], "llvm.x86.sse2.pause"
        elif triple.startswith(("aarch64", "arm64")):
            code = ir.IntType(32)  # hint 1 is the instruction YIELD
            kind, arguments = ir.FunctionType(void, [code]), [ir.Constant(code, 1)]
            name = "llvm.aarch64.hint"
        else:
            return context.get_dummy_value()
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), codegen


@part
def _wait(turn):
    """Wait a little; longer the more turns have passed."""
    if turn < SPINS:
        _pause()
    elif turn < SPINS + YIELDS:
        _yield_core()
    else:
        _sleep(NAP)


@part
def barrier(sync, threads):
    """Wait until every thread has come here. False if the team was stopped meanwhile.

    Arrivals are counted upward for ever: the n-th crossing is open once threads * n have come.
    """
    if threads == 1:
        return True
    arrival = _atomic_add(sync, BARRIER, 1)
    goal = (arrival + threads - 1) // threads * threads
    turn = 0
    while _atomic_load(sync, BARRIER) < goal:
        if _atomic_load(sync, STOP):
            return False
        _wait(turn)
        turn += 1
    return True


@part
def await_launch(sync, thread):
    """Begin a launch (thread 0) or wait for one. False if none came in time."""
    if thread == 0:
        _atomic_add(sync, LAUNCH, 1)
        return True
    mine = SERVED + thread * SLOT
    turn = 0
    while _atomic_load(sync, LAUNCH) <= sync[mine]:
        if turn == LAUNCH_SPINS or _atomic_load(sync, STOP):
            return False
        _pause()
        turn += 1
    sync[mine] += 1
    return True


class Team:
    """Run ``kernel(thread, sync, *arguments)`` on several threads at once, as often as launched.

    Parameters
    ----------
    kernel : callable
        Compiled without the GIL. It begins with `await_launch` and returns whether that was True;
        its last barrier is crossed by all threads.
    arguments : tuple
        The same for every launch; what changes between launches changes inside them.
    threads : int
        How many, the caller's included.
    real : numpy.float32 or numpy.float64, optional
        The working type from which the arguments' types follow, see `cache.entry_point`. Without
        it the kernel may be any callable.

    Notes
    -----
    A context manager: leaving it ends and joins the threads. An exception in a thread releases
    the others from their barriers and is raised by `launch`.
    """

    def __init__(self, kernel, arguments: tuple, threads: int, real: type | None = None):
        self._arguments = arguments
        self._sync = np.zeros(SERVED + threads * SLOT, dtype=np.int64)
        if real is not None:
            kernel = entry_point(kernel, real, (0, self._sync, *arguments))
        self._kernel = kernel
        self._launches = 0
        self._condition = threading.Condition()
        self._failure = None
        self._threads = [
            threading.Thread(target=self._serve, args=(thread,), name=f"fastmlp-{thread}")
            for thread in range(1, threads)
        ]

    def __enter__(self) -> "Team":
        for thread in self._threads:
            thread.daemon = True  # an interpreter that exits in the middle of a fit must not hang
            thread.start()
        return self

    def __exit__(self, *exception) -> None:
        self._stop()
        for thread in self._threads:
            thread.join()

    def launch(self) -> None:
        """Run the kernel once on every thread; return when all have passed its last barrier."""
        with self._condition:
            self._launches += 1
            self._condition.notify_all()
        try:
            self._kernel(0, self._sync, *self._arguments)
        except BaseException:
            self._stop()
            raise
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        with self._condition:
            self._sync[STOP] = 1
            self._condition.notify_all()

    def _sleep_until_asked(self, served: int) -> None:
        """Wait for a launch after the first `served` ones, or for the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._launches > served or self._sync[STOP])

    def _serve(self, thread: int) -> None:
        served = 0
        try:
            while not self._sync[STOP]:
                if self._kernel(thread, self._sync, *self._arguments):
                    served += 1
                    continue
                self._sleep_until_asked(served)
        except BaseException as failure:
            self._failure = failure
            self._stop()
