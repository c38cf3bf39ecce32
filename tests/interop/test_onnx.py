"""ONNX graphs: every activation and output, run by ONNX Runtime, against our own predictions."""

import sys

import numpy as np
import pytest
from interrupting import assert_no_interrupt_is_swallowed
from oracles import naive
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from fastmlp import MLPAutoencoder, MLPClassifier, MLPRegressor, MLPTransformer
from fastmlp._engine.kernels import activations, losses
from fastmlp.interop import register_onnx_converter, to_onnx, to_sklearn
from fastmlp.interop.onnx_graph import ACTIVATIONS, OUTPUTS, Graph, label_array

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RAW, Y = load_iris(return_X_y=True)
X = scale(RAW)
WORDS = np.array(["setosa", "versicolor", "virginica"])
DTYPES = [np.float32, np.float64]
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}

PROBLEMS = {
    "multiclass": (MLPClassifier, Y, {}),
    "words": (MLPClassifier, WORDS[Y], {}),
    "objects": (MLPClassifier, WORDS[Y].astype(object), {}),
    "binary": (MLPClassifier, Y // 2 + 3, {}),
    "binary words": (MLPClassifier, WORDS[Y // 2], {}),
    "booleans": (MLPClassifier, Y > 1, {}),
    "whole floats": (MLPClassifier, Y.astype(float), {}),
    "one class": (MLPClassifier, WORDS[Y * 0], {}),
    "multilabel": (MLPClassifier, np.column_stack([Y > 0, Y > 1]).astype(int), {}),
    "one target": (MLPRegressor, X[:, 0], {}),
    "two targets": (MLPRegressor, X[:, :2], {}),
    "poisson": (MLPRegressor, Y, {"loss": "poisson"}),
    "poisson, two targets": (MLPRegressor, np.column_stack([Y, Y + 1]), {"loss": "poisson"}),
}


def fitted(problem, dtype=np.float64, **parameters):
    estimator, y, own = PROBLEMS[problem]
    defaults = dict(hidden_layer_sizes=(8, 5), max_iter=9, random_state=0)
    return estimator(**defaults | own | parameters).fit(X.astype(dtype), y)


def run(model, inputs):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"X": inputs}), strict=True))


def assert_equal_predictions(results, model, inputs, tolerance=1e-5):
    close = {"rtol": tolerance, "atol": tolerance / 10}
    if "variable" in results:
        expected = model.predict(inputs).reshape(len(inputs), -1)
        assert results["variable"].shape == expected.shape
        np.testing.assert_allclose(results["variable"], expected, **close)
        return
    np.testing.assert_array_equal(results["label"], model.predict(inputs))
    assert results["probabilities"].shape == (len(inputs), max(2, len(model.classes_)))
    np.testing.assert_allclose(results["probabilities"], model.predict_proba(inputs), **close)


def test_the_tables_know_every_activation_and_output_of_the_engine():
    assert set(activations.CODES) == set(ACTIVATIONS)
    assert set(losses.OUTPUTS) == set(OUTPUTS)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation_is_its_formula(name, dtype):
    graph, helper = Graph(dtype), onnx.helper
    graph.node("Identity", ACTIVATIONS[name](graph, "X"), output="a")
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    values = [helper.make_tensor_value_info(each, kind, ["n"]) for each in ("X", "a")]
    opsets = [helper.make_opsetid("", 13)]
    made = helper.make_graph(graph.nodes, name, values[:1], values[1:], graph.initializers)
    model = helper.make_model(made, opset_imports=opsets, ir_version=8)
    z = np.concatenate([np.linspace(-8, 8, 1601), [-800, -80, 80, 800]]).astype(dtype)
    a = run(model, z)["a"]
    assert a.dtype == dtype
    rounding = 1e-13 if dtype == np.float64 and name != "gelu" else 1e-6  # erf is in float32
    expected = naive.ACTIVATIONS[name](z.astype(np.float64))
    np.testing.assert_allclose(a, expected, rtol=rounding, atol=2 * rounding)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_equal_ours_for_any_number_of_rows(problem, dtype):
    model = fitted(problem, dtype)
    exported = to_onnx(model)
    for rows in (1, 7, 150):
        inputs = X[:rows].astype(dtype)
        assert_equal_predictions(run(exported, inputs), model, inputs, TOLERANCE[dtype])


@pytest.mark.parametrize("hidden", [(), (3,), (4, 3, 2, 5)])
@pytest.mark.parametrize("activation", activations.CODES)
@pytest.mark.parametrize("problem", ["words", "poisson, two targets"])
def test_every_activation_in_networks_of_any_depth(problem, activation, hidden):
    model = fitted(problem, activation=activation, hidden_layer_sizes=hidden)
    results = run(to_onnx(model, dtype=np.float32), X.astype(np.float32))
    assert_equal_predictions(results, model, X.astype(np.float32))


def test_the_type_may_be_chosen():
    model = fitted("words", np.float32)
    results = run(to_onnx(model, dtype="float64"), X)
    assert results["probabilities"].dtype == np.float64
    assert_equal_predictions(results, model, X)
    for dtype in ("float16", int):
        with pytest.raises(ValueError, match="dtype must be float32 or float64"):
            to_onnx(model, dtype=dtype)


def test_inputs_and_outputs_are_declared():
    exported = to_onnx(fitted("binary words"))
    onnx.checker.check_model(exported, full_check=True)

    def declared(value):
        dims = value.type.tensor_type.shape.dim
        return value.name, [dim.dim_param or dim.dim_value for dim in dims]

    assert [*map(declared, exported.graph.input)] == [("X", ["n_samples", 4])]
    assert [*map(declared, exported.graph.output)] == [
        ("label", ["n_samples"]),
        ("probabilities", ["n_samples", 2]),
    ]


def test_each_layer_has_its_own_activation():
    names = ["mish", "gelu", "elu"]
    model = fitted("two targets", hidden_layer_sizes=(6, 5, 4))
    model.activation = names
    results = run(to_onnx(model), X)
    a = X
    for W, b, name in zip(model.coefs_, model.intercepts_, [*names, "identity"], strict=True):
        a = naive.ACTIVATIONS[name](a @ W + b)
    np.testing.assert_allclose(results["variable"], a, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("problem", ["binary words", "multilabel", "poisson, two targets"])
def test_estimators_of_scikit_learn_are_exported_as_well(problem):
    theirs = to_sklearn(fitted(problem))
    assert_equal_predictions(run(to_onnx(theirs), X), theirs, X)


def test_no_interrupt_is_taken_for_labels_that_onnx_lacks():
    """NumPy's array_equal would say that the labels are not whole numbers."""
    for problem in ("multiclass", "booleans", "whole floats"):
        assert_no_interrupt_is_swallowed(label_array, fitted(problem))


def test_what_has_no_form_in_onnx_is_named():
    model = fitted("words")
    model.activation = "swishy"
    with pytest.raises(ValueError, match="'swishy'"):
        to_onnx(model)
    model = fitted("multiclass")
    model.classes_ = np.array([0.25, 0.5, 0.75])
    with pytest.raises(ValueError, match="strings or whole numbers"):
        to_onnx(model)
    with pytest.raises(NotFittedError):
        to_onnx(MLPClassifier())
    with pytest.raises(TypeError, match="pass the fitted step"):
        to_onnx(make_pipeline(MLPClassifier(max_iter=1)).fit(X, Y))


def test_without_the_packages_the_error_tells_the_extra(monkeypatch):
    model = fitted("words")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"to_onnx requires onnx.*fastmlp\[onnx\]"):
        to_onnx(model)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"requires skl2onnx.*fastmlp\[onnx\]"):
        register_onnx_converter()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_pipeline_is_converted_whole(problem, dtype):
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converter()
    estimator, y, own = PROBLEMS[problem]
    step = estimator(**own, max_iter=9, random_state=0)
    inputs = (10 * RAW).round().astype(dtype)
    pipeline = make_pipeline(StandardScaler(), step).fit(inputs, y)
    options = {"zipmap": False} if estimator is MLPClassifier else None
    exported = skl2onnx.to_onnx(pipeline, inputs[:1], options=options)
    results = run(exported, inputs)
    assert_equal_predictions(results, pipeline, inputs, 1e-5)
    if estimator is MLPClassifier:
        real = np.float64 if dtype == np.float64 else np.float32
        assert results["probabilities"].dtype == real


@pytest.mark.parametrize("problem", ["words", "binary", "booleans"])
def test_the_zipmap_option_works_as_for_scikit_learns_classifiers(problem):
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converter()
    model, inputs = fitted(problem, np.float32), X.astype(np.float32)
    session = onnxruntime.InferenceSession(skl2onnx.to_onnx(model, inputs[:1]).SerializeToString())
    label, probabilities = session.run(None, {"X": inputs})
    np.testing.assert_array_equal(label, model.predict(inputs))
    table = np.array([[row[label] for label in model.classes_.tolist()] for row in probabilities])
    np.testing.assert_allclose(table, model.predict_proba(inputs), rtol=1e-5, atol=1e-6)
    columns = run(skl2onnx.to_onnx(model, inputs[:1], options={"zipmap": "columns"}), inputs)
    np.testing.assert_array_equal(columns.pop("output_label"), label)
    np.testing.assert_allclose(np.transpose([*columns.values()]), table, rtol=1e-6)


@pytest.mark.parametrize("problem", ["words", "objects", "multiclass", "binary"])
def test_skl2onnx_returns_class_labels_and_takes_its_options_as_for_scikit_learn(problem):
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converter()
    model, inputs = fitted(problem, np.float32), X.astype(np.float32)
    for options in ({"output_class_labels": True}, {"nocl": True}):
        exported = skl2onnx.to_onnx(model, inputs[:1], options={"zipmap": False, **options})
        results = run(exported, inputs)
        if "output_class_labels" in options:
            np.testing.assert_array_equal(results.pop("class_labels"), model.classes_)
        assert_equal_predictions(results, model, inputs, 1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("prefit", [False, True])
def test_a_hidden_layer_in_a_pipeline_is_converted(prefit, dtype):
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converter()
    inputs = (10 * RAW).round().astype(dtype)
    names = ("gelu", "tanh", "relu")
    model = MLPClassifier((7, 5, 6), names, max_iter=9, random_state=0)
    model = model.fit(inputs, Y) if prefit else model
    for layer, units in ((0, 7), (1, 5), (-1, 6)):
        hidden = MLPTransformer(model, layer, prefit=prefit)
        pipeline = make_pipeline(StandardScaler(), hidden, StandardScaler()).fit(inputs, Y)
        exported = skl2onnx.to_onnx(pipeline, inputs[:1])
        (got,) = run(exported, inputs).values()
        assert got.dtype == (np.float64 if dtype == np.float64 else np.float32)
        assert got.shape == (150, units)
        np.testing.assert_allclose(got, pipeline.transform(inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", [(3,), (7, 2, 6)])
def test_an_autoencoder_exports_its_code_and_its_reconstruction(hidden, dtype):
    inputs = X.astype(dtype)
    model = MLPAutoencoder(hidden, "tanh", max_iter=9, random_state=0).fit(inputs)
    found = run(to_onnx(model), inputs)
    assert list(found) == ["variable", "reconstruction"]
    expected = model.transform(inputs), model.predict(inputs)
    for got, outputs in zip(found.values(), expected, strict=True):
        assert got.dtype == dtype and got.shape == outputs.shape
        np.testing.assert_allclose(got, outputs, rtol=1e-4, atol=1e-6)
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converter()
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(inputs)
    (got,) = run(skl2onnx.to_onnx(pipeline, inputs[:1]), inputs).values()
    np.testing.assert_allclose(got, pipeline.transform(inputs), rtol=1e-4, atol=1e-5)
