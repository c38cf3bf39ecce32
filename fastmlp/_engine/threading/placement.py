"""Placement: threads wake on CPUs other than the waker's.

Linux may wake a thread on its waker's CPU although another CPU is idle. The thread then waits for
milliseconds, because the waker goes on running. So the waker removes its own CPU from the affinity
of parked threads before it wakes them, and each restores its affinity once it runs. Without this,
predictions of 2,000 rows (784-100-10) every 5 ms take 1.6 times as long on two CPUs.

Each thread of the pool has a record: its state, its system id, and its affinity when it parked.
"Memory model" in `fastmlp._engine` tells who may change the affinity, and when.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import I64, Span, address_of, view
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import (
    SLOT,
    WORD_BYTES,
    atomic_load,
    atomic_store,
    atomic_swap,
    pause,
)

MASK_WORDS = 16  # words of a set of 1,024 CPUs, like the C library's cpu_set_t
MASK_BYTES = WORD_BYTES * MASK_WORDS
WORD_BITS = 8 * WORD_BYTES
THIS_THREAD = 0

# Words of a thread's record. A record fills whole pairs of cache lines.
STATE, THREAD, MASK = 0, 1, 2
RECORD = SLOT * -(-(MASK + MASK_WORDS) // SLOT)
AWAKE, PARKED, PLACING, PLACED = range(4)


@intrinsic
def _new_mask(typingctx):
    """Address of an uninitialized set of CPUs; valid until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        room = cgutils.alloca_once(builder, ir.ArrayType(I64, MASK_WORDS))
        return builder.ptrtoint(room, I64)

    return types.int64(), codegen


@device
def before_sleep(words, record):
    """Allow wakers to place this thread, which is about to park."""
    if not system.CAN_PLACE:
        return
    # Plain store: wakers read the record only after they have acquired PARKED, stored below.
    words[record + THREAD] = system.gettid()
    mask = address_of(words, record + MASK)
    # This fails if the set is too small for the machine or a sandbox forbids it: no placement.
    if system.sched_getaffinity(THIS_THREAD, MASK_BYTES, mask) >= 0:
        atomic_store(words, record + STATE, PARKED)


@device
def after_sleep(words, record):
    """Restore the affinity that this thread had when it parked."""
    if not system.CAN_PLACE:
        return
    while atomic_load(words, record + STATE) != AWAKE:
        if atomic_swap(words, record + STATE, PLACED, AWAKE):
            mask = address_of(words, record + MASK)
            system.sched_setaffinity(THIS_THREAD, MASK_BYTES, mask)
        elif not atomic_swap(words, record + STATE, PARKED, AWAKE):
            pause()


@device
def _place_elsewhere(words, record, cpu):
    """Remove `cpu` from a parked thread's affinity, unless it has no other."""
    if not atomic_swap(words, record + STATE, PARKED, PLACING):
        return
    # Plain reads of the record: the swap to PLACING acquired it, and excludes other threads.
    others, mask = 0, _new_mask()
    elsewhere = view(0, mask, Span(0, MASK_WORDS))
    for word in range(MASK_WORDS):
        here = 1 << cpu % WORD_BITS if word == cpu // WORD_BITS else 0
        elsewhere[word] = words[record + MASK + word] & ~here
        others |= elsewhere[word]
    if others != 0:
        system.sched_setaffinity(words[record + THREAD], MASK_BYTES, mask)
    atomic_store(words, record + STATE, PLACED)


@device
def place_sleepers(words, first, end):
    """Remove this thread's CPU from the affinity of parked threads in records `first` to `end`."""
    if not system.CAN_PLACE:
        return
    cpu = system.sched_getcpu()
    for record in range(first, end, RECORD):
        if atomic_load(words, record + STATE) == PARKED:
            _place_elsewhere(words, record, cpu)
