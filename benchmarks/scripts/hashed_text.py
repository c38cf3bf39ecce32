"""Hashed text: CPU time of one thread beside scikit-learn, for 2^20 columns and few hidden units.

python -m benchmarks.scripts.hashed_text
"""

import argparse
import statistics

from benchmarks.scripts.tables import aligned_table, in_units
from benchmarks.suite.common import DTYPES
from benchmarks.suite.sparse import ROUNDS, TASKS, Shape, by_turns


def row(name: str, shape: Shape, rounds: int) -> list[str]:
    """A line of the table."""
    times = by_turns(TASKS[name], shape, rounds)
    ours, theirs = (in_units(statistics.median(column)) for column in zip(*times, strict=True))
    ratio = statistics.median(ours / theirs for ours, theirs in times)
    return [name, *map(str, shape), ours, theirs, f"{ratio:.2f}"]


def main(arguments: list[str] | None = None) -> None:
    """Measure task by task; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="NAME")
    parser.add_argument("--units", nargs="+", type=int, default=[1, 10])
    parser.add_argument("--classes", nargs="+", type=int, default=[2, 10])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    rows = [["task", "units", "classes", "type", "fastmlp", "scikit-learn", "ratio"]]
    for units in options.units:
        for classes in options.classes:
            for dtype in options.dtypes:
                shape = Shape(units, classes, dtype)
                for name in options.tasks:
                    rows.append(row(name, shape, options.rounds))
                    print("  " + ", ".join(rows[-1]), flush=True)
    print(f"\n{aligned_table(rows)}")


if __name__ == "__main__":
    main()
