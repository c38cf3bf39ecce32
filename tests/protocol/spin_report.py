"""Print what SPIN says of the protocol and of every fault.

`python tests/protocol/spin_report.py` searches in minutes, and `... full` everything, which takes
an hour and 16 gigabytes.
"""

import sys
import tempfile
from pathlib import Path

from spin import FOUND_NOTHING, Report, Run, search
from spin_faults import FAULTS

# Searches of a few seconds.
RUNS = {
    "two launches, two phases, three items": Run(
        {"TIMES": 2, "PHASES": 2, "ITEMS": 3, "PAUSES": 1}
    ),
    "five launches, so that the number wraps around": Run({"TIMES": 5, "PAUSES": 1}),
    "no launch misses an idle thread": Run({"TIMES": 5, "PAUSES": 1, "MEET": 1}),
    "a stop at any moment": Run({"TIMES": 2, "STOPPER": 1}),
    "interrupts between launches, spurious wake-ups": Run(
        {"TIMES": 3, "PAUSES": 1, "INTERRUPTS": 1, "SPURIOUS": 2}
    ),
    "threads that halt outside of launches": Run({"TIMES": 2, "ITEMS": 2, "HALTS": 1}),
    "every order of steps ends": Run({"TIMES": 2, "ITEMS": 2, "PAUSES": 1}, "cycles"),
}
# Searches of minutes, for which the report has more time.
LONG_RUNS = {
    "three threads join five launches, at any moment": Run(
        {"SIZE": 3, "LOOKS": 2, "TIMES": 5, "PHASES": 0, "NARROWS": 1}
    ),
    "three threads, two phases, three items, joined at any moment": Run(
        {"SIZE": 3, "LOOKS": 1, "PHASES": 2, "ITEMS": 3}
    ),
    "three threads, two launches, two phases, three items, joined at any moment": Run(
        {"SIZE": 3, "LOOKS": 2, "TIMES": 2, "PHASES": 2, "ITEMS": 3}
    ),
    "three threads, no launch misses an idle one": Run(
        {"SIZE": 3, "TIMES": 2, "PHASES": 0, "PAUSES": 1, "MEET": 1}
    ),
}
# Searches of up to half an hour.
FULL_RUNS = {
    "three threads, a stop at any moment": Run({"SIZE": 3, "PHASES": 0, "STOPPER": 1}),
    "three threads, two phases, three items": Run({"SIZE": 3, "PHASES": 2, "ITEMS": 3}),
    "three threads, two launches": Run({"SIZE": 3, "TIMES": 2}),
    "three threads, every order of steps ends": Run({"SIZE": 3, "PHASES": 0}, "cycles"),
}
LONG_SECONDS = 3600


def searched(run: Run, **options) -> Report:
    """What SPIN finds, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return search(Path(folder), run, **options)


def print_report(is_full: bool) -> bool:
    """Print two tables; return whether the protocol is right and every fault was found."""
    runs = RUNS | LONG_RUNS | (FULL_RUNS if is_full else {})
    print(f"{'run':76} {'found':8} {'states':>12} {'steps':>12} {'in a row':>8} {'seconds':>8}")
    is_right = True
    for name, run in runs.items():
        found = searched(run, seconds=LONG_SECONDS, optimization="-O2")
        print(
            f"{name:76} {found.result:8} {found.states:12,} {found.steps:12,} {found.depth:8,} "
            f"{found.seconds:8.1f}",
            flush=True,
        )
        is_right &= found.result == FOUND_NOTHING
    print(f"\n{'fault':60} {'found':20} {'states':>10}")
    count = 0
    for name, planted in FAULTS.items():
        found = searched(planted.run, fault=planted.fault)
        is_found = found.result.startswith(planted.found)
        count += is_found
        print(f"{name:60} {planted.found if is_found else found.result:20} {found.states:10,}")
    print(f"found: {count} of {len(FAULTS)}")
    return is_right and count == len(FAULTS)


if __name__ == "__main__":
    sys.exit(not print_report("full" in sys.argv))
