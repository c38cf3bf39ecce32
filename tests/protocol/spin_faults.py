"""Faults that some order of steps brings to light, and the run of SPIN that finds each."""

from typing import NamedTuple

from protocol_source import Fault
from relacy_faults import CHANGING, LEAVING, WAKING_UP
from spin import Run

# Runs that find faults, with as few states as that takes.
JOINING = Run({"LOOKS": 2, "TIMES": 2})
CROWD = Run({"SIZE": 3, "LOOKS": 2, "TIMES": 5, "PHASES": 0, "NARROWS": 1})
STEALING = Run({"LOOKS": 1, "PHASES": 2, "ITEMS": 3})
MEETING = Run({"TIMES": 2, "PHASES": 0, "PAUSES": 1, "MEET": 1})
STOPPING = Run({"STOPPER": 1})
HALTING = Run({"HALTS": 1, "ITEMS": 2})


class Planted(NamedTuple):
    """A fault, the run that finds it, and what SPIN calls it: a broken claim or a deadlock."""

    fault: Fault
    run: Run
    found: str


CLAIM, DEADLOCK = "assertion violated", "invalid end state"

FAULTS = {
    # Joining and leaving a launch.
    "a closed gate is not looked at": Planted(
        Fault("pool", "if gate & OPEN == 0 or joined >=", "if joined >="), JOINING, DEADLOCK
    ),
    "a launch of the same number is taken for the one seen": Planted(
        Fault("pool", "if joined < atomic_load(words, slot + PLACES):", "if True:"), CROWD, CLAIM
    ),
    "the gate stays open": Planted(
        Fault("pool", "atomic_add(words, slot + GATE, -OPEN)", "atomic_add(words, slot + GATE, 0)"),
        JOINING,
        CLAIM,
    ),
    "the gate closes without waiting": Planted(
        Fault("pool", "while atomic_load(words, slot + GATE) & COUNT_MASK:", "while False:"),
        JOINING,
        CLAIM,
    ),
    "the gate opens before the slot is filled": Planted(
        Fault(
            "pool",
            "    words[slot + KERNEL], words[slot + JOB], words[slot + LINGER] = "
            "address, job, linger\n    atomic_store(words, slot + PLACES, places)\n",
            "    atomic_store(words, slot + PLACES, places)\n"
            "    atomic_store(words, slot + GATE, TAKEN | OPEN)\n"
            "    words[slot + KERNEL], words[slot + JOB], words[slot + LINGER] = "
            "address, job, linger\n",
        ),
        JOINING,
        CLAIM,
    ),
    "a thread does not count itself out": Planted(
        Fault(
            "pool",
            LEAVING,
            LEAVING.replace("-INSIDE", "0"),
        ),
        JOINING,
        DEADLOCK,
    ),
    "a thread joins by a store instead of a swap": Planted(
        Fault(
            "pool",
            "        if atomic_swap(words, slot + GATE, gate, gate + JOINED + INSIDE):\n",
            "        atomic_store(words, slot + GATE, gate + JOINED + INSIDE)\n        if True:\n",
        ),
        JOINING,
        DEADLOCK,  # the store may put back a gate that is free or closed
    ),
    "a slot is never freed": Planted(
        Fault(
            "pool",
            "atomic_store(words, slot + GATE, number << NUMBER_SHIFT)",
            "atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN)",
        ),
        MEETING,
        DEADLOCK,
    ),
    # Work stealing.
    "items are claimed without a swap": Planted(
        Fault(
            "work_stealing",
            "        if atomic_swap(work, queue, seen, ",
            "        atomic_store(work, queue, phase.number << PHASE_SHIFT | claimed + count)\n"
            "        if max(1, ",
        ),
        STEALING,
        CLAIM,
    ),
    "a late thread takes the queue back to its phase": Planted(
        Fault("work_stealing", "if seen >> PHASE_SHIFT > phase.number or", "if"), STEALING, CLAIM
    ),
    "a new phase begins with the claims of the last": Planted(
        Fault("work_stealing", "if seen >> PHASE_SHIFT == phase.number else 0", "if True else 0"),
        STEALING,
        DEADLOCK,
    ),
    "nobody steals": Planted(
        Fault("work_stealing", "(thread + other) % phase.threads", "thread"), HALTING, DEADLOCK
    ),
    "a thread goes on before the phase is done": Planted(
        Fault("work_stealing", "while not is_done(work, phase.done_target):", "while False:"),
        STEALING,
        CLAIM,
    ),
    "a phase is over one item late": Planted(
        Fault("work_stealing", "atomic_load(work, DONE) >=", "atomic_load(work, DONE) >"),
        STEALING,
        DEADLOCK,
    ),
    "a claim counts as one item": Planted(
        Fault("work_stealing", "atomic_add(work, DONE, count)", "atomic_add(work, DONE, 1)"),
        STEALING,
        DEADLOCK,
    ),
    "a claim is reported twice": Planted(
        Fault(
            "work_stealing", "atomic_add(work, DONE, count)", "atomic_add(work, DONE, 2 * count)"
        ),
        STEALING,
        CLAIM,
    ),
    # Waking and parking.
    "a launch rings no bell": Planted(
        Fault(
            "pool",
            "    atomic_add(words, BELL, 1)\n    # Those",
            "    atomic_add(words, BELL, 0)\n    # Those",
        ),
        MEETING,
        DEADLOCK,
    ),
    "a thread parks without a last look at the bell": Planted(
        Fault("pool", "if atomic_add(words, BELL, 0) == seen:", "if True:"), MEETING, DEADLOCK
    ),
    "a thread looks at the bell before it is parked": Planted(
        Fault(
            "pool",
            "    begin_parking(words, record)\n    if atomic_add(words, BELL, 0) == seen:\n",
            "    bell = atomic_add(words, BELL, 0)\n    begin_parking(words, record)\n"
            "    if bell == seen:\n",
        ),
        MEETING,
        DEADLOCK,
    ),
    "a launch counts the spinning threads before it rings": Planted(
        Fault(
            "pool",
            "    atomic_add(words, BELL, 1)\n    # Those",
            "    spinning = atomic_add(words, SPINNING, 0)\n    atomic_add(words, BELL, 1)\n"
            "    _wake(words, places - spinning)\n    return\n    # Those",
        ),
        MEETING,
        DEADLOCK,
    ),
    "a thread that stops spinning still counts": Planted(
        Fault("pool", "atomic_add(words, SPINNING, -1)", "atomic_add(words, SPINNING, 0)"),
        MEETING,
        DEADLOCK,
    ),
    "a thread is woken in name only": Planted(
        Fault("placement", "    wake_sleepers(words, record + STATE, 1)\n", ""), MEETING, DEADLOCK
    ),
    "a thread is woken before its state changes": Planted(
        Fault("placement", CHANGING + WAKING_UP, WAKING_UP + CHANGING), MEETING, DEADLOCK
    ),
    # The pool's end.
    "a stop wakes nobody": Planted(
        Fault("pool", "    _wake(words, RECORDS)\n", ""), STOPPING, DEADLOCK
    ),
    "a stop rings no bell": Planted(
        Fault(
            "pool",
            "    atomic_add(words, BELL, 1)\n    _wake(words, RECORDS)",
            "    _wake(words, RECORDS)",
        ),
        STOPPING,
        DEADLOCK,
    ),
    "threads do not look whether the pool stops": Planted(
        Fault("pool", "while atomic_load(words, STOP) == 0:", "while True:"), STOPPING, DEADLOCK
    ),
    "a thread that ends still counts": Planted(
        Fault(
            "pool",
            "    atomic_add(words, WORKERS, -1)\n\n\ndef",
            "    atomic_add(words, WORKERS, 0)\n\n\ndef",
        ),
        STOPPING,
        DEADLOCK,
    ),
}
