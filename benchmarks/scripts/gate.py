"""A gate for speed: exit with 1 if a version of the package is over 3 % slower than another.

    python -m benchmarks.scripts.gate OLD/fastmlp NEW/fastmlp [--cases digits "mnist, 1 row"]

Both versions measure each case in turns, as in `benchmarks.scripts.compare`, in pairs of processes.
The layout of memory differs from process to process, and times with it by some per cent, so every
pair gives one value: the median of its rounds' ratios, NEW over OLD. Pairs follow one another until
the interval for their mean is narrower than 2 %, or lies on one side of 1.03. It is Student's, of
the logarithms, with 99 % confidence: medians of many rounds are nearly normal, and to look after
every pair makes errors likelier than one look.

The exit status is 1 if a case is slower than 1.03, 2 if none is but one is undecided when its time
is over, else 0.
"""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from scipy import stats

from benchmarks.scripts.compare import CASES, compare, median_ratio
from benchmarks.scripts.packages import THIS_PACKAGE, copy_package
from benchmarks.scripts.tables import aligned_table
from benchmarks.suite.common import DTYPES

SLOWEST = 1.03  # the ratio that still passes
WIDTH = 0.02  # of an interval that is narrow enough
CONFIDENCE = 0.99
LEAST_PAIRS = 4  # of processes; the deviation of fewer is a guess
ROUNDS = 9  # of a pair
MINUTES = 10.0  # for a case
# What users do: small and large fits, and predictions of one row, of a few and of many.
USUAL_CASES = ["digits", "mnist", "tabular", "mnist, 1 row", "mnist, 32 rows"]
PASSED, SLOWER, UNDECIDED = "passed", "slower", "undecided"
EXIT_STATUS = {PASSED: 0, SLOWER: 1, UNDECIDED: 2}


class Estimate(NamedTuple):
    """The ratio of two versions' times, and an interval that contains the true one."""

    ratio: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: list[float]) -> "Estimate":
        """From the ratios of several pairs of processes: at least two."""
        logarithms = [math.log(ratio) for ratio in ratios]
        mean, error = stats.tmean(logarithms), stats.sem(logarithms)
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(ratios) - 1) * error
        return cls(*(math.exp(mean + shift) for shift in (0.0, -reach, reach)))

    def verdict(self) -> str:
        """`UNDECIDED` if more pairs are needed."""
        if self.low > SLOWEST:
            return SLOWER
        if self.high <= SLOWEST:
            return PASSED
        if self.high - self.low >= WIDTH:
            return UNDECIDED
        return SLOWER if self.ratio > SLOWEST else PASSED


def decide(ratio_of_a_pair: Callable[[], float], seconds: float) -> tuple[Estimate, int, str]:
    """Measure pairs until there is a verdict, or for `seconds`; also returns their number."""
    end, ratios = time.monotonic() + seconds, []
    while True:
        ratios.append(ratio_of_a_pair())
        if len(ratios) < LEAST_PAIRS:
            continue
        estimate = Estimate.of(ratios)
        verdict = estimate.verdict()
        if verdict != UNDECIDED or time.monotonic() > end:
            return estimate, len(ratios), verdict


def main(arguments: list[str] | None = None) -> int:
    """Judge case by case; print the table and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("new", type=Path, metavar="NEW", nargs="?", default=THIS_PACKAGE)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=USUAL_CASES, metavar="NAME")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    options = parser.parse_args(arguments)
    rows, verdicts = [["", "NEW / OLD", f"{CONFIDENCE:.0%} interval", "pairs", "verdict"]], []
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, name) for name in ("old", "new")]
        for folder, package in zip(folders, (options.old, options.new), strict=True):
            copy_package(package, folder)
        for case in options.cases:

            def ratio_of_a_pair(case=case) -> float:
                return median_ratio(compare(folders, case, options.dtype, options.rounds))

            estimate, pairs, verdict = decide(ratio_of_a_pair, 60 * options.minutes)
            interval = f"{estimate.low:.3f}-{estimate.high:.3f}"
            rows.append([case, f"{estimate.ratio:.3f}", interval, str(pairs), verdict])
            verdicts.append(verdict)
            print(f"  {', '.join(rows[-1])}", flush=True)
    print(f"\n{aligned_table(rows)}")
    return EXIT_STATUS[SLOWER] if SLOWER in verdicts else max(map(EXIT_STATUS.get, verdicts))


if __name__ == "__main__":
    sys.exit(main())
