"""Learning-rate schedules that are known in advance, as factors of the learning rate by step."""

import numpy as np

# Constants of one_cycle: the defaults of PyTorch's OneCycleLR.
RISING_SHARE = 0.3  # share of steps in which the rate rises
FIRST_DIVISOR = 25.0  # highest rate / first rate
LAST_DIVISOR = 1e4  # first rate / last rate


def cosine(steps: np.ndarray, total: int) -> np.ndarray:
    """(1 + cos(pi t / T)) / 2 at step t of T, from 1 to 0 (Loshchilov and Hutter, 2017)."""
    return _along_cosine(1.0, 0.0, np.minimum(steps, total) / total)


def one_cycle(steps: np.ndarray, total: int) -> np.ndarray:
    """Up to 1 in the first part of the steps, then down to almost 0 (Smith and Topin, 2018).

    Half a cosine each: from 1 / 25 to 1 at step 0.3 T - 1, then to 1 / 250000 at step T - 1, like
    PyTorch's OneCycleLR by default.
    """
    peak, last = RISING_SHARE * total - 1.0, total - 1.0
    steps = np.minimum(steps, last)
    first, lowest = 1 / FIRST_DIVISOR, 1 / FIRST_DIVISOR / LAST_DIVISOR
    rising = _along_cosine(first, 1.0, steps / peak)
    falling = _along_cosine(1.0, lowest, (steps - peak) / (last - peak))
    return np.where(steps <= peak, rising, falling)


def _along_cosine(start: float, end: float, share: np.ndarray) -> np.ndarray:
    return end + (start - end) / 2 * (1 + np.cos(np.pi * share))


SCHEDULES = {"cosine": cosine, "one_cycle": one_cycle}


def factors(name: str, first: int, count: int, epochs: int, warmup: float) -> np.ndarray:
    """Factors of the learning rate for the steps of one epoch.

    Parameters
    ----------
    name : str
        A value of the estimators' parameter `learning_rate`. Schedules that depend on the progress
        of the fit are constant here.
    first : int
        Steps done before this epoch.
    count : int
        Steps of an epoch.
    epochs : int
        Length of the schedule, which then stays at its last factor.
    warmup : float
        Epochs of linear warm-up: steps t = 0 .. T - 1 have an extra factor of (t + 1) / T.

    Returns
    -------
    ndarray of shape (count,)

    Examples
    --------
    >>> from fastmlp._training.schedules import factors
    >>> factors("cosine", first=0, count=2, epochs=2, warmup=0).round(3)
    array([1.   , 0.854])
    >>> factors("constant", first=0, count=4, epochs=2, warmup=1)
    array([0.25, 0.5 , 0.75, 1.  ])
    """
    if name not in SCHEDULES and warmup == 0:
        return np.ones(count)
    steps = np.arange(first, first + count)
    rates = SCHEDULES[name](steps, epochs * count) if name in SCHEDULES else np.ones(count)
    if warmup > 0:
        rates = rates * np.minimum(1.0, (steps + 1) / (warmup * count))
    return rates
