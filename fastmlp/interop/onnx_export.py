"""ONNX export of an estimator, and a skl2onnx converter for pipelines."""

import importlib
from typing import TYPE_CHECKING

import numpy as np

from fastmlp._estimator.architecture import Architecture
from fastmlp.autoencoder import MLPAutoencoder
from fastmlp.estimators import MLPClassifier, MLPRegressor
from fastmlp.interop.onnx_graph import (
    ML_DOMAIN,
    Graph,
    add_estimator,
    add_network,
    output_types,
)
from fastmlp.transformers import MLPTransformer

if TYPE_CHECKING:
    import onnx

# The first opsets with every operator used here in its present form; ONNX Runtime 1.6 reads them.
OPSET = 13
ML_OPSET = 2
INPUT = "X"


def to_onnx(estimator, *, dtype=None) -> "onnx.ModelProto":
    """Convert a fitted model to ONNX.

    The input `X` is a tensor of shape (n_samples, n_features), for any number of samples. A
    classifier has two outputs: `label`, of shape (n_samples,), or (n_samples, n_labels) of 0 and 1
    for multilabel y; and `probabilities`, of shape (n_samples, n_classes). Labels are strings, or
    int64 if they are integers or booleans. A regressor has one output, `variable`, of shape
    (n_samples, n_outputs). skl2onnx uses the same names. An `MLPAutoencoder` has two: `variable`,
    what `transform` returns, and `reconstruction`.

    An estimator of `fastmlp.tabular` is converted with its preprocessing. The graph has an input
    for each column of the table, of shape (n_samples, 1), under the column's name or `x0`, `x1`
    and so on. Columns that were constant in `fit` have none. Numbers are float64, and NaN if
    missing. Categories are strings, and empty if missing. If all columns of an array are numbers,
    the only input is `X`, of shape (n_samples, n_features).

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, MLPAutoencoder or estimator of `fastmlp.tabular`
        A fitted estimator of fastmlp or scikit-learn.
    dtype : numpy.float32 or numpy.float64, default=None
        The type of `X`, of the computation and of all outputs except labels. None uses the type
        of `coefs_`. For `fastmlp.tabular`, it is the type of the members' computation and of
        probabilities; a table's numbers and a regressor's values are float64. With gelu, erf is
        always computed in float32, the only type for which ONNX Runtime has it.

    Returns
    -------
    onnx.ModelProto
        The model, checked by ``onnx.checker``. Its method ``SerializeToString`` returns the bytes
        to write to a file.

    Raises
    ------
    ImportError
        If onnx is not installed.
    NotFittedError
        If the estimator is not fitted.
    ValueError
        If labels are neither strings nor integers, or if dtype is any other type. If a column of a
        table is a date, has the name of an output, or has empty strings and missing ones.

    See Also
    --------
    register_onnx_converter : Convert pipelines with skl2onnx.
    to_sklearn : Convert to scikit-learn.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.interop import to_onnx
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(solver="lbfgs", max_iter=50, random_state=0).fit(X, y)
    >>> graph = to_onnx(model, dtype="float32").graph
    >>> [node.op_type for node in graph.node]
    ['Gemm', 'Relu', 'Gemm', 'Identity']
    >>> graph.input[0].name, graph.output[0].name
    ('X', 'variable')
    """
    onnx = _imported("onnx", "to_onnx")
    if is_tabular(estimator):
        model = _tabular_model(estimator, _checked(dtype or np.float32))
    else:
        Architecture.of(estimator)  # raises if the estimator is not fitted, or not a network
        own = np.result_type(np.float32, *estimator.coefs_)
        model = _model(estimator, _checked(own if dtype is None else dtype))
    onnx.checker.check_model(model, full_check=True)
    return model


def is_tabular(estimator) -> bool:
    """Whether an estimator is one of `fastmlp.tabular`, which this package does not import."""
    return any(
        f"{kind.__module__}.{kind.__name__}" == "fastmlp.tabular.base.BaseTabularMLP"
        for kind in type(estimator).__mro__
    )


def _checked(dtype) -> np.dtype:
    """A type that graphs can compute in."""
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return np.dtype(dtype)


def _imported(module: str, caller: str):
    """Import an optional package, or raise an ImportError that says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"{caller} requires {module}; install it with `pip install fastmlp[onnx]`"
        raise ImportError(message) from error


def _value(name: str, dtype, columns: int | None):
    """Declare an input or output with any number of rows."""
    from onnx import helper

    shape = ["n_samples"] if columns is None else ["n_samples", columns]
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), shape)


def _model(estimator, dtype):
    """A model with the nodes of the estimator, and an output for each of its results."""
    graph = Graph(dtype)
    for name, result in add_estimator(graph, estimator, INPUT).items():
        graph.node("Identity", result, output=name)
    inputs = {INPUT: (dtype, len(estimator.coefs_[0]))}
    return _made(graph, estimator, inputs, output_types(estimator, dtype))


def _tabular_model(estimator, dtype):
    """The same for an estimator of `fastmlp.tabular`."""
    from fastmlp.interop.onnx_tabular import TabularGraph  # needs narwhals

    graph = TabularGraph(estimator, dtype)
    return _made(graph, estimator, graph.inputs, graph.outputs)


def _made(graph: Graph, estimator, inputs: dict, outputs: dict):
    """A model of a graph; inputs and outputs have a type and a number of columns each."""
    from onnx import helper

    opsets = [helper.make_opsetid("", OPSET)]
    if any(node.domain == ML_DOMAIN for node in graph.nodes):
        opsets.append(helper.make_opsetid(ML_DOMAIN, ML_OPSET))
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            type(estimator).__name__,
            [_value(name, *type_and_columns) for name, type_and_columns in inputs.items()],
            [_value(name, *type_and_columns) for name, type_and_columns in outputs.items()],
            graph.initializers,
        ),
        opset_imports=opsets,
        ir_version=helper.find_min_ir_version_for(opsets),
        producer_name="fastmlp",
    )


class _ContainerGraph(Graph):
    """A graph that adds its nodes to a container of skl2onnx, under names unused there."""

    def __init__(self, dtype, scope, container):
        super().__init__(dtype)
        self._scope, self._container = scope, container

    def node(self, operator, *inputs, output=None, **attributes):
        output = output or self._scope.get_unique_variable_name(operator)
        name = self._scope.get_unique_operator_name(operator)
        self._container.add_node(operator, list(inputs), [output], name=name, **attributes)
        return output

    def constant(self, value):
        from onnx import helper

        value, name = np.asarray(value), self._scope.get_unique_variable_name("constant")
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        self._container.add_initializer(name, dtype, value.shape, value.ravel())
        return name


def register_onnx_converter() -> None:
    """Teach skl2onnx to convert fastmlp's estimators and transformers, alone and within pipelines.

    Classifiers have the same options as in scikit-learn: `zipmap`, `output_class_labels` and
    `nocl`. Registering twice is harmless.

    Raises
    ------
    ImportError
        If skl2onnx is not installed.

    See Also
    --------
    to_onnx : Convert a single model, without skl2onnx.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.interop import register_onnx_converter
    >>> from skl2onnx import to_onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), MLPClassifier(solver="lbfgs", random_state=0))
    >>> register_onnx_converter()
    >>> exported = to_onnx(model.fit(X, y), X[:1], options={"zipmap": False})
    >>> [output.name for output in exported.graph.output]
    ['label', 'probabilities']
    """
    skl2onnx = _imported("skl2onnx", "register_onnx_converter")
    options = {
        "zipmap": [True, False, "columns"],
        "nocl": [True, False],  # read by skl2onnx alone, for the keys of zipmap
        "output_class_labels": [False, True],
    }
    for estimator, own in ((MLPClassifier, options), (MLPRegressor, None)):
        name = f"Fastmlp{estimator.__name__}"
        skl2onnx.update_registered_converter(estimator, name, _set_types, _convert, options=own)
    for transformer in (MLPTransformer, MLPAutoencoder):
        name = f"Fastmlp{transformer.__name__}"
        skl2onnx.update_registered_converter(transformer, name, _set_type_of_layer, _convert_layer)


def _set_types(operator) -> None:
    """Declare the types of the outputs of a skl2onnx operator."""
    from skl2onnx.common import data_types

    kinds = {
        np.dtype(np.float32): data_types.FloatTensorType,
        np.dtype(np.float64): data_types.DoubleTensorType,
        np.dtype(np.int64): data_types.Int64TensorType,
        np.dtype(object): data_types.StringTensorType,
    }
    rows = operator.inputs[0].get_first_dimension()
    types = output_types(operator.raw_operator, _computing_type(operator))
    for variable, (dtype, columns) in zip(operator.outputs, types.values(), strict=True):
        variable.set_type(kinds[dtype]([rows] if columns is None else [rows, columns]))


def _convert(scope, operator, container) -> None:
    """Add the nodes of a skl2onnx operator."""
    graph = _ContainerGraph(_computing_type(operator), scope, container)
    X = graph.cast(operator.inputs[0].full_name, graph.dtype)
    results = add_estimator(graph, operator.raw_operator, X)
    for variable, result in zip(operator.outputs, results.values(), strict=True):
        graph.node("Identity", result, output=variable.full_name)


def _set_type_of_layer(operator) -> None:
    """Declare the type of a hidden layer's output."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = FloatTensorType if _computing_type(operator) is np.float32 else DoubleTensorType
    rows = operator.inputs[0].get_first_dimension()
    model, depth = operator.raw_operator._model_and_depth()
    operator.outputs[0].set_type(kind([rows, model.coefs_[depth - 1].shape[1]]))


def _convert_layer(scope, operator, container) -> None:
    """Add the nodes from X to a hidden layer."""
    graph = _ContainerGraph(_computing_type(operator), scope, container)
    X = graph.cast(operator.inputs[0].full_name, graph.dtype)
    model, depth = operator.raw_operator._model_and_depth()
    a = add_network(graph, model, X, last=depth)
    graph.node("Identity", a, output=operator.outputs[0].full_name)


def _computing_type(operator) -> type:
    """float64 for float64 input, else float32, as in skl2onnx."""
    from skl2onnx.common.data_types import DoubleTensorType

    return np.float64 if isinstance(operator.inputs[0].type, DoubleTensorType) else np.float32
