"""On which CPUs threads wake: others than their caller's, after which they may go anywhere."""

import os
import threading

import numpy as np
import pytest
from oracles.problem import Problem
from waiting import arrive, enter, exit_launch, wait_until

from fastmlp import MLPClassifier
from fastmlp._engine.threading import placement, team
from fastmlp._engine.threading.work_stealing import done_before
from fastmlp._inference.predictions import apply_network

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

    monkeypatch.setattr(placement, "_current_cpu", here)
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


def state(sleepers):
    """This thread, the CPUs that it may have, and whether it counts as asleep."""
    me = threading.get_native_id()
    return me, os.sched_getaffinity(0), me in sleepers._ids


def meeting_kernel(thread, sync, threads, crew, seen):
    """A launch ends when all threads have come; each but the caller tells its state."""
    if not enter(sync, thread):
        return
    if thread:
        seen.append(state(crew[0]._sleepers))
    if arrive(sync, done_before(sync) + threads):
        exit_launch(sync, thread)


def test_a_thread_outside_the_kernel_wakes_elsewhere_and_may_go_anywhere_then(placements):
    allowed, seen, crews = os.sched_getaffinity(0), [], []
    with team.Team(meeting_kernel, (2, crews, seen), 2) as crew:
        crews.append(crew)
        (worker,) = crew._threads
        for launches in (1, 2, 3):
            wait_until(lambda: crew._sleepers._ids == {worker.native_id})
            crew.launch()
            assert seen == [(worker.native_id, allowed, False)] * launches
            away = [cpus for thread, cpus in placements if thread == worker.native_id]
            assert away == [frozenset(allowed - {here()})] * launches


@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_child_places_none_of_its_parents_threads():
    with team.Team(meeting_kernel, (2, [], []), 2) as crew:
        wait_until(lambda: crew._sleepers._ids)
        child = os.fork()
        if child == 0:
            os._exit(len(crew._sleepers._ids) + team.is_any_at_work())
        assert os.waitpid(child, 0)[1] == 0
        assert crew._sleepers._ids
        assert team.is_any_at_work()


def sleeping():
    """How many helpers sleep."""
    return len(team._helpers()[1]._ids)


def test_a_helper_wakes_on_another_cpu_than_its_caller(placements, monkeypatch):
    allowed, seen = os.sched_getaffinity(0), []
    monkeypatch.setattr(team, "entry_point", lambda kernel, real, arguments: kernel)
    team._helpers.cache_clear()  # those of other tests, who may sleep
    helped = team.Helped(
        lambda thread, sync: seen.append(state(team._helpers()[1])), (), 2, np.float32
    )
    for calls in (1, 2, 3):
        assert helped.call()
        wait_until(lambda count=calls: len(seen) == count and sleeping() == 1)
    helper = seen[0][0]
    assert seen == [(helper, allowed, False)] * 3
    asked = [cpus for thread, cpus in placements if thread == helper]
    assert asked == [frozenset(allowed - {here()})] * 2  # not known before its first work


def test_helpers_that_are_given_up_are_not_placed_any_more(monkeypatch):
    """Their native ids may be other threads' by then."""
    network = Problem([300, 100, 10], 4, np.float32).network
    X = np.random.default_rng(0).random((1000, 300), np.float32)

    def predict():
        return apply_network(network, X, "relu", "softmax", 2)[0].tobytes()

    team._helpers.cache_clear()
    expected = predict()

    def some_helper_sleeps():  # one that comes after a prediction has no work, and is not known
        return bool(sleeping()) or not predict()

    wait_until(some_helper_sleeps)

    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(team.ThreadPoolExecutor, "submit", refuse)
        assert predict() == expected
    assert sleeping() == 0
    assert predict() == expected


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
    monkeypatch.setattr(placement, "_current_cpu", lambda: None)
    fitted()
    assert placements == []
