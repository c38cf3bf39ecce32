"""The mutants that `mutants` plants, and that it tells good tests from weak ones."""

import ast

import pytest
from mutants import mutants, survivors

SOURCE = """\
def clip(x: int, low: int = 0) -> int:
    if x < low and x != 3:
        return low
    print(x)
    return x + 1
"""


def test_each_mutant_changes_one_place_of_the_source():
    found = list(mutants(SOURCE))
    changes = [(each.line, each.before, each.after) for each in found]
    assert changes == [
        (1, "0", "1"),
        (2, "if x < low and x != 3:", "if not (x < low and x != 3):"),
        (2, "x < low and x != 3", "x < low or x != 3"),
        (2, "x < low", "x <= low"),
        (2, "x != 3", "x == 3"),
        (2, "3", "4"),
        (3, "return low", "return None"),
        (4, "print(x)", "None"),
        (5, "return x + 1", "return None"),
        (5, "x + 1", "x - 1"),
        (5, "1", "2"),
    ]
    plain = ast.unparse(ast.parse(SOURCE)).splitlines()
    for each in found:
        differing = [a for a, b in zip(each.source.splitlines(), plain, strict=True) if a != b]
        assert len(differing) == 1


@pytest.mark.slow
def test_a_weak_test_lets_mutants_live(tmp_path):
    (tmp_path / "fastmlp").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "fastmlp/__init__.py").touch()
    (tmp_path / "fastmlp/double.py").write_text("def double(x):\n    return 2 * x\n")
    test = "from fastmlp.double import double\n\ndef test_double():\n    assert double({}) == {}\n"
    for arguments, alive in (((0, 0), {"2 -> 3"}), ((2, 4), set())):
        (tmp_path / "tests/test_double.py").write_text(test.format(*arguments))
        found = survivors(tmp_path, "fastmlp/double.py", ["tests/test_double.py"])
        assert {f"{each.before} -> {each.after}" for each, lives in found if lives} == alive
