"""The noise that smaller batches add to Adam's second moment, and its removal.

Adam divides its steps by the root of v, a moving mean of g^2. The gradient g of a batch is that of
all rows, plus noise. On one machine, whose batches have B rows,

    E g^2 = signal + s / B.

Each of R replicas sees 1/R of the batch and R times the noise, and averaging v keeps it:

    E mean(v) = signal + R s / B.

So the steps of R replicas would be shorter than those of one machine, by a factor of up to the root
of R. The surplus, (R - 1) s / B, follows from the first moments. They too are moving means, with
weights (1 - beta_1) beta_1^j. After K steps from a common m, and summed over all parameters,

    E [mean(|m|^2) - |mean(m)|^2] = (R - 1) s / B (1 - beta_1) / (1 + beta_1) (1 - beta_1^(2 K)).

This takes one number from each replica, and holds for shards of different sizes too. As the
replicas' weights drift apart, so do their gradients, and that counts as noise. The estimate has an
upper limit, at which g is nothing but noise.

Within a round v grows noisy again, in about 1 / (1 - beta_2) = 1,000 steps. With 3,000 steps a
round (Fashion-MNIST in batches of 20 rows, 6 epochs, one seed), two and four replicas reached an
accuracy of 0.867 and 0.866, and one machine 0.873.
"""

import numpy as np

from fastmlp._training.optimizer import Settings


def square_norm(moment: np.ndarray) -> float:
    """The sum of squares of a moment (n_parameters,), in float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.square(moment, dtype=np.float64).sum())


def share_to_keep(
    first: np.ndarray,
    mean_square_norm: float,
    gain: float,
    settings: Settings,
    steps: int,
    n_replicas: int,
) -> float:
    """The part of the round's mean of g^2 that batches of all replicas' rows would have.

    Parameters
    ----------
    first : ndarray of shape (n_parameters,)
        The mean of the replicas' first moments.
    mean_square_norm : float
        The mean of their square norms.
    gain : float
        The sum over all parameters of v - beta_2^K v_0, where v_0 is the second moment before the
        round.
    settings : Settings
        Of Adam.
    steps : int
        Steps of the round, K.
    n_replicas : int

    Returns
    -------
    float
        From 1 / n_replicas, if all is noise, to 1; NaN if training has diverged.
    """
    beta_1, beta_2 = float(settings.beta_1), float(settings.beta_2)
    spread = mean_square_norm - square_norm(first)
    noise = spread * (1 + beta_1) / (1 - beta_1) / (1 - beta_1 ** (2 * steps))
    squares = gain / (1 - beta_2**steps)
    if not squares > 0:
        return 1.0
    return float(np.clip(1 - noise / squares, 1 / n_replicas, 1.0))


def without_noise(
    after: np.ndarray,
    before: np.ndarray,
    mean_square_norm: float,
    settings: Settings,
    steps: int,
    n_replicas: int,
) -> np.ndarray:
    """Parameters and moments after a round of Adam, with the second moment of larger batches.

    Parameters
    ----------
    after, before : ndarray of shape (3, n_parameters)
        The mean of the replicas' parameters and moments after the round, and those before it.
    mean_square_norm, settings, steps, n_replicas
        As for `share_to_keep`.

    Returns
    -------
    ndarray of shape (3, n_parameters)
        `after` itself if nothing changes, as with one replica.
    """
    fading = float(settings.beta_2) ** steps
    with np.errstate(over="ignore", invalid="ignore"):
        totals = [float(each[2].sum(dtype=np.float64)) for each in (after, before)]
    gain = totals[0] - fading * totals[1]
    kept = share_to_keep(after[1], mean_square_norm, gain, settings, steps, n_replicas)
    if not kept < 1:
        return after
    result = after.copy()
    real = after.dtype.type
    result[2] = real(kept) * after[2] + real((1 - kept) * fading) * before[2]
    return result
