"""Local SGD: replicas of a network train on shards of the data and are averaged every round.

A round is one epoch. Every replica starts from the same parameters and optimizer state, trains on
its own shard with the engine, and returns the result. The mean of the results, weighted by samples,
starts the next round (McMahan et al., "Communication-efficient learning of deep networks from
decentralized data", 2017; Stich, "Local SGD converges fast and communicates little", 2019).

## Batches

A batch of B rows is divided among the replicas, in proportion to their rows. So an epoch has as
many steps as on one machine, N / B for N rows in all, and each replica does 1/R of the work. See
`batches.divide_rows`:

- A replica takes B n / N of its n rows for each step, rounded up, and the rest for the last one.
- If that gave fewer steps than on one machine, its batches have floor(n / steps) rows or one more.
- A replica with fewer rows than there are steps makes n steps of one row.
- The L2 penalty alpha is divided like the rows, because its gradient is divided by them.
- A learning-rate schedule goes by these steps.

The mean of the replicas' updates is like one update with a batch of B rows, except that they move
apart until the end of the round. For SGD that is all. Adam's second moment is larger for small
batches, whose gradients are noisy; `gradient_noise` takes the surplus out of the mean.

Averaging more often gains nothing: with 4 rounds in each epoch, the accuracies on the digits,
MNIST's 5,000 and Fashion-MNIST stayed the same to within 0.003.

A shuffle stays within a shard. So the rows of all shards should be alike: shuffle a table that is
sorted by its labels or by time before it is divided into partitions. MNIST's 5,000 sorted by label,
so that each replica sees only some digits, gave an accuracy of 0.87-0.89 instead of 0.93.

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
from fastmlp._engine.kernels.optimizers import ADAM
from fastmlp._engine.network import Network
from fastmlp._engine.threads import available_threads
from fastmlp._training.loop import TimeLimit
from fastmlp._training.optimizer import OptimizerState, Settings
from fastmlp._training.sgd import Descent
from fastmlp._training.weights import scale_penalty
from fastmlp.dask.batches import divide_rows
from fastmlp.dask.gradient_noise import square_norm, without_noise

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
    square_norm : float
        That of the first moment, or the replicas' mean of it.
    """

    vectors: np.ndarray
    step: int
    loss: float
    square_norm: float

    @classmethod
    def of(cls, network: Network, state: OptimizerState, loss: float) -> "Snapshot":
        """Take a snapshot of a network and its optimizer state."""
        vectors = np.stack([each.pack() for each in (network, *state.moments)])
        norm = square_norm(vectors[1]) if state.moments else 0.0
        return cls(vectors, state.step, loss, norm)

    def scaled(self, weight_share: float, row_share: float) -> "Snapshot":
        """The snapshot's part in the mean of its round."""
        return Snapshot(
            self.vectors * self.vectors.dtype.type(weight_share),
            self.step,
            self.loss * row_share,
            self.square_norm * weight_share,
        )

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
    return Snapshot(
        total,
        max(each.step for each in snapshots),
        sum(each.loss for each in snapshots),
        sum(each.square_norm for each in snapshots),
    )


class RoundState(OptimizerState):
    """An optimizer's state whose step sizes are planned for a round, whatever parts it runs in."""

    def plan(self, count: int) -> None:
        """Compute the step sizes of the next `count` steps."""
        self._first = self.step
        self._planned = [np.broadcast_to(each, count) for each in super().step_sizes(count)]

    def step_sizes(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        """The step sizes and weight-decay factors planned for the next `count` steps."""
        start = self.step - self._first
        rates, decays = (each[start : start + count] for each in self._planned)
        return rates, decays


@dataclass(frozen=True)
class Epoch:
    """What all replicas need to know about a round.

    Attributes
    ----------
    layer_sizes : tuple of int
    settings : Settings
        n_jobs applies to a replica's share of its worker's threads; batch_size and alpha are those
        of all replicas.
    begun : Settings
        The settings of the optimizer's first call.
    output : str
    learning_rate : float
    replicas_per_worker : int
    number : int
        The number of epochs before this one.
    dropout_seed : int
        The same for all replicas, so rows at the same place of a batch drop the same units.
    n_samples : int
        Rows of all replicas.
    multiplies_pairs : bool
        As of a `Network`.
    """

    layer_sizes: tuple[int, ...]
    settings: Settings
    begun: Settings
    output: str
    learning_rate: float
    replicas_per_worker: int
    number: int
    dropout_seed: int
    n_samples: int
    multiplies_pairs: bool


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
    network = Network(epoch.layer_sizes, dtype, multiplies_pairs=epoch.multiplies_pairs)
    moments = [Network(epoch.layer_sizes, dtype) for _ in snapshot.vectors[1:]]
    state = RoundState(
        epoch.begun, epoch.begun.update_rule, epoch.learning_rate, 0, moments, epoch.number
    )
    snapshot.write_to(network, state)
    X = rows_in_place(shard.X, dtype)  # Dask may have moved it to an unaligned address
    rows = X.shape[0]
    settings = _settings_of_replica(epoch, shares[0], shard.exponent, dtype)
    order = np.arange(rows) if seed is None else np.random.RandomState(seed).permutation(rows)
    runs = divide_rows(rows, epoch.n_samples, epoch.settings.batch_size)
    state.plan(sum(run.n_batches for run in runs))
    loss, first = 0.0, 0
    for run in runs:
        chosen = order[first : first + run.rows]
        data = X, shard.targets, shard.sample_weight, state, chosen
        its = replace(settings, batch_size=run.batch_size)
        with Descent(network, its, epoch.output, *data, epochs=1) as descent:
            descent.draw_seed(np.random.RandomState(epoch.dropout_seed))
            loss += descent.epoch() * run.rows
        first += run.rows
    return Snapshot.of(network, state, loss / rows).scaled(*shares)


def _settings_of_replica(epoch: Epoch, share: float, exponent: int, dtype: np.dtype) -> Settings:
    """Settings for a replica with this share of the total sample weight.

    One machine divides the gradient of the penalty, alpha W, by the weights of a whole batch. A
    replica divides by its share of them, so its alpha is the same share.
    """
    cpus = max(1, get_worker().state.nthreads // epoch.replicas_per_worker)
    threads = available_threads(epoch.settings.n_jobs, cpus)
    alpha = epoch.settings.alpha * share
    settings = replace(epoch.settings, n_jobs=threads, max_time=None, alpha=alpha)
    return scale_penalty(settings, exponent, dtype)


class ClusterDescent:
    """Local SGD on a Dask cluster. `loop.descend` drives it instead of `sgd.Descent`.

    Parameters
    ----------
    client : distributed.Client
    network : Network
        Trained in place.
    settings : Settings
        batch_size is a number of rows of all replicas.
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
        frozen = [
            (each, each.copy())
            for index in self.settings.frozen_layers
            for each in (self.network.coefs[index], self.network.intercepts[index])
        ]
        result.write_to(self.network, self.state)
        for array, before in frozen:  # a mean of equal weights may differ from them by rounding
            array[...] = before
        return result.loss

    def _round(self) -> Snapshot:
        n_workers = max(1, len(self.client.ncores()))
        epoch = Epoch(
            layer_sizes=self.network.layer_sizes,
            settings=self.settings,
            begun=self.state.settings,
            output=self.output,
            learning_rate=self.state.learning_rate,
            replicas_per_worker=-(-len(self.shards) // n_workers),
            number=self.state.epochs,
            dropout_seed=self._dropout_seed,
            n_samples=self.n_samples,
            multiplies_pairs=self.network.multiplies_pairs,
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
        return self._without_noise(results[0].result(), beginning)

    def _without_noise(self, result: Snapshot, beginning: Snapshot) -> Snapshot:
        """The mean of a round with the second moment of batches as large as one machine's."""
        if self.state.update_rule != ADAM:
            return result
        vectors = without_noise(
            result.vectors,
            beginning.vectors,
            result.square_norm,
            self.state.settings,
            result.step - beginning.step,
            len(self.shards),
        )
        return replace(result, vectors=vectors)
