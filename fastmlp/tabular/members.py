"""Members of an ensemble: each trains on all folds but one, which chooses its best epoch."""

from typing import Any, NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import KFold, StratifiedKFold

from fastmlp._engine.threads import available_threads
from fastmlp._estimator import fitted

FOLDS_FOR_ONE = 5  # a single member holds out the first of as many folds
LEAST_HELD_OUT = 2  # rows: early stopping needs as many


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


def fit_members(members: list, samples: Samples, splits: list[Split], n_jobs: int | None) -> list:
    """Fit each member to its split, side by side; the result does not depend on `n_jobs`.

    Parameters
    ----------
    members : list of MLPClassifier or MLPRegressor
        Not fitted yet.
    samples : Samples
    splits : list of Split
    n_jobs : int or None
        The maximum number of threads, as for `MLPClassifier`.
    """
    threads = available_threads(n_jobs)
    workers = min(threads, len(members))
    # A member alone on its thread never waits for others, as the threads of one fit do.
    run = Parallel(workers, prefer="threads")
    tasks = (
        delayed(_fit)(member.set_params(n_jobs=threads // workers), samples, split)
        for member, split in zip(members, splits, strict=True)
    )
    return list(run(tasks))


def _fit(member, samples: Samples, split: Split) -> Any:
    """Fit a member, without the warnings: it always ends with its last epoch."""
    X, y, weights = samples.part(split.training)
    validation = None, None, None
    if len(split.held_out):
        validation = samples.part(split.held_out)
    else:
        member.set_params(early_stopping=False)
    draft = fitted.draft_of(member)
    draft._fit(X, y, weights, validation=validation)
    return fitted.commit(member, draft)
