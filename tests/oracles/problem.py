"""A random network with random samples, trained by the kernels and by the oracle."""

import numpy as np
from scipy.sparse import csr_array

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._inference.predictions import apply_network
from fastmlp._training.optimizer import OptimizerState
from fastmlp._training.sgd import Descent
from oracles import naive
from oracles.naive import assert_close

DTYPES = [np.float32, np.float64]
SPREAD = 512, 256  # units; one of them fills conflicting rows, in either type


class Problem:
    """A random network with random samples, and what the oracle says of them.

    Rows of X are cut from a larger array of NaN: a read past their end would show.
    """

    def __init__(
        self, sizes, rows, dtype, hidden="tanh", output="logistic", alpha=0.0, seed=0, pairs=False
    ):
        rng = np.random.default_rng(seed)
        self.dtype, self.hidden, self.output, self.alpha = dtype, hidden, output, alpha
        self.network = Network(sizes, dtype, multiplies_pairs=pairs)
        for coef, intercept in zip(self.network.coefs, self.network.intercepts, strict=True):
            coef[...] = rng.standard_normal(coef.shape) / np.sqrt(coef.shape[0])
            intercept[...] = rng.uniform(0, 1, intercept.shape)  # keeps some units of relu alive
        whole = np.full((2 * rows + 1, sizes[0] + 3), np.nan, dtype)
        self.X = whole[1::2, 1 : sizes[0] + 1]
        self.X[...] = rng.standard_normal(self.X.shape)
        if output == "softmax":
            self.targets = rng.integers(sizes[-1], size=(rows, 1)).astype(dtype)
            self.y = naive.one_hot(self.targets, sizes[-1])
        else:
            labels = rng.integers(2 if output == "logistic" else 5, size=(rows, sizes[-1]))
            self.targets, self.y = labels.astype(dtype), labels.astype(np.float64)
        self.weights = None
        self.inputs = self.X  # or the same in compressed sparse rows

    def weigh(self):
        """Give every row a weight, some of them zero."""
        weights = np.random.default_rng(1).uniform(0.5, 3, len(self.X))
        weights[::3] = 0
        self.weights = weights.astype(self.dtype)

    def thin_out(self, seed=0):
        """Make most of X zero: a whole row, a whole column and some here and there."""
        rng = np.random.default_rng(seed)
        self.X[rng.random(self.X.shape) < 0.6] = 0
        self.X[rng.integers(self.X.shape[0])] = 0
        self.X[:, rng.integers(self.X.shape[1])] = 0
        return self

    def compressed(self):
        """Let the kernels read X as compressed sparse rows."""
        self.inputs = csr_array(self.X)
        return self

    def oracle(self, **options):
        """A plain network with the same parameters."""
        network, eps = self.network, np.finfo(self.dtype).eps
        arrays = network.coefs, network.intercepts
        return naive.Mlp(*arrays, self.hidden, self.output, self.alpha, eps, **options)

    def batches(self, size, order=None):
        """The samples as `naive.Mlp.train` takes them."""
        order = np.arange(len(self.X)) if order is None else order
        weights = np.ones(len(self.X)) if self.weights is None else self.weights
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        return [(self.X[part], self.y[part], weights[part]) for part in parts]

    def descent(self, batch_size=None, chosen=None, learning_rate=0.1, n_jobs=1, **parameters):
        """(Descent, its state) on the problem's own network."""
        losses = {"identity": "squared_error", "exp": "poisson"}
        kind = {"loss": losses[self.output]} if self.output in losses else {}
        estimator = (MLPRegressor if kind else MLPClassifier)(
            **kind,
            activation=self.hidden,
            alpha=self.alpha,
            batch_size=batch_size or len(self.X),
            learning_rate_init=learning_rate,
            n_jobs=n_jobs,
            **parameters,
        )
        settings = settings_of(estimator, len(self.network.layer_sizes) - 2)
        state = OptimizerState.begin(self.network, settings)
        samples = self.inputs, self.targets, self.weights
        return Descent(self.network, settings, self.output, *samples, state, chosen), state

    def train(self, epochs=1, **parameters):
        """Losses of some epochs, and the optimizer's state after them."""
        descent, state = self.descent(**parameters)
        with descent:
            return [descent.epoch() for _ in range(epochs)], state

    def gradients(self):
        """(coefs, intercepts) of the gradient of the whole batch; the network is left changed."""
        rule = {"solver": "sgd", "momentum": 0.5, "nesterovs_momentum": False}
        _, state = self.train(learning_rate=1.0, **rule)
        velocity = state.moments[0]
        return [-each for each in velocity.coefs], [-each for each in velocity.intercepts]

    def predict(self, X=None, n_jobs=1):
        """Outputs for X, by default for the problem's own samples."""
        X = self.inputs if X is None else X
        names = [self.hidden] * (len(self.network.layer_sizes) - 2)
        return apply_network(self.network, X, names, self.output, n_jobs)[0]


def assert_all_close(got, expected, units):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert_close(one, other, units)
