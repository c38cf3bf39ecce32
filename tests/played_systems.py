"""A plugin of pytest: the waits of Windows or macOS, played by Linux's futex.

The environment variable PLAYED_SYSTEM names the system. Functions that it lacks cannot be linked,
and those that it has check their arguments. Load this before anything of the engine.
"""

import ctypes
import os
from collections import Counter

import llvmlite.binding as llvm

from fastmlp._engine.threading import system

ABSENT = {
    "Windows": ["usleep", "syscall", "gettid", "sched_getcpu", "sched_getaffinity"],
    "macOS": ["syscall", "gettid", "sched_getcpu", "sched_getaffinity"],
}
FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
WORD_BYTES, INFINITE, NO_FLAGS = 4, 0xFFFFFFFF, 0

calls = Counter()
_libc = ctypes.CDLL(None)  # releases the GIL while it sleeps
_kept = []  # callbacks must outlive the threads


def _futex(operation, address, value):
    word, none = ctypes.c_void_p(address), ctypes.c_void_p()
    return _libc.syscall(system.FUTEX_NUMBER, word, operation, value, none, none, 0)


def wait_on_address(address, compared, size, milliseconds):
    calls["wait"] += 1
    calls["wrong"] += (size, milliseconds) != (WORD_BYTES, INFINITE)
    seen = ctypes.c_uint32.from_address(compared).value
    return _futex(FUTEX_WAIT_PRIVATE, address, seen) == 0


def wake_by_address_single(address):
    calls["wake"] += 1
    _futex(FUTEX_WAKE_PRIVATE, address, 1)


def os_sync_wait(address, value, size, flags):
    calls["wait"] += 1
    calls["wrong"] += (size, flags) != (WORD_BYTES, NO_FLAGS) or value >> 32 != 0
    return _futex(FUTEX_WAIT_PRIVATE, address, value)


def os_sync_wake(address, size, flags):
    calls["wake"] += 1
    calls["wrong"] += (size, flags) != (WORD_BYTES, NO_FLAGS)
    return _futex(FUTEX_WAKE_PRIVATE, address, 1)


def _play(name, function, result, *arguments):
    """Let compiled code that calls `system.name` call a Python function."""
    callback = ctypes.CFUNCTYPE(result, *arguments)(function)
    _kept.append(callback)
    symbol = getattr(system, name).symbol
    llvm.add_symbol(symbol, ctypes.cast(callback, ctypes.c_void_p).value)


def become(played):
    """Replace this system's functions by those of another."""
    _i32, _u32, _i64 = ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64
    for name in ABSENT[played]:
        getattr(system, name).symbol = f"no_such_{name}"
    system.HAS_FUTEX = system.CAN_PLACE = False
    if played == "Windows":
        system.HAS_NAP, system.HAS_WAIT_ON_ADDRESS = False, True
        _play("wait_on_address", wait_on_address, _i32, _i64, _i64, _i64, _u32)
        _play("wake_by_address_single", wake_by_address_single, None, _i64)
    else:
        system.HAS_OS_SYNC = True
        _play("os_sync_wait", os_sync_wait, _i32, _i64, _i64, _i64, _u32)
        _play("os_sync_wake", os_sync_wake, _i32, _i64, _i64, _u32)


def pytest_terminal_summary(terminalreporter):
    """Print how often each function was called."""
    terminalreporter.write_line(" ".join(f"{calls[each]}" for each in ("wait", "wake", "wrong")))


become(os.environ["PLAYED_SYSTEM"])
