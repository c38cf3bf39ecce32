"""The protocol of the pool in C++, for Relacy to check under the memory model of C11.

Nothing is ported by hand: `translate` reads the Python source of the device functions, statement
by statement, and the memory orders from the calls to LLVM in `threading/atomics`. What it does not
know it refuses. `relacy_harness.hpp` supplies the words, the system and the waits,
`relacy_check.hpp` the threads that run the protocol and what they assert. Every plain access is
checked for races.

Relacy runs the threads one operation at a time and lets a load return an older value where C11
permits it: that of any of the last three stores, or of the last two in a search of every execution.
It misses what needs older values than these, and loads that see a store from their own future. Its
sequentially consistent additions do no more than acquire and release, so nothing that holds here
rests on a single order of all operations. It calls an execution of very many steps a livelock. The
system's wait on an address compares with the latest value, and orders no memory.

A fault is a text of the source and what replaces it, before it is translated. In a fault only, the
name of an atomic function may end with weaker orders: `atomic_swap_release_relaxed`.
"""

import ast
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from protocol_source import (
    FUNCTIONS,
    OPERATORS,
    Fault,
    assignments,
    called,
    constants,
    phase_fields,
    sources,
)

# A small pool: every word is an object with a history, made anew for every execution.
SIZES = {"LINE_WORDS": 5, "SLOTS": 2, "RECORDS": 2, "MASK_WORDS": 1}

ORDERS = {
    "monotonic": "relaxed",
    **{order: order for order in ["relaxed", "acquire", "release", "acq_rel", "seq_cst"]},
}
ORDER = "|".join(ORDERS)
ATOMIC = re.compile(rf"(atomic_(?:add|swap|load|store))((?:_(?:{ORDER}))*)")
# The call to LLVM in each atomic function, and which of its arguments are orders.
EMITTED = {
    "atomic_add": ("atomic_rmw", slice(3, 4)),
    "atomic_swap": ("cmpxchg", slice(3, 5)),
    "atomic_load": ("load_atomic", slice(1, 2)),
    "atomic_store": ("store_atomic", slice(2, 3)),
}
WORDS = {"words", "work", "pool"}  # parameters that are arrays of words
MAKES_HANDLE = {"view", "address_of", "_new_mask"}  # what they return is no number
TRACED = {"load", "pause", "wait", "sleep_unless_changed", "wake_sleepers"}  # take a source line
COMPILE_SECONDS, RUN_SECONDS = 300, 120
RENAMED = {"_call_kernel": "call_kernel", "min": "std::min<int64_t>", "max": "std::max<int64_t>"}
EXPORTED = ["LINE_WORDS", "POOL_WORDS", "FIRST_RECORD", "RECORD", "BELL", "STARTED"]


def memory_orders(source: str) -> dict[str, list[str]]:
    """The orders that each atomic function of this source hands to LLVM."""
    orders = {}
    for function in ast.parse(source).body:
        if isinstance(function, ast.FunctionDef) and function.name in EMITTED:
            instruction, where = EMITTED[function.name]
            (call,) = [
                node
                for node in ast.walk(function)
                if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == instruction
            ]
            orders[function.name] = [ORDERS[ast.literal_eval(each)] for each in call.args[where]]
    return orders


class Translator:
    """One Python function as a C++ function of int64."""

    def __init__(self, function, file, orders, numbers):
        self.function, self.file = function, file
        self.orders, self.numbers = orders, numbers
        self.lines = []

    def signature(self) -> str:
        values = [each.value for each in ast.walk(self.function) if isinstance(each, ast.Return)]
        kind = "int64_t" if any(values) else "void"
        if any(isinstance(value, ast.Tuple) for value in values):
            kind = "std::pair<int64_t, int64_t>"
        kinds = {**dict.fromkeys(WORDS, "Words"), "phase": "Phase const&"}
        arguments = [each.arg for each in self.function.args.args]
        listed = ", ".join(f"{kinds.get(each, 'int64_t')} {each}" for each in arguments)
        return f"{kind} {self.function.name}({listed})"

    def translate(self) -> str:
        self.lines = [self.signature(), "{"]
        variables = self._variables()
        if variables:
            self.lines.append("int64_t " + ", ".join(f"{each} = 0" for each in variables) + ";")
        self._block(self.function.body[1:])  # after the docstring
        return "\n".join([*self.lines, "}"])

    def _variables(self) -> list[str]:
        """Names of the function's numbers."""
        names, handles = [], [each.arg for each in self.function.args.args]
        for node in ast.walk(self.function):
            if isinstance(node, ast.Assign):
                for target, value in assignments(node):
                    if called(value) in MAKES_HANDLE:
                        handles.append(target.id)
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.append(node.id)
        return [each for each in dict.fromkeys(names) if each not in handles]

    def _block(self, statements) -> None:
        for statement in statements:
            self.lines.append(f'#line {statement.lineno} "{self.file}"')
            getattr(self, f"_{type(statement).__name__.lower()}")(statement)

    def _assign(self, statement) -> None:
        if isinstance(statement.targets[0], ast.Tuple) and isinstance(statement.value, ast.Call):
            names = ", ".join(each.id for each in statement.targets[0].elts)
            self.lines.append(f"std::tie({names}) = {self._text(statement.value)};")
            return
        pairs = assignments(statement)
        for number, (target, _) in enumerate(pairs):  # one by one is the same as at once
            used = {
                ast.unparse(each) for _, value in pairs[number + 1 :] for each in ast.walk(value)
            }
            assert ast.unparse(target) not in used, ast.unparse(statement)
        for target, value in pairs:
            self._store(target, self._text(value), called(value) in MAKES_HANDLE)

    def _store(self, target, text, is_new=False) -> None:
        if isinstance(target, ast.Subscript):
            array, index = self._text(target.value), self._text(target.slice)
            self.lines.append(f"store_word({array}, {index}, {text}, $);")
        else:
            self.lines.append(f"{'auto ' if is_new else ''}{target.id} = {text};")

    def _augassign(self, statement) -> None:
        operator = OPERATORS[type(statement.op)]
        self._store(
            statement.target, f"{statement.target.id} {operator} {self._text(statement.value)}"
        )

    def _expr(self, statement) -> None:
        self.lines.append(self._text(statement.value) + ";")

    def _return(self, statement) -> None:
        self.lines.append(f"return {self._text(statement.value) if statement.value else ''};")

    def _pass(self, statement) -> None:
        pass

    def _while(self, statement) -> None:
        assert not statement.orelse
        self._braced(f"while ({self._text(statement.test)})", statement.body)

    def _for(self, statement) -> None:
        assert not statement.orelse and called(statement.iter) == "range"
        bounds = [self._text(each) for each in statement.iter.args]
        start, end, step = {1: ["0", *bounds, "1"], 2: [*bounds, "1"]}.get(len(bounds), bounds)
        name = statement.target.id
        self._braced(f"for ({name} = {start}; {name} < {end}; {name} += {step})", statement.body)

    def _if(self, statement) -> None:
        self._braced(f"if ({self._text(statement.test)})", statement.body)
        if statement.orelse:
            self._braced("else", statement.orelse)

    def _braced(self, head, body) -> None:
        self.lines.append(head + " {")
        self._block(body)
        self.lines.append("}")

    def _text(self, node) -> str:
        """An expression in C++."""
        match node:
            case ast.Constant(value=bool() as value):
                return str(value).lower()
            case ast.Constant(value=int() as value):
                return f"int64_t({value})"
            case ast.Name(id=name):
                return f"int64_t({self.numbers[name]})" if name in self.numbers else name
            case ast.Tuple(elts=elements):
                return "{" + ", ".join(self._text(each) for each in elements) + "}"
            case ast.Attribute(value=ast.Name(id="system"), attr=name):
                return f"system_calls::{name}"
            case ast.Attribute(value=ast.Name(id="phase"), attr=name):
                return f"phase.{name}"
            case ast.Subscript(value=array, slice=index):
                return f"load_word({self._text(array)}, {self._text(index)}, $)"
            case ast.UnaryOp(op=operator, operand=value):
                return f"({OPERATORS[type(operator)]}{self._text(value)})"
            case ast.BinOp(left=left, op=operator, right=right):
                return f"({self._text(left)} {OPERATORS[type(operator)]} {self._text(right)})"
            case ast.BoolOp(op=operator, values=values):
                joint = f" {OPERATORS[type(operator)]} "
                return f"({joint.join(self._text(each) for each in values)})"
            case ast.Compare(left=left, ops=[operator], comparators=[right]):
                return f"({self._text(left)} {OPERATORS[type(operator)]} {self._text(right)})"
            case ast.IfExp(test=test, body=one, orelse=other):
                return f"({self._text(test)} ? {self._text(one)} : {self._text(other)})"
            case ast.Call(func=function, args=arguments, keywords=[]):
                return self._call(function, [self._text(each) for each in arguments])
        raise NotImplementedError(ast.dump(node))

    def _call(self, function, arguments) -> str:
        name = self._text(function)
        if atomic := ATOMIC.fullmatch(name):
            weaker = re.findall(rf"_({ORDER})", atomic[2])
            orders = [f"rl::mo_{each}" for each in weaker or self.orders[atomic[1]]]
            listed = ", ".join([*arguments[2:], *orders, "$"])
            method = atomic[1].removeprefix("atomic_")
            return f"{arguments[0]}[{arguments[1]}].{method}({listed})"
        if name in TRACED:
            arguments = [*arguments, "$"]
        name = RENAMED.get(name, name)
        return f"{name}({', '.join(arguments)})"


def translate(fault: Fault | None = None) -> str:
    """The protocol in C++: a number of structures and functions, for one namespace."""
    texts = sources(fault)
    orders, numbers = memory_orders(texts["atomics"]), constants(texts, SIZES)
    fields = " ".join(f"int64_t {each};" for each in phase_fields(texts["work_stealing"]))
    prototypes, bodies = [], []
    for module, names in FUNCTIONS.items():
        found = {
            each.name: each
            for each in ast.parse(texts[module]).body
            if isinstance(each, ast.FunctionDef)
        }
        for name in names:
            translator = Translator(found[name], f"{module}.py", orders, numbers)
            prototypes.append(translator.signature() + ";")
            bodies.append(translator.translate())
    return "\n".join([f"struct Phase {{ {fields} }};", *prototypes, *bodies])


def program(faults: Sequence[Fault]) -> str:
    """A program that checks the protocol, or the protocol with one of the faults."""
    numbers = constants(sources(), SIZES)
    parts = ["#include <cstdint>"]
    parts += [f"constexpr std::int64_t {name} = {numbers[name]};" for name in EXPORTED]
    parts += ['#include "relacy_harness.hpp"']
    # Most of the time goes to compiling the many versions; Relacy's own code is the slow one.
    parts += ["#pragma GCC push_options", '#pragma GCC optimize("O0")']
    for number, fault in enumerate([None, *faults]):
        parts.append(f"namespace protocol_{number} {{\n{translate(fault)}\n")
        parts.append('#include "relacy_kernel.hpp"\n}')
    tables = ", ".join(f"&protocol_{number}::functions" for number in range(1 + len(faults)))
    parts.append("#pragma GCC pop_options")
    parts.append(f"constexpr Functions const* PROTOCOLS[] = {{{tables}}};")
    return "\n".join([*parts, '#include "relacy_check.hpp"', ""])


class Run:
    """One run of the program: a scheduler, its limit, and settings of `relacy_harness.hpp`.

    The scheduler searches "every" execution, or those with at most `limit` "switches" from a thread
    that could have gone on, or `limit` "random" ones, which are the same in every run.
    """

    def __init__(self, scheduler: str, limit: int = 0, **settings):
        self.scheduler, self.limit, self.settings = scheduler, limit, settings

    def times(self, factor: int) -> "Run":
        """The same with more random executions."""
        limit = self.limit * (factor if self.scheduler == "random" else 1)
        return Run(self.scheduler, limit, **self.settings)

    def arguments(self) -> list[str]:
        """The arguments of the program."""
        chosen = [f"{name}={value}" for name, value in self.settings.items()]
        return [self.scheduler, str(self.limit), *chosen]


class Report(NamedTuple):
    """What Relacy has found, in which execution, and where."""

    result: str
    executions: int
    place: str
    history: str


class Checker:
    """The compiled program: the protocol, number 0, and the protocol with each of some faults."""

    def __init__(self, folder: Path, faults: Sequence[Fault] = ()):
        source, self.path = folder / "protocol.cpp", folder / "protocol"
        source.write_text(program(faults))
        # Relacy deletes through its own operators, which newer compilers warn of.
        options = ["-std=c++17", "-O1", "-w", f"-I{Path(__file__).parent}"]
        command = ["g++", *options, str(source), "-o", str(self.path)]
        subprocess.run(command, check=True, timeout=COMPILE_SECONDS)

    def check(self, run: Run, number: int = 0, seconds: int = RUN_SECONDS) -> Report:
        """Check one version of the protocol."""
        command = [str(self.path), str(number), *run.arguments()]
        output = subprocess.run(command, capture_output=True, text=True, timeout=seconds).stdout
        result, executions = re.search(r"result: (.*)\nexecutions: (\d+)", output).groups()
        place = re.search(rf": {result}.*, in (\w+), (?:.*/)?([\w.]+\(\d+\))", output)
        return Report(result, int(executions), " ".join(place.groups()) if place else "", output)
