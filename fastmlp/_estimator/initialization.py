"""Initial weights: Glorot's uniform initialization, drawn in scikit-learn's order."""

from collections.abc import Sequence

import numpy as np

from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import per_layer

# Glorot and Bengio (2010) draw weights from +-sqrt(6 / (n_in + n_out)); for logistic units
# scikit-learn uses 2 instead of 6. It draws biases from the same range.
GLOROT_FACTOR, LOGISTIC_FACTOR = 6.0, 2.0


def initial_network(
    layer_sizes: Sequence[int],
    activation: str | Sequence[str],
    dtype: np.dtype,
    random_state: np.random.RandomState,
    is_compact: bool = False,
) -> Network:
    """A network with initial weights and biases.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, input and output included.
    activation : str or sequence of str
        Activation of all hidden layers, or of each.
    dtype : numpy.float32 or numpy.float64
    random_state : RandomState
        Draws weights, then biases, layer by layer.
    is_compact : bool
        Whether the first layer is; see `Network`.
    """
    network = Network(layer_sizes, dtype, is_compact)
    names = per_layer(activation, len(layer_sizes) - 2, "activation") or [activation]
    names.append(names[-1])  # the output layer uses the factor of the one before it
    for name, coef, intercept in zip(names, network.coefs, network.intercepts, strict=False):
        factor = LOGISTIC_FACTOR if name == "logistic" else GLOROT_FACTOR
        bound = np.sqrt(factor / sum(coef.shape))
        coef[...] = random_state.uniform(-bound, bound, coef.shape)
        intercept[...] = random_state.uniform(-bound, bound, intercept.shape)
    return network
