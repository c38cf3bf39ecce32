"""Functions of the operating system that compiled code calls.

Kernels find a function by name. Each address gets a name of our own, so that no other library's
symbol can replace it. The constants say what the system has; compiled code has no branch, and so
no call, for what it lacks.
"""

import ctypes
import os
import platform
import sys

import llvmlite.binding as llvm
from numba import types

IS_WINDOWS = os.name == "nt"
_LIBRARIES = (
    [ctypes.WinDLL("kernel32"), ctypes.WinDLL("api-ms-win-core-synch-l1-2-0")]
    if sys.platform == "win32"
    else [ctypes.CDLL(None)]
)
_i32, _u32, _i64 = types.int32, types.uint32, types.int64


def _find(name: str):
    """The C function `name`, or None."""
    return next((getattr(each, name) for each in _LIBRARIES if hasattr(each, name)), None)


def _function(name: str, result, *arguments) -> types.ExternalFunction:
    """The C function `name`, which need not exist, for calls from compiled code."""
    found = _find(name)
    if found is not None:
        llvm.add_symbol(f"fastmlp_{name}", ctypes.cast(found, ctypes.c_void_p).value)
    return types.ExternalFunction(f"fastmlp_{name}", result(*arguments))


# Yielding and napping. Windows has no sleep shorter than 15 ms.
HAS_NAP = not IS_WINDOWS
sched_yield = _function("SwitchToThread" if IS_WINDOWS else "sched_yield", _i32)
usleep = _function("usleep", _i32, _u32)

# Sleeping until a word changes. The C library has no futex function, so call it by its number,
# which depends on the processor. All these processors are little-endian, so the 32 bits that the
# system compares are a word's low half.
_FUTEX_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221}
FUTEX_NUMBER = _FUTEX_NUMBERS.get(platform.machine(), 0)
HAS_FUTEX = sys.platform == "linux" and FUTEX_NUMBER != 0
syscall = _function("syscall", _i64, *[_i64] * 7)
HAS_WAIT_ON_ADDRESS = IS_WINDOWS
wait_on_address = _function("WaitOnAddress", _i32, _i64, _i64, _i64, _u32)
wake_by_address_single = _function("WakeByAddressSingle", types.void, _i64)
HAS_OS_SYNC = _find("os_sync_wait_on_address") is not None  # macOS 14.4 and later
os_sync_wait = _function("os_sync_wait_on_address", _i32, _i64, _i64, _i64, _u32)
os_sync_wake = _function("os_sync_wake_by_address_any", _i32, _i64, _i64, _u32)

# Setting the CPUs on which a thread may run.
CAN_PLACE = sys.platform == "linux" and all(
    map(_find, ("sched_getcpu", "sched_getaffinity", "sched_setaffinity", "gettid"))
)
sched_getcpu = _function("sched_getcpu", _i32)
gettid = _function("gettid", _i32)
sched_getaffinity = _function("sched_getaffinity", _i32, _i32, _i64, _i64)
sched_setaffinity = _function("sched_setaffinity", _i32, _i32, _i64, _i64)


def features() -> str:
    """Which of these this system has, as part of the key of compiled code."""
    return "".join(
        str(int(has)) for has in (HAS_NAP, HAS_FUTEX, HAS_WAIT_ON_ADDRESS, HAS_OS_SYNC, CAN_PLACE)
    )
