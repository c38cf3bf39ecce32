"""Waiting: a short spin, then the core is given away; and sleep until a word changes.

Sleep is the operating system's own wait on an address: a futex on Linux, WaitOnAddress on Windows,
os_sync_wait_on_address on macOS 14.4 and later. Elsewhere a thread naps and looks again. No Python
lock takes part, so none can stay behind locked when an exception interrupts its holder.
"""

import ctypes
import os
import platform
import sys
from collections.abc import Callable
from typing import NamedTuple

import llvmlite.binding as llvm
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import I64, address_of
from fastmlp._engine.threading.atomics import pause

# A pause is some 20 ns: spin for about 20 us, longer than threads drift apart in a step; then give
# the core away, and when that goes on (more threads than cores) nap.
SPINS = 1000
YIELDS = 200
NAP_MICROSECONDS = 50
IDLE_NAP_MICROSECONDS = 500  # of a thread without work, where the system cannot wait on an address

# Numbers of the futex system call on Linux, by what `platform.machine` says. All little-endian: the
# system compares the low half of a word.
FUTEX_CALLS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
FUTEX_CALL = FUTEX_CALLS.get(platform.machine(), 0)
FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
COMPARED_BYTES = 4
COMPARED_BITS = 0xFFFFFFFF
NO_TIMEOUT = 0xFFFFFFFF  # milliseconds, as WaitOnAddress counts


class Functions(NamedTuple):
    """What the operating system offers, as C functions; None for what it lacks."""

    kind: str
    yield_core: Callable
    nap: Callable | None = None
    wait: Callable | None = None
    wake: Callable | None = None


def _find_functions() -> Functions:
    """The C functions by which threads of this process wait."""
    if os.name == "nt":
        synch = ctypes.WinDLL("api-ms-win-core-synch-l1-2-0")
        yield_core = ctypes.WinDLL("kernel32").SwitchToThread
        return Functions(
            "windows", yield_core, None, synch.WaitOnAddress, synch.WakeByAddressSingle
        )
    library = ctypes.CDLL(None)
    common = library.sched_yield, library.usleep
    if sys.platform == "linux" and FUTEX_CALL:
        return Functions("futex", *common, library.syscall, library.syscall)
    if hasattr(library, "os_sync_wait_on_address"):
        wake = library.os_sync_wake_by_address_any
        return Functions("os_sync", *common, library.os_sync_wait_on_address, wake)
    return Functions("nap", *common)


FUNCTIONS = _find_functions()
for _name, _function in zip(Functions._fields[1:], FUNCTIONS[1:], strict=True):
    if _function is not None:
        llvm.add_symbol(f"fastmlp_{_name}", ctypes.cast(_function, ctypes.c_void_p).value)

_i32, _i64 = types.int32, types.int64
_yield_core = types.ExternalFunction("fastmlp_yield_core", _i32())
_nap = types.ExternalFunction("fastmlp_nap", _i32(types.uint32))
CAN_NAP = FUNCTIONS.nap is not None  # Windows sleeps 15 ms at least


@intrinsic
def _address_of_copy(typingctx, value):
    """Address of a copy of a number, good until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, arguments[0]), I64)

    return types.int64(types.int64), codegen


if FUNCTIONS.kind == "futex":
    _futex_wait = types.ExternalFunction("fastmlp_wait", _i64(*[_i64] * 7))
    _futex_wake = types.ExternalFunction("fastmlp_wake", _i64(*[_i64] * 7))

    def _sleep(address, seen):
        _futex_wait(FUTEX_CALL, address, FUTEX_WAIT_PRIVATE, seen & COMPARED_BITS, 0, 0, 0)

    def _wake(address, count):
        _futex_wake(FUTEX_CALL, address, FUTEX_WAKE_PRIVATE, count, 0, 0, 0)

elif FUNCTIONS.kind == "windows":
    _wait_on_address = types.ExternalFunction("fastmlp_wait", _i32(_i64, _i64, _i64, types.uint32))
    _wake_one = types.ExternalFunction("fastmlp_wake", types.void(_i64))

    def _sleep(address, seen):
        _wait_on_address(address, _address_of_copy(seen), COMPARED_BYTES, NO_TIMEOUT)

    def _wake(address, count):
        for _ in range(count):
            _wake_one(address)

elif FUNCTIONS.kind == "os_sync":
    _wait_on_address = types.ExternalFunction("fastmlp_wait", _i32(_i64, _i64, _i64, types.uint32))
    _wake_one = types.ExternalFunction("fastmlp_wake", _i32(_i64, _i64, types.uint32))

    def _sleep(address, seen):
        _wait_on_address(address, seen & COMPARED_BITS, COMPARED_BYTES, 0)

    def _wake(address, count):
        for _ in range(count):
            _wake_one(address, COMPARED_BYTES, 0)

else:

    def _sleep(address, seen):
        _nap(IDLE_NAP_MICROSECONDS)

    def _wake(address, count):
        pass


_sleep, _wake = device(_sleep), device(_wake)


@device
def sleep_unless_changed(words, index, seen):
    """Sleep until somebody wakes this thread, if the low half of words[index] is that of `seen`.

    It may return at any moment besides: the caller looks again whether there is a reason.
    """
    _sleep(address_of(words, index), seen)


@device
def wake_sleepers(words, index, count):
    """Wake up to `count` threads that sleep until words[index] changes."""
    _wake(address_of(words, index), count)


@device
def wait(turn):
    """Wait a little; longer the more turns have passed."""
    if turn < SPINS:
        pause()
    elif turn < SPINS + YIELDS or not CAN_NAP:
        _yield_core()
    else:
        _nap(NAP_MICROSECONDS)
