"""L-BFGS without the weights of inputs that are zero in every row of a sparse X.

The loss depends on these weights w only by the penalty, whose gradient is a multiple of w. L-BFGS
moves the parameters by linear combinations of earlier parameters and gradients, with factors that
follow from their inner products. So w stays a multiple of its first value, and one number gives the
same inner products as all of w: its norm. Hashed text may use a hundredth of the inputs; SciPy's
arrays, 25 times as large as the parameters, shrink with them.
"""

import numpy as np

from fastmlp._engine.inputs import should_be_compact
from fastmlp._engine.network import Network

WORTHWHILE_SHARE = 0.5  # most of the inputs that may be in use: beyond it, little is saved


class UsedInputs:
    """A network and X without unused inputs, except one, which stands for all of them.

    Parameters
    ----------
    network : Network
    X : CSR of shape (n_samples, n_in)
    is_used : bool ndarray of shape (n_in,)

    Attributes
    ----------
    network : Network
        The first unit's weight of the last input is the norm of all weights of unused inputs.
    X : CSR of shape (n_samples, number of used inputs + 1)
    """

    def __init__(self, network: Network, X, is_used: np.ndarray):
        self.whole, self.used = network, np.flatnonzero(is_used)
        columns = (np.cumsum(is_used) - 1)[X.indices]
        shape = X.shape[0], self.used.size + 1
        self.X = type(X)((X.data, columns.astype(np.int32), X.indptr), shape=shape)
        sizes = shape[1], *network.layer_sizes[1:]
        is_compact = should_be_compact(X, sizes, network.dtype)
        self.network = Network(sizes, network.dtype, is_compact)
        for own, given in zip(self.network.arrays()[1:], network.arrays()[1:], strict=True):
            own[...] = given
        W = network.coefs[0]
        self.network.coefs[0][:-1] = W[self.used]
        W[self.used] = 0
        self.norm, self.largest = float(np.linalg.norm(W)), max(W.max(), -W.min())
        self.network.coefs[0][-1, 0] = self.norm

    @classmethod
    def of(cls, network: Network, X) -> "UsedInputs | None":
        """None if too few inputs are unused, or if their weights are too large for a norm."""
        if not network.is_compact:
            return None
        is_used = np.zeros(X.shape[1], bool)
        is_used[X.indices] = True
        if np.count_nonzero(is_used) > WORTHWHILE_SHARE * is_used.size:
            return None
        with np.errstate(over="ignore"):  # an answer, no fault of the user's
            norm = np.linalg.norm(network.coefs[0])
        if not np.isfinite(norm):
            return None
        return cls(network, X, is_used)

    def largest_slope(self, gradient: np.ndarray) -> float:
        """The largest element of |dL/dw| in the whole network, given the packed gradient here."""
        gradient, at = np.abs(gradient), self.used.size * self.network.layer_sizes[1]
        if self.norm > 0:  # dL/dw of unused inputs is proportional to w
            gradient[at] *= self.largest / self.norm
        return float(gradient.max())

    def restore(self) -> None:
        """Give the whole network the parameters of this one."""
        W = self.whole.coefs[0]
        if self.norm > 0:
            W *= self.network.coefs[0][-1, 0] / self.norm
        W[self.used] = self.network.coefs[0][:-1]
        for own, given in zip(self.whole.arrays()[1:], self.network.arrays()[1:], strict=True):
            own[...] = given
