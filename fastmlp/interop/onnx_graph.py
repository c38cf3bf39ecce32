"""A network as an ONNX graph: tables of hidden and output activations, and the chain of layers."""

import math
from itertools import islice

import numpy as np
from sklearn.base import is_classifier

from fastmlp._engine.kernels import activations
from fastmlp._estimator.architecture import Architecture
from fastmlp._estimator.fitted import completed
from fastmlp.autoencoder import MLPAutoencoder

ML_DOMAIN = "ai.onnx.ml"  # of the operators that read strings


class Graph:
    """The nodes and constants of an ONNX graph that computes in a single type.

    Parameters
    ----------
    dtype : numpy.float32 or numpy.float64
    prefix : str, default=""
        Of all names that the graph gives.

    Attributes
    ----------
    nodes, initializers : lists of protocol buffers
        Arguments for ``onnx.helper.make_graph``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.interop.onnx_graph import ACTIVATIONS, Graph
    >>> graph = Graph(np.float32)
    >>> ACTIVATIONS["silu"](graph, "z")
    'Mul_1'
    >>> [node.op_type for node in graph.nodes]
    ['Sigmoid', 'Mul']
    """

    def __init__(self, dtype, prefix: str = ""):
        self.dtype, self._prefix = np.dtype(dtype), prefix
        self.nodes, self.initializers = [], []

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes) -> str:
        """Add a node with a standard ONNX operator; return the name of its only output."""
        from onnx import helper

        output = output or f"{self._prefix}{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value) -> str:
        """Add a constant array; return its name."""
        from onnx import numpy_helper

        name = f"{self._prefix}constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def number(self, value: float) -> str:
        """Add a constant number of the graph's type; return its name."""
        return self.constant(np.array(value, self.dtype))

    def cast(self, value: str, dtype) -> str:
        """Add a conversion to a NumPy type; return the name of its result."""
        from onnx import helper

        return self.node("Cast", value, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _leaky_relu(graph: Graph, z: str) -> str:
    # max(z, 0.01 z). The operator LeakyRelu would round the slope to float32.
    return graph.node("Max", z, graph.node("Mul", z, graph.number(activations.LEAK)))


def _elu(graph: Graph, z: str) -> str:
    # max(z, 0) + exp(min(z, 0)) - 1. ONNX Runtime has Elu only for float32.
    negative = graph.node("Exp", graph.node("Min", z, graph.number(0)))
    return graph.node("Add", graph.node("Relu", z), graph.node("Sub", negative, graph.number(1)))


def _selu(graph: Graph, z: str) -> str:
    # SELU_SLOPE max(z, 0) + SELU_LIMIT (exp(min(z, 0)) - 1). The operator Selu is like Elu.
    above = graph.node("Mul", graph.node("Relu", z), graph.number(activations.SELU_SLOPE))
    below = graph.node("Exp", graph.node("Min", z, graph.number(0)))
    below = graph.node("Sub", below, graph.number(1))
    below = graph.node("Mul", below, graph.number(activations.SELU_LIMIT))
    return graph.node("Add", above, below)


def _gelu(graph: Graph, z: str) -> str:
    # z (1 + erf(z / sqrt 2)) / 2. ONNX Runtime has Erf only for float32.
    scaled = graph.node("Mul", z, graph.number(math.sqrt(0.5)))
    erf = graph.cast(graph.node("Erf", graph.cast(scaled, np.float32)), graph.dtype)
    half = graph.node("Mul", z, graph.number(0.5))
    return graph.node("Mul", half, graph.node("Add", erf, graph.number(1)))


def _silu(graph: Graph, z: str) -> str:
    return graph.node("Mul", z, graph.node("Sigmoid", z))


def _softplus(graph: Graph, z: str) -> str:
    # max(z, 0) + log(1 + exp(-|z|)). ONNX Runtime has Softplus only for float32.
    decay = graph.node("Exp", graph.node("Neg", graph.node("Abs", z)))
    log = graph.node("Log", graph.node("Add", decay, graph.number(1)))
    return graph.node("Add", graph.node("Relu", z), log)


def _mish(graph: Graph, z: str) -> str:
    return graph.node("Mul", z, graph.node("Tanh", _softplus(graph, z)))


# Each entry adds the nodes of f(z) to a graph and returns the name of the result. The tables need
# one for every activation and every output of `fastmlp._engine.kernels`; a test compares the names.
ACTIVATIONS = {
    "identity": lambda graph, z: z,
    "logistic": lambda graph, z: graph.node("Sigmoid", z),
    "tanh": lambda graph, z: graph.node("Tanh", z),
    "relu": lambda graph, z: graph.node("Relu", z),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
    "mish": _mish,
}
OUTPUTS = {
    "identity": lambda graph, z: z,
    "logistic": lambda graph, z: graph.node("Sigmoid", z),
    "softmax": lambda graph, z: graph.node("Softmax", z, axis=1),
    "exp": lambda graph, z: graph.node("Exp", z),
}


def add_network(graph: Graph, estimator, a: str, first: int = 0, last: int | None = None) -> str:
    """Add layers `first` to `last`, without the last, of a fitted estimator; all by default.

    Parameters
    ----------
    graph : Graph
    estimator : MLPClassifier or MLPRegressor
    a : str
        The name of the input of the first layer, of shape (n_samples, n_in) and of the graph's
        type.
    first, last : int

    Returns
    -------
    str
        The name of the last layer's activations, of shape (n_samples, n_units).

    Raises
    ------
    ValueError
        If an activation is not in the table.
    """
    names = Architecture.of(estimator).activations
    tables = [ACTIVATIONS] * (len(names) - 1) + [OUTPUTS]
    layers = zip(estimator.coefs_, estimator.intercepts_, names, tables, strict=True)
    for coef, intercept, name, table in islice(layers, first, last):
        if not isinstance(name, str) or name not in table:
            raise ValueError(f"activation {name!r} has no ONNX graph")
        W, b = (graph.constant(np.asarray(array, graph.dtype)) for array in (coef, intercept))
        a = table[name](graph, graph.node("Gemm", a, W, b))
    return a


def add_labels(graph: Graph, estimator, outputs: str) -> tuple[str, str]:
    """Add labels and probabilities from a classifier's output activations; return their names."""
    if is_multilabel(estimator):
        likely = graph.node("Greater", outputs, graph.number(0.5))
        return graph.cast(likely, np.int64), outputs
    if estimator.n_outputs_ == 1:
        opposite = graph.node("Sub", graph.number(1), outputs)
        outputs = graph.node("Concat", opposite, outputs, axis=1)
    most_likely = graph.node("ArgMax", outputs, axis=1, keepdims=0)
    labels = label_array(estimator)
    if len(labels) == 1:  # a single class, but two columns of probabilities
        labels = labels.repeat(2)
    return graph.node("Gather", graph.constant(labels), most_likely), outputs


def add_values(graph: Graph, estimator, X: str) -> str:
    """Add all nodes from X to a regressor's predictions; return their name."""
    if estimator.loss == "quantile" and estimator.sort_quantiles:
        raise ValueError("sort_quantiles=True has no ONNX graph: set it to False")
    return add_network(graph, estimator, X)


def add_estimator(graph: Graph, estimator, X: str) -> dict[str, str]:
    """Add all nodes from X to the predictions.

    Returns
    -------
    dict of str to str
        The name of each result in the graph, under the keys of `output_types`.
    """
    estimator = completed(estimator)
    if isinstance(estimator, MLPAutoencoder):
        model, depth = estimator._model_and_depth()
        code = add_network(graph, model, X, last=depth)
        results = code, add_network(graph, model, code, first=depth)
    elif is_classifier(estimator):
        results = add_labels(graph, estimator, add_network(graph, estimator, X))
    else:
        results = (add_values(graph, estimator, X),)
    return dict(zip(output_types(estimator, graph.dtype), results, strict=True))


def output_types(estimator, dtype) -> dict[str, tuple[np.dtype, int | None]]:
    """The type and number of columns of each prediction, under the names that skl2onnx uses.

    Returns
    -------
    dict of str to tuple
        The number of columns is None for a vector; the type of strings is object.
    """
    estimator = completed(estimator)
    dtype, columns = np.dtype(dtype), estimator.n_outputs_
    if isinstance(estimator, MLPAutoencoder):
        units = estimator._n_features_out
        return {"variable": (dtype, units), "reconstruction": (dtype, columns)}
    if not is_classifier(estimator):
        return {"variable": (dtype, columns)}
    label = np.dtype(np.int64), columns
    if not is_multilabel(estimator):
        label = label_array(estimator).dtype, None
    return {"label": label, "probabilities": (dtype, max(2, columns))}


def is_multilabel(estimator) -> bool:
    """Whether a classifier was fitted to multilabel y."""
    return estimator._label_binarizer.y_type_.startswith("multilabel")


def label_array(estimator) -> np.ndarray:
    """A classifier's labels in a form that ONNX accepts: int64, or an object array of strings.

    Raises
    ------
    ValueError
        If they are neither strings nor integers.
    """
    classes = np.asarray(estimator.classes_)
    if all(isinstance(label, str) for label in classes):
        return classes.astype(object)
    try:
        whole = classes.astype(np.int64)
    except (ValueError, TypeError, OverflowError):
        whole = None
    # Not np.array_equal, which turns an exception of a signal handler into False.
    if whole is None or (whole != classes).any():
        raise ValueError(f"labels must be strings or whole numbers for ONNX, got {classes!r}")
    return whole
