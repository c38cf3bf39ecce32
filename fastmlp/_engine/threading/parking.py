"""Waiting: spin, then yield the core, then nap; or sleep until a word changes.

A thread sleeps in the operating system's wait on an address: a futex on Linux, WaitOnAddress on
Windows, os_sync_wait_on_address on macOS 14.4 and later. On other systems it naps and polls. There
is no Python lock that an exception could leave locked.
"""

from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import I64, address_of
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import pause

# Spin for about 20 us (a pause takes 20 ns), which is longer than threads drift apart in a step.
# Then yield the core; after many yields there are more threads than cores, so nap.
SPINS = 1000
YIELDS = 200
NAP_MICROSECONDS = 50
IDLE_NAP_MICROSECONDS = 500  # for idle threads on systems without a wait on an address

FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
COMPARED_BYTES = 4
COMPARED_BITS = 0xFFFFFFFF
NO_TIMEOUT = 0xFFFFFFFF  # milliseconds: INFINITE in WaitOnAddress


@intrinsic
def _address_of_copy(typingctx, value):
    """Address of a copy of a number; valid until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, arguments[0]), I64)

    return types.int64(types.int64), codegen


@device
def sleep_unless_changed(words, index, seen):
    """Sleep until woken, if the low half of words[index] still equals that of `seen`.

    Wake-ups can be spurious: the caller checks again.
    """
    address, low = address_of(words, index), seen & COMPARED_BITS
    if system.HAS_FUTEX:
        system.syscall(system.FUTEX_NUMBER, address, FUTEX_WAIT_PRIVATE, low, 0, 0, 0)
    elif system.HAS_WAIT_ON_ADDRESS:
        system.wait_on_address(address, _address_of_copy(seen), COMPARED_BYTES, NO_TIMEOUT)
    elif system.HAS_OS_SYNC:
        system.os_sync_wait(address, low, COMPARED_BYTES, 0)
    else:
        system.usleep(IDLE_NAP_MICROSECONDS)


@device
def wake_sleepers(words, index, count):
    """Wake up to `count` threads that sleep on words[index]."""
    address = address_of(words, index)
    if system.HAS_FUTEX:
        system.syscall(system.FUTEX_NUMBER, address, FUTEX_WAKE_PRIVATE, count, 0, 0, 0)
    elif system.HAS_WAIT_ON_ADDRESS:
        for _ in range(count):
            system.wake_by_address_single(address)
    elif system.HAS_OS_SYNC:
        for _ in range(count):
            system.os_sync_wake(address, COMPARED_BYTES, 0)


@device
def wait(turn):
    """Wait for a moment; the more turns have passed, the longer."""
    if turn < SPINS:
        pause()
    elif turn < SPINS + YIELDS or not system.HAS_NAP:
        system.sched_yield()
    else:
        system.usleep(NAP_MICROSECONDS)
