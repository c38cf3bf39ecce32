"""Dropout (Srivastava et al., JMLR 2014) with counter-based random numbers.

A hash of (seed, step, layer, row of the batch, unit) alone decides whether a unit is dropped. So
the masks are the same for any number of threads (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC 2011).
"""

import numpy as np

from fastmlp._engine.jit.device import device, inline

RANGE = 2.0**32  # a unit's random number is below it


@device
def _mix_64(x):
    """The finalizer of splitmix64: a bijection in which every bit depends on every other."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@device
def row_key(seed, step, layer, row):
    """The 64-bit key of the random numbers for one row of a layer."""
    key = _mix_64(np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15))
    key = _mix_64(key ^ np.uint64(step))
    return _mix_64(key ^ (np.uint64(layer) << np.uint64(32)) ^ np.uint64(row))


@device
def _random_number(unit, low, high):
    """32 random bits for a unit, from the two halves of the row's key."""
    inline()
    x = np.uint32(low + np.uint32(unit) * np.uint32(0x9E3779B9))
    x = np.uint32((x ^ np.uint32(x >> np.uint32(16))) * np.uint32(0x7FEB352D)) ^ high
    x = np.uint32((x ^ np.uint32(x >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@device
def drop_units(key, rate, outputs, derivatives):
    """Drop each unit of a row with probability `rate`; multiply the others by 1 / (1 - rate).

    Parameters
    ----------
    key : uint64
        From `row_key`.
    rate : float
        At least 0, less than 1.
    outputs, derivatives : arrays of one length
        a = f(z) and f'(z) of the row. Both are scaled.
    """
    real = outputs.dtype.type
    low, high = np.uint32(key), np.uint32(key >> np.uint64(32))
    threshold = np.uint32(rate * RANGE)
    silent, grown = real(0), real(1.0 / (1.0 - rate))
    for j in range(outputs.size):
        factor = silent if _random_number(j, low, high) < threshold else grown
        outputs[j] *= factor
        derivatives[j] *= factor
