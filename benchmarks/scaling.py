"""How fast an epoch could be on 1 to 128 cores: a model, checked on the cores there are.

    python benchmarks/scaling.py [--workloads mnist wide] [--memory-bandwidth 300]

Two ways of sharing a step are compared. *Rows only* is what the engine does: a thread takes its
rows through all layers, one barrier, a thread takes its rows of the weight matrices, one barrier.
Where there are many inputs, the products of the first layer come before, each half of the inputs
shared by half of the threads, and one barrier more. *Rows by columns* lets R x C threads share the
first phase: R groups of rows, in each of which C threads share the columns of every layer. It needs
a barrier within the group after each layer, and cuts the weight matrices into tiles instead of
rows.

The time of a step is the sum, for the slowest thread, of

- its tiles, each at the measured rate of its shape: with fewer rows than a tile is high, tiles are
  lower and slower, which is what ends the gain from rows alone; with several threads, at the rate
  that cores keep while all of them work;
- bytes that other threads have written and it must read, at the measured price of a hand-over:
  all weights and deltas, or its share of them, or half of the first layer's and sums of its rows;
- the optimizer's step on its share of the parameters, its hidden units, its output rows;
- barriers: threads arrive one after another at one counter, so that the time measured for two
  threads grows in proportion to their number;

and at least the time that memory needs to deliver the batch's rows of X.

On an AMD EPYC (Zen 5) it comes to 0.73-0.94 of the times measured on one core: it takes memory to
deliver X while cores compute, which they do not all of the time, and leaves out what begins and
ends each piece of the weights. On two it comes to 0.74-1.08, to 0.52-0.62 for `small_batch`, and to
0.59 for `digits` in one run of three: the two virtual cores change between hand-overs at 6 and at
30 GB/s, between the measurement of the pieces and that of the epoch too.

The model knows one shared cache and one memory. Cores in several sockets, or with several caches,
pay more for hand-overs; clocks that fall with the number of busy cores slow the tiles.
"""

if __name__ == "__main__" and not __package__:  # started as a file: begin again as a module
    import runpy
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1]))
    runpy.run_module("benchmarks.scaling", run_name="__main__", alter_sys=True)
    raise SystemExit

import argparse
import itertools
import math
import statistics
from dataclasses import dataclass

import numpy as np

from fastmlp import MLPClassifier
from fastmlp._engine.jit.target import tail_columns, target
from fastmlp._engine.machine import cpu_name
from fastmlp._engine.workspace import has_tail, splits_k
from fastmlp._training.sgd import BLOCK_ROWS

from .common import WORKLOADS, Workload, aligned_table, in_units
from .libraries import estimator_trainer, seconds_each
from .primitives import DTYPE, ITEM, Machine, measure_machine

CORES = tuple(1 << power for power in range(8))
MEMORY_BANDWIDTH = 300.0  # GB/s of a server's socket: eight channels of DDR5 at 4800 MT/s
PAYS = 1.1  # a doubling of cores that gains less than this no longer pays
CHECK_ROUNDS = 5
CHECKED = 2  # cores at most, of which the model is held against measurements
BUSY = 2e-6  # seconds: the cores of one machine meet much sooner, unless one of them is taken
TITLES = ["cores", "rows only", "efficiency", "rows x columns", "efficiency", "as", "gain",
          "measured", "model / measured"]  # fmt: skip


@dataclass(frozen=True)
class Model:
    """Predicts steps of one workload on one machine.

    Parameters
    ----------
    machine : Machine
    workload : Workload
    memory_bandwidth : float
        Bytes per second of the whole machine, however many cores read.
    """

    machine: Machine
    workload: Workload
    memory_bandwidth: float

    @property
    def layers(self) -> list[tuple[int, int]]:
        """Inputs and outputs of each layer."""
        return list(itertools.pairwise(self.workload.network.sizes))

    @property
    def shares_inputs(self) -> bool:
        """Whether the engine shares the first layer's products by inputs as well as by rows."""
        return splits_k(self.workload.network.features, min(self.workload.batch_size, BLOCK_ROWS))

    def vectors(self, units: int, depth: int) -> float:
        """Vectors of so many units in sums over `depth`: whole ones, but for a tail."""
        lanes = target().lanes(DTYPE)
        if has_tail(units, depth, np.dtype(DTYPE)):
            return units // lanes + tail_columns(DTYPE) / lanes
        return math.ceil(units / lanes)

    def product(self, kind: str, rows: int, vectors: float, depth: int) -> float:
        """Seconds of a product on one core: full tiles, and the cheapest ones for what is left.

        A tail, which is part of a vector, takes its part of the widest tile's time.
        """
        tiles, widest = self.machine.tiles, target().widest
        tail = vectors % 1
        total = tail / widest * self.product(kind, rows, widest, depth) if tail else 0.0
        for width in _widths(int(vectors)):
            heights = sorted(h for k, h, w in tiles if (k, w) == (kind, width))
            high, rest = divmod(rows, heights[-1])
            counts = [(heights[-1], high)]
            if rest:
                counts.append((next(h for h in heights if h >= rest), 1))
            for height, count in counts:
                ends, each = tiles[kind, height, width]
                total += count * (ends + depth * each)
        return total

    def barrier(self, threads: int) -> float:
        """A crossing by so many threads."""
        return self.machine.barrier * threads / 2 if threads > 1 else 0.0

    def reading(self, size: float, threads: int) -> float:
        """Seconds for `size` bytes that all threads have written in equal shares."""
        if threads > 1:
            return size * (threads - 1) / threads * self.machine.hand_over
        return size * self.machine.shared if size > self.machine.private_bytes else 0.0

    def update(self, parameters: float, piece: float) -> float:
        """Seconds of the optimizer on one core's share of the parameters, `piece` at a time.

        Small pieces cost the beginning of a loop, a large share what caches cannot hold.
        """
        sizes, each = zip(*self.machine.updates.items(), strict=True)
        return parameters * max(np.interp([parameters, min(piece, parameters)], sizes, each))

    def input_halves(self, threads: int) -> float:
        """Products of the first layer, half of the inputs for half of the threads."""
        n_in, n_out = self.layers[0]
        halves, half = max(1, 2 // threads), math.ceil(n_in / 2)
        rows = math.ceil(self.workload.batch_size * 2 / max(2, threads))
        total = halves * self.product("forward", rows, self.vectors(n_out, n_in), half)
        total += self.reading(ITEM * half * n_out, max(1, threads // 2))
        return total + self.reading(ITEM * rows * n_out, threads) + self.barrier(threads)

    def down_and_up(self, row_groups: int, column_groups: int) -> float:
        """First phase: forward through all layers, and delta back down."""
        rows = math.ceil(self.workload.batch_size / row_groups)
        threads, total, read = row_groups * column_groups, 0.0, 0.0
        for index, (n_in, n_out) in enumerate(self.layers):
            is_first, is_last = index == 0, index == len(self.layers) - 1
            by_inputs = is_first and column_groups == 1 and self.shares_inputs
            share = _share(self.vectors(n_out, n_in), column_groups)
            if by_inputs:
                total += self.input_halves(row_groups)
            else:
                total += self.product("forward", rows, share, n_in)
                read += ITEM * n_in * n_out / column_groups * (1 if is_first else 2)
            if not is_last:
                total += rows / column_groups * n_out * self.machine.element
            if not is_first:
                share = _share(self.vectors(n_in, n_out), column_groups)
                total += self.product("forward", rows, share, n_out)
        total += rows / column_groups * self.machine.output + self.reading(read, threads)
        if column_groups > 1:
            units = sum(self.workload.network.hidden)
            total += self.reading(2 * ITEM * rows * units, column_groups)
            total += (2 * len(self.layers) - 2) * self.barrier(column_groups)
        return total

    def weights(self, threads: int, by_columns: bool) -> float:
        """Second phase: every thread's share of weight gradient and update."""
        batch, height, width = self.workload.batch_size, target().tallest, target().widest
        units = []
        for n_in, n_out in self.layers:
            vectors, pieces = self.vectors(n_out, n_in), math.ceil(n_in / height)
            parts = _widths(vectors, width) if by_columns else [vectors]
            for part in parts:
                units += [self.product("weight gradient", height, part, batch)] * pieces
        ends = np.cumsum(units)
        cuts = np.searchsorted(ends, ends[-1] * np.arange(1, threads) / threads)
        slowest = max(part.sum() for part in np.split(np.array(units), cuts))
        updates = sum(
            self.update((n_in + 1) * n_out / threads, height * n_out) for n_in, n_out in self.layers
        )
        deltas = sum(n_out for _, n_out in self.layers) if threads > 1 else 0
        return slowest + updates + self.reading(ITEM * batch * deltas, threads)

    def epoch(self, row_groups: int, column_groups: int = 1) -> float:
        """Seconds of an epoch."""
        threads = row_groups * column_groups
        step = self.down_and_up(row_groups, column_groups)
        step += self.weights(threads, by_columns=column_groups > 1)
        if threads > 1:
            step = step / self.machine.together + 2 * self.barrier(threads)
        size = ITEM * self.workload.batch_size * self.workload.network.features
        fresh = size * max(self.machine.memory / threads, 1 / self.memory_bandwidth)
        return self.workload.rows / self.workload.batch_size * max(step, fresh)

    def best_grid(self, threads: int) -> tuple[float, int, int]:
        """Seconds, row groups and column groups of the fastest way to share the first phase."""
        splits = [(threads // c, c) for c in range(1, threads + 1) if threads % c == 0]
        return min((self.epoch(r, c), r, c) for r, c in splits)


def _share(vectors: float, groups: int) -> float:
    """Vectors of the largest of so many groups of columns."""
    return math.ceil(vectors / groups) if groups > 1 else vectors


def _widths(vectors: float, widest: int | None = None) -> list[float]:
    """Widths of the column groups: as wide as can be, and the rest."""
    full, rest = divmod(vectors, widest or target().widest)
    return [widest or target().widest] * int(full) + [rest] * (rest > 0)


def measured_epoch(workload: Workload, threads: int) -> float:
    """Seconds of an epoch by so many threads, the median of a few."""
    clock = seconds_each(estimator_trainer(MLPClassifier, workload, DTYPE, n_jobs=threads))
    return statistics.median(clock() for _ in range(CHECK_ROUNDS))


def last_that_pays(epochs: list[float]) -> int:
    """Cores after which a doubling gains less than `PAYS`."""
    for cores, (now, doubled) in zip(CORES, itertools.pairwise(epochs), strict=False):
        if now / doubled < PAYS:
            return cores
    return CORES[-1]


def pieces(machine: Machine) -> str:
    """What was measured, in a line."""

    def rate(seconds_per_byte: float) -> str:
        return f"{1e-9 / seconds_per_byte:.0f} GB/s" if seconds_per_byte else "free"

    lanes = target().lanes(DTYPE)
    best = max(2e-9 * h * w * lanes / each for (_, h, w), (_, each) in machine.tiles.items())
    return (
        f"tiles up to {best:.0f} GFLOP/s a core, {machine.together:.0%} of it when all work; "
        f"barrier of two {machine.barrier * 1e9:.0f} ns; hand-over {rate(machine.hand_over)}; "
        f"shared cache {rate(machine.shared)}; memory {rate(machine.memory)} for one core, "
        f"{rate(machine.memory_of_all)} for {machine.cores}"
    )


def report(model: Model, name: str) -> None:
    """Print a workload's table and what it says."""
    single = model.epoch(1)
    rows_only = [model.epoch(cores) for cores in CORES]
    grids = [model.best_grid(cores) for cores in CORES]
    lines = [TITLES]
    for cores, rows, (grid, r, c) in zip(CORES, rows_only, grids, strict=True):
        line = [
            str(cores), in_units(rows), f"{single / rows / cores:.0%}",
            in_units(grid), f"{single / grid / cores:.0%}", f"{r} x {c}", f"{rows / grid:.2f}",
        ]  # fmt: skip
        if cores <= min(CHECKED, model.machine.cores):
            measured = measured_epoch(model.workload, cores)
            line += [in_units(measured), f"{rows / measured:.2f}"]
        lines.append(line + [""] * (len(TITLES) - len(line)))
    columns = [seconds for seconds, _, _ in grids]
    gain = max(rows / grid for rows, grid in zip(rows_only, columns, strict=True))
    print(
        f"\n{name} {model.workload}\n{pieces(model.machine)}\n\n{aligned_table(lines)}\n\n"
        f"Cores up to which a doubling pays: rows only {last_that_pays(rows_only)}, rows x columns "
        f"{last_that_pays(columns)}; the latter gains up to {gain:.1f} times.",
        flush=True,
    )
    if model.machine.barrier > BUSY:
        print("The barrier took so long that something else must run here: do it again.")


def main(arguments: list[str] | None = None) -> None:
    """Measure the pieces, print what they are, and a table per workload."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/scaling.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    parser.add_argument("--memory-bandwidth", type=float, default=MEMORY_BANDWIDTH,
                        help="GB/s of the machine predicted for, all cores together")  # fmt: skip
    options = parser.parse_args(arguments)
    print(
        f"{cpu_name()}, float32; beyond this machine {options.memory_bandwidth:.0f} GB/s of memory"
    )
    for name in options.workloads:
        # Measured anew for each: where a virtual machine's cores lie, and with it the price of a
        # hand-over, may change from minute to minute.
        machine = measure_machine()
        report(Model(machine, WORKLOADS[name], options.memory_bandwidth * 1e9), name)


if __name__ == "__main__":
    main()
