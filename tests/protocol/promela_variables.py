"""Forget variables once nobody reads them again: states that differ only there are the same."""

import re

ASSIGNED = re.compile(r"\b(\w+) = ")
TARGET = re.compile(r"goto (\w+)")
LABEL = re.compile(r"(\w+): skip;$")


def forget(lines: list[str], variables: list[str]) -> list[str]:
    """The lines of a process, with each variable set to 0 as soon as its value is dead."""
    known = set(variables)
    labels = {found[1]: at for at, line in enumerate(lines) if (found := LABEL.match(line))}
    successors = [_successors(at, line, labels) for at, line in enumerate(lines)]
    read, written = zip(*(_accesses(line, known) for line in lines), strict=True)
    live = _live(successors, read, written)  # before each line, and after the last
    arriving = [set() for _ in range(len(lines) + 1)]
    for at, following in enumerate(successors):
        after = (
            set().union(*(live[each] for each in following))
            | written[at]
            | (live[at] - written[at])
        )
        for each in following:
            arriving[each] |= after
    result = []
    for at, line in enumerate(lines):
        names = sorted(arriving[at] - live[at])
        forgetting = [f"d_step {{ {'; '.join(f'{name} = 0' for name in names)} }};"] * bool(names)
        result += [line, *forgetting] if LABEL.match(line) else [*forgetting, line]
    return result


def _successors(at, line, labels):
    targets = [labels[each] for each in TARGET.findall(line)]
    return targets if line.startswith("goto") else [at + 1, *targets]


def _accesses(line, known):
    """The variables that a line reads, and those that it writes."""
    written = set(ASSIGNED.findall(line)) & known
    return set(re.findall(r"\b\w+\b", ASSIGNED.sub("", line))) & known, written


def _live(successors, read, written):
    live = [set() for _ in range(len(successors) + 1)]
    is_changing = True
    while is_changing:
        is_changing = False
        for at in reversed(range(len(successors))):
            after = set().union(*(live[each] for each in successors[at]))
            before = read[at] | (after - written[at])
            is_changing |= before != live[at]
            live[at] = before
    return live
