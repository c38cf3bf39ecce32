"""Threads without work: each parks until a launch wakes it, and wakes on another CPU.

Linux may wake a thread on its waker's CPU although another CPU is idle. The thread then waits for
milliseconds, because the waker goes on running. So the waker removes its own CPU from the affinity
of a thread before it wakes it, and the thread restores its affinity once it runs. Without this,
predictions of 2,000 rows (784-100-10) every 5 ms take 1.6 times as long on two CPUs.

Each thread of the pool has a record. It sleeps on the record's state, which is PARKED. Whoever
changes that by a compare-and-swap has the rest of the record to itself until it stores AWAKE: the
thread itself, or the one launch that wakes it (WAKING meanwhile).
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.compat.numba import cgutils
from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import I64, Span, address_of, view
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import (
    LINE_WORDS,
    WORD_BYTES,
    atomic_load,
    atomic_store,
    atomic_swap,
)
from fastmlp._engine.threading.parking import sleep_unless_changed, wait, wake_sleepers

MASK_WORDS = 16  # words of a set of 1,024 CPUs, like the C library's cpu_set_t
MASK_BYTES = WORD_BYTES * MASK_WORDS
WORD_BITS = 8 * WORD_BYTES
THIS_THREAD = 0

# Words of a thread's record: its state, its system id, whether it was placed, and the affinity that
# it has to restore then. A record fills whole pairs of cache lines.
STATE, THREAD, IS_PLACED, MASK = range(4)
RECORD = LINE_WORDS * -(-(MASK + MASK_WORDS) // LINE_WORDS)
AWAKE, PARKED, WAKING = range(3)


@intrinsic
def _new_mask(typingctx):
    """Address of an uninitialized set of CPUs; valid until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        room = cgutils.alloca_once(builder, ir.ArrayType(I64, MASK_WORDS))
        return builder.ptrtoint(room, I64)

    return types.int64(), codegen


@device
def begin_parking(words, record):
    """Let launches wake this thread from now on."""
    # Plain stores: wakers read the record only after they have acquired PARKED.
    words[record + IS_PLACED] = 0
    if system.CAN_PLACE:
        words[record + THREAD] = system.gettid()
    atomic_store(words, record + STATE, PARKED)


@device
def sleep_while_parked(words, record):
    """Sleep until a launch wakes this thread."""
    while atomic_load(words, record + STATE) == PARKED:
        sleep_unless_changed(words, record + STATE, PARKED)


@device
def end_parking(words, record):
    """Go on running; returns whether that was this thread's own decision, and no launch's."""
    if atomic_swap(words, record + STATE, PARKED, AWAKE):
        return True
    turn = 0
    while atomic_load(words, record + STATE) != AWAKE:
        wait(turn)
        turn += 1
    if system.CAN_PLACE and words[record + IS_PLACED]:  # plain: AWAKE, acquired, follows it
        mask = address_of(words, record + MASK)
        system.sched_setaffinity(THIS_THREAD, MASK_BYTES, mask)
    return False


@device
def _place_elsewhere(words, record, cpu):
    """Remove `cpu` from the affinity of the thread that is being woken, unless it has no other."""
    # Plain accesses: the swap to WAKING excludes all other threads.
    thread, before = words[record + THREAD], address_of(words, record + MASK)
    # This fails if the set is too small for the machine or a sandbox forbids it: no placement.
    if system.sched_getaffinity(thread, MASK_BYTES, before) < 0:
        return
    others, mask = 0, _new_mask()
    elsewhere = view(0, mask, Span(0, MASK_WORDS))
    for word in range(MASK_WORDS):
        here = 1 << cpu % WORD_BITS if word == cpu // WORD_BITS else 0
        elsewhere[word] = words[record + MASK + word] & ~here
        others |= elsewhere[word]
    if others != 0 and system.sched_setaffinity(thread, MASK_BYTES, mask) == 0:
        words[record + IS_PLACED] = 1


@device
def wake(words, record):
    """Wake a thread if it is parked; returns whether it was."""
    if atomic_load(words, record + STATE) != PARKED:
        return False
    if not atomic_swap(words, record + STATE, PARKED, WAKING):
        return False
    if system.CAN_PLACE:
        _place_elsewhere(words, record, system.sched_getcpu())
    atomic_store(words, record + STATE, AWAKE)
    wake_sleepers(words, record + STATE, 1)
    return True
