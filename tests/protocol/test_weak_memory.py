"""The protocol under a weak memory model: `relacy` translates it for Relacy, which runs it."""

import ast
import re
import shutil
import subprocess

import numba
import pytest
from numba import types
from protocol_source import FUNCTIONS, Fault, sources
from relacy import Checker, memory_orders, translate
from relacy_faults import FAULTS
from relacy_report import RUNS

from fastmlp._engine.threading.atomics import atomic_add, atomic_load, atomic_store, atomic_swap

# Device functions of these modules that say nothing of the order of accesses.
LAYOUT = {"work_span"}


def functions(source):
    """The device functions and kernels of a module, by name."""
    found = [each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef)]
    decorated = [each for each in found if each.decorator_list]
    is_compiled = re.compile(r"device|kernel\(.*")
    return {
        each.name: each
        for each in decorated
        if is_compiled.fullmatch(ast.unparse(each.decorator_list[0]))
    }


@pytest.mark.parametrize("module", FUNCTIONS)
def test_every_function_of_the_protocol_is_translated(module):
    assert set(functions(sources()[module])) - LAYOUT == set(FUNCTIONS[module])


def test_every_atomic_access_is_translated_with_its_orders():
    texts = sources()
    orders = memory_orders(texts["atomics"])
    expected = []
    for module, names in FUNCTIONS.items():
        for name in names:
            calls = [
                ast.unparse(node.func)
                for node in ast.walk(functions(texts[module])[name])
                if isinstance(node, ast.Call)
            ]
            expected += [tuple(orders[each]) for each in calls if each in orders]
    found = re.findall(r"rl::mo_(\w+)(?:, rl::mo_(\w+))?, \$\)", translate())
    assert len(expected) > 30
    assert sorted(tuple(filter(None, each)) for each in found) == sorted(expected)


@pytest.mark.parametrize(
    ("function", "values", "instruction"),
    [
        (atomic_add, 1, r"atomicrmw add .*? (\w+)(?:, align \d+)?$"),
        (atomic_swap, 2, r"cmpxchg .*? (\w+) (\w+)(?:, align \d+)?$"),
        (atomic_load, 0, r"load atomic i64, .* (\w+), align"),
        (atomic_store, 1, r"store atomic i64 .* (\w+), align"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_the_orders_of_the_source_are_those_of_the_compiled_code(function, values, instruction):
    arguments = ", ".join(["words", "0", *"12"[:values]])
    scope = {"operation": function}
    exec(f"def access(words):\n    operation({arguments})", scope)
    compiled = numba.njit(types.void(types.int64[::1]))(scope["access"])
    (code,) = compiled.inspect_llvm().values()
    (found,) = re.finditer(instruction, code, re.MULTILINE)
    assert list(found.groups()) == memory_orders(sources()["atomics"])[function.__name__]


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("atomic_add", '"seq_cst"'),
        ("atomic_swap", '"acq_rel"'),
        ("atomic_load", 'at, "acquire"'),
        ("atomic_store", '"release"'),
    ],
)
def test_a_weaker_order_in_the_source_is_one_in_the_translation(name, order):
    fault = Fault("atomics", order, re.sub('".*"', '"monotonic"', order))
    method = name.removeprefix("atomic_")
    accesses = rf"\]\.{method}\((?:.*?, )?rl::mo_(\w+)(?:, rl::mo_acquire)?, \$\)"
    assert set(re.findall(accesses, translate(fault))) == {"relaxed"}


@pytest.mark.parametrize(
    "statement", ["count <<= 1.5", "del count", "count = [1]", "count = count if 1 < 2 < 3 else 0"]
)
def test_what_is_not_known_is_refused(statement):
    line = "        atomic_add(words, SLEEPERS, -1)\n"
    fault = Fault("pool", f"    if end_parking(words, record):\n{line}", f"    {statement}\n")
    with pytest.raises((NotImplementedError, AttributeError)):
        translate(fault)


def missing():
    """What this machine lacks to run Relacy."""
    if shutil.which("g++") is None:
        return "needs g++"
    include = "#include <relacy/relacy.hpp>"
    command = ["g++", "-E", "-x", "c++", "-"]
    seen = subprocess.run(command, input=include, text=True, capture_output=True)
    return "" if seen.returncode == 0 else "needs the headers of Relacy: apt-get install relacy-dev"


@pytest.fixture(scope="module")
def checker(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("relacy")
    return Checker(folder, [each.fault for each in FAULTS.values()])


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_protocol_holds(name, checker):
    report = checker.check(RUNS[name])
    print(f"{report.executions:,} executions")
    assert report.result == "SUCCESS", report.history


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name, checker):
    planted = FAULTS[name]
    report = checker.check(planted.run, 1 + list(FAULTS).index(name))
    assert report.result == planted.found, report
