"""Launches, the sharing of work, stop flag and failures of a team of threads."""

import faulthandler
import gc
import itertools
import threading
import time
import weakref
from concurrent.futures import Future

import numpy as np
import pytest
from fastmlp._engine.threading.team import Team, run_once
from numba import njit
from waiting import arrive, enter, exit_launch

from fastmlp._engine.jit.cache import kernel
from fastmlp._engine.jit.target import JIT
from fastmlp._engine.simd.memory import window
from fastmlp._engine.threading import team
from fastmlp._engine.threading.work_stealing import (
    DONE,
    STOP,
    await_done,
    complete,
    done_before,
    is_done,
    join,
    leave,
    new_sync,
    next_items,
)

SIZES = [1, 2, 3, 7]
HANGS_AFTER = 120  # seconds, after which the run is ended with a traceback of every thread
EVEN = np.zeros(0, np.int64)
NEVER = 1 << 40  # a goal that no team reaches


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@njit(**JIT, nogil=True)
def count(thread, sync, threads, counts, faults, phases, shares, least):
    """Count every item up once a phase; whoever takes one looks whether the last phase is whole."""
    if not join(sync, thread):
        return False
    goal = done_before(sync)
    before = goal // counts.size
    for phase in range(phases):
        goal, held = goal + counts.size, 0
        while True:
            first, end, held = next_items(
                sync, thread, threads, phase, goal, shares, counts.size, least, held
            )
            if first == end:
                break
            total = 0
            for item in range(counts.size):
                total += counts[item] >= before + phase
            faults[thread] += total != counts.size
            for item in range(first, end):
                counts[item] += 1
        if not is_done(sync, goal):
            return True
    leave(sync, thread)
    return True


def counting_team(threads, items, phases, shares=EVEN, least=1):
    counts, faults = np.zeros(items, np.int64), np.zeros(threads, np.int64)
    arguments = threads, counts, faults, phases, shares, least
    return counts, faults, Team(count, arguments, threads)


def running():
    return [each.name for each in threading.enumerate() if each.name.startswith("fastmlp-")]


@pytest.mark.parametrize("threads", SIZES)
@pytest.mark.parametrize("items, least", [(1, 1), (5, 1), (64, 16), (203, 8)])
def test_every_item_is_done_once_a_phase_and_no_phase_begins_before_the_last(items, least, threads):
    counts, faults, team = counting_team(threads, items, 100, least=least)
    with team:
        for launch in range(1, 11):
            team.launch()
            assert (counts == 100 * launch).all()
    assert (faults == 0).all()


@pytest.mark.parametrize(
    "shares", [[0, 40, 40, 40], [0, 0, 0, 40], [0, 0, 39, 40], [0, 13, 27, 40]]
)
def test_shares_of_any_sizes_are_done_whole(shares):
    counts, faults, team = counting_team(3, 40, 50, np.array(shares))
    with team:
        for launch in range(1, 11):
            team.launch()
            assert (counts == 50 * launch).all()
    assert (faults == 0).all()


def test_threads_that_do_not_come_are_not_waited_for():
    sync, counts, faults = new_sync(3), np.zeros(100, np.int64), np.zeros(3, np.int64)
    for launch in range(1, 4):
        assert count(0, sync, 3, counts, faults, 20, EVEN, 1)
        assert (counts == 20 * launch).all()


@pytest.mark.parametrize("threads", SIZES)
def test_launches_are_done_whatever_pauses_lie_between(threads):
    counts, faults, team = counting_team(threads, 50, 2)
    pauses = [0, 0, 1e-5, 1e-4, 2e-4, 5e-4, 2e-3, 0.02]  # from spinning to asleep
    with team:
        for launch in range(1, 81):
            team.launch()
            assert (counts == 2 * launch).all()
            time.sleep(pauses[launch % len(pauses)])
    assert (faults == 0).all()


@pytest.mark.parametrize("threads", SIZES)
@pytest.mark.parametrize("launches", [0, 1, 3])
@pytest.mark.parametrize("pause", [0, 0.01])
def test_threads_live_as_long_as_the_with_block(pause, launches, threads):
    counts, _, team = counting_team(threads, 10, 1)
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
    """A kernel in Python: each thread has one item that all wait for, unless it is to fail."""
    if not enter(sync, thread):
        return False
    if thread in failing:
        raise BrokenError(thread)
    if arrive(sync, done_before(sync) + threads):
        exit_launch(sync, thread)
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
    _, _, team = counting_team(3, 10, 1)
    with pytest.raises(KeyboardInterrupt), team:
        team.launch()
        raise KeyboardInterrupt
    assert running() == []


def test_teams_of_several_callers_do_not_disturb_each_other():
    results = {}

    def call(number):
        counts, faults, team = counting_team(3, 30, 50)
        with team:
            for _ in range(20):
                team.launch()
        results[number] = counts.tolist(), faults.tolist()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert results == {number: ([1000] * 30, [0] * 3) for number in range(4)}


def claim(sync, thread, threads, phase, items, least):
    """The next items for a thread that waits for none: the team is stopped."""
    sync[STOP] = 1
    first, end, held = next_items(sync, thread, threads, phase, NEVER, EVEN, items, least, 0)
    assert held == end - first
    return first, end


def test_claims_halve_the_own_share_in_multiples_of_the_least():
    sync = new_sync(2)
    own = [claim(sync, 0, 2, 0, 200, 16) for _ in range(3)]
    assert own == [(0, 64), (64, 100), (100, 164)]  # the last is from the other thread's share
    assert claim(sync, 1, 2, 0, 200, 16) == (164, 200)
    assert claim(sync, 0, 2, 0, 200, 16) == (0, 0)


def test_one_thread_takes_a_phase_at_once():
    assert claim(new_sync(1), 0, 1, 0, 200, 16) == (0, 200)


def test_a_thread_left_behind_in_an_old_phase_finds_nothing_there():
    sync = new_sync(2)
    assert claim(sync, 0, 2, 5, 2, 1) == (0, 1)
    assert claim(sync, 0, 2, 5, 2, 1) == (1, 2)
    for phase in range(6):
        assert claim(sync, 1, 2, phase, 2, 1) == (0, 0)


@pytest.mark.parametrize(
    "threads, items, least", [*itertools.product([1, 2, 3, 5], [1, 9, 100], [1, 8])]
)
def test_claims_in_any_order_are_a_partition_of_the_items(threads, items, least):
    random_state = np.random.RandomState(0)
    sync = new_sync(threads)
    for phase in range(5):
        taken = []
        while True:
            first, end = claim(sync, random_state.randint(threads), threads, phase, items, least)
            if first == end:
                break
            taken += range(first, end)
        assert sorted(taken) == list(range(items))


def test_items_count_as_done_when_the_own_share_is():
    sync, held = new_sync(2), 0
    for expected in [(0, 64), (64, 100)]:
        *taken, held = next_items(sync, 0, 2, 0, 200, EVEN, 200, 16, held)
        assert tuple(taken) == expected and sync[DONE] == 0
    *taken, held = next_items(sync, 0, 2, 0, 200, EVEN, 200, 16, held)
    assert tuple(taken) == (100, 164) and sync[DONE] == 100 and held == 64


def test_who_finishes_last_looks_no_further():
    sync = new_sync(2)
    complete(sync, 100)  # the other thread's share
    first, end, held = next_items(sync, 0, 2, 0, 200, EVEN, 200, 1000, 0)
    assert (first, end, held) == (0, 100, 100)
    other = sync.copy()
    assert next_items(sync, 0, 2, 0, 200, EVEN, 200, 1000, held) == (0, 0, 0)
    other[DONE] = 200
    np.testing.assert_array_equal(sync, other)


def test_a_stopped_team_lets_go_of_those_who_wait():
    sync = new_sync(2)
    assert enter(sync, 0) and enter(sync, 1)
    sync[STOP] = 1
    assert not await_done(sync, 1)
    leave(sync, 0)  # thread 1 is still inside
    assert not enter(sync, 1)


def test_await_done_returns_when_the_items_are_done():
    sync = new_sync(2)
    complete(sync, 5)
    assert await_done(sync, 5) and sync[DONE] == 5


def test_a_launch_is_joined_once_while_it_is_open():
    sync = new_sync(2)
    assert not enter(sync, 1)
    for launch in range(1, 4):
        assert enter(sync, 0)
        assert enter(sync, 1)
        assert not enter(sync, 1)
        leave(sync, 1)
        assert next_items(sync, 0, 2, 0, NEVER, EVEN, 7, 7, 0) == (0, 3, 3)
        complete(sync, 7)
        leave(sync, 0)
        assert not enter(sync, 1)
        assert done_before(sync) == 7 * launch


def test_queues_are_empty_at_the_next_launch():
    sync, counts, faults = new_sync(2), np.zeros(10, np.int64), np.zeros(2, np.int64)
    for launch in range(1, 4):
        assert count(0, sync, 2, counts, faults, 20, EVEN, 1)
        assert next_items(sync, 0, 2, 0, NEVER, EVEN, 10, 5, 0) == (0, 5, 5)
        sync[DONE] = 200 * launch
        assert enter(sync, 0)
        leave(sync, 0)


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), KeyboardInterrupt()])
def test_a_team_does_without_threads_that_cannot_be_started(monkeypatch, error):
    start, started = threading.Thread.start, []

    def refuse(thread):
        if len(started) == 1:
            raise error
        started.append(thread)
        start(thread)

    counts, _, team = counting_team(3, 30, 5)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    if isinstance(error, RuntimeError):
        with team:
            team.launch()
        assert (counts == 5).all()
    else:
        with pytest.raises(KeyboardInterrupt), team:
            pass
    assert running() == []


@njit(**JIT, nogil=True)
def count_once(thread, sync, threads, counts):
    if not join(sync, thread):
        return False
    goal, held = done_before(sync) + counts.size, 0
    while True:
        first, end, held = next_items(
            sync, thread, threads, 0, goal, window(counts, 0, 0), counts.size, 1, held
        )
        if first == end:
            break
        for item in range(first, end):
            counts[item] += 1
    leave(sync, thread)
    return True


@pytest.mark.parametrize("threads", SIZES)
def test_single_launches_from_many_threads_are_each_done_whole(threads):
    def call(results):
        for _ in range(50):
            counts = np.zeros(100, np.int64)
            run_once(counting, (threads, counts), threads, np.float32)
            results.append((counts == 1).all())

    counting = kernel(count_once.py_func)
    all_results = [[] for _ in range(4)]
    callers = [threading.Thread(target=call, args=(results,)) for results in all_results]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all(len(results) == 50 and all(results) for results in all_results)


def test_a_single_launch_does_without_helpers_that_cannot_be_had(monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(team.ThreadPoolExecutor, "submit", refuse)
    counts = np.zeros(100, np.int64)
    run_once(kernel(count_once.py_func), (3, counts), 3, np.float32)
    assert (counts == 1).all()


def test_nothing_is_kept_for_helpers_that_cannot_be_started(monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    team._helpers.cache_clear()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    counts = np.zeros(100, np.int64)
    run_once(kernel(count_once.py_func), (3, counts), 3, np.float32)
    assert (counts == 1).all()
    kept = weakref.ref(counts)
    del counts
    gc.collect()
    assert kept() is None


def test_helpers_that_come_too_late_go_away(monkeypatch):
    late, pool = [], team._helpers.__wrapped__()
    monkeypatch.setattr(team, "_helpers", lambda: pool)  # one of its own, as this thread plays them
    monkeypatch.setattr(
        team.ThreadPoolExecutor,
        "submit",
        lambda _, run, *rest: late.append((run, rest)) or Future(),
    )
    counts = np.zeros(100, np.int64)
    run_once(kernel(count_once.py_func), (3, counts), 3, np.float32)
    for run, arguments in late:
        assert run(*arguments) is False
    assert len(late) == 2 and (counts == 1).all()
