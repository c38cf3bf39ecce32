"""Launches, barrier, stop flag and failures of a team of threads."""

import faulthandler
import threading
import time

import numpy as np
import pytest
from numba import njit

from fastmlp.engine.config import JIT
from fastmlp.engine.team import BARRIER, LAUNCH, SERVED, SLOT, STOP, Team, await_launch, barrier

SIZES = [1, 2, 3, 7]
HANGS_AFTER = 120  # seconds, after which the run is ended with a traceback of every thread


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@njit(**JIT, nogil=True)
def count(thread, sync, counts, faults, turns):
    """Every thread counts up its own element; between two barriers all have to be equal."""
    if not await_launch(sync, thread):
        return False
    for _ in range(turns):
        counts[thread] += 1
        if not barrier(sync, counts.size):
            return True
        for other in range(counts.size):
            if counts[other] != counts[thread]:
                faults[thread] += 1
        if not barrier(sync, counts.size):
            return True
    return True


@njit(**JIT, nogil=True)
def pass_on(thread, sync, relay, rounds):
    """A value goes round: each thread writes its successor's from its own, one barrier a hop."""
    if not await_launch(sync, thread):
        return False
    size = relay.shape[1]
    for hop in range(rounds):
        relay[hop + 1, (thread + 1) % size] = relay[hop, thread] + 1
        if not barrier(sync, size):
            return True
    return True


@njit(**JIT, nogil=True)
def begin(sync, thread):
    return await_launch(sync, thread)


@njit(**JIT, nogil=True)
def cross(sync, threads):
    return barrier(sync, threads)


def new_sync(threads):
    return np.zeros(SERVED + threads * SLOT, dtype=np.int64)


def running():
    return [each.name for each in threading.enumerate() if each.name.startswith("fastmlp-")]


@pytest.mark.parametrize("threads", SIZES)
def test_barrier_separates_what_stands_before_from_what_stands_after(threads):
    counts, faults = np.zeros(threads, np.int64), np.zeros(threads, np.int64)
    with Team(count, (counts, faults, 300), threads) as team:
        for launch in range(1, 11):
            team.launch()
            assert (counts == 300 * launch).all()
    assert (faults == 0).all()


@pytest.mark.parametrize("threads", SIZES)
def test_what_a_thread_writes_is_seen_by_the_next_after_the_barrier(threads):
    relay = np.zeros((201, threads), np.int64)
    with Team(pass_on, (relay, 200), threads) as team:
        for _ in range(5):
            relay[1:] = -1
            team.launch()
            np.testing.assert_array_equal(relay[-1], np.full(threads, 200))


@pytest.mark.parametrize("threads", SIZES)
def test_launches_are_served_once_each_whatever_pauses_lie_between(threads):
    counts, faults = np.zeros(threads, np.int64), np.zeros(threads, np.int64)
    pauses = [0, 0, 1e-5, 1e-4, 2e-4, 5e-4, 2e-3, 0.02]  # from spinning to asleep
    with Team(count, (counts, faults, 2), threads) as team:
        for launch in range(1, 81):
            team.launch()
            assert (counts == 2 * launch).all()
            time.sleep(pauses[launch % len(pauses)])
    assert (faults == 0).all()


@pytest.mark.parametrize("threads", SIZES)
@pytest.mark.parametrize("launches", [0, 1, 3])
@pytest.mark.parametrize("pause", [0, 0.01])
def test_threads_live_as_long_as_the_with_block(pause, launches, threads):
    counts, faults = np.zeros(threads, np.int64), np.zeros(threads, np.int64)
    team = Team(count, (counts, faults, 1), threads)
    assert running() == []
    with team:
        assert len(running()) == threads - 1
        for _ in range(launches):
            team.launch()
        time.sleep(pause)
        assert len(running()) == threads - 1
    assert running() == []
    assert (counts == launches).all()


class BrokenError(Exception):
    pass


def failing_kernel(thread, sync, threads, failing):
    """A kernel in Python: crosses one barrier, unless it is the one that fails."""
    if not begin(sync, thread):
        return False
    if thread in failing:
        raise BrokenError(thread)
    cross(sync, threads)
    return True


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("healthy_launches", [0, 3])
def test_an_exception_in_a_thread_reaches_the_caller_and_ends_the_team(healthy_launches, failing):
    failures = set()
    team = Team(failing_kernel, (3, failures), 3)
    with pytest.raises(BrokenError, match=str(failing)), team:
        for _ in range(healthy_launches):
            team.launch()
        failures.add(failing)
        team.launch()
    assert running() == []


def test_an_exception_in_the_with_block_ends_the_team():
    counts, faults = np.zeros(3, np.int64), np.zeros(3, np.int64)
    with pytest.raises(KeyboardInterrupt), Team(count, (counts, faults, 1), 3) as team:
        team.launch()
        raise KeyboardInterrupt
    assert running() == []


def test_teams_of_several_callers_do_not_disturb_each_other():
    results = {}

    def call(number):
        counts, faults = np.zeros(3, np.int64), np.zeros(3, np.int64)
        with Team(count, (counts, faults, 50), 3) as team:
            for _ in range(20):
                team.launch()
        results[number] = counts.tolist(), faults.tolist()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == {number: ([1000] * 3, [0] * 3) for number in range(4)}


def test_a_stopped_barrier_lets_go_and_says_so():
    sync = new_sync(2)
    sync[STOP] = 1
    assert not cross(sync, 2)
    assert sync[BARRIER] == 1


def test_a_barrier_of_one_is_open():
    assert cross(new_sync(1), 1)


def test_the_last_to_arrive_opens_the_barrier():
    for threads in (2, 3, 7):
        sync = new_sync(threads)
        for crossing in range(1, 4):
            sync[BARRIER] = crossing * threads - 1
            assert cross(sync, threads)
            assert sync[BARRIER] == crossing * threads


def test_await_launch_serves_every_launch_once_and_gives_up_without_one():
    sync = new_sync(2)
    assert not begin(sync, 1)
    assert begin(sync, 0)
    assert sync[LAUNCH] == 1
    assert begin(sync, 1)
    assert not begin(sync, 1)
    for _ in range(3):
        assert begin(sync, 0)
    for _ in range(3):
        assert begin(sync, 1)
    assert not begin(sync, 1)


def test_await_launch_gives_up_when_the_team_is_stopped():
    sync = new_sync(2)
    sync[STOP] = 1
    assert not begin(sync, 1)
