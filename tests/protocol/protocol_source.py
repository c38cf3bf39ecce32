"""The Python source of the pool's protocol, which `relacy` and `promela` translate.

A fault is a text of the source and what replaces it, before it is translated.
"""

import ast
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

PACKAGE = "fastmlp._engine.threading"
# Later modules use the constants of earlier ones.
MODULES = ["atomics", "parking", "work_stealing", "placement", "pool"]
FUNCTIONS = {
    "work_stealing": ["_bound", "claim", "is_done", "next_items", "complete"],
    "placement": ["begin_parking", "sleep_while_parked", "end_parking", "_place_elsewhere", "wake"],
    "pool": [
        "_take_slot",
        "_wake",
        "_open",
        "_close",
        "_launch",
        "_enter",
        "_help",
        "_spin",
        "_park",
        "_serve",
        "_stop",
    ],
}
OPERATORS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "/", ast.Mod: "%", ast.BitAnd: "&",
    ast.BitOr: "|", ast.LShift: "<<", ast.RShift: ">>", ast.USub: "-", ast.Invert: "~",
    ast.Not: "!", ast.And: "&&", ast.Or: "||", ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<",
    ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


class Fault(NamedTuple):
    """Another text in one module of the protocol; `old` occurs there once."""

    module: str
    old: str
    new: str

    def plant(self, module: str, source: str) -> str:
        """The source of a module with the fault, if it belongs there."""
        if module != self.module:
            return source
        assert source.count(self.old) == 1, f"{self.old!r} is not unique in {module}"
        return source.replace(self.old, self.new)


def sources(fault: Fault | None = None) -> dict[str, str]:
    """The text of every module, with a fault or without."""
    texts = {}
    for module in MODULES:
        path = Path(import_module(f"{PACKAGE}.{module}").__file__)
        texts[module] = path.read_text()
        if fault:
            texts[module] = fault.plant(module, texts[module])
    return texts


def constants(texts: dict[str, str], sizes: dict[str, int]) -> dict[str, int]:
    """The integers that the modules define, if some of them have other sizes."""
    found = {}
    for module, text in texts.items():
        names = {**vars(import_module(f"{PACKAGE}.{module}")), **found}
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]).isupper():
                exec(ast.unparse(statement), names)
                names.update(sizes)
        found |= {
            name: names[name] for name in names if name.isupper() and type(names[name]) is int
        }
    return found


def phase_fields(source: str) -> list[str]:
    """The fields of `Phase`."""
    (phase,) = [node for node in ast.parse(source).body if getattr(node, "name", "") == "Phase"]
    return [node.target.id for node in phase.body if isinstance(node, ast.AnnAssign)]


def assignments(statement):
    """The targets of an assignment, each with its value."""
    (target,) = statement.targets
    if isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
        return list(zip(target.elts, statement.value.elts, strict=True))
    return [(target, statement.value)]


def called(node) -> str:
    """The name of the function that an expression calls, if it is a call."""
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""
