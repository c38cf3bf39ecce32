"""Faults that only a weak memory or a race brings to light, and the run of Relacy that finds each.

Some weaker orders are no faults, and no run finds them. Additions may acquire and release only,
because nothing needs a single order of all operations. Swaps of queue words need not order
anything, because the done counter orders what items write. Swaps of a gate need not acquire,
because the load before them did, and the number in the gate tells whether it has changed since.
"""

from typing import NamedTuple

from protocol_source import Fault
from relacy import Run

# Runs that find faults: small enough to take less than a second, or to end at the fault.
PARK = Run("every", suite="park")
GATE = Run("switches", 2, suite="gate", launches=2)
STEALING = Run("random", 50_000, suite="kernel", phases=2, items=2)
LAUNCHES = Run("random", 50_000, launches=2, phases=2, items=2, linger=1)
MEETING = Run("switches", 2, launches=2, linger=1, meet=1)
CROWD = Run("random", 200_000, threads=3, launches=2, phases=2, items=3, linger=2, meet=1)
PARKING = Run("random", 200_000, launches=3)
CALLERS = Run("random", 200_000, callers=2, launches=2, phases=0)
STOPPING = Run("random", 200_000, stoppers=1)


class Planted(NamedTuple):
    """A fault, the run that finds it, and what Relacy calls it."""

    fault: Fault
    run: Run
    found: str


RACE, DEADLOCK, LIVELOCK = "DATA RACE", "DEADLOCK", "LIVELOCK"

# Lines of the source.
FILLING = (
    "    words[slot + KERNEL], words[slot + JOB], words[slot + LINGER] = address, job, linger\n"
    "    atomic_store(words, slot + PLACES, places)\n"
)
OPENING = (
    "    number = (atomic_load(words, slot + GATE) >> NUMBER_SHIFT) + 1\n"
    "    atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)\n"
)
LEAVING = "words[slot + JOB])\n            atomic_add(words, slot + GATE, -INSIDE)"
SWAPPING = "    if not atomic_swap(words, record + STATE, PARKED, WAKING):\n        return False\n"
CHANGING = SWAPPING + (
    "    if system.CAN_PLACE:\n"
    "        _place_elsewhere(words, record, system.sched_getcpu())\n"
    "    atomic_store(words, record + STATE, AWAKE)\n"
)
WAKING_UP = "    wake_sleepers(words, record + STATE, 1)\n"

FAULTS = {
    # The orders of `atomics`.
    "loads are relaxed": Planted(
        Fault("atomics", 'load_atomic(at, "acquire"', 'load_atomic(at, "monotonic"'), LAUNCHES, RACE
    ),
    "stores are relaxed": Planted(
        Fault("atomics", 'arguments[2], at, "release"', 'arguments[2], at, "monotonic"'), GATE, RACE
    ),
    "additions only acquire": Planted(
        Fault("atomics", 'arguments[2], "seq_cst"', 'arguments[2], "acquire"'), STEALING, RACE
    ),
    "additions only release": Planted(
        Fault("atomics", 'arguments[2], "seq_cst"', 'arguments[2], "release"'), PARK, DEADLOCK
    ),
    "swaps are relaxed": Planted(
        Fault("atomics", '"acq_rel", "acquire"', '"monotonic", "monotonic"'), CALLERS, RACE
    ),
    # Launches.
    "the gate opens with a relaxed store": Planted(
        Fault(
            "pool",
            "atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)",
            "atomic_store_relaxed(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)",
        ),
        GATE,
        RACE,
    ),
    "the gate opens with a plain store": Planted(
        Fault(
            "pool",
            "atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)",
            "words[slot + GATE] = number << NUMBER_SHIFT | TAKEN | OPEN",
        ),
        GATE,
        RACE,
    ),
    "the gate opens before the slot is filled": Planted(
        Fault(
            "pool",
            FILLING + OPENING,
            OPENING + FILLING,
        ),
        GATE,
        RACE,
    ),
    "the number of places is read plainly": Planted(
        Fault(
            "pool", "joined >= atomic_load(words, slot + PLACES)", "joined >= words[slot + PLACES]"
        ),
        GATE,
        RACE,
    ),
    "the number of places is written plainly": Planted(
        Fault(
            "pool", "atomic_store(words, slot + PLACES, places)", "words[slot + PLACES] = places"
        ),
        GATE,
        RACE,
    ),
    "threads leave with a relaxed addition": Planted(
        Fault(
            "pool",
            LEAVING,
            LEAVING.replace("atomic_add", "atomic_add_relaxed"),
        ),
        GATE,
        RACE,
    ),
    "the gate closes without waiting": Planted(
        Fault("pool", "while atomic_load(words, slot + GATE) & COUNT_MASK:", "while False:"),
        GATE,
        RACE,
    ),
    "a freed slot is stored relaxed": Planted(
        Fault(
            "pool",
            "atomic_store(words, slot + GATE, number << NUMBER_SHIFT)",
            "atomic_store_relaxed(words, slot + GATE, number << NUMBER_SHIFT)",
        ),
        CALLERS,
        RACE,
    ),
    # Work stealing.
    "items are reported relaxed": Planted(
        Fault(
            "work_stealing",
            "atomic_add(work, DONE, count)",
            "atomic_add_relaxed(work, DONE, count)",
        ),
        STEALING,
        RACE,
    ),
    "the done counter is read relaxed": Planted(
        Fault("work_stealing", "atomic_load(work, DONE) >=", "atomic_load_relaxed(work, DONE) >="),
        STEALING,
        RACE,
    ),
    "the done counter is read plainly": Planted(
        Fault("work_stealing", "atomic_load(work, DONE) >=", "work[DONE] >="), STEALING, RACE
    ),
    "items are claimed without a swap": Planted(
        Fault(
            "work_stealing",
            "        if atomic_swap(work, queue, seen, ",
            "        atomic_store(work, queue, phase.number << PHASE_SHIFT | claimed + count)\n"
            "        if max(1, ",
        ),
        STEALING,
        RACE,
    ),
    # Waking and parking.
    "the last look at the bell is a load": Planted(
        Fault(
            "pool", "if atomic_add(words, BELL, 0) == seen", "if atomic_load(words, BELL) == seen"
        ),
        PARK,
        DEADLOCK,
    ),
    "spinning threads are counted before the bell": Planted(
        Fault(
            "pool",
            "    atomic_add(words, BELL, 1)\n    # Those",
            "    spinning = atomic_add(words, SPINNING, 0)\n    atomic_add(words, BELL, 1)\n"
            "    _wake(words, places - spinning)\n    return\n    # Those",
        ),
        MEETING,
        DEADLOCK,
    ),
    "spinning threads are counted by a load": Planted(
        Fault(
            "pool",
            "places - atomic_add(words, SPINNING, 0)",
            "places - atomic_load(words, SPINNING)",
        ),
        CROWD,
        DEADLOCK,
    ),
    "PARKED is stored relaxed": Planted(
        Fault(
            "placement",
            "atomic_store(words, record + STATE, PARKED)",
            "atomic_store_relaxed(words, record + STATE, PARKED)",
        ),
        PARK,
        RACE,
    ),
    "the record is filled after PARKED": Planted(
        Fault(
            "placement",
            "    words[record + IS_PLACED] = 0\n",
            "    atomic_store(words, record + STATE, PARKED)\n    words[record + IS_PLACED] = 0\n",
        ),
        PARK,
        RACE,
    ),
    "AWAKE is stored relaxed": Planted(
        Fault(
            "placement",
            "atomic_store(words, record + STATE, AWAKE)",
            "atomic_store_relaxed(words, record + STATE, AWAKE)",
        ),
        PARK,
        RACE,
    ),
    "AWAKE is stored before the thread is placed": Planted(
        Fault(
            "placement",
            "    if system.CAN_PLACE:\n        _place",
            "    atomic_store(words, record + STATE, AWAKE)\n"
            "    if system.CAN_PLACE:\n        _place",
        ),
        PARK,
        RACE,
    ),
    "AWAKE is read relaxed": Planted(
        Fault(
            "placement",
            "while atomic_load(words, record + STATE) != AWAKE",
            "while atomic_load_relaxed(words, record + STATE) != AWAKE",
        ),
        PARK,
        RACE,
    ),
    "a thread is woken without a swap": Planted(
        Fault(
            "placement",
            SWAPPING,
            "    atomic_store(words, record + STATE, WAKING)\n",
        ),
        PARKING,
        LIVELOCK,  # the thread and its waker have both left the count of sleepers
    ),
    "a waker's swap does not acquire": Planted(
        Fault(
            "placement",
            "if not atomic_swap(words, record + STATE, PARKED, WAKING)",
            "if not atomic_swap_release_relaxed(words, record + STATE, PARKED, WAKING)",
        ),
        CALLERS,
        RACE,
    ),
    "the sleeper is woken before its state changes": Planted(
        Fault(
            "placement",
            CHANGING + WAKING_UP,
            WAKING_UP + CHANGING,
        ),
        PARK,
        DEADLOCK,
    ),
    # The pool's end.
    "STOP is stored plainly": Planted(
        Fault("pool", "atomic_store(words, STOP, 1)", "words[STOP] = 1"), STOPPING, RACE
    ),
    "stop does not wait for threads that have yet to begin": Planted(
        Fault("pool", "return late + atomic_load", "return atomic_load"), STOPPING, RACE
    ),
    "threads are counted as started before they count as running": Planted(
        Fault(
            "pool",
            "    atomic_add(words, WORKERS, 1)  # before STARTED, which `_stop` reads first\n"
            "    number = atomic_add(words, STARTED, 1) - 1\n",
            "    number = atomic_add(words, STARTED, 1) - 1\n    atomic_add(words, WORKERS, 1)\n",
        ),
        STOPPING,
        RACE,
    ),
    "threads end with a relaxed addition": Planted(
        Fault(
            "pool",
            "    atomic_add(words, WORKERS, -1)\n\n\ndef",
            "    atomic_add_relaxed(words, WORKERS, -1)\n\n\ndef",
        ),
        STOPPING,
        RACE,
    ),
}
