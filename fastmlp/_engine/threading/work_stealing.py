"""Inside a launch: the sharing of its work.

The work of a launch is a sequence of phases, and a phase is a number of items, each thread's own
range of which is fixed. A thread claims items from its own range and, when that is empty, from
another's. A phase is over when all of its items are done, whoever did them. So a thread that the
system keeps from running, or that comes late, stalls nobody but by the items that it has claimed.

Words of the array `work`, each on cache lines of its own:

- DONE counts the items done in this launch. `complete` adds with sequential consistency, `is_done`
  acquires: who sees the phase done sees all that was written in it.
- One queue for each thread: the phase, and how much of the thread's range is claimed in it. A claim
  is one compare-and-swap, which fails if anybody else has claimed or if the phase is over. So each
  item is claimed once, and nobody claims in a phase before having seen the one before it done.

Both are zero when a launch begins: its caller writes that before anybody else may enter.
"""

from typing import NamedTuple

import numpy as np

from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import Span, load
from fastmlp._engine.threading.atomics import (
    SLOT,
    atomic_add,
    atomic_load,
    atomic_swap,
)
from fastmlp._engine.threading.parking import wait

DONE, QUEUES = 0, SLOT

PHASE_SHIFT = 32  # bit from which on a queue holds its phase
CLAIMED_MASK = (1 << PHASE_SHIFT) - 1


class Phase(NamedTuple):
    """One phase of a launch, as all threads work it out for themselves.

    Attributes
    ----------
    number : int
        Counts up from 0.
    items : int
    done_target : int
        Items done in the launch when the phase is over.
    threads : int
        Number of ranges.
    ranges : address
        Thread t's range is the items ranges[t] to ranges[t + 1], int64; 0 for even ranges.
    grain : int
        Claims are multiples of it, but for a range's last, which are up to three times as large.
    """

    number: int
    items: int
    done_target: int
    threads: int
    ranges: int
    grain: int


def work_words(threads: int) -> np.ndarray:
    """The array `work` of a job for so many threads."""
    return np.zeros(QUEUES + threads * SLOT, np.int64)


@device
def work_span(threads):
    """The words of the array `work` for so many threads."""
    return Span(0, QUEUES + threads * SLOT)


@device
def _bound(phase, thread):
    """Where a thread's range begins."""
    if phase.ranges != 0:
        return load(0, phase.ranges, thread)
    return phase.items * thread // phase.threads


@device
def claim(work, owner, phase):
    """Claim half of what is left of a thread's range, or all where little is.

    Returns the first item and the end, equal if nothing is left.
    """
    start = _bound(phase, owner)
    size = _bound(phase, owner + 1) - start
    queue = QUEUES + owner * SLOT
    while True:
        seen = atomic_load(work, queue)
        claimed = seen & CLAIMED_MASK if seen >> PHASE_SHIFT == phase.number else 0
        if seen >> PHASE_SHIFT > phase.number or claimed >= size:
            return 0, 0
        left = size - claimed
        count = left
        if phase.threads > 1 and left >= 3 * phase.grain:
            count = (left // 2 + phase.grain - 1) // phase.grain * phase.grain
        if atomic_swap(work, queue, seen, phase.number << PHASE_SHIFT | claimed + count):
            return start + claimed, start + claimed + count


@device
def next_items(work, thread, phase):
    """The next items of a phase for a thread: from its own range, else from another's.

    Where none are left, waits until the phase is over and returns equal numbers.

    Returns
    -------
    first, end : int
    """
    for turn in range(phase.threads):
        first, end = claim(work, (thread + turn) % phase.threads, phase)
        if first != end:
            return first, end
    turn = 0
    while not is_done(work, phase.done_target):
        wait(turn)
        turn += 1
    return 0, 0


@device
def complete(work, count):
    """Say that `count` items are done; returns how many are in all."""
    return atomic_add(work, DONE, count)


@device
def is_done(work, target):
    """Whether `target` items of the launch are done."""
    return atomic_load(work, DONE) >= target
