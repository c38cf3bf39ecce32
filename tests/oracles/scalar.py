"""A multilayer perceptron written out from its formulas: loops over Python floats, no arrays.

Unit i of layer l has the weight theta[l][i][j] for unit j of the layer below and the bias b[l][i];
a bias is the weight of a unit that is always 1. Every layer's delta is derived through the chain
rule, the output layer's too: nothing here knows that it often comes out as a - y.
"""

from math import exp, log, tanh


def sigmoid(z):
    return 1 / (1 + exp(-z))


def transposed(matrix):
    return [list(map(float, row)) for row in zip(*matrix, strict=True)]


# Of each activation: f(z), and f'(z).
ACTIVATIONS = {
    "identity": (lambda z: z, lambda z: 1.0),
    "logistic": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (tanh, lambda z: 1 - tanh(z) ** 2),
    "relu": (lambda z: z if z > 0 else 0.0, lambda z: 1.0 if z > 0 else 0.0),
}


class CrossEntropy:
    """L = -sum_k y_k log a_k, of one-hot y."""

    def loss(self, a, y):
        return -sum(y[k] * log(a[k]) for k in range(len(a)) if y[k])

    def slope(self, a, y, k):
        return -y[k] / a[k]  # dL/da_k


class BinaryCrossEntropy:
    """L = -sum_k y_k log a_k + (1 - y_k) log(1 - a_k), of categories that may come together."""

    def loss(self, a, y):
        return -sum(log(a[k]) if y[k] else log(1 - a[k]) for k in range(len(a)))

    def slope(self, a, y, k):
        return -(y[k] / a[k] - (1 - y[k]) / (1 - a[k]))


class SquaredDifference:
    """L = sum_k (a_k - y_k)^2, of any y."""

    def loss(self, a, y):
        return sum((a[k] - y[k]) ** 2 for k in range(len(a)))

    def slope(self, a, y, k):
        return 2 * (a[k] - y[k])


class ScalarMlp:
    """Layers of weights and biases, given as scikit-learn keeps them: coefs[l][j][i]."""

    def __init__(self, coefs, intercepts, hidden, output, cost, alpha=0.0):
        self.theta = [transposed(coef) for coef in coefs]
        self.b = [list(map(float, intercept)) for intercept in intercepts]
        self.hidden, self.output, self.cost, self.alpha = hidden, output, cost, alpha
        self.depth = len(self.theta)

    def function(self, z):
        return ACTIVATIONS[self.hidden][0](z)

    def derivative(self, z):
        return ACTIVATIONS[self.hidden][1](z)

    def weighted_input(self, layer, i, below):
        """z_i = sum_j theta_ij a_j + b_i"""
        theta = self.theta[layer][i]
        return sum(theta[j] * below[j] for j in range(len(below))) + self.b[layer][i]

    def softmax(self, z):
        """a_i = e^z_i / sum_k e^z_k"""
        return [exp(each) / sum(exp(other) for other in z) for each in z]

    def outputs(self, z):
        if self.output == "softmax":
            return self.softmax(z)
        return [ACTIVATIONS[self.output][0](each) for each in z]

    def output_derivative(self, a, z, k, i):
        """da_k/dz_i of the output layer: a_i (1 - a_i) or -a_k a_i for softmax."""
        if self.output == "softmax":
            return a[i] * (1 - a[i]) if i == k else -a[k] * a[i]
        return ACTIVATIONS[self.output][1](z[i]) if i == k else 0.0

    def forward(self, x):
        """Weighted inputs z_1 .. z_L, and activations a_0 .. a_L with a_0 = x."""
        zs, activations = [], [[float(value) for value in x]]
        for layer in range(self.depth):
            units = range(len(self.theta[layer]))
            zs.append([self.weighted_input(layer, i, activations[-1]) for i in units])
            last = layer == self.depth - 1
            activations.append(self.outputs(zs[-1]) if last else [self.function(z) for z in zs[-1]])
        return zs, activations

    def output_delta(self, a, z, y):
        """delta_i = dL/dz_i = sum_k dL/da_k da_k/dz_i"""
        units = range(len(a))
        return [
            sum(self.cost.slope(a, y, k) * self.output_derivative(a, z, k, i) for k in units)
            for i in units
        ]

    def hidden_delta(self, layer, above, zs):
        """delta_l,i = (sum_k delta_l+1,k theta_l+1,ki) f'(z_l,i)"""
        theta = self.theta[layer + 1]
        return [
            sum(above[k] * theta[k][i] for k in range(len(above))) * self.derivative(z)
            for i, z in enumerate(zs[layer])
        ]

    def deltas(self, zs, activations, y):
        """delta of every layer, from the last to the first."""
        deltas = [self.output_delta(activations[-1], zs[-1], y)]
        for layer in reversed(range(self.depth - 1)):
            deltas.insert(0, self.hidden_delta(layer, deltas[0], zs))
        return deltas

    def weight_slope(self, deltas, activations, layer, i, j):
        """dL/dtheta_ij = delta_i a_j, of one row"""
        return deltas[layer][i] * activations[layer][j]

    def bias_slope(self, deltas, layer, i):
        """dL/db_i = delta_i, of one row"""
        return deltas[layer][i]

    def mean(self, values):
        """The cost of a batch is the mean of its rows' losses, and so are its derivatives."""
        return sum(values) / len(values)

    def loss(self, X, Y):
        """E = (sum_m L_m + alpha/2 sum theta^2) / M"""
        rows = [self.cost.loss(self.forward(x)[1][-1], y) for x, y in zip(X, Y, strict=True)]
        squares = sum(value**2 for layer in self.theta for unit in layer for value in unit)
        return self.mean(rows) + self.alpha / 2 * squares / len(rows)

    def gradient(self, X, Y):
        """dE/dtheta and dE/db, nested as theta and b are."""
        rows = []
        for x, y in zip(X, Y, strict=True):
            zs, activations = self.forward(x)
            rows.append((self.deltas(zs, activations, y), activations))
        weights = [
            [
                [
                    self.mean([self.weight_slope(d, a, layer, i, j) for d, a in rows])
                    + self.alpha * unit[j] / len(rows)
                    for j in range(len(unit))
                ]
                for i, unit in enumerate(theta)
            ]
            for layer, theta in enumerate(self.theta)
        ]
        biases = [
            [self.mean([self.bias_slope(d, layer, i) for d, _ in rows]) for i in range(len(b))]
            for layer, b in enumerate(self.b)
        ]
        return weights, biases

    def descend(self, X, Y, rate):
        """theta <- theta - rate dE/dtheta, and b alike; returns E before."""
        before, (weights, biases) = self.loss(X, Y), self.gradient(X, Y)
        for layer in range(self.depth):
            for i, unit in enumerate(self.theta[layer]):
                self.b[layer][i] -= rate * biases[layer][i]
                for j in range(len(unit)):
                    unit[j] -= rate * weights[layer][i][j]
        return before
