"""BaseDaskMLP: what the estimators for a Dask cluster share. Data on it in, lazy arrays out."""

from dataclasses import replace
from typing import Any, ClassVar

import dask
import dask.array as da
import numpy as np
from distributed import Client, default_client
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted, check_scalar

from fastmlp._compat.sklearn import fit_context
from fastmlp._estimator import fitted
from fastmlp._estimator.base import BaseMLP
from fastmlp._estimator.given_weights import GivenWeights
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._training.loop import batch_size_clipped, descend
from fastmlp._training.optimizer import OptimizerState
from fastmlp._training.solve import Problem, Solution
from fastmlp.dask.local_sgd import ClusterDescent
from fastmlp.dask.partitions import (
    gather_rows,
    in_one_column_block,
    make_shard,
    matching_partitions,
    representative,
    row_blocks,
    shares_of_weights,
    summarize,
)


class BaseDaskMLP(BaseMLP):
    """What classifier and regressor share. Each names its type for one machine."""

    _local_type: ClassVar[type]

    @property
    def client(self) -> Client:
        """The client that `fit` computes with."""
        return self.__dict__.get("_client") or default_client()

    @client.setter
    def client(self, client: Client) -> None:
        self._client = client

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X, y, sample_weight=None, *, n_replicas=None, coefs_init=None, intercepts_init=None
    ):
        """Train from the start or, with warm_start, from the last solution.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            Partitions of rows that follow each other are gathered into one shard for each
            replica; a shard must fit into its worker's memory. An array is rechunked where its
            columns are divided. Float32 is trained on as float32, everything else as float64.
        y : dask array, series or data frame of shape (n_samples,) or (n_samples, n_outputs)
            In the partitions of X. Arrays whose chunk sizes are known are rechunked to them.
        sample_weight : dask array or series of shape (n_samples,), default=None
            As y.
        n_replicas : int, default=None
            Replicas that train at the same time; None for one on each worker. Never more than
            there are partitions.
        coefs_init : list of array-like or estimator, default=None
            Initial weights, as on one machine.
        intercepts_init : list of array-like, default=None
            Initial biases, as on one machine.

        Returns
        -------
        DaskMLPClassifier or DaskMLPRegressor
            This one.

        Raises
        ------
        TypeError
            If X, y or sample_weight is no Dask collection.
        ValueError
            If partitions don't fit each other; for what `fit` on one machine refuses; and for
            solver 'lbfgs', early_stopping and class_weight, which need all rows in one place.
        RuntimeError
            If data were lost with a worker that Dask cannot compute again. What it can is
            computed again, the round repeated, and the model the same.
        """
        self._refuse_what_needs_all_rows()
        if n_replicas is not None:
            check_scalar(n_replicas, "n_replicas", int, min_val=1)
        draft = fitted.draft_of(self)
        draft._gather(matching_partitions(X, y, sample_weight), n_replicas)
        X, y = representative([each for _, each in draft._rows], is_classifier(self))
        given = GivenWeights(coefs_init, intercepts_init)
        return fitted.commit(self, draft, draft._fit(X, y, None, given))

    def _refuse_what_needs_all_rows(self) -> None:
        refused = {
            "solver='lbfgs'": self.solver == "lbfgs",
            "early_stopping=True": self.early_stopping,
            "initialization='data'": self.initialization == "data",
            "class_weight": getattr(self, "class_weight", None) is not None,
        }
        for what, is_asked in refused.items():
            if is_asked:
                raise ValueError(f"{type(self).__name__} does not support {what}")

    def _gather(self, blocks: list[tuple], n_replicas: int | None) -> None:
        """Let the workers gather and validate the replicas' rows, and keep their summaries."""
        client, model = self.client, self._local_type(**self.get_params())
        n_replicas = min(n_replicas or max(1, len(client.ncores())), len(blocks))
        groups = np.array_split(np.arange(len(blocks)), n_replicas)
        gather = dask.delayed(gather_rows, pure=False)
        # No worker is asked for: Dask leaves tasks undone whose worker dies when no other is there.
        rows = client.compute([gather(model, [blocks[i] for i in group]) for group in groups])
        summaries = client.map(summarize, rows, is_classification=is_classifier(self), pure=False)
        summaries = client.gather(summaries)
        self._rows = [pair for pair in zip(rows, summaries, strict=True) if pair[1] is not None]
        if not self._rows:
            raise ValueError("X has no rows")

    def _solve(self, problem: Problem) -> Solution:
        """Train by local SGD on the rows gathered; the problem's samples only stand for them."""
        rows, summaries = zip(*self.__dict__.pop("_rows"), strict=True)
        n_samples = sum(each.n_samples for each in summaries)
        shares = [
            (of_weights, each.n_samples / n_samples)
            for of_weights, each in zip(shares_of_weights(summaries), summaries, strict=True)
        ]
        network, history = problem.network, problem.history
        settings = problem.settings
        warnings = [batch_size_clipped()] if settings.clips_batches(n_samples) else []
        settings = replace(settings, batch_size=settings.batch_rows(n_samples))
        model = self.to_local()
        shards = self.client.map(make_shard, rows, model=model, dtype=network.dtype, pure=False)
        del rows
        state = OptimizerState.begin(network, problem.settings)
        cluster = ClusterDescent(
            self.client, network, settings, self.out_activation_, shards, shares, n_samples, state
        )
        warnings += descend(cluster, history, problem.random_state)
        return Solution(network, {"_optimizer": state}, warnings, history)

    @property
    def partial_fit(self):
        """Not there: `fit` with warm_start goes on from the last solution.

        Raises
        ------
        AttributeError
            Always.
        """
        raise AttributeError(f"{type(self).__name__} has no partial_fit; set warm_start and fit")

    def to_local(self):
        """The estimator for one machine, of the same parameters and in the same state.

        Returns
        -------
        MLPClassifier or MLPRegressor
            With arrays of its own.
        """
        local = self._local_type()
        local.__setstate__(self.__getstate__())
        return local

    def _by_block(self, method: str, X) -> da.Array:
        """A method of the local estimator, applied lazily to each block of rows."""
        check_is_fitted(self)
        local = self.to_local()
        X = in_one_column_block(X, "X")
        if isinstance(X, da.Array):
            row, lengths = np.zeros((1, X.shape[1]), X.dtype), X.chunks[0]
        else:
            from dask.dataframe.utils import meta_nonempty  # needs pandas, as X does

            row, lengths = meta_nonempty(X._meta), [np.nan] * X.npartitions
        empty = getattr(local, method)(row)[:0]  # and refuses X of other features at once
        model, apply = dask.delayed(local, pure=False), dask.delayed(_apply, pure=False)
        predictions = [
            da.from_delayed(
                apply(block, model, method, empty), (length, *empty.shape[1:]), meta=empty
            )
            for block, length in zip(row_blocks(X), lengths, strict=True)
        ]
        return da.concatenate(predictions, allow_unknown_chunksizes=True)

    def predict(self, X) -> da.Array:
        """Predict labels or values, lazily.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            The samples.

        Returns
        -------
        dask array of shape (n_samples,) or (n_samples, n_outputs)
            In the blocks of X.

        Raises
        ------
        TypeError
            If X is no Dask collection; `to_local` predicts for data in memory.
        """
        return self._by_block("predict", X)

    def score(self, X, y, sample_weight=None) -> float:
        """Accuracy, or R2 of a regressor.

        Parameters
        ----------
        X : dask array or data frame of shape (n_samples, n_features)
            The samples.
        y : dask array, series or data frame of shape (n_samples,) or (n_samples, n_outputs)
            Their labels or values, which must fit in memory here, as must the predictions.
        sample_weight : dask array or series of shape (n_samples,), default=None
            Their weights, which must fit in memory here; None means 1.

        Returns
        -------
        float
            At most 1, for perfect predictions.
        """
        predictions = self.predict(X).compute()
        y, sample_weight = dask.compute(y, sample_weight)
        targets = kind_of_targets(self).of(fitted.completed(self))
        return targets.score(np.asarray(y), predictions, sample_weight)

    def __getstate__(self) -> dict[str, Any]:
        """As on one machine; the client stays here."""
        state = super().__getstate__()
        state.pop("_client", None)
        return state


def _apply(block, model, method: str, empty: np.ndarray) -> np.ndarray:
    """Predictions for the rows of a block, which may be none."""
    return getattr(model, method)(block) if block.shape[0] else empty
