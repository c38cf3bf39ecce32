"""Local SGD: replicas of one network train on shards of the data and are averaged every round.

A round is one epoch: every replica begins with the same parameters and optimizer state, trains on
its own shard with the engine, and hands back what came out, of which the mean, weighted by
samples, begins the next round (McMahan et al., "Communication-efficient learning of deep networks
from decentralized data", 2017; Stich, "Local SGD converges fast and communicates little", 2019).

What crosses the network
------------------------
With P parameters of b bytes and m moments (Adam 2, SGD with momentum 1, without 0), a snapshot is
S = P b (1 + m) bytes. Each round, every one of R replicas fetches one snapshot and hands one back:
2 R S in all, whatever the number of samples. For 784-100-10 with Adam in float32, P = 79,510 and
S = 0.95 MB. Sums form a tree of fan-in k = 8, so no machine receives more than k S for any level,
and the client sees one snapshot in each direction, not R.

On paper, for 1,000 workers with 10 Gbit/s (1.25 GB/s) each: 2 x 0.95 GB cross the network in all;
up, the tree has 4 levels of 8 x 0.95 MB / 1.25 GB/s = 6 ms each, 24 ms; down, copies double at
each of 10 steps of 0.8 ms, 8 ms. Scheduling takes longest: 1,144 tasks at up to 1 ms, which Dask's
manual allows a task, make 1.1 s. So a round costs some 1.2 s beside its training, which is 90 % of
the time where it takes 11 s: at 1 microsecond a row, 10 million rows for each worker and 10
billion for all. With fewer rows take fewer workers, of more threads each. Volume grows with R,
time with log R but for the scheduler's.
"""

from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from distributed import Client, Future, get_worker

from fastmlp._engine.inputs import rows_in_place
from fastmlp._engine.network import Network
from fastmlp._engine.threads import available_threads
from fastmlp._training.loop import TimeLimit
from fastmlp._training.optimizer import OptimizerState, Settings
from fastmlp._training.sgd import Descent

FAN_IN = 8  # snapshots added by one task
MOST_ATTEMPTS = 5  # at one round, before lost data are taken to be lost for good
# What a client meets when the only copy of something, or the other end of a line, has died.
LOST = (CancelledError, OSError)
LARGEST_SEED = 2**31 - 1


@dataclass
class Shard:
    """The rows of one replica, as `sgd.Descent` takes them, on one worker."""

    X: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray | None


@dataclass
class Snapshot:
    """What a round begins with, and what comes out of it.

    Attributes
    ----------
    vectors : ndarray of shape (1 + n_moments, n_parameters)
        Packed parameters, then the optimizer's moments.
    step : int
        Updates done, by the replica that did most.
    loss : float
    """

    vectors: np.ndarray
    step: int
    loss: float

    @classmethod
    def of(cls, network: Network, state: OptimizerState, loss: float) -> "Snapshot":
        """Of a network and what its optimizer carries."""
        vectors = [each.pack() for each in (network, *state.moments)]
        return cls(np.stack(vectors), state.step, loss)

    def write_to(self, network: Network, state: OptimizerState) -> None:
        """Put it into a network and its optimizer's state."""
        for each, vector in zip((network, *state.moments), self.vectors, strict=True):
            each.unpack(vector)
        state.step = self.step


def add_snapshots(snapshots: list[Snapshot]) -> Snapshot:
    """The sum of weighted snapshots, in the order given."""
    total = snapshots[0].vectors.copy()
    for other in snapshots[1:]:
        total += other.vectors
    step = max(each.step for each in snapshots)
    return Snapshot(total, step, sum(each.loss for each in snapshots))


@dataclass(frozen=True)
class Epoch:
    """What all replicas need to know of a round.

    Attributes
    ----------
    layer_sizes : tuple of int
    settings : Settings
        Their n_jobs counts a replica's share of its worker's threads.
    begun : Settings
        Of the optimizer's first call.
    output : str
    learning_rate : float
    replicas_per_worker : int
    number : int
        Epochs done before.
    dropout_seed : int
        The replicas drop the same units: those of the row's place in its batch.
    """

    layer_sizes: tuple[int, ...]
    settings: Settings
    begun: Settings
    output: str
    learning_rate: float
    replicas_per_worker: int
    number: int
    dropout_seed: int


def train_shard(
    shard: Shard, seed: int | None, shares: tuple[float, float], snapshot: Snapshot, epoch: Epoch
) -> Snapshot:
    """One replica's round: an epoch on its shard.

    Parameters
    ----------
    shard : Shard
    seed : int or None
        Of the shuffle; None keeps the rows' order.
    shares : (float, float)
        The replica's part of all sample weights and of all rows.
    snapshot : Snapshot
        Where to begin; left as it is.
    epoch : Epoch

    Returns
    -------
    Snapshot
        Times the replica's share, ready to be added to the others'.
    """
    dtype = snapshot.vectors.dtype
    network = Network(epoch.layer_sizes, dtype)
    moments = [Network(epoch.layer_sizes, dtype) for _ in snapshot.vectors[1:]]
    cpus = max(1, get_worker().state.nthreads // epoch.replicas_per_worker)
    threads = available_threads(epoch.settings.n_jobs, cpus)
    settings = replace(epoch.settings, n_jobs=threads, max_time=None)
    state = OptimizerState(
        epoch.begun, epoch.begun.update_rule, epoch.learning_rate, 0, moments, epoch.number
    )
    snapshot.write_to(network, state)
    X = rows_in_place(shard.X, dtype)  # Dask may have moved it to an odd address
    data = X, shard.targets, shard.sample_weight
    order = None if seed is None else np.random.RandomState(seed).permutation(X.shape[0])
    with Descent(network, settings, epoch.output, *data, state, order, epochs=1) as descent:
        descent.draw_seed(np.random.RandomState(epoch.dropout_seed))
        loss = descent.epoch()
    result = Snapshot.of(network, state, loss * shares[1])
    result.vectors *= dtype.type(shares[0])
    return result


class ClusterDescent:
    """Local SGD on a Dask cluster, which `loop.descend` drives in place of `sgd.Descent`.

    Parameters
    ----------
    client : distributed.Client
    network : Network
        Trained in place.
    settings : Settings
    output : str
        Output activation.
    shards : list of Future
        Of `Shard`, one for each replica.
    shares : list of (float, float)
        Each replica's part of all sample weights and of all rows.
    n_samples : int
    state : OptimizerState
        Carried on in place.

    Raises
    ------
    RuntimeError
        If data were lost with a worker that Dask cannot compute again.
    """

    def __init__(
        self,
        client: Client,
        network: Network,
        settings: Settings,
        output: str,
        shards: list[Future],
        shares: list[tuple[float, float]],
        n_samples: int,
        state: OptimizerState,
    ):
        self.client, self.network, self.settings, self.state = client, network, settings, state
        self.output, self.shards, self.shares, self.n_samples = output, shards, shares, n_samples
        self._seeds = [None] * len(shards)
        self._dropout_seed = 0

    def __enter__(self) -> Self:
        self.time_limit = TimeLimit(self.settings.max_time)
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is held open between rounds."""

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Seed dropout; where there is none, nothing is drawn."""
        if np.any(self.settings.dropout):
            self._dropout_seed = int(random_state.randint(LARGEST_SEED))

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Draw a seed for each replica's order of rows in the next round."""
        self._seeds = random_state.randint(LARGEST_SEED, size=len(self.shards)).tolist()

    def epoch(self) -> float:
        """One round; returns the mean loss over all samples, each batch's before its update."""
        self.time_limit.check()
        for attempt in range(MOST_ATTEMPTS):
            try:
                result = self._round()
                break
            except LOST as error:  # the next attempt begins from what the client holds
                if attempt == MOST_ATTEMPTS - 1:
                    raise RuntimeError(
                        f"a round failed {MOST_ATTEMPTS} times, the last time with {error!r}. Data "
                        "that were scattered, and die with a worker, cannot be computed again"
                    ) from error
        result.write_to(self.network, self.state)
        return result.loss

    def _round(self) -> Snapshot:
        n_workers = max(1, len(self.client.ncores()))
        epoch = Epoch(
            self.network.layer_sizes,
            self.settings,
            self.state.settings,
            self.output,
            self.state.learning_rate,
            -(-len(self.shards) // n_workers),
            self.state.epochs,
            self._dropout_seed,
        )
        beginning = Snapshot.of(self.network, self.state, 0.0)
        [snapshot] = self.client.scatter([beginning], broadcast=True, hash=False)
        results = self.client.map(
            train_shard,
            self.shards,
            self._seeds,
            self.shares,
            snapshot=snapshot,
            epoch=epoch,
            pure=False,
        )
        while len(results) > 1:
            groups = [results[i : i + FAN_IN] for i in range(0, len(results), FAN_IN)]
            results = self.client.map(add_snapshots, groups, pure=False)
        return results[0].result()
