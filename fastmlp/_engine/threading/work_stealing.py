"""Work stealing: how the threads inside a launch share its items.

A launch is a sequence of phases, and each phase has a number of items. Each thread owns a range of
them. It claims items from its own range and, once that is empty, from another thread's. A phase is
over when all of its items are done, by whichever thread. So a late or descheduled thread never
stalls the others, except through items that it has already claimed.

The array `work` holds the done counter and a queue word per thread, each on its own pair of cache
lines; "Memory model" in `fastmlp._engine` explains them. The caller zeroes them with plain stores
before it opens the gate, and all later accesses are atomic. The ranges are read plainly, because
nothing writes them during a launch.
"""

from typing import NamedTuple

import numpy as np

from fastmlp._engine.buffers import aligned_zeros
from fastmlp._engine.jit.device import device
from fastmlp._engine.simd.memory import Span, load
from fastmlp._engine.threading.atomics import (
    LINE_WORDS,
    atomic_add,
    atomic_load,
    atomic_swap,
)
from fastmlp._engine.threading.parking import wait

DONE, QUEUES = 0, LINE_WORDS

PHASE_SHIFT = 32  # lowest bit of the phase in a queue word
CLAIMED_MASK = (1 << PHASE_SHIFT) - 1


class Phase(NamedTuple):
    """One phase of a launch. Every thread computes it for itself.

    Attributes
    ----------
    number : int
        Counts up from 0.
    items : int
    done_target : int
        The value of DONE at which the phase is over.
    threads : int
        Number of ranges.
    ranges : address
        Thread t's range is the items ranges[t] to ranges[t + 1], int64; 0 to divide evenly.
    grain : int
        A claim is a multiple of it, except the last of a range, which is less than three grains.
    """

    number: int
    items: int
    done_target: int
    threads: int
    ranges: int
    grain: int


def work_words(threads: int) -> np.ndarray:
    """A new array `work` for a number of threads."""
    return aligned_zeros(QUEUES + threads * LINE_WORDS, np.int64)


@device
def work_span(threads):
    """The `Span` of the array `work` for a number of threads."""
    return Span(0, QUEUES + threads * LINE_WORDS)


@device
def _bound(phase, thread):
    """The first item of a thread's range."""
    if phase.ranges != 0:
        return load(0, phase.ranges, thread)
    return phase.items * thread // phase.threads


@device
def claim(work, owner, phase):
    """Claim half of what is left of a thread's range.

    Claim all of it if less than three grains are left, or if there is one thread. Return the first
    item and the end, which are equal if nothing is left.
    """
    start = _bound(phase, owner)
    size = _bound(phase, owner + 1) - start
    queue = QUEUES + owner * LINE_WORDS
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
    """Claim the next items of a phase: from the thread's own range, else from another's.

    If none are left, wait until the phase is over, so that nobody enters the next one early, and
    return equal numbers.

    Returns
    -------
    first, end : int
    """
    for other in range(phase.threads):
        first, end = claim(work, (thread + other) % phase.threads, phase)
        if first != end:
            return first, end
    turn = 0
    while not is_done(work, phase.done_target):
        wait(turn)
        turn += 1
    return 0, 0


@device
def complete(work, count):
    """Report `count` items as done; returns how many are done in this launch."""
    return atomic_add(work, DONE, count)


@device
def is_done(work, target):
    """Whether `target` items of this launch are done."""
    return atomic_load(work, DONE) >= target
