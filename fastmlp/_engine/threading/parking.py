"""Waiting: a short spin, then the core is given away; and sleep until a word changes.

Sleep is the operating system's own wait on an address: a futex on Linux, WaitOnAddress on Windows,
os_sync_wait_on_address on macOS 14.4 and later. Elsewhere a thread naps and looks again. No Python
lock takes part, so none can stay behind locked when an exception interrupts its holder.
"""

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import I64, address_of
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import pause

# A pause is some 20 ns: spin for about 20 us, longer than threads drift apart in a step; then give
# the core away, and when that goes on (more threads than cores) nap.
SPINS = 1000
YIELDS = 200
NAP_MICROSECONDS = 50
IDLE_NAP_MICROSECONDS = 500  # of a thread without work, where the system cannot wait on an address

FUTEX_WAIT_PRIVATE, FUTEX_WAKE_PRIVATE = 128, 129
COMPARED_BYTES = 4
COMPARED_BITS = 0xFFFFFFFF
NO_TIMEOUT = 0xFFFFFFFF  # milliseconds, as WaitOnAddress counts


@intrinsic
def _address_of_copy(typingctx, value):
    """Address of a copy of a number, good until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        return builder.ptrtoint(cgutils.alloca_once_value(builder, arguments[0]), I64)

    return types.int64(types.int64), codegen


@device
def sleep_unless_changed(words, index, seen):
    """Sleep until somebody wakes this thread, if the low half of words[index] is that of `seen`.

    It may return at any moment besides: the caller looks again whether there is a reason.
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
    """Wake up to `count` threads that sleep until words[index] changes."""
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
    """Wait a little; longer the more turns have passed."""
    if turn < SPINS:
        pause()
    elif turn < SPINS + YIELDS or not system.HAS_NAP:
        system.sched_yield()
    else:
        system.usleep(NAP_MICROSECONDS)
