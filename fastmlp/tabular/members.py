"""Members of an ensemble: each trains on all folds but one, which chooses its best epoch."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import KFold, StratifiedKFold

from fastmlp._engine.threads import available_threads
from fastmlp._estimator import fitted
from fastmlp.tabular.progress import MemberTasks

FOLDS_FOR_ONE = 5  # a single member holds out the first of as many folds
LEAST_HELD_OUT = 2  # rows: early stopping needs as many
LEAST_SECONDS = 1e-3  # of a member whose turn comes when the time is over


class Split(NamedTuple):
    """Indices of the rows that a member trains on, and of those that choose its best epoch."""

    training: np.ndarray
    held_out: np.ndarray


class Samples(NamedTuple):
    """Inputs (n_samples, n_inputs), float32; targets; weights (n_samples,) or None."""

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None

    def part(self, rows: np.ndarray) -> tuple:
        """X, y and weights of some rows."""
        weights = None if self.weights is None else self.weights[rows]
        return self.X[rows], self.y[rows], weights


def splits_of(n_samples: int, labels: np.ndarray | None, n_members: int, seed: int) -> list[Split]:
    """A split for each member.

    A class with fewer rows than folds is never held out. With few rows there are fewer members, so
    that each can hold out `LEAST_HELD_OUT` rows; with very few, one member holds out none.

    Parameters
    ----------
    n_samples : int
    labels : ndarray of int of shape (n_samples,) or None
        Classes, by which the folds are stratified.
    n_members, seed : int
    """
    rows, always = np.arange(n_samples), np.arange(0)
    folds = min(n_members if n_members > 1 else FOLDS_FOR_ONE, n_samples // LEAST_HELD_OUT)
    if labels is not None:
        is_rare = np.bincount(labels)[labels] < folds
        rows, always, labels = rows[~is_rare], rows[is_rare], labels[~is_rare]
    if folds < 2 or len(rows) < LEAST_HELD_OUT * folds:
        return [Split(np.arange(n_samples), np.arange(0))]
    kind = KFold if labels is None else StratifiedKFold
    pairs = kind(folds, shuffle=True, random_state=seed).split(rows, labels)
    splits = [Split(np.concatenate([rows[a], always]), rows[b]) for a, b in pairs]
    return splits[:n_members]


class Turn(NamedTuple):
    """When a member is fitted.

    Attributes
    ----------
    number, members : int
        Its number, from 1 on, and that of all members.
    rounds : int
        How many members its thread has still to fit, this one included.
    deadline : float
        When all must be done, on the clock of `time.monotonic`; infinity for no limit.
    is_verbose : bool
        Whether to print a line when it is done.
    """

    number: int
    members: int
    rounds: int
    deadline: float
    is_verbose: bool

    def seconds(self) -> float | None:
        """The time for this member, beginning now; None for no limit."""
        left = self.deadline - time.monotonic()
        return None if left == np.inf else max(left / self.rounds, LEAST_SECONDS)


def fit_members(
    members: list,
    samples: Samples,
    splits: list[Split],
    n_jobs: int | None,
    *,
    deadline: float = np.inf,
    is_verbose: bool = False,
    tasks: Sequence[MemberTasks | None] = (),
) -> list:
    """Fit each member to its split, side by side; None for those that a callback has prevented.

    The result depends neither on `n_jobs` nor, if there is time enough, on `deadline`.

    Parameters
    ----------
    members : list of MLPClassifier or MLPRegressor
        Not fitted yet.
    samples : Samples
    splits : list of Split
    n_jobs : int or None
        The maximum number of threads, as for `MLPClassifier`.
    deadline : float, default=infinity
        As in `Turn`.
    is_verbose : bool, default=False
        As in `Turn`.
    tasks : sequence of MemberTasks or None, default=()
        Callbacks, for each member.
    """
    threads, count = available_threads(n_jobs), len(members)
    workers = min(threads, count)
    # A member alone on its thread never waits for others, as the threads of one fit do.
    run = Parallel(workers, require="sharedmem")
    calls = (
        delayed(_fit)(
            member.set_params(n_jobs=threads // workers),
            samples,
            split,
            Turn(index + 1, count, -(-(count - index) // workers), deadline, is_verbose),
            each_tasks,
        )
        for index, (member, split, each_tasks) in enumerate(
            zip(members, splits, tasks or [None] * count, strict=True)
        )
    )
    return list(run(calls))


def _fit(member, samples: Samples, split: Split, turn: Turn, tasks: MemberTasks | None) -> Any:
    """Fit a member, without the warnings: it ends with its last epoch, or with the time."""
    if tasks is not None and tasks.is_stopped():
        return None
    member.set_params(max_time=turn.seconds())
    X, y, weights = samples.part(split.training)
    validation = None, None, None
    if len(split.held_out):
        validation = samples.part(split.held_out)
    else:
        member.set_params(early_stopping=False)
    draft = fitted.draft_of(member)
    draft._fit(X, y, weights, validation=validation, tasks=tasks)
    if tasks is not None:
        tasks.abandon_epoch()
    if turn.is_verbose:
        print(f"Member {turn.number} of {turn.members}: {draft.n_iter_} epochs", end="")
        best = draft.best_validation_score_
        print("" if best is None else f", best validation score {best:g}")
    return fitted.commit(member, draft)
