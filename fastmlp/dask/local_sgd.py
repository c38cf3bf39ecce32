"""Local SGD: replicas of a network train on shards of the data and are averaged every round.

A round is one epoch. Every replica starts from the same parameters and optimizer state, trains on
its own shard with the engine, and returns the result. The mean of the results, weighted by samples,
starts the next round (McMahan et al., "Communication-efficient learning of deep networks from
decentralized data", 2017; Stich, "Local SGD converges fast and communicates little", 2019).

## Network traffic

A network of P parameters of b bytes, whose optimizer keeps m moments (2 for Adam, 1 for SGD with
momentum, else 0), has a snapshot of S = P b (1 + m) bytes. In each round, each of R replicas
fetches a snapshot and returns one: 2 R S bytes in all, whatever the number of samples. For
784-100-10 with Adam in float32, P = 79,510 and S = 0.95 MB.

The results are summed in a tree of fan-in k = 8. So no machine receives more than k S on any level,
and the client sends and receives one snapshot, not R.

## An estimate for 1,000 workers

Suppose that each worker has a connection of 10 Gbit/s, or 1.25 GB/s.

- In all, 2 x 0.95 GB cross the network.
- Upward, the tree has 4 levels. Each takes 8 x 0.95 MB / 1.25 GB/s = 6 ms, all of them 24 ms.
- Downward, copies double in each of 10 steps of 0.8 ms, which takes 8 ms.
- Scheduling takes longest. Dask's manual allows 1 ms for a task; 1,144 tasks take 1.1 s.

So a round costs about 1.2 s in addition to its training. Training is 90 % of the time if it takes
11 s. At 1 microsecond a row, that is 10 million rows for each worker and 10 billion in all. With
fewer rows, use fewer workers with more threads each. Traffic grows with R; time grows with log R,
except for the scheduler's share.
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
from fastmlp._training.weights import scale_penalty

FAN_IN = 8  # snapshots summed by one task
MOST_ATTEMPTS = 5  # at one round, before lost data count as lost for good
# What a client catches when the only copy of a result, or the other end of a connection, has died.
LOST = (CancelledError, OSError)
LARGEST_SEED = 2**31 - 1


@dataclass
class Shard:
    """The rows of one replica, on one worker, as `sgd.Descent` takes them.

    The weights are multiplied by 2^exponent, which may differ from replica to replica.
    """

    X: np.ndarray
    targets: np.ndarray
    sample_weight: np.ndarray | None
    exponent: int


@dataclass
class Snapshot:
    """The state of training between two rounds.

    Attributes
    ----------
    vectors : ndarray of shape (1 + n_moments, n_parameters)
        Packed parameters, then the optimizer's moments.
    step : int
        The number of updates made by the replica that made the most.
    loss : float
    """

    vectors: np.ndarray
    step: int
    loss: float

    @classmethod
    def of(cls, network: Network, state: OptimizerState, loss: float) -> "Snapshot":
        """Take a snapshot of a network and its optimizer state."""
        vectors = [each.pack() for each in (network, *state.moments)]
        return cls(np.stack(vectors), state.step, loss)

    def write_to(self, network: Network, state: OptimizerState) -> None:
        """Write the snapshot into a network and its optimizer state."""
        for each, vector in zip((network, *state.moments), self.vectors, strict=True):
            each.unpack(vector)
        state.step = self.step


def add_snapshots(snapshots: list[Snapshot]) -> Snapshot:
    """Sum weighted snapshots, in the order given."""
    total = snapshots[0].vectors.copy()
    for other in snapshots[1:]:
        total += other.vectors
    step = max(each.step for each in snapshots)
    return Snapshot(total, step, sum(each.loss for each in snapshots))


@dataclass(frozen=True)
class Epoch:
    """What all replicas need to know about a round.

    Attributes
    ----------
    layer_sizes : tuple of int
    settings : Settings
        n_jobs applies to a replica's share of its worker's threads.
    begun : Settings
        The settings of the optimizer's first call.
    output : str
    learning_rate : float
    replicas_per_worker : int
    number : int
        The number of epochs before this one.
    dropout_seed : int
        The same for all replicas, so rows at the same place of a batch drop the same units.
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
    """Train one replica for one round: an epoch on its shard.

    Parameters
    ----------
    shard : Shard
    seed : int or None
        The seed of the shuffle; None keeps the order of the rows.
    shares : (float, float)
        The replica's share of the total sample weight, and of the number of rows.
    snapshot : Snapshot
        The state to start from. It is not modified.
    epoch : Epoch

    Returns
    -------
    Snapshot
        The result, scaled by the replica's shares, so that the snapshots of a round can be summed.
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
    X = rows_in_place(shard.X, dtype)  # Dask may have moved it to an unaligned address
    settings = scale_penalty(settings, shard.exponent, dtype)
    settings = settings.clip_batch_size(X.shape[0])  # the client has given the warning
    data = X, shard.targets, shard.sample_weight
    order = None if seed is None else np.random.RandomState(seed).permutation(X.shape[0])
    with Descent(network, settings, epoch.output, *data, state, order, epochs=1) as descent:
        descent.draw_seed(np.random.RandomState(epoch.dropout_seed))
        loss = descent.epoch()
    result = Snapshot.of(network, state, loss * shares[1])
    result.vectors *= dtype.type(shares[0])
    return result


class ClusterDescent:
    """Local SGD on a Dask cluster. `loop.descend` drives it instead of `sgd.Descent`.

    Parameters
    ----------
    client : distributed.Client
    network : Network
        Trained in place.
    settings : Settings
    output : str
        The output activation.
    shards : list of Future
        The `Shard` of each replica.
    shares : list of (float, float)
        Each replica's share of the total sample weight, and of the number of rows.
    n_samples : int
    state : OptimizerState
        Updated in place.

    Raises
    ------
    RuntimeError
        If a worker died with data that Dask cannot compute again.
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
        """Do nothing: no resource is held between rounds."""

    def draw_seed(self, random_state: np.random.RandomState) -> None:
        """Draw a seed for dropout; without dropout, draw nothing."""
        if np.any(self.settings.dropout):
            self._dropout_seed = int(random_state.randint(LARGEST_SEED))

    def shuffle(self, random_state: np.random.RandomState) -> None:
        """Draw a seed for each replica's shuffle in the next round."""
        self._seeds = random_state.randint(LARGEST_SEED, size=len(self.shards)).tolist()

    def epoch(self) -> float:
        """Run a round; return the mean loss of all samples, each taken before its update."""
        self.time_limit.check()
        for attempt in range(MOST_ATTEMPTS):
            try:
                result = self._round()
                break
            except LOST as error:  # the next attempt starts from the client's own copy
                if attempt == MOST_ATTEMPTS - 1:
                    raise RuntimeError(
                        f"a round failed {MOST_ATTEMPTS} times, the last time with {error!r}. "
                        "Dask cannot compute scattered data again if they die with a worker"
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
