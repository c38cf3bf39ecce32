"""A fit as scikit-learn's callbacks see it: one task, with a subtask for every epoch."""

from collections.abc import Callable
from typing import Any, Self


class FitTasks:
    """Calls the hooks of an estimator's callbacks.

    Parameters
    ----------
    context : CallbackContext
        Of the fit.
    arguments : dict
        Of all hooks.

    Notes
    -----
    The protocol is that of :mod:`sklearn.callback`. The decorator of `fit` always tears callbacks
    down.
    """

    def __init__(self, context: Any, arguments: dict):
        self._fit, self._arguments = context, arguments
        self._epoch: Any = None
        self._snapshot: Callable[[], dict] | None = None

    @classmethod
    def of(cls, estimator, X, y, sample_weight, **options) -> Self | None:
        """Set up the callbacks of an estimator; None if it has none.

        X, y and sample_weight are as the user passed them to `fit`. Options are for the context of
        the fit; by default, at most `max_iter` epochs run one after another.
        """
        if not hasattr(estimator, "_skl_callbacks"):
            return None
        context = estimator._init_callback_context(**{"max_subtasks": estimator.max_iter} | options)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        return cls(context, {"estimator": estimator, "X": X, "y": y, "metadata": metadata})

    def begin(self, snapshot: Callable[[], dict] | None) -> None:
        """Begin the fit; `snapshot` returns the attributes as if the fit ended at that moment."""
        self._snapshot = snapshot
        self._fit.call_on_fit_task_begin(**self._arguments, reconstruction_attributes=snapshot)

    def begin_epoch(self) -> None:
        """Begin an epoch, unless one is running."""
        if self._epoch is None:
            self._epoch = self._epoch_context()
            self._epoch.call_on_fit_task_begin(
                **self._arguments, reconstruction_attributes=self._snapshot
            )

    def _epoch_context(self) -> Any:
        """The context of the next epoch."""
        return self._fit.subcontext(task_name="epoch")

    def end_epoch(self) -> bool:
        """End the epoch; return whether a callback wants the fit to stop."""
        epoch, self._epoch = self._epoch, None
        return epoch.call_on_fit_task_end(
            **self._arguments, reconstruction_attributes=self._snapshot
        )

    def abandon_epoch(self) -> None:
        """End an epoch that was interrupted, if there is one: there is nothing to report."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            epoch.call_on_fit_task_end(estimator=self._arguments["estimator"])

    def end(self, attributes: dict) -> None:
        """End the fit, after which the estimator has these attributes."""
        self.abandon_epoch()
        self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes=attributes)
