"""The threads that run the protocol, as SPIN searches every order of their steps.

Words have 16 bits. The launch's number has the upper two, so it wraps around after four launches.
The caller's Python code can be interrupted between two launches only, and then begins another one
or none. SPIN visits every state that can be reached in any order of steps.
"""

import ast
import re
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

from promela import body
from protocol_source import FUNCTIONS, Fault, constants, phase_fields, sources

# What the threads do, in the words of the source. `spin_model.pml` has the other functions.
THREADS = """
def threads_of(launch):
    if NARROWS and launch > 1:
        return 2
    return SIZE

def kernel(address, thread, job):
    check(address == KERNEL_ADDRESS)
    threads = threads_of(job)
    join_in(thread, job, threads)
    for number in range(PHASES):
        phase = Phase(number, ITEMS, (number + 1) * ITEMS, threads, 0, GRAIN)
        first, end = next_items(work, thread, phase)
        while first != end:
            begin_items(number, first, end, job)
            end_items(number, first, end, job)
            done = complete(work, end - first)
            check(done <= (number + 1) * ITEMS)
            first, end = next_items(work, thread, phase)
    if MEET:
        await_all(threads)

def stop(pool):
    _stop(pool, SIZE - 1)
    if not HALTS:
        await_end()
        check(_stop(pool, SIZE - 1) == 0)

def caller(pool):
    for launch in range(1, TIMES + 1):
        if not is_interrupted():
            prepare(launch)
            _launch(pool, KERNEL_ADDRESS, launch, threads_of(launch), PAUSES)
            finish(launch)
    if not STOPPER and not LOOKS:
        stop(pool)

def stopper(pool):
    stop(pool)

def server(pool):
    if LOOKS:
        for look in range(LOOKS):
            _help(pool)
    else:
        _serve(pool)
"""
KERNEL_ADDRESS = 7
COUNT_BITS = 3  # of the threads inside, and of those that have joined
SIZES = {
    "LINE_WORDS": 5,
    "SLOTS": 1,
    "MASK_WORDS": 0,
    "COUNT_BITS": COUNT_BITS,
    "OPEN": 1 << 2 * COUNT_BITS,
    "TAKEN": 1 << 2 * COUNT_BITS + 1,
    "NUMBER_SHIFT": 14,
    "PHASE_SHIFT": 6,
}
SYSTEM = {"CAN_PLACE": 0}  # `relacy` checks how threads are placed
# What a run may set, with the values that it leaves as they are.
SETTINGS = {
    "SIZE": 2,  # threads of a launch; the pool has one fewer
    "TIMES": 1,  # launches
    "PHASES": 1,
    "ITEMS": 1,
    "GRAIN": 1,
    "LOOKS": 0,  # how often, at any moment, a thread looks for launches; 0: until the pool stops
    "PAUSES": 0,  # how often a thread looks at the bell before it parks
    # Whether all threads stay in a launch until they have met, as they do while there is work. A
    # thread that leaves sooner may park, and take the wake-up of another.
    "MEET": 0,
    "NARROWS": 0,  # whether the launches after the first have two threads only
    "STOPPER": 0,  # whether the pool is stopped at any moment, instead of after the last launch
    "INTERRUPTS": 0,  # whether the caller may leave launches out
    "HALTS": 0,  # whether a thread that is not inside a launch may halt for ever
    "SPURIOUS": 0,  # how often sleeping threads may wake for no reason
}
WORDS = ["POOL_WORDS", "STARTED", "WORKERS"]
COMPILE_SECONDS, SEARCH_SECONDS = 600, 120
MEGABYTES, MOST_STEPS = 16_000, 1_000_000


class Run(NamedTuple):
    """A search: for orders that break a claim or block for ever; or else for "cycles".

    Without cycles, every order of steps ends.
    """

    settings: dict[str, int]
    seeks: str = "faults"


def model(settings: dict[str, int], fault: Fault | None = None) -> str:
    """The protocol, its threads and what they assert, in Promela."""
    texts, chosen = sources(fault), {**SETTINGS, **settings}
    known = constants(texts, {**SIZES, "RECORDS": chosen["SIZE"] - 1})
    assert not chosen.keys() & known.keys()
    numbers = {**known, **chosen, **SYSTEM, "KERNEL_ADDRESS": KERNEL_ADDRESS}
    functions = {
        each.name: each
        for text in [*(texts[module] for module in FUNCTIONS), THREADS]
        for each in ast.parse(text).body
        if isinstance(each, ast.FunctionDef)
    }
    servers = range(1, chosen["SIZE"])
    defined = {name: known[name] for name in WORDS} | chosen
    defined["WORK_WORDS"] = known["QUEUES"] + chosen["SIZE"] * known["LINE_WORDS"]
    defined["PROCESSES"] = 1 + chosen["SIZE"]
    parts = [f"#define {name} {value}" for name, value in defined.items()]
    parts.append((Path(__file__).parent / "spin_model.pml").read_text())
    for name in ["caller", "server", *(["stopper"] if chosen["STOPPER"] else [])]:
        text = body(name, functions, numbers, phase_fields(texts["work_stealing"]))
        may_halt = chosen["HALTS"] and name == "server"
        halting = "unless { halts[me] && !inside[me] }" if may_halt else ""
        parts.append(f"proctype {name}(byte me) {{ {{\n{text}\n}} {halting} }}")
    halts = [f"if :: halts[{me}] = 1 :: skip fi;" for me in servers if chosen["HALTS"]]
    starts = ["run caller(0);", *(f"run server({me});" for me in servers)]
    starts += ["run stopper(SIZE);"] if chosen["STOPPER"] else []
    parts.append(f"init {{ atomic {{ {' '.join(starts)} }} {' '.join(halts)} }}")
    return "\n".join([*parts, ""])


class Report(NamedTuple):
    """What SPIN has found, in how many states, steps between them and steps in a row."""

    result: str
    states: int
    steps: int
    depth: int
    seconds: float
    output: str


FOUND_NOTHING = "nothing"


def search(
    folder: Path,
    run: Run,
    fault: Fault | None = None,
    seconds: int = SEARCH_SECONDS,
    optimization: str = "-O0",  # what compiles sooner than it would save
) -> Report:
    """Let SPIN search the protocol, or the protocol with a fault."""
    (folder / "protocol.pml").write_text(model(run.settings, fault))
    seeks_cycles = run.seeks == "cycles"
    options = ["-DNP" if seeks_cycles else "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEGABYTES}"]
    compiler = ["gcc", optimization, "-w", *options, "-DVECTORSZ=4096", "-o", "pan", "pan.c"]
    # SPIN refuses to merge statements where variables are forgotten (-o3).
    for command in (["spin", "-o3", "-a", "protocol.pml"], compiler):
        _output(command, folder, COMPILE_SECONDS)
    start = time.monotonic()
    command = ["./pan", f"-m{MOST_STEPS}", *(["-l"] if seeks_cycles else [])]
    output = _output(command, folder, seconds)
    took = time.monotonic() - start
    error = re.search(r"pan:\d+: (.*) \(at depth", output)
    assert error or "Search not completed" not in output, output
    number = r"(\d[\d.e+]*)"  # large ones are written as 1.2e+08
    patterns = [f"{number} states, stored", f"{number} transitions", f"depth reached {number}"]
    numbers = [int(float(re.search(each, output)[1])) for each in patterns]
    return Report(error[1] if error else FOUND_NOTHING, *numbers, took, output)


def _output(command: list[str], folder: Path, seconds: int) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout
