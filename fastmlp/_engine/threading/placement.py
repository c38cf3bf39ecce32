"""Where parked threads wake: on other CPUs than the thread that wakes them.

Linux may wake a thread on the CPU of its waker, while another CPU is idle, and leave it waiting
there for milliseconds, as the waker goes on. So the waker forbids parked threads its own CPU before
it wakes them, and each takes its former CPUs back when it is awake. Without this, predictions of
2,000 rows (784-100-10) at intervals of 5 ms take 1.6 times as long on two CPUs.

Each thread of the pool has a record: its number, its state, and the CPUs it had when it parked.
Whoever changes the state from PARKED, by a compare-and-swap, has the thread's affinity to itself
until it stores the next state: the waker (PLACING, then PLACED), or the thread that has woken.
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

MASK_WORDS = 16  # of a set of 1,024 CPUs, as the C library has it
MASK_BYTES = WORD_BYTES * MASK_WORDS
WORD_BITS = 8 * WORD_BYTES
THIS_THREAD = 0

# Words of a thread's record, which fills whole pairs of cache lines.
STATE, THREAD, MASK = 0, 1, 2
RECORD = SLOT * -(-(MASK + MASK_WORDS) // SLOT)
AWAKE, PARKED, PLACING, PLACED = range(4)


@intrinsic
def _new_mask(typingctx):
    """Address of room for a set of CPUs, good until the calling function returns."""

    def codegen(context, builder, signature, arguments):
        room = cgutils.alloca_once(builder, ir.ArrayType(I64, MASK_WORDS))
        return builder.ptrtoint(room, I64)

    return types.int64(), codegen


@device
def before_sleep(words, record):
    """Let wakers place this thread, which is about to park."""
    if not system.CAN_PLACE:
        return
    # Nobody else reads the record before its state says so.
    words[record + THREAD] = system.gettid()
    mask = address_of(words, record + MASK)
    # With more CPUs than fit the set, or where a sandbox forbids it, the thread is not placed.
    if system.sched_getaffinity(THIS_THREAD, MASK_BYTES, mask) >= 0:
        atomic_store(words, record + STATE, PARKED)


@device
def after_sleep(words, record):
    """Take back the CPUs that this thread had when it parked."""
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
    """Forbid a parked thread a CPU, unless it has no other."""
    if not atomic_swap(words, record + STATE, PARKED, PLACING):
        return
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
    """Forbid this thread's CPU to the parked threads among the records `first` to `end`."""
    if not system.CAN_PLACE:
        return
    cpu = system.sched_getcpu()
    for record in range(first, end, RECORD):
        if atomic_load(words, record + STATE) == PARKED:
            _place_elsewhere(words, record, cpu)
