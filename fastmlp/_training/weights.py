"""Sample weights, scaled so that neither tiny nor huge ones leave the range of the network's type.

Only ratios of weights matter beside alpha: a batch's gradient is

    (sum of weight * gradient of the row, plus alpha W) / (sum of weights).

Multiplying the weights and alpha by the same power of two changes no bit of it, because such a
product is exact. The largest weight becomes a number from 1 to 2. So weights of 1e-60 train a
float32 network, and in float64 sums of weights of 1e300 are finite. What is lost are weights beyond
1e38 times smaller than the largest, if the network is float32.
"""

from dataclasses import replace

import numpy as np

from fastmlp._training.optimizer import Settings


def scaling_exponent(weights: np.ndarray | None) -> int:
    """The exponent e for which the largest of |weights| * 2^e is in [1, 2); 0 without weights.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp._training.weights import scaling_exponent
    >>> [scaling_exponent(np.array(each)) for each in ([1.0, 0.5], [3.0], [0.0], [0.25])]
    [0, -1, 0, 2]
    """
    largest = 0.0 if weights is None else np.abs(weights).max(initial=0)
    return 1 - int(np.frexp(largest)[1]) if largest > 0 else 0


def scale_weights(
    weights: np.ndarray | None, exponent: int, dtype: np.dtype | None = None
) -> np.ndarray | None:
    """The weights (n_samples,) times 2^exponent, in `dtype` (None for their own).

    A weight that `dtype` cannot hold becomes infinite.
    """
    if weights is None:
        return None
    dtype = weights.dtype if dtype is None else dtype
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(weights, exponent, dtype=np.result_type(weights, dtype)).astype(dtype)


def scale_penalty(settings: Settings, exponent: int, dtype: np.dtype) -> Settings:
    """The settings for weights times 2^exponent: alpha times the same, up to the largest float."""
    if exponent == 0:
        return settings
    with np.errstate(over="ignore", under="ignore"):
        alpha = np.ldexp(float(settings.alpha), exponent)
    return replace(settings, alpha=float(min(alpha, np.finfo(dtype).max)))
