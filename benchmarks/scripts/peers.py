"""fastmlp beside scikit-learn, PyTorch, JAX and ONNX Runtime, as far as they are installed.

    python -m benchmarks.scripts.peers              # training: time per epoch
    python -m benchmarks.scripts.peers --inference  # predict_proba: time per call
    python -m benchmarks.scripts.peers --workloads mnist wide --dtype float64 --plot peers.png
    python -m benchmarks.scripts.peers --peers fastmlp fastmlp-bfloat16 torch torch-bfloat16

Each library runs in a process of its own, so that no thread pool disturbs another. The processes
take turns, round after round, so that whatever disturbs the machine hits all of them. Times are
medians over the rounds; shares are of the multiply-add peak measured in the same rounds. Quote
ratios rather than times.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.suite.common import NETWORKS, PREDICTED_ROWS, WORKLOADS
from benchmarks.suite.peak import peak_gflops
from fastmlp._engine.machine import cpu_name
from fastmlp._engine.threads import available_threads

from .charts import draw
from .libraries import (
    PREDICTORS,
    TITLES,
    TRAINERS,
    USUAL,
    prediction_clock,
    serve,
    training_clock,
)
from .tables import aligned_table, in_times, in_units

PAUSE = 0.3  # seconds between two libraries: thread pools go on spinning for a while
ROUNDS = 5


@dataclass
class Case:
    """One thing that all libraries do.

    Attributes
    ----------
    title : str
    flops : int
        Operations of the products it needs.
    clock : callable
        `training_clock` or `prediction_clock`.
    arguments : tuple
        Of the clock, after the library.
    """

    title: str
    flops: int
    clock: Callable
    arguments: tuple


@dataclass
class Measured:
    """A case's times: seconds by library, and the peak in GFLOP/s, medians over the rounds."""

    case: Case
    peak: float
    seconds: dict[str, float]
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def share(self, library: str) -> float:
        """Share of the peak that a library reaches."""
        return self.case.flops / self.seconds[library] / 1e9 / self.peak

    def speedup(self, library: str) -> float:
        """How many times faster than `library` fastmlp is."""
        return self.seconds[library] / self.seconds["fastmlp"]


def training_cases(workloads: list[str], dtype: str) -> list[Case]:
    """An epoch of each workload."""
    return [
        Case(f"{name} {WORKLOADS[name]}", WORKLOADS[name].flops, training_clock, (name, dtype))
        for name in workloads
    ]


def prediction_cases(networks: list[str], dtype: str) -> list[Case]:
    """Calls of predict_proba for many rows, some, and one."""
    return [
        Case(
            f"{name} {NETWORKS[name]}, {rows:,} row{'s' * (rows > 1)}",
            NETWORKS[name].forward_flops(rows), prediction_clock, (name, rows, dtype),
        )
        for name in networks
        for rows in PREDICTED_ROWS
    ]  # fmt: skip


class Child:
    """A process that measures one library on one case whenever it is asked."""

    def __init__(self, library: str, case: Case):
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=serve, args=(theirs, case.clock, (library, *case.arguments)), daemon=True
        )
        self.process.start()
        theirs.close()
        self.is_ready, self.told = self.connection.recv()

    def measure(self) -> float:
        """Seconds of one epoch or call."""
        self.connection.send(True)
        return self.connection.recv()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *exception) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.connection.send(False)
        self.process.join()


def measure(case: Case, libraries: list[str], dtype: str, rounds: int) -> Measured:
    """Let the libraries take turns at a case."""
    peaks: list[float] = []
    with contextlib.ExitStack() as stack:
        children = {name: stack.enter_context(Child(name, case)) for name in libraries}
        missing = {name: child.told for name, child in children.items() if not child.is_ready}
        ready = {name: child for name, child in children.items() if child.is_ready}
        times: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(rounds):
            peaks.append(peak_gflops(dtype))
            for name, child in ready.items():
                time.sleep(PAUSE)
                times[name].append(child.measure())
        return Measured(
            case,
            statistics.median(peaks),
            {name: statistics.median(seconds) for name, seconds in times.items()},
            {name: child.told for name, child in ready.items()},
            missing,
        )


def cell(measured: Measured, library: str) -> str:
    """Time, share of peak, and how many times fastmlp's time that is."""
    if library not in measured.seconds:
        return "-"
    text = f"{in_units(measured.seconds[library])}, {measured.share(library):.0%}"
    if library != "fastmlp" and "fastmlp" in measured.seconds:
        text += f", {in_times(measured.speedup(library))}"
    return text


def table(results: list[Measured], libraries: list[str]) -> str:
    """A row per case, a column per library."""
    rows = [["", *(TITLES[library] for library in libraries)]]
    rows += [
        [measured.case.title, *(cell(measured, library) for library in libraries)]
        for measured in results
    ]
    return aligned_table(rows)


def headline(results: list[Measured], dtype: str, rounds: int) -> str:
    """The machine and the versions, which every quoted figure needs."""
    versions = {TITLES[name]: text for each in results for name, text in each.versions.items()}
    peaks = [each.peak for each in results]
    return (
        f"{cpu_name()}, {available_threads(None)} cores, {dtype}; "
        f"peak {min(peaks):.0f}-{max(peaks):.0f} GFLOP/s; medians of {rounds} rounds\n"
        f"{', '.join(f'{title} {version}' for title, version in versions.items())}"
    )


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options; peers and workloads default to all there are."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scripts.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--inference", action="store_true", help="predictions, not training")
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=WORKLOADS,
        metavar="NAME",
        help=f"of {', '.join(WORKLOADS)}; for predictions, {', '.join(NETWORKS)}",
    )
    parser.add_argument(
        "--peers", nargs="+", choices=TITLES, metavar="NAME", help=f"of {', '.join(TITLES)}"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--plot", metavar="FILE.png", help="draw bars (needs matplotlib)")
    return parser.parse_args(arguments)  # fmt: skip


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table, draw."""
    options = parse(arguments)
    able, known = (PREDICTORS, NETWORKS) if options.inference else (TRAINERS, WORKLOADS)
    libraries = [name for name in options.peers or USUAL if name in able]
    names = [name for name in options.workloads or known if name in known]
    cases = (prediction_cases if options.inference else training_cases)(names, options.dtype)
    results = []
    for case in cases:
        measured = measure(case, libraries, options.dtype, options.rounds)
        for name in list(libraries):
            if name in measured.missing:  # said once, not for every case
                print(f"{TITLES[name]} is left out: {measured.missing[name]}")
                libraries.remove(name)
        print(f"  {case.title}: {measured.peak:.0f} GFLOP/s at peak", flush=True)
        results.append(measured)
    told = headline(results, options.dtype, options.rounds)
    print(f"{told}\n\n{table(results, libraries)}\n")
    print("Each cell: time, share of peak, times fastmlp's time.")
    if options.plot:
        draw(results, told).savefig(options.plot)


if __name__ == "__main__":
    main()
