"""What every kernel should compute, in plain NumPy and float64: the oracle of the tests."""

import math
from fractions import Fraction

import numpy as np

LEAK = 0.01
SELU_SLOPE, SELU_ALPHA = 1.0507009873554804934, 1.6732632423543772848
BORDER = 5  # poisoned elements around every operand


def poisoned(shape, dtype):
    """(the whole, its inner part of `shape`): everything around is NaN."""
    whole = np.full([size + 2 * BORDER for size in shape], np.nan, dtype)
    return whole, whole[tuple(slice(BORDER, BORDER + size) for size in shape)]


def rounded(exact, dtype):
    """The float nearest to a rational, ties to even."""
    if exact == 0:
        return dtype(0)
    unit = Fraction(2) ** (math.frexp(float(exact))[1] - np.finfo(dtype).nmant - 1)
    return dtype(float(round(exact / unit) * unit))


def round_to_bfloat16(x):
    """The nearest numbers of 8 bits, ties to even; no denormals."""
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    return np.ldexp(np.round(np.ldexp(mantissa, 8)), exponent - 8)


def assert_close(got, expected, units):
    """Every error is at most `units` roundings of the largest element expected."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    largest = np.abs(expected).max()
    assert largest > 0, "nothing but zeros would be compared"
    error = np.abs(got.astype(np.float64) - expected).max()
    assert error <= units * np.finfo(got.dtype).eps * largest, (error / largest, got.dtype)


def logistic(z):
    # f(z) = 1 / (1 + exp(-z)) = exp(z) / (1 + exp(z))
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def softmax(z):
    # a_j = exp(z_j) / sum_k exp(z_k), which a shift of z leaves as it is
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def normal_distribution(z):
    # Phi(z) = erfc(-z / sqrt(2)) / 2
    return np.vectorize(math.erfc, otypes=[np.float64])(-np.asarray(z, float) / math.sqrt(2)) / 2


def normal_density(z):
    return np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)


def softplus(z):
    # log(1 + exp(z)), of which exp(z) must not overflow
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def mish_derivative(z):
    # (z tanh s)' = tanh s + z s' / cosh(s)^2 with s = softplus(z), s' = logistic(z)
    s = softplus(z)
    return np.tanh(s) + z * logistic(z) / np.cosh(s) ** 2


ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": logistic,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, LEAK * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU_SLOPE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
    "gelu": lambda z: z * normal_distribution(z),
    "silu": lambda z: z * logistic(z),
    "softplus": softplus,
    "mish": lambda z: z * np.tanh(softplus(z)),
}

DERIVATIVES = {
    "identity": lambda z: np.ones_like(z),
    "logistic": lambda z: logistic(z) * logistic(-z),
    "tanh": lambda z: 1 / np.cosh(z) ** 2,
    "relu": lambda z: np.where(z > 0, 1.0, 0.0),
    "leaky_relu": lambda z: np.where(z > 0, 1.0, LEAK),
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "selu": lambda z: SELU_SLOPE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    "gelu": lambda z: normal_distribution(z) + z * normal_density(z),
    "silu": lambda z: logistic(z) * (1 + z * logistic(-z)),
    "softplus": logistic,
    "mish": mish_derivative,
}

OUTPUTS = {"softmax": softmax, "logistic": logistic, "identity": lambda z: z, "exp": np.exp}


def one_hot(labels, n_classes):
    return np.eye(n_classes)[np.asarray(labels, dtype=int).ravel()]


CANONICAL = {
    "softmax": "log_loss",
    "logistic": "log_loss",
    "identity": "squared_error",
    "exp": "poisson",
}


def smoothed(output, y, share):
    """Targets of which label smoothing has spread a share over all classes."""
    classes = y.shape[-1] if output == "softmax" else 2
    return (1 - share) * y + share / classes


def row_losses(output, a, y, eps, loss=None, huber_delta=1.0, quantiles=0.5):
    """The loss of each row of outputs `a` and targets `y`, by default the output's canonical."""
    loss = loss or CANONICAL[output]
    e = a - y
    if loss == "absolute_error":  # L = mean_j |e_j|
        return np.abs(e).mean(axis=1)
    if loss == "quantile":  # L = mean_j -q_j e_j where e_j < 0, else (1 - q_j) e_j
        return np.where(e < 0, -quantiles * e, (1 - quantiles) * e).mean(axis=1)
    if loss == "huber":  # L = mean_j e_j^2 / 2, or h (|e_j| - h / 2) where |e_j| > h
        h = huber_delta
        return np.where(np.abs(e) <= h, e**2 / 2, h * (np.abs(e) - h / 2)).mean(axis=1)
    if loss == "squared_error" and output != "identity":  # L = sum_j e_j^2 / 2
        return (e**2).sum(axis=1) / 2
    if output == "identity":  # L = mean_j (a_j - y_j)^2 / 2
        return ((a - y) ** 2).mean(axis=1) / 2
    if output == "exp":  # L = sum_j y_j log(y_j / a_j) - y_j + a_j, where 0 log 0 = 0
        return (y * np.log(np.where(y > 0, y, a) / a) - y + a).sum(axis=1)
    p = np.clip(a, eps, 1 - eps)  # keeps the logarithms finite
    if output == "softmax":  # L = -sum_j y_j log p_j
        return -(y * np.log(p)).sum(axis=1)
    # L = -sum_j y_j log p_j + (1 - y_j) log(1 - p_j)
    return -(y * np.log(p) + (1 - y) * np.log(1 - p)).sum(axis=1)


def deltas(output, a, y, loss=None, huber_delta=1.0, quantiles=0.5):
    """dL/dz of each row; of a loss that is a mean over outputs, of their sum."""
    loss = loss or CANONICAL[output]
    e = a - y
    if loss == "absolute_error":
        return np.sign(e)
    if loss == "quantile":
        return np.where(e == 0, 0, (e > 0) - quantiles)
    if loss == "huber":
        return np.clip(e, -huber_delta, huber_delta)
    if loss == "squared_error" and output == "softmax":
        # da_j/dz_i = a_j (1{i = j} - a_i), so dL/dz_i = sum_j e_j da_j/dz_i
        jacobian = a[:, :, None] * (np.eye(a.shape[1]) - a[:, None, :])
        return np.einsum("mj,mji->mi", e, jacobian)
    if loss == "squared_error" and output == "logistic":
        return e * a * (1 - a)
    return e


class Mlp:
    """A multilayer perceptron whose arrays are float64 copies of those given.

    Every product multiplies what `rounding` makes of its operands.
    """

    def __init__(
        self, coefs, intercepts, hidden, output, alpha=0.0, eps=2.0**-52, rounding=np.asarray
    ):
        self.rounding = rounding
        self.coefs = [np.array(coef, dtype=np.float64) for coef in coefs]
        self.intercepts = [np.array(intercept, dtype=np.float64) for intercept in intercepts]
        self.hidden, self.output, self.alpha, self.eps = hidden, output, alpha, eps

    def forward(self, X):
        """The inputs z_1 .. z_L of all layers, and the outputs a_0 .. a_L, where a_0 = X."""
        zs, a_s = [], [np.asarray(X, dtype=np.float64)]
        for layer, (W, b) in enumerate(zip(self.coefs, self.intercepts, strict=True), start=1):
            zs.append(self.rounding(a_s[-1]) @ self.rounding(W) + b)  # z_l = a_(l-1) W_l + b_l
            last = layer == len(self.coefs)
            f = OUTPUTS[self.output] if last else ACTIVATIONS[self.hidden]
            a_s.append(f(zs[-1]))  # a_l = f(z_l)
        return zs, a_s

    def predict(self, X):
        return self.forward(X)[1][-1]

    def loss(self, X, y, weights=None):
        """Weighted mean loss with its L2 penalty."""
        weights = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
        rows = row_losses(self.output, self.predict(X), y, self.eps)
        # E = (sum_i w_i L_i + alpha/2 sum_l |W_l|^2) / sum_i w_i
        penalty = self.alpha / 2 * sum((W**2).sum() for W in self.coefs)
        return (weights @ rows + penalty) / weights.sum()

    def gradients(self, X, y, weights=None):
        """dE/dW and dE/db of every layer.

        The squared error of n outputs counts n times, though its loss is their mean: so does
        scikit-learn.
        """
        weights = np.ones(len(X)) if weights is None else np.asarray(weights, dtype=np.float64)
        zs, a_s = self.forward(X)
        delta = (a_s[-1] - y) * weights[:, None]  # delta_L = (a_L - y) w
        coefs, intercepts = [], []
        for layer in reversed(range(len(self.coefs))):
            W = self.coefs[layer]
            # dE/dW_l = (a_(l-1)^T delta_l + alpha W_l) / sum w,  dE/db_l = sum_i delta_l / sum w
            a, rounded = self.rounding(a_s[layer]), self.rounding(delta)
            coefs.insert(0, (a.T @ rounded + self.alpha * W) / weights.sum())
            intercepts.insert(0, rounded.sum(axis=0) / weights.sum())
            if layer > 0:  # delta_(l-1) = (delta_l W_l^T) f'(z_(l-1))
                delta = (rounded @ self.rounding(W).T) * DERIVATIVES[self.hidden](zs[layer - 1])
        return coefs, intercepts

    def train(self, batches, rule):
        """One step of `rule` per batch (X, y, weights); returns each batch's loss before it."""
        losses = []
        for X, y, weights in batches:
            losses.append(self.loss(X, y, weights))
            coefs, intercepts = self.gradients(X, y, weights)
            rule.step(self.coefs + self.intercepts, coefs + intercepts)
        return losses


class Rule:
    """An update rule: `step` changes a list of arrays in place, given their gradients."""

    def __init__(self, learning_rate, momentum=0.9, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
        self.eta, self.mu, self.epsilon = learning_rate, momentum, epsilon
        self.b1, self.b2 = beta_1, beta_2
        self.t = 0
        self.first = self.second = None

    def step(self, arrays, gradients):
        if self.first is None:
            self.first = [np.zeros_like(each) for each in arrays]
            self.second = [np.zeros_like(each) for each in arrays]
        self.t += 1
        for w, g, first, second in zip(arrays, gradients, self.first, self.second, strict=True):
            w += self.change(g, first, second)


class Sgd(Rule):
    def change(self, g, first, second):
        return -self.eta * g


class Momentum(Rule):
    def change(self, g, v, second):
        v[...] = self.mu * v - self.eta * g  # v <- mu v - eta g
        return v


class Nesterov(Rule):
    def change(self, g, v, second):
        v[...] = self.mu * v - self.eta * g
        return self.mu * v - self.eta * g  # the gradient step, seen from one more step of v


class Adam(Rule):
    def change(self, g, m, v):
        m[...] = self.b1 * m + (1 - self.b1) * g  # m <- b1 m + (1 - b1) g
        v[...] = self.b2 * v + (1 - self.b2) * g**2  # v <- b2 v + (1 - b2) g^2
        rate = self.eta * np.sqrt(1 - self.b2**self.t) / (1 - self.b1**self.t)
        return -rate * m / (np.sqrt(v) + self.epsilon)
