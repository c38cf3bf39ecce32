"""On which CPUs threads wake: others than their caller's, after which they may go anywhere."""

import os
import threading

import numpy as np
import pytest
from waiting import arrive, enter, exit_launch, wait_until

from fastmlp import MLPClassifier
from fastmlp.engine import team
from fastmlp.engine.launch import done_before

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1,
    reason="threads cannot choose between CPUs here",
)


def here():
    """The CPU on which the callers of these tests are said to be."""
    return min(os.sched_getaffinity(0))


@pytest.fixture
def placements(monkeypatch):
    """What is asked of the system: native ids and their CPUs; id 0 asks for itself."""
    asked, ask = [], os.sched_setaffinity

    def note(thread, cpus):
        asked.append((thread, frozenset(cpus)))
        ask(thread, cpus)

    monkeypatch.setattr(team, "_current_cpu", here)
    monkeypatch.setattr(os, "sched_setaffinity", note)
    return asked


def fitted(n_jobs=3):
    X = np.random.RandomState(0).rand(60, 5)
    return MLPClassifier((7,), max_iter=3, random_state=0, n_jobs=n_jobs).fit(X, np.arange(60) % 3)


def parameter_bytes(model):
    return b"".join(array.tobytes() for array in model.coefs_ + model.intercepts_)


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_a_fit_keeps_its_threads_off_the_callers_cpu(placements, every_thread_works):
    allowed = os.sched_getaffinity(0)
    fitted()
    away = [(thread, cpus) for thread, cpus in placements if thread]
    assert len({thread for thread, _ in away}) == 2
    assert {cpus for _, cpus in away} == {frozenset(allowed - {here()})}
    assert os.sched_getaffinity(0) == allowed


def meeting_kernel(thread, sync, threads, seen):
    """A launch ends when all threads have come; each but the caller tells where it may run."""
    if not enter(sync, thread):
        return
    if thread:
        seen.append((threading.get_native_id(), os.sched_getaffinity(0)))
    if arrive(sync, done_before(sync) + threads):
        exit_launch(sync, thread)


def test_a_thread_outside_the_kernel_wakes_elsewhere_and_may_go_anywhere_then(placements):
    allowed, seen = os.sched_getaffinity(0), []
    with team.Team(meeting_kernel, (2, seen), 2) as crew:
        (worker,) = crew._threads
        for launches in (1, 2, 3):
            wait_until(lambda: crew._away == {worker.native_id})
            crew.launch()
            assert seen == [(worker.native_id, allowed)] * launches
            away = [cpus for thread, cpus in placements if thread == worker.native_id]
            assert away == [frozenset(allowed - {here()})] * launches


def test_a_helper_wakes_on_another_cpu_than_its_caller(placements, monkeypatch):
    allowed, seen = os.sched_getaffinity(0), []
    monkeypatch.setattr(team, "entry_point", lambda kernel, real, arguments: kernel)
    team._helpers.cache_clear()  # those of other tests are not known here
    team._asleep.clear()
    helped = team.Helped(
        lambda thread, sync: seen.append((threading.get_native_id(), os.sched_getaffinity(0))),
        (), 2, np.float32,
    )  # fmt: skip
    for calls in (1, 2, 3):
        assert helped.call()
        wait_until(lambda count=calls: len(seen) == count and len(team._asleep) == 1)
    helper, _ = seen[0]
    assert seen == [(helper, allowed)] * 3
    asked = [cpus for thread, cpus in placements if thread == helper]
    assert asked == [frozenset(allowed - {here()})] * 2  # not known before its first work


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
@pytest.mark.parametrize("refused", ["sched_getaffinity", "sched_setaffinity"])
def test_a_system_that_refuses_to_place_threads_changes_no_fit(
    refused, monkeypatch, every_thread_works
):
    expected = parameter_bytes(fitted(n_jobs=1))

    def refuse(*arguments):
        raise PermissionError(refused)

    monkeypatch.setattr(os, refused, refuse)
    assert parameter_bytes(fitted()) == expected


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_where_the_system_tells_no_cpu_threads_are_left_alone(
    placements, monkeypatch, every_thread_works
):
    monkeypatch.setattr(team, "_current_cpu", lambda: None)
    fitted()
    assert placements == []
