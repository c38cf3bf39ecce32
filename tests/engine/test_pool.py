"""Launches: who takes part, what they see of each other, and what no exception can break."""

import _thread
import faulthandler
import threading
import time

import numpy as np
import pytest
from numba import types
from waiting import wait_until

from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.simd.memory import Span, view
from fastmlp._engine.threading import pool as pool_module
from fastmlp._engine.threading.atomics import atomic_add, atomic_load
from fastmlp._engine.threading.pool import (
    FIRST_SLOT,
    GATE,
    NUMBER_SHIFT,
    SLEEPERS,
    SLOTS,
    SPINNING,
    STARTED,
    WORKERS,
    Pool,
)
from fastmlp._engine.threading.work_stealing import (
    Phase,
    complete,
    next_items,
    work_span,
    work_words,
)

SIZES = [1, 2, 3, 7]
HANGS_AFTER = 120  # seconds, after which the run is ended with a traceback of every thread
# Words of the job of `count`.
WORK, THREADS, COUNTS, ITEMS, PHASES, RANGES, GRAIN, FAULTS, JOB_WORDS = range(9)
JOB_POINTER = types.CPointer(types.int64)


@pytest.fixture(autouse=True)
def no_hang():
    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def pool():
    pool = Pool()
    yield pool
    pool.stop()


@kernel(types.void(types.int64, JOB_POINTER))
def count(thread, job):
    """Count every item up once a phase; whoever takes one checks that the last phase is whole."""
    work = view(0, job[WORK], work_span(job[THREADS]))
    counts = view(0, job[COUNTS], Span(0, job[ITEMS]))
    faults = view(0, job[FAULTS], Span(0, job[THREADS]))
    target = 0
    for number in range(job[PHASES]):
        target += job[ITEMS]
        phase = Phase(number, job[ITEMS], target, job[THREADS], job[RANGES], job[GRAIN])
        first, end = next_items(work, thread, phase)
        while first != end:
            total = 0
            for item in range(counts.size):
                total += counts[item] >= number
            faults[thread] += total != counts.size
            for item in range(first, end):
                counts[item] += 1
            complete(work, end - first)
            first, end = next_items(work, thread, phase)


class Counting:
    """A job of `count`, whose items are counted up `phases` times at each launch."""

    def __init__(self, threads, items, phases, ranges=None, grain=1):
        self.counts, self.faults = np.zeros(items, np.int64), np.zeros(threads, np.int64)
        self.work, self.ranges, self.phases = work_words(threads), ranges, phases
        self.threads, self.job = threads, np.zeros(JOB_WORDS, np.int64)
        self.job[[WORK, COUNTS, FAULTS]] = [
            each.ctypes.data for each in (self.work, self.counts, self.faults)
        ]
        self.job[[THREADS, ITEMS, PHASES, GRAIN]] = threads, items, phases, grain
        self.job[RANGES] = 0 if ranges is None else ranges.ctypes.data

    def launch(self, pool, **options):
        self.work[:] = self.counts[:] = 0
        launches = pool.launch(count.address(), self.job.ctypes.data, self.threads, **options)
        assert (self.counts == self.phases).all()
        assert (self.faults == 0).all()
        return launches


@kernel(types.void(types.int64, JOB_POINTER))
def meet(thread, job):
    """Say that this thread is here, and wait until job[0] are."""
    words = view(0, job[1], Span(0, 1 + job[0]))
    words[1 + thread] += 1
    atomic_add(words, 0, 1)
    while atomic_load(words, 0) < job[0]:
        pass


def meet_in(pool, threads, **options):
    """A launch that ends when all threads are in; how often each number was there."""
    words = np.zeros(1 + threads, np.int64)
    job = np.array([threads, words.ctypes.data])
    pool.launch(meet.address(), job.ctypes.data, threads, **options)
    return words[1:].tolist()


@pytest.mark.parametrize("threads", SIZES)
@pytest.mark.parametrize("items, grain", [(1, 1), (5, 1), (64, 16), (203, 8)])
def test_every_item_is_done_once_a_phase_and_no_phase_begins_early(items, grain, threads, pool):
    counting = Counting(threads, items, 100, grain=grain)
    for _ in range(10):
        counting.launch(pool)


@pytest.mark.parametrize(
    "ranges", [[0, 40, 40, 40], [0, 0, 0, 40], [0, 0, 39, 40], [0, 13, 27, 40]]
)
def test_ranges_of_any_sizes_are_done_whole(ranges, pool):
    counting = Counting(3, 40, 50, np.array(ranges))
    for _ in range(10):
        counting.launch(pool)


@pytest.mark.slow
@pytest.mark.parametrize("threads", SIZES)
def test_launches_are_done_whatever_pauses_lie_between(threads, pool):
    counting = Counting(threads, 50, 2)
    pauses = [0, 0, 1e-5, 1e-4, 2e-4, 5e-4, 2e-3, 0.02]  # from spinning to parked
    for launch in range(80):
        counting.launch(pool)
        time.sleep(pauses[launch % len(pauses)])


@pytest.mark.parametrize("threads", SIZES)
@pytest.mark.parametrize("pause", [0, 0.01])
def test_every_thread_comes_once_with_a_number_of_its_own(threads, pause, pool):
    for _ in range(5):
        assert meet_in(pool, threads) == [1] * threads
        time.sleep(pause)
    assert pool.threads == threads - 1


@pytest.mark.parametrize("parked, threads", [(5, 2), (5, 4), (2, 3)])
def test_a_launch_wakes_as_many_parked_threads_as_it_has_places(parked, threads, pool):
    for _ in range(3):
        assert meet_in(pool, parked + 1, linger=0) == [1] * (parked + 1)
        wait_until(lambda: pool._words[SLEEPERS] == parked)
        assert meet_in(pool, threads, linger=5_000_000) == [1] * threads  # about 0.1 s
        wait_until(lambda: pool._words[SPINNING] == threads - 1)
        assert pool._words[SLEEPERS] == parked - (threads - 1)
        assert meet_in(pool, threads, linger=0) == [1] * threads  # by those that spin
        wait_until(lambda: pool._words[SLEEPERS] == parked)


def test_a_launch_waits_for_nobody_who_does_not_come(monkeypatch, pool):
    monkeypatch.setattr(pool, "_start", lambda threads: None)
    counting = Counting(3, 100, 20)
    for _ in range(3):
        counting.launch(pool)


class Refusal:
    """A `start_new_thread` after so many threads of which there are no more to be had."""

    def __init__(self, after):
        self.left, self.start = after, _thread.start_new_thread

    def __call__(self, *arguments):
        if self.left == 0:
            raise RuntimeError("can't start new thread")
        self.left -= 1
        return self.start(*arguments)


@pytest.mark.parametrize("after", [0, 1])
def test_a_pool_does_without_threads_that_cannot_be_started(after, monkeypatch, pool):
    monkeypatch.setattr(pool_module, "_is_real", lambda start: True)
    monkeypatch.setattr(_thread, "start_new_thread", Refusal(after))
    Counting(4, 100, 20).launch(pool)
    assert pool.threads == after


def test_no_thread_is_started_where_threads_are_greenlets(monkeypatch, pool):
    started = []
    monkeypatch.setattr(_thread, "start_new_thread", lambda *arguments: started.append(arguments))
    Counting(3, 100, 20).launch(pool)
    assert started == [] and pool.threads == 0


@pytest.mark.parametrize("callers", [2, 2 * SLOTS])
def test_launches_of_several_callers_do_not_disturb_each_other(callers, pool):
    failures = []

    def call():
        try:
            counting = Counting(3, 30, 10)
            for _ in range(50):
                counting.launch(pool)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert Counting(2, 10, 1).launch(pool) == 1


def test_a_launch_tells_how_many_were_going_on(pool):
    words = np.zeros(3, np.int64)
    job = np.array([2, words.ctypes.data])
    other = threading.Thread(
        target=pool.launch, args=(meet.address(), job.ctypes.data, 1), daemon=True
    )
    other.start()
    wait_until(lambda: words[0] == 1)  # and there it waits for a second
    assert Counting(1, 10, 1).launch(pool) == 2
    words[0] += 1
    other.join()
    assert Counting(1, 10, 1).launch(pool) == 1


@pytest.mark.parametrize("number", [(1 << 31) - 2, -2, (1 << 31) - 1])
def test_the_number_of_launches_wraps_around(number, pool):
    pool._words[FIRST_SLOT + GATE] = np.int64(number) << NUMBER_SHIFT
    counting = Counting(2, 20, 5)
    for _ in range(6):
        counting.launch(pool)
        assert meet_in(pool, 2) == [1, 1]


def test_the_bell_wraps_around(pool):
    pool._words[0] = np.iinfo(np.int64).max - 2
    for _ in range(6):
        assert meet_in(pool, 2, linger=0) == [1, 1]
        wait_until(lambda: pool._words[SLEEPERS] == 1)


def test_stopped_threads_go(pool):
    meet_in(pool, 3)
    assert pool._words[WORKERS] == 2
    pool.stop()
    assert pool._words[WORKERS] == 0


class Delay:
    """A `start_new_thread` whose threads begin late."""

    def __init__(self, seconds):
        self.seconds, self.start = seconds, _thread.start_new_thread

    def __call__(self, function, arguments):
        def begin():
            time.sleep(self.seconds)
            function(*arguments)

        return self.start(begin, ())


def test_a_pool_stops_when_its_last_thread_has_begun_and_ended(monkeypatch, pool):
    compiled = Pool()  # compiling would take longer than the delay
    Counting(3, 100, 20).launch(compiled)
    compiled.stop()
    monkeypatch.setattr(pool_module, "_is_real", lambda start: True)
    monkeypatch.setattr(_thread, "start_new_thread", Delay(0.1))
    Counting(3, 100, 20).launch(pool)
    pool.stop()
    assert pool._words[STARTED] == 2 and pool._words[WORKERS] == 0
