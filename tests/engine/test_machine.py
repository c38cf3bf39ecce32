"""What `python -m fastmlp info` tells of the machine."""

import numba
import pytest

from fastmlp import __main__ as command
from fastmlp._engine import machine
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


def test_threads_are_explained_by_the_limit_that_sets_them(monkeypatch):
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 1)
    assert explain_threads().startswith("1, the least of ")
    assert "NUMBA_NUM_THREADS: 1" in explain_threads()


def test_info_tells_what_determines_speed(capsys):
    command.main(["info"])
    told = capsys.readouterr().out
    for text in (machine.cpu_name(), target().name, f"{available_threads(None)}, the least of"):
        assert text in told
    assert "kernel" in told
