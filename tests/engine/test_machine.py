"""What `python -m fastmlp info` tells of the machine."""

import pytest

from fastmlp import __main__ as command
from fastmlp._engine import machine, threads
from fastmlp._engine.jit.target import target
from fastmlp._engine.threads import available_threads, explain_threads


@pytest.fixture
def no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CPU_TABLE", tmp_path / "cpuinfo")
    return machine.CPU_TABLE


def test_the_processor_is_named_as_its_maker_does(no_table):
    no_table.write_text("processor\t: 0\nmodel name\t: Some Maker 9000: fast\n", encoding="utf-8")
    assert machine.cpu_name().startswith("Some Maker 9000: fast (")


@pytest.mark.parametrize("text", [None, "", "processor\t: 0\nmodel name\t:\n"])
def test_a_processor_without_a_name_is_still_told_by_its_kind(no_table, text):
    if text is not None:
        no_table.write_text(text, encoding="utf-8")
    kind = machine.cpu_name().partition("(")[2]
    assert len(kind) > 2


@pytest.mark.parametrize("name", threads.LIMITS)
def test_threads_are_explained_by_the_limit_that_sets_them(name, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 9)
    for each in threads.LIMITS:
        monkeypatch.setitem(threads.LIMITS, each, lambda each=each: 3 if each == name else 9)
    assert explain_threads().startswith(f"3, limited by {name} (CPUs of the machine: 9, ")
    assert available_threads(None) == 3


def test_info_tells_what_determines_speed(capsys):
    command.main(["info"])
    told = capsys.readouterr().out
    for text in (machine.cpu_name(), target().name, f"{available_threads(None)}, limited by"):
        assert text in told
    assert "kernel" in told
