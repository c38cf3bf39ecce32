"""Two versions of the package, which take turns: is the second one faster?

    python -m benchmarks.scripts.compare --package OLD/fastmlp --against NEW/fastmlp
    python -m benchmarks.scripts.compare --package OLD/fastmlp --cases mnist "wide, 1 row"

Each version runs in a process of its own. In every round both measure each case once, in turns; the
round's ratio is the second version's time over the first one's. The table has the median of the
ratios and an interval that contains the true median with 95 % confidence, whatever the
distribution: 0.95 means 5 % faster. Compare a version with itself to see the noise. Without
--against, the second version is this checkout.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from scipy.stats import binom

from benchmarks.scripts.libraries import prediction_clock, training_clock
from benchmarks.scripts.packages import THIS_PACKAGE, copy_package, script_on
from benchmarks.scripts.tables import aligned_table, in_units
from benchmarks.suite.common import DTYPES, NETWORKS, PREDICTED_ROWS, WORKLOADS

CONFIDENCE = 0.95
ROUNDS = 15
BFLOAT16 = "bfloat16"  # `precision`, for X of float32
CASES = {name: (training_clock, name) for name in WORKLOADS} | {
    f"{name}, {rows} row{'s' * (rows > 1)}": (prediction_clock, name, rows)
    for name in NETWORKS
    for rows in PREDICTED_ROWS
    if rows < 1000
}


def median_interval(values: list[float]) -> tuple[float, float]:
    """Order statistics that have the median between them with `CONFIDENCE`, if values suffice."""
    rank = max(1, int(binom.ppf((1 - CONFIDENCE) / 2, len(values), 0.5)))
    in_order = sorted(values)
    return in_order[rank - 1], in_order[-rank]


def answer(case: str, dtype: str) -> None:
    """Measure the case for every line that is read; "ready" says that all is compiled."""
    clock, *arguments = CASES[case]
    if dtype == BFLOAT16:
        measure = clock("fastmlp-bfloat16", *arguments, "float32")
    else:
        measure = clock("fastmlp", *arguments, dtype)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(measure(), flush=True)


@contextlib.contextmanager
def clock_in_a_process(folder: Path, case: str, dtype: str) -> Iterator[Callable[[], float]]:
    """A function that lets a child process measure the case, and returns its seconds."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = script_on(folder, "compare", "--child", case, "--dtype", dtype)
    with subprocess.Popen(**child, **pipes) as process:
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{case} cannot be measured")

        def measure() -> float:
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield measure
        process.stdin.close()


def compare(folders: list[Path], case: str, dtype: str, rounds: int) -> list[tuple[float, float]]:
    """Each round's seconds of both versions; who goes first alternates."""
    with contextlib.ExitStack() as stack:
        clocks = [stack.enter_context(clock_in_a_process(f, case, dtype)) for f in folders]
        times = []
        for number in range(rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            seconds = {which: clocks[which]() for which in order}
            times.append((seconds[0], seconds[1]))
    return times


def ratios_of(times: list[tuple[float, float]]) -> list[float]:
    """Each round's ratio, of the second version to the first."""
    return [second / first for first, second in times]


def median_ratio(times: list[tuple[float, float]]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(ratios_of(times))


def row(case: str, times: list[tuple[float, float]]) -> list[str]:
    """A line of the table."""
    low, high = median_interval(ratios_of(times))
    medians = [in_units(statistics.median(column)) for column in zip(*times, strict=True)]
    return [case, *medians, f"{median_ratio(times):.3f}", f"{low:.3f}-{high:.3f}"]


def main(arguments: list[str] | None = None) -> None:
    """Measure case by case; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--package", type=Path, default=THIS_PACKAGE)
    parser.add_argument("--against", type=Path, default=THIS_PACKAGE)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME")
    parser.add_argument("--dtype", choices=[*DTYPES, BFLOAT16], default="float32")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        answer(options.child, options.dtype)
        return
    rows = [["", "package", "against", "ratio", f"{CONFIDENCE:.0%} interval"]]
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, name) for name in ("package", "against")]
        for folder, package in zip(folders, (options.package, options.against), strict=True):
            copy_package(package, folder)
        for case in options.cases:
            rows.append(row(case, compare(folders, case, options.dtype, options.rounds)))
            print(f"  {case}: {rows[-1][3]}", flush=True)
    print(f"\n{aligned_table(rows)}")


if __name__ == "__main__":
    main()
