"""A fit of several members as scikit-learn's callbacks see it: one task, with all their epochs."""

from collections.abc import Callable
from itertools import count
from threading import Lock
from typing import Any, Self

from fastmlp._training.callbacks import FitTasks


class EnsembleTasks(FitTasks):
    """Calls the hooks of an estimator's callbacks, one at a time, whichever member is at work.

    Attributes
    ----------
    is_stopped : bool
        Whether members shall end with their epoch.
    is_closed : bool
        Whether no hook may be called in a member any more.
    """

    def __init__(self, context: Any, arguments: dict):
        super().__init__(context, arguments)
        self.lock = Lock()
        self.is_stopped = self.is_closed = False

    @classmethod
    def of(cls, estimator, X, y, sample_weight, **options) -> Self | None:
        """Set up the callbacks of an estimator for tables; None if it has none."""
        # Members train side by side. How many there are is known once X and y have been read.
        options = {"max_subtasks": None, "sequential_subtasks": False} | options
        return super().of(estimator, X, y, sample_weight, **options)

    def close(self) -> None:
        """Call no more hooks in members: if one fails, others are still at work."""
        with self.lock:
            self.is_stopped = self.is_closed = True

    def begin_members(self, members: int, epochs: int) -> None:
        """Begin the fit of so many members with so many epochs each."""
        self._fit.max_subtasks = members * epochs
        self.begin(None)

    def of_member(self, first_epoch: int, with_member: Callable[[dict], dict]) -> "MemberTasks":
        """The tasks of a member; see `MemberTasks`."""
        return MemberTasks(self, self._fit, self._arguments, first_epoch, with_member)


class MemberTasks(FitTasks):
    """The epochs of one member, as subtasks of the ensemble's fit.

    Parameters
    ----------
    ensemble : EnsembleTasks
    context : CallbackContext
        Of the ensemble's fit.
    arguments : dict
        Of all hooks.
    first_epoch : int
        The number of the member's first epoch among those of all members.
    with_member : callable
        Takes the attributes of a member; returns those of the ensemble if it had no other member.
    """

    def __init__(
        self,
        ensemble: EnsembleTasks,
        context: Any,
        arguments: dict,
        first_epoch: int,
        with_member: Callable[[dict], dict],
    ):
        super().__init__(context, arguments)
        self._ensemble, self._with_member = ensemble, with_member
        self._numbers = count(first_epoch)

    def is_stopped(self) -> bool:
        """Whether the member is not to begin."""
        return self._ensemble.is_stopped

    def begin(self, snapshot: Callable[[], dict] | None) -> None:
        """Begin the member; `snapshot` returns its attributes as if it ended at that moment."""
        self._snapshot = None if snapshot is None else lambda: self._with_member(snapshot())

    def _epoch_context(self) -> Any:
        return self._fit.subcontext(task_name="epoch", task_id=next(self._numbers))

    def begin_epoch(self) -> None:
        """Begin an epoch."""
        with self._ensemble.lock:
            if not self._ensemble.is_closed:
                super().begin_epoch()

    def end_epoch(self) -> bool:
        """End the epoch; return whether a callback has ended the fit, in this member or another."""
        with self._ensemble.lock:
            if not self._ensemble.is_closed:
                self._ensemble.is_stopped |= super().end_epoch()
            return self._ensemble.is_stopped

    def abandon_epoch(self) -> None:
        """End an epoch that was interrupted, if there is one."""
        with self._ensemble.lock:
            if not self._ensemble.is_closed:
                super().abandon_epoch()
