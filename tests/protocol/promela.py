"""The protocol of the pool in Promela, for SPIN to search every order of its steps.

Nothing is ported by hand: `body` puts the Python functions one into another until one body is left
for each kind of thread, and writes it statement by statement. What it does not know it refuses.
`spin_model.pml` declares the words, supplies the system, and asserts what must hold.

Every atomic access of a word is a step, in any order with those of the other threads, and takes
effect at once: orders of memory are what `relacy` checks. Between two steps a thread does the rest
in one piece. `relacy` shows that no plain access is in a race, so nobody can tell when it happens.

A wait blocks until the word that was read last has changed. So nobody runs in circles for ever, and
whoever waits for what never comes is blocked in the end, where SPIN finds it.
"""

import ast
import re
from collections.abc import Callable, Iterator
from itertools import groupby

from promela_variables import forget
from protocol_source import OPERATORS, assignments, called

ARRAYS = {"words": "words", "pool": "words", "work": "work"}  # parameters, and what they are
STEP = "/* step */ "  # begins a line that other threads may tell from the next
ACCESSES = {
    "atomic_load": "{result} = {word};",
    "atomic_store": "{word} = {0};",
    "atomic_add": "d_step {{ {word} = {word} + ({0}); {result} = {word}; {ghost} }}",
    "atomic_swap": (
        "d_step {{ if :: {word} == ({0}) -> {word} = {1}; {result} = 1; {ghost} "
        ":: else -> {result} = 0 fi }}"
    ),
}
# Steps with which a thread comes into a launch or leaves it.
GHOSTS = {
    ("_enter", "atomic_swap"): "inside[me] = 1",
    ("_enter", "atomic_add"): "inside[me] = 0",
    ("_help", "atomic_add"): "inside[me] = 0",
}
OF_WORDS = {"sleep_unless_changed", "wake_sleepers"}  # macros of `spin_model.pml` on a word
WITHOUT_STEP = {"check"}  # macros that no other thread notices
NOTHING = {"view", "pause"}  # calls that change nothing here


def body(name: str, functions: dict, numbers: dict[str, int], fields: list[str]) -> str:
    """The declarations and statements of a thread that runs the function of this name.

    `functions` are syntax trees by name, `numbers` the constants, `fields` those of `Phase`.
    """
    process = Process(functions, numbers, fields)
    process.inline(name, [])
    lines = forget(process.lines, process.variables)
    declared = f"short {', '.join(process.variables)};"
    return "\n".join([declared, *_in_pieces(lines)])


def _in_pieces(lines: list[str]) -> Iterator[str]:
    """The lines, with what lies between two steps in one piece."""
    for is_step, group in groupby(lines, key=lambda line: line.startswith(STEP)):
        if is_step:
            yield from (line.removeprefix(STEP) for line in group)
        else:
            yield from ["atomic { skip;", *group, "}"]


class Place:
    """A function in the place where it is called."""

    def __init__(self, function: ast.FunctionDef, number: int):
        self.function = function
        self.end = f"end_{function.name.strip('_')}_{number}"  # where it returns to
        self.names = {}  # its variables, as texts in the process; a `Phase` is a tuple of them
        self.results = []  # variables of what it returns
        nodes = list(ast.walk(function))
        stored = [each for each in nodes if isinstance(each, ast.Name)]
        self.assigned = {each.id for each in stored if isinstance(each.ctx, ast.Store)}
        waits = [each for each in nodes if called(each) == "wait"]
        self.turns = {ast.unparse(each.args[0]) for each in waits}  # they say how long to wait
        returned = [each.value for each in nodes if isinstance(each, ast.Return) and each.value]
        sizes = [len(each.elts) if isinstance(each, ast.Tuple) else 1 for each in returned]
        self.size = max(sizes, default=0)


class Process:
    """The body of one kind of thread, with everything that it calls in its place."""

    def __init__(self, functions, numbers, fields):
        self.functions, self.numbers, self.fields = functions, numbers, fields
        self.lines, self.variables = [], []
        self.count = 0  # of places, variables and labels, which are numbered
        self.place = None
        self.last_read = "", ""  # a word, and the variable that it was read into

    def inline(self, name: str, arguments: list) -> list[str]:
        """Put a function in its place; return the variables of its results."""
        outer, place = self.place, Place(self.functions[name], self._number())
        for each, argument in zip(place.function.args.args, arguments, strict=False):
            is_plain = isinstance(argument, tuple) or re.fullmatch(r"-?\w+", argument)
            if not is_plain or each.arg in place.assigned:
                argument = self._copy(each.arg, argument)
            place.names[each.arg] = argument
        place.results = [self._variable("result") for _ in range(place.size)]
        self.place = place
        has_text = ast.get_docstring(place.function) is not None
        self._block(place.function.body[1 if has_text else 0 :])
        self.lines.append(f"{place.end}: skip;")
        self.place = outer
        return place.results

    def _number(self) -> int:
        self.count += 1
        return self.count

    def _variable(self, name: str) -> str:
        self.variables.append(f"{name}_{self._number()}")
        return self.variables[-1]

    def _copy(self, name: str, value: str) -> str:
        variable = self._variable(name)
        self.lines.append(f"{variable} = {value};")
        return variable

    def _block(self, statements) -> None:
        for statement in statements:
            getattr(self, f"_{type(statement).__name__.lower()}")(statement)

    def _assign(self, statement) -> None:
        target, value = statement.targets[0], statement.value
        if called(value) == "Phase":
            texts = [self._text(each) for each in value.args]
            self.place.names[target.id] = tuple(
                each if each.isdigit() else self._copy(field, each)
                for field, each in zip(self.fields, texts, strict=True)
            )
        elif called(value) in NOTHING:
            assert target.id in ARRAYS, ast.unparse(statement)
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Call):
            for each, result in zip(target.elts, self._results(value), strict=True):
                self._store(each, result)
        else:
            for each, part in assignments(statement):
                if not isinstance(each, ast.Name) or each.id not in self.place.turns:
                    self._store(each, self._text(part))

    def _store(self, target, text: str) -> None:
        if isinstance(target, ast.Subscript):
            self.lines.append(f"{self._word(target.value, target.slice)} = {text};")
        else:
            self.lines.append(f"{self._named(target.id)} = {text};")

    def _named(self, name: str) -> str:
        """The variable of the process for a variable that the function assigns."""
        if name not in self.place.names:
            self.place.names[name] = self._variable(name)
        return self.place.names[name]

    def _augassign(self, statement) -> None:
        if statement.target.id not in self.place.turns:
            name, operator = self._named(statement.target.id), OPERATORS[type(statement.op)]
            self.lines.append(f"{name} = {name} {operator} {self._text(statement.value)};")

    def _expr(self, statement) -> None:
        self._results(statement.value)

    def _return(self, statement) -> None:
        value = statement.value
        values = value.elts if isinstance(value, ast.Tuple) else [value] if value else []
        texts = [self._text(each) for each in values]
        pairs = zip(self.place.results, texts, strict=True)
        self.lines += [f"{result} = {text};" for result, text in pairs]
        self.lines.append(f"goto {self.place.end};")

    def _while(self, statement) -> None:
        assert not statement.orelse
        begin, end = self._labels("loop", "over")
        self.lines.append(f"{begin}: skip;")
        test = self._text(statement.test)
        self.lines.append(f"if :: ({test}) :: else -> goto {end} fi;")
        self._block(statement.body)
        self.lines += [f"goto {begin};", f"{end}: skip;"]

    def _for(self, statement) -> None:
        assert not statement.orelse and called(statement.iter) == "range"
        bounds = [self._text(each) for each in statement.iter.args]
        first, stop, step = {1: ["0", *bounds, "1"], 2: [*bounds, "1"]}.get(len(bounds), bounds)
        name = self._named(statement.target.id)
        begin, end = self._labels("loop", "over")
        self.lines += [f"{name} = {first};", f"{begin}: skip;"]
        self.lines.append(f"if :: ({name} < {stop}) :: else -> goto {end} fi;")
        self._block(statement.body)
        self.lines += [f"{name} = {name} + {step};", f"goto {begin};", f"{end}: skip;"]

    def _if(self, statement) -> None:
        test = self._text(statement.test)
        if test in ("0", "1"):
            self._block(statement.body if test == "1" else statement.orelse)
        else:
            blocks = [statement.body, statement.orelse]
            self._branch(test, *(lambda each=each: self._block(each) for each in blocks))

    def _labels(self, *names: str) -> list[str]:
        number = self._number()
        return [f"{name}_{number}" for name in names]

    def _branch(self, test: str, write: Callable, write_other: Callable) -> None:
        """One of two blocks, each written by a function."""
        other, end = self._labels("else", "fi")
        self.lines.append(f"if :: ({test}) :: else -> goto {other} fi;")
        write()
        self.lines += [f"goto {end};", f"{other}: skip;"]
        write_other()
        self.lines.append(f"{end}: skip;")

    def _word(self, array, index) -> str:
        return f"{ARRAYS[ast.unparse(array)]}[{self._text(index)}]"

    def _text(self, node) -> str:
        """An expression in Promela; the steps that it takes are written before."""
        match node:
            case ast.Constant(value=bool() | int() as value):
                return str(int(value))
            case ast.Name(id=name):
                return str(self.place.names.get(name, self.numbers.get(name, name)))
            case ast.Attribute(value=ast.Name(id="system"), attr=name):
                return str(self.numbers[name])
            case ast.Attribute(value=ast.Name(id="phase"), attr=name):
                return self.place.names["phase"][self.fields.index(name)]
            case ast.Subscript(value=array, slice=index):
                return self._copy("plain", self._word(array, index))
            case ast.UnaryOp(op=operator, operand=value):
                return _value(f"({OPERATORS[type(operator)]}{self._text(value)})")
            case (
                ast.BinOp(left=one, op=operator, right=other)
                | ast.Compare(left=one, ops=[operator], comparators=[other])
            ):
                texts = self._text(one), self._text(other)
                return _value(f"({texts[0]} {OPERATORS[type(operator)]} {texts[1]})")
            case ast.BoolOp(op=ast.And(), values=[one, other]):
                return self._choice(self._text(one), other, ast.Constant(0))
            case ast.BoolOp(op=ast.Or(), values=[one, other]):
                return self._choice(self._text(one), ast.Constant(1), other)
            case ast.IfExp(test=test, body=one, orelse=other):
                return self._choice(self._text(test), one, other)
            case ast.Call(keywords=[]):
                (result,) = self._results(node)
                return result
        raise NotImplementedError(ast.dump(node))

    def _choice(self, test: str, one, other) -> str:
        """One expression or the other; only that one takes its steps."""
        if test in ("0", "1"):
            return self._text(one if test == "1" else other)
        chosen = self._variable("chosen")

        def write(node):
            text = self._text(node)
            self.lines.append(f"{chosen} = {text};")

        self._branch(test, lambda: write(one), lambda: write(other))
        return chosen

    def _results(self, call) -> list[str]:
        """Write a call; return the variables of its results."""
        name = ast.unparse(call.func).removeprefix("_call_")
        if name in ACCESSES:
            return self._access(name, *call.args[:2], [self._text(each) for each in call.args[2:]])
        if name in NOTHING:
            return []
        if name == "wait":
            word, seen = self.last_read
            self.lines.append(f"{STEP}({word} != {seen});")
            return []
        if name in self.functions:
            return self.inline(name, [self._argument(each) for each in call.args])
        arguments = [self._text(each) for each in call.args[1 if name in OF_WORDS else 0 :]]
        if name in ("min", "max"):
            one, other = arguments
            return [f"({one} {'<' if name == 'min' else '>'} {other} -> {one} : {other})"]
        results = [self._variable("result")] if name.startswith("is_") else []
        step = "" if name in WITHOUT_STEP else STEP
        self.lines.append(f"{step}{name}({', '.join([*arguments, *results])});")
        return results

    def _access(self, function: str, array, index, values: list[str]) -> list[str]:
        """An atomic access of a word."""
        word, result = self._word(array, index), self._variable("read")
        ghost = GHOSTS.get((self.place.function.name, function), "skip")
        access = ACCESSES[function].format(*values, word=word, result=result, ghost=ghost)
        self.lines.append(STEP + access)
        self.last_read = word, result
        return [result]

    def _argument(self, node):
        is_phase = isinstance(node, ast.Name) and node.id == "phase"
        return self.place.names["phase"] if is_phase else self._text(node)


def _value(text: str) -> str:
    """An expression of numbers alone as a number; any other as it is."""
    if re.search(r"[a-z]", text):
        return text
    return str(int(eval(text.replace("!", " not ").replace(" not =", "!=").replace("/", "//"))))
