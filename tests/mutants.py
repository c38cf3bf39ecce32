"""Mutation testing of a module in Python: change it in one place, and see whether a test fails.

    python tests/mutants.py fastmlp/_training/schedules.py tests/training/test_schedules.py

It copies the project, plants one mutant after another, and runs the tests given, without slow ones,
until one fails. It prints each mutant that survives: a test may be missing, or the mutant may be
equivalent to the original. A mutant takes as long as pytest does: some seconds.
"""

import argparse
import ast
import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECONDS = 300  # of a run of the tests; a mutant that takes longer runs in circles
COPIED = ["fastmlp", "tests", "benchmarks", "pyproject.toml", "README.md"]
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip
# Annotations change nothing, and texts of errors are not what is tested here.
SKIPPED = {"annotation", "returns", "decorator_list", "exc"}


class Mutant(NamedTuple):
    """A changed source: the line that changed, from what to what."""

    line: int
    before: str
    after: str
    source: str


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module, in the order of its lines."""
    tree = ast.parse(source)
    nodes = list(_nodes(tree))
    for index, node in enumerate(nodes):
        for change in range(len(_changes(copy.deepcopy(node)))):
            mutated = copy.deepcopy(tree)
            target = list(_nodes(mutated))[index]
            _changes(target)[change]()
            before, after = (ast.unparse(each).splitlines()[0] for each in (node, target))
            text = ast.unparse(ast.fix_missing_locations(mutated))
            yield Mutant(node.lineno, before, after, text)


def _nodes(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below one that may change, in the order of the source."""
    for name, value in ast.iter_fields(node):
        if name in SKIPPED:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield child
                yield from _nodes(child)


def _changes(node: ast.AST) -> list:
    """What can be done to a node, as functions without arguments."""
    match node:
        case ast.Compare(ops=operators):
            return [
                lambda n=n: operators.__setitem__(n, COMPARISONS[type(operators[n])]())
                for n in range(len(operators))
            ]
        case ast.BinOp(op=operator) | ast.AugAssign(op=operator) if type(operator) in ARITHMETIC:
            return [lambda: setattr(node, "op", ARITHMETIC[type(operator)]())]
        case ast.BoolOp(op=operator):
            other = ast.Or if isinstance(operator, ast.And) else ast.And
            return [lambda: setattr(node, "op", other())]
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test):
            return [lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), test))]
        case ast.Constant(value=bool() as value):
            return [lambda: setattr(node, "value", not value)]
        case ast.Constant(value=int() | float() as value):
            return [lambda: setattr(node, "value", value + 1)]
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            return [lambda: setattr(node, "value", ast.Constant(None))]
        case ast.Expr(value=ast.Call()):
            return [lambda: setattr(node, "value", ast.Constant(None))]
    return []


def survivors(root: Path, module: str, tests: list[str]) -> Iterator[tuple[Mutant, bool]]:
    """Each mutant of a module of the project at `root`, and whether the tests let it live."""
    with tempfile.TemporaryDirectory() as folder:
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, Path(folder) / name)
            elif (root / name).exists():
                shutil.copy(root / name, folder)
        if not _passes(folder, tests):
            raise SystemExit("the tests fail without a mutant")
        for mutant in mutants((root / module).read_text()):
            (Path(folder) / module).write_text(mutant.source)
            yield mutant, _passes(folder, tests)


def _passes(folder: str, tests: list[str]) -> bool:
    options = ["-x", "-q", "-m", "not slow", "-p", "no:cacheprovider"]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    """Print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module")
    parser.add_argument("tests", nargs="+")
    options = parser.parse_args()
    alive = count = 0
    for mutant, is_alive in survivors(Path.cwd(), options.module, options.tests):
        count += 1
        alive += is_alive
        if is_alive:
            print(f"line {mutant.line}: {mutant.before}  ->  {mutant.after}", flush=True)
    print(f"{count - alive} of {count} mutants killed")


if __name__ == "__main__":
    main()
