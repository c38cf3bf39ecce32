"""Who helps with a prediction: threads that wait near while one follows quickly on another."""

import os
import threading
from collections.abc import Callable
from time import perf_counter
from weakref import ref

from fastmlp._engine.network import Network
from fastmlp._engine.threading import team
from fastmlp._engine.threading.team import Helped
from fastmlp._engine.threads import available_threads

# Predictions no further apart are a quick succession: as long as helpers linger at most, which
# find the next one without a call then. A call takes some 60 us to wake them.
QUICK_SECONDS = 200e-6
# After two threads have predicted at once, or a call found no second CPU, so long do they without
# helpers that linger, for which there is no core.
ALONE_SECONDS = 1.0


class Crew:
    """What predictions by a network need.

    Parameters
    ----------
    workspace : Workspace
    helped : Helped
        With the prediction kernel and this workspace as its arguments.
    """

    def __init__(self, workspace, helped: Helped):
        self.workspace, self.helped = workspace, helped

    def fits(self, threads: int) -> bool:
        """Whether this has so many threads, and not so many that most spin for nothing."""
        return threads <= self.helped.threads <= 2 * threads


class Turn:
    """That a thread has the crew, as long as this lives: an interrupt may come at any moment."""

    __slots__ = ("__weakref__",)


def _nothing() -> None:
    """Stand for a weak reference to what is gone."""


class Nearby:
    """The crew that has predicted last, for one thread of the process at a time.

    Helpers are called in a quick succession of small predictions by one network; larger ones call
    for themselves. Where several threads predict, or a fit runs, nobody lingers.
    """

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a fork, which leaves the helpers behind."""
        self._lock = threading.Lock()
        self._turn = self._network = _nothing
        self._crew = None
        self._limit = None, 1  # n_jobs, and the threads that it allowed
        self._is_quick = False  # of the present turn
        self._last = self._alone_until = -float("inf")

    def begin(self, network: Network) -> Turn | None:
        """A turn of this thread, to be kept and ended, if it may have one."""
        now = perf_counter()
        with self._lock:
            if self._turn() is not None:
                self._alone_until = now + ALONE_SECONDS
                return None
            if now < self._alone_until or team.is_any_at_work():
                return None
            if self._network() is not network:
                self._dismiss()
                self._network = ref(network, self._lose)
                self._last = -float("inf")
            self._is_quick = now - self._last < QUICK_SECONDS
            turn = Turn()
            self._turn = ref(turn)
            return turn

    def end(self) -> None:
        """Let others have their turn."""
        self._last = perf_counter()
        self._turn = _nothing

    def crew(self, n_jobs: int | None, worth: int, make: Callable[[int], Crew]) -> Crew | None:
        """The crew for a prediction, helpers near or called; None if it is better done alone.

        Parameters
        ----------
        n_jobs : int or None
        worth : int
            Threads that the work is worth if they are near, more than 1.
        make : callable
            Makes a crew of so many threads.
        """
        crew, (known, available) = self._crew, self._limit
        is_known = crew is not None and n_jobs == known
        if is_known and crew.fits(min(worth, available)) and crew.helped.are_near():
            return crew
        if not self._is_quick:
            return None
        self._limit = n_jobs, available_threads(n_jobs)
        threads = min(worth, self._limit[1])
        if threads == 1:
            self._alone_until = perf_counter() + ALONE_SECONDS
            return None
        if crew is None or not crew.fits(threads):
            self._dismiss()
            crew = make(threads)
        self._crew = None  # not one whose call fails
        if not crew.helped.call():
            return None
        self._crew = crew
        return crew

    def _dismiss(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.helped.dismiss()

    def _lose(self, network: ref) -> None:
        """Keep no crew of a network that is gone. Its helpers go by themselves, at any moment."""
        if self._network is network:
            self._crew = None


nearby = Nearby()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=nearby.forget)
