"""Print what Relacy says of the protocol and of every fault.

`python tests/protocol/relacy_report.py 20` runs 20 times as many random executions.
"""

import sys
import tempfile
import time
from pathlib import Path

from relacy import Checker, Run
from relacy_faults import FAULTS

# Every execution of a part of the protocol; all executions of few switches; many random ones.
RUNS = {
    "parking, in full": Run("every", suite="park"),
    "joining a launch, in full": Run("every", suite="gate", phases=0),
    "claiming items, in full": Run("every", suite="kernel", items=2),
    "parking, with spurious wake-ups": Run("switches", 4, suite="park", spurious=1),
    "joining one of two launches": Run("switches", 4, suite="gate", launches=2),
    "claiming items of two phases": Run("switches", 3, suite="kernel", items=3, phases=2),
    "no launch misses an idle thread": Run("switches", 2, launches=2, linger=1, meet=1),
    "three threads in a phase": Run(
        "random", 100_000, suite="kernel", threads=3, items=3, phases=2
    ),
    "ranges, grains": Run("random", 50_000, launches=2, phases=2, items=3, ranges=1, grain=2),
    "three threads, two launches": Run(
        "random", 50_000, threads=3, launches=2, phases=2, items=3, linger=1, spurious=1
    ),
    "no launch misses two idle threads": Run(
        "random", 50_000, threads=3, launches=2, items=2, linger=2, meet=1
    ),
    "two callers at once": Run("random", 50_000, callers=2, launches=2, phases=2, items=2),
    "two callers wake the same thread": Run("random", 50_000, callers=2, launches=2, phases=0),
    "a stop at any moment": Run("random", 50_000, stoppers=1, launches=2, linger=1),
}


def print_report(factor: int) -> bool:
    """Print two tables; return whether the protocol is right and every fault was found."""
    with tempfile.TemporaryDirectory() as folder:
        checker = Checker(Path(folder), [each.fault for each in FAULTS.values()])
        print(f"{'run':40} {'report':10} {'executions':>12} {'seconds':>8}")
        is_right = True
        for name, run in RUNS.items():
            start = time.monotonic()
            report = checker.check(run.times(factor), seconds=100 * factor)
            print(
                f"{name:40} {report.result:10} {report.executions:12,} "
                f"{time.monotonic() - start:8.1f}",
                flush=True,
            )
            is_right &= report.result == "SUCCESS"
        print(f"\n{'fault':60} {'report':12} {'executions':>10} place")
        found = 0
        for number, (name, planted) in enumerate(FAULTS.items(), 1):
            report = checker.check(planted.run, number)
            found += report.result == planted.found
            print(
                f"{name:60} {report.result:12} {report.executions:10,} {report.place}", flush=True
            )
        print(f"found: {found} of {len(FAULTS)}")
    return is_right and found == len(FAULTS)


if __name__ == "__main__":
    sys.exit(not print_report(int(([*sys.argv, "1"])[1])))
