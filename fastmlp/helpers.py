"""Who helps with a prediction: threads that wait near while one follows quickly on another."""

import os
import threading
from collections.abc import Callable
from time import perf_counter
from weakref import ref

from fastmlp.engine import team
from fastmlp.engine.team import Helped
from fastmlp.network import Network

# Predictions no further apart are a quick succession: as long as helpers linger at most, which
# find the next one without a call then. A call takes some 60 us to wake them.
QUICK_SECONDS = 200e-6
# After two threads have predicted at once, so long do they without helpers that linger, for which
# there is no core.
CROWDED_SECONDS = 1.0


class Crew:
    """What a network's predictions need, and helpers for them.

    Parameters
    ----------
    workspace : Workspace
    helped : Helped
        With the prediction kernel and this workspace as its arguments.
    n_jobs : int or None
        The limit that its threads came from.
    available : int
        The threads that this allowed.
    """

    def __init__(self, workspace, helped: Helped, n_jobs: int | None, available: int):
        self.workspace, self.helped = workspace, helped
        self.n_jobs, self.available = n_jobs, available

    def fits(self, n_jobs: int | None, worth: int) -> bool:
        """Whether this is a crew for work that is worth so many threads."""
        wanted = min(worth, self.available)
        return self.n_jobs == n_jobs and wanted <= self.helped.threads <= 2 * wanted


class Nearby:
    """The crew that has predicted last, for one thread of the process at a time.

    Helpers are called for work that is worth the wait, and for any in a quick succession of
    predictions by one network. Where several threads predict, or a fit runs, nobody lingers.
    """

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Begin anew, as after a fork, which leaves the helpers behind."""
        self._turn = threading.Lock()
        self._network = lambda: None
        self._crew = None
        self._last = self._crowded_until = -float("inf")

    def begin(self, network: Network) -> bool:
        """Whether it is this thread's turn; then `end` must follow."""
        now = perf_counter()
        if not self._turn.acquire(blocking=False):
            self._crowded_until = now + CROWDED_SECONDS
            return False
        if now < self._crowded_until or team.is_any_at_work():
            self._turn.release()
            return False
        if self._network() is not network:
            self._dismiss()
            self._network = ref(network, self._lose)
            self._last = -float("inf")
        self._is_quick = now - self._last < QUICK_SECONDS
        return True

    def end(self) -> None:
        """Let others have their turn."""
        self._last = perf_counter()
        self._turn.release()

    def crew(
        self, n_jobs: int | None, worth: int, is_worth_a_call: bool, make: Callable[[], Crew]
    ) -> Crew | None:
        """The crew for a prediction, helpers near or called; None if it is better done alone.

        Parameters
        ----------
        n_jobs : int or None
        worth : int
            Threads that the work is worth if they are near, more than 1.
        is_worth_a_call : bool
            Whether it is worth the wait for those that are asleep.
        make : callable
            Makes a crew.
        """
        crew = self._crew
        if crew is not None and crew.fits(n_jobs, worth):
            if crew.helped.are_near():
                return crew
        else:
            crew = None
        if not is_worth_a_call and not self._is_quick:
            return None
        if crew is None:
            self._dismiss()
            crew = self._crew = make()
        crew.helped.call()
        return crew

    def _dismiss(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.helped.dismiss()

    def _lose(self, network: ref) -> None:
        """Keep no crew of a network that is gone."""
        if self._network is network:
            self._crew = None


nearby = Nearby()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=nearby.forget)
