"""Threads that run one kernel together, launch after launch; what happens within is in `launch`.

The calling thread is number 0 and works too. The others live as long as the team: between two
launches each waits inside the kernel, without the GIL, for some microseconds, and after that in
Python, asleep. For a single launch there are helpers, who wait asleep until they are called.
"""

import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastmlp._engine.jit.cache import entry_point
from fastmlp._engine.threading.placement import Sleepers
from fastmlp._engine.threading.work_stealing import (
    GATE,
    NUMBER,
    OPEN,
    SERVED,
    STOP,
    THREAD_SLOTS,
    THREADS,
    new_sync,
)

_at_work = {}  # the teams, by their ids


def is_any_at_work() -> bool:
    """Whether a team exists, whose threads expect the cores for themselves."""
    return bool(_at_work)


class Team:
    """Run ``kernel(thread, sync, *arguments)`` on several threads at once, as often as launched.

    Parameters
    ----------
    kernel : callable
        Compiled without the GIL. Each launch begins with `join` and ends with `leave`. Thread 0
        returns after it; the others may wait for further ones, and return when `join` is False.
    arguments : tuple
        The same for every launch; what changes between launches changes inside them.
    threads : int
        How many, the caller's included.
    real : numpy.float32 or numpy.float64, optional
        The working type from which the arguments' types follow, see `cache.entry_point`. Without
        it the kernel may be any callable.

    Notes
    -----
    A context manager: leaving it ends and joins the threads. An exception in a thread releases
    the others from waiting for it and is raised by `launch`.
    """

    def __init__(self, kernel, arguments: tuple, threads: int, real: type | None = None):
        self._arguments = arguments
        self._sync = new_sync(threads)
        if real is not None:
            kernel = entry_point(kernel, real, (0, self._sync, *arguments))
        self._kernel = kernel
        self._launches = 0
        self._condition = threading.Condition()
        self._failure = None
        self._sleepers = Sleepers()
        self._cpus = None  # that the threads may have when they wake, as `keep_away` tells
        self._threads = [
            threading.Thread(target=self._serve, args=(thread,), name=f"fastmlp-{thread}")
            for thread in range(1, threads)
        ]

    def __enter__(self) -> "Team":
        started = []
        try:
            _at_work[id(self)] = self
            for thread in self._threads:
                thread.daemon = True  # an interpreter that exits amid a fit must not hang
                thread.start()
                started.append(thread)
                self._sleepers.add(thread.native_id)
        except RuntimeError:  # no more threads to be had: those that are will do
            self._threads = started
        except BaseException:
            self._threads = started
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception) -> None:
        _at_work.pop(id(self), None)
        self._stop()
        for thread in self._threads:
            thread.join()

    def launch(self) -> None:
        """Run the kernel once, on every thread that comes in time; return when all have left it."""
        with self._condition:
            self._cpus = self._sleepers.keep_away()
            self._launches += 1
            self._condition.notify_all()
        try:
            self._kernel(0, self._sync, *self._arguments)
        except BaseException:
            self._stop()
            raise
        if self._failure is not None:
            raise self._failure

    def _stop(self) -> None:
        self._sync[STOP] = 1
        with self._condition:
            self._condition.notify_all()

    def _is_asked(self, thread: int) -> bool:
        """Whether a launch is about to open, or open and not joined by this thread."""
        gate = int(self._sync[GATE])
        joined = self._sync[THREADS + thread * THREAD_SLOTS + SERVED]
        return self._launches > gate >> NUMBER or (gate & OPEN != 0 and gate >> NUMBER > joined)

    def _serve(self, thread: int) -> None:
        try:
            while True:
                with self._condition:
                    self._sleepers.add(threading.get_native_id())
                    self._condition.wait_for(lambda: self._is_asked(thread) or self._sync[STOP])
                    if self._sync[STOP]:
                        return
                    self._sleepers.wake(self._cpus)
                self._kernel(thread, self._sync, *self._arguments)
        except BaseException as failure:
            self._failure = failure
            self._stop()


@functools.cache
def _helpers() -> tuple[ThreadPoolExecutor, Sleepers]:
    """Threads for single launches, started when first needed, and those that sleep."""
    executor = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="fastmlp_helper")
    return executor, Sleepers()


def _forget_threads() -> None:
    """Begin anew after a fork: a child has none of its parent's threads."""
    _helpers.cache_clear()
    for team in _at_work.values():
        team._sleepers.forget()
    _at_work.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


class Helped:
    """Launches of a kernel with those of the helping threads that come in time.

    Parameters are those of `Team`; `threads` is how many at most, the caller's included. Helpers
    come only when they are called. They linger as long as launches follow closely on each other.
    """

    def __init__(self, kernel, arguments: tuple, threads: int, real: type):
        self.threads = threads
        self._arguments, self._sync = arguments, new_sync(threads)
        self._run = entry_point(kernel, real, (0, self._sync, *arguments))
        self._asked = []

    def call(self) -> bool:
        """Ask all helpers to come, unless some that were asked before are not gone.

        Returns whether that could be done. If not, this must not be used any more: somebody may
        come whom it does not know of.
        """
        if not all(each.done() for each in self._asked):
            return True
        self._asked = []
        try:
            executor, sleepers = _helpers()
            cpus = sleepers.keep_away()
            for thread in range(1, self.threads):
                arguments = thread, self._sync, *self._arguments
                self._asked.append(executor.submit(_help, sleepers, cpus, self._run, *arguments))
        except RuntimeError:  # no more threads to be had, or the interpreter is about to end
            self.dismiss()
            _helpers.cache_clear()  # it would keep what nobody came for
            return False
        return True

    def are_near(self) -> bool:
        """Whether helpers are here, or about to come or to go."""
        return any(each.running() for each in self._asked)

    def launch(self) -> None:
        """Run the kernel once, on this thread and all that are here."""
        self._run(0, self._sync, *self._arguments)

    def dismiss(self) -> None:
        """Send the helpers away for good."""
        self._sync[STOP] = 1
        for each in self._asked:
            each.cancel()


def _help(sleepers: Sleepers, cpus: set[int] | None, run: Callable, *arguments):
    """Run a kernel on a helper, which may have these CPUs."""
    sleepers.wake(cpus)
    try:
        return run(*arguments)
    finally:
        sleepers.add(threading.get_native_id())


def run_once(kernel, arguments: tuple, threads: int, real: type) -> None:
    """One launch of a kernel, with helpers, who are sent away after it.

    Parameters are those of `Helped`.
    """
    helped = Helped(kernel, arguments, threads, real)
    try:
        if not helped.call():
            helped = Helped(kernel, arguments, threads, real)
        helped.launch()
    finally:
        helped.dismiss()
