"""The protocol in every order of its steps: `promela` translates it for SPIN, which searches it."""

import re
import shutil

import pytest
from promela_variables import forget
from protocol_source import FUNCTIONS, Fault
from spin import FOUND_NOTHING, Run, model, search
from spin_faults import FAULTS
from spin_report import RUNS

NOT_MODELLED = {"_place_elsewhere"}  # a system without placement


def missing():
    """What this machine lacks to run SPIN."""
    programs = [each for each in ("spin", "gcc") if shutil.which(each) is None]
    return f"needs {' and '.join(programs)}: apt-get install" if programs else ""


needs_spin = pytest.mark.skipif(bool(missing()), reason=missing())


def test_every_function_of_the_protocol_is_in_the_model():
    returns = set(re.findall(r"\bend_(\w+)_\d+: skip", model({"STOPPER": 1})))
    names = {each.strip("_") for names in FUNCTIONS.values() for each in names}
    assert names - returns == {each.strip("_") for each in NOT_MODELLED}


def test_every_atomic_access_is_a_step_between_pieces():
    """Within a piece, which other threads see as one step, no word is accessed atomically."""
    text = model({"SIZE": 3, "PHASES": 2, "ITEMS": 3})
    pieces = re.findall(r"^atomic \{ skip;$.*?^\}$", text, re.MULTILINE | re.DOTALL)
    plain = re.compile(r"^(plain_\d+ = words\[.*\]|words\[.*\] = .*);$")
    accesses = [line for each in pieces for line in each.splitlines() if "words[" in line]
    assert len(pieces) > 50
    assert accesses
    assert all(plain.match(line) for line in accesses), accesses
    assert not any("work[" in each for each in pieces)


@pytest.mark.parametrize(
    "statement", ["count <<= 1.5", "del count", "count = [1]", "count = count if 1 < 2 < 3 else 0"]
)
def test_what_is_not_known_is_refused(statement):
    line = "        atomic_add(words, SLEEPERS, -1)\n"
    fault = Fault("pool", f"    if end_parking(words, record):\n{line}", f"    {statement}\n")
    with pytest.raises((NotImplementedError, AttributeError)):
        model({}, fault)


def test_a_variable_is_forgotten_where_nobody_reads_it_again():
    lines = [
        "a_1 = 5;",
        "if :: (a_1 > b_2) :: else -> goto end_3 fi;",
        "b_2 = a_1;",
        "a_1 = 7;",
        "end_3: skip;",
        "c_4 = b_2;",
    ]
    forgotten = forget(lines, ["a_1", "b_2", "c_4"])
    assert forgotten == [
        "a_1 = 5;",
        "if :: (a_1 > b_2) :: else -> goto end_3 fi;",
        "d_step { b_2 = 0 };",
        "b_2 = a_1;",
        "d_step { a_1 = 0 };",
        "a_1 = 7;",
        "end_3: skip;",
        "d_step { a_1 = 0 };",
        "c_4 = b_2;",
    ]


@needs_spin
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_protocol_holds(name, tmp_path):
    report = search(tmp_path, RUNS[name])
    print(f"{report.states:,} states")
    assert report.result == FOUND_NOTHING, report.output
    assert report.states > 1_000


@needs_spin
@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name, tmp_path):
    planted = FAULTS[name]
    assert search(tmp_path, planted.run, planted.fault).result.startswith(planted.found)


@needs_spin
@pytest.mark.slow
def test_a_thread_that_runs_in_circles_is_found(tmp_path):
    """What makes a search for cycles believable."""
    circling = Fault(
        "pool",
        "            pauses = _spin(words, seen, pauses)\n",
        "            pauses = max(1, _spin(words, seen, pauses))\n",
    )
    run = Run({"PAUSES": 1, "TIMES": 2}, "cycles")
    assert search(tmp_path, run, circling).result.startswith("non-progress cycle")
