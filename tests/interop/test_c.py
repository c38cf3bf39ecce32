"""C source: every activation and output, compiled by the system's compiler, against our own."""

import ctypes
import itertools
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import CODES
from fastmlp.interop import to_c
from fastmlp.interop.c_source import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COMPILER = shutil.which("gcc") or shutil.which("cc")
COMPILED = pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="there is no C compiler, gcc or cc"
)
FLAGS = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"]

X, Y = load_iris(return_X_y=True)
X = scale(X)
WORDS = np.array(["setosa", "versicolor", "virginica"])
# An estimator, its y, and what else it takes.
PROBLEMS = {
    "softmax": (MLPClassifier, Y, {}),
    "two_classes": (MLPClassifier, WORDS[Y // 2], {}),
    "multilabel": (MLPClassifier, np.column_stack([Y > 0, Y > 1, X[:, 0] > 0]).astype(int), {}),
    "one_value": (MLPRegressor, X[:, 0], {}),
    "values": (MLPRegressor, X[:, :2], {}),
    "poisson": (MLPRegressor, np.column_stack([Y, Y + 1]), {"loss": "poisson"}),
}


def fitted(problem="softmax", hidden=(8, 5), activation="tanh", dtype=np.float64, y=None):
    estimator, own_y, options = PROBLEMS[problem]
    model = estimator(hidden_layer_sizes=hidden, activation=activation, **options)
    model.set_params(max_iter=9, learning_rate_init=0.02, random_state=0)
    return model.fit(X.astype(dtype), own_y if y is None else y)


@pytest.fixture
def compile_c(tmp_path):
    """Compile C source without a warning; the library."""
    numbers = itertools.count()

    def compiled(source):
        stem = tmp_path / f"model{next(numbers)}"
        stem.with_suffix(".c").write_text(source, encoding="ascii")
        command = [COMPILER, *FLAGS, f"{stem}.c", "-o", f"{stem}.so", "-lm"]
        run = subprocess.run(command, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr[:2000]
        return ctypes.CDLL(f"{stem}.so")

    return compiled


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def called(function, rows, n_outputs, dtype=np.float32):
    """What a C function of a row writes for each of several (rows, n_outputs)."""
    rows = np.ascontiguousarray(rows, np.float32)
    outputs = np.full((len(rows), n_outputs + 1), 77, dtype)
    for row, output in zip(rows, outputs, strict=True):
        function(pointer(row), pointer(output))
    assert (outputs[:, -1] == 77).all()  # nothing is written behind
    return outputs[:, :-1]


def returned(function, rows):
    """What it returns for each of several rows."""
    rows = np.ascontiguousarray(rows, np.float32)
    return np.array([function(pointer(row)) for row in rows])


def assert_agrees(library, prefix, model, rows=X, tolerance=1e-5):
    """The library has the predictions of the model."""
    predict = getattr(library, f"{prefix}_predict")
    if not hasattr(model, "predict_proba"):
        expected = model.predict(rows).reshape(len(rows), -1)
        got = called(predict, rows, expected.shape[1])
        np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)
        return
    expected = model.predict_proba(rows)
    got = called(getattr(library, f"{prefix}_predict_proba"), rows, expected.shape[1])
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)
    labels = model.predict(rows)
    if labels.ndim == 2:
        sure = (np.abs(expected - 0.5) > tolerance).all(axis=1)
        found = called(predict, rows, labels.shape[1], np.int32)
        np.testing.assert_array_equal(found[sure], labels[sure])
    else:
        best = np.sort(expected, axis=1)
        sure = best[:, -1] - best[:, -2] > 2 * tolerance
        found = returned(predict, rows)[sure]
        np.testing.assert_array_equal(model.classes_[found], labels[sure])


@COMPILED
@pytest.mark.parametrize("problem", PROBLEMS)
def test_every_activation_and_output_agrees(problem, compile_c):
    models = {name: fitted(problem, activation=name) for name in CODES}
    library = compile_c("\n".join(to_c(model, prefix=name) for name, model in models.items()))
    for name, model in models.items():
        assert_agrees(library, name, model)


@COMPILED
def test_extreme_weighted_inputs_agree(compile_c):
    """Where exp overflows and tanh is 1, in hidden layers and in outputs."""
    models = {}
    for name, problem in itertools.product(CODES, ("softmax", "multilabel")):
        model = models[f"{name}_{problem}"] = fitted(problem, (8,), name)
        model.coefs_[0][...] *= 100
        model.coefs_[1][...] *= 0.1 if name in ("logistic", "tanh") else 0.01
    library = compile_c("\n".join(to_c(model, prefix=name) for name, model in models.items()))
    for name, model in models.items():
        assert_agrees(library, name, model, tolerance=3e-5)


@COMPILED
def test_networks_of_any_depth_agree(compile_c):
    layers = {
        "none": (), "one": (3,), "two": (3, 7), "three": (7, 3, 5), "six": (2, 9, 3, 8, 4, 7),
    }  # fmt: skip
    names = "gelu", "tanh", "relu", "silu", "elu", "mish"
    models = {
        f"{name}_{problem}": fitted(problem, hidden, names[: len(hidden)])
        for (name, hidden), problem in itertools.product(layers.items(), ("two_classes", "values"))
    }
    library = compile_c("\n".join(to_c(model, prefix=name) for name, model in models.items()))
    for name, model in models.items():
        assert_agrees(library, name, model)


@COMPILED
@pytest.mark.parametrize("output", ["tanh", "relu", "gelu", "softmax", "exp"])
def test_an_output_activation_set_by_hand_agrees(output, compile_c):
    model = fitted("values")
    model.out_activation_ = output
    assert_agrees(compile_c(to_c(model)), "mlp", model)


@COMPILED
def test_a_network_of_digits_agrees(compile_c):
    """The sums of 784 inputs, rounded to float32."""
    rng = np.random.RandomState(0)
    rows = rng.rand(300, 784).astype(np.float32)
    model = MLPClassifier((30,), max_iter=5, random_state=0).fit(rows, rng.randint(10, size=300))
    source = to_c(model, prefix="digits")
    assert_agrees(compile_c(source), "digits", model, rows)
    assert "784 - 30 (relu) - 10 (softmax)" in source
    assert "Constants: 95440 bytes, 23860 floats. Buffers on the stack: 160 bytes." in source


@COMPILED
def test_models_of_scikit_learn_agree(compile_c):
    options = dict(hidden_layer_sizes=(6,), max_iter=9, random_state=0)
    classifier = SklearnMLPClassifier(**options).fit(X, WORDS[Y])
    regressor = SklearnMLPRegressor(**options).fit(X, X[:, :2])
    library = compile_c(to_c(classifier, prefix="c") + to_c(regressor, prefix="r"))
    assert_agrees(library, "c", classifier)
    assert_agrees(library, "r", regressor)


@COMPILED
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_are_those_of_the_model_rounded_to_float32(dtype):
    model = fitted(dtype=dtype)
    model.coefs_[0][0, :4] = 1e-45, 3e38, -0.0, 1 / 3
    source = to_c(model)
    for layer, coef in enumerate(model.coefs_):
        text = re.search(rf"mlp_weights_{layer}\[{coef.size}\] = {{(.*?)}}", source, re.DOTALL)
        numbers = np.array(text.group(1).replace("f", "").split(",")[:-1], np.float32)
        assert numbers.tobytes() == coef.astype(np.float32).tobytes()


@COMPILED
@pytest.mark.parametrize(
    "labels",
    [
        ["a", 'quote "', "back\\slash"],
        ["??/", "*/ end", "ünï ✓\n%s"],
        ["x" * 90, "y" * 70, "0123"],
    ],
)
def test_labels_that_are_strings_stand_in_a_table(labels, compile_c):
    labels = np.array(sorted(labels))
    library = compile_c(to_c(fitted(y=labels[Y])))
    table = (ctypes.c_char_p * 3).in_dll(library, "mlp_classes")
    assert [label.decode() for label in table] == labels.tolist()


@COMPILED
@pytest.mark.parametrize(
    "labels, kind",
    [
        ([-7, 3, 40], ctypes.c_long),
        ([-(2**62), 0, 2**63 - 1], ctypes.c_longlong),
        ([-1.0, 0.0, 1e15], ctypes.c_double),
    ],
)
def test_labels_that_are_numbers_stand_in_a_table(labels, kind, compile_c):
    library = compile_c(to_c(fitted(y=np.array(labels)[Y])))
    assert list((kind * 3).in_dll(library, "mlp_classes")) == labels


@COMPILED
@pytest.mark.parametrize("y", [Y > 0, np.zeros_like(Y), Y // 2 + 3])
def test_two_classes_or_one_have_two_probabilities(y, compile_c):
    model = fitted(y=y)
    library = compile_c(to_c(model))
    expected = model.predict_proba(X)
    got = called(library.mlp_predict_proba, X, 2)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    table = np.array((ctypes.c_long * 2).in_dll(library, "mlp_classes"))
    sure = np.abs(expected[:, 0] - 0.5) > 1e-5
    labels = table[returned(library.mlp_predict, X)]
    np.testing.assert_array_equal(labels[sure], model.predict(X)[sure].astype(int))


@COMPILED
def test_names_of_features_stand_in_the_comment(compile_c):
    names = ["width", "a */ b", "/* c", "?" * 3]
    model = MLPClassifier((3,), max_iter=2).fit(pd.DataFrame(X, columns=names), Y)
    source = to_c(model, prefix="flowers_2")
    compile_c(source)
    assert "x[0] width\n" in source and "x[1] a \\052\\057 b\n" in source
    assert "#define FLOWERS_2_N_FEATURES 4\n#define FLOWERS_2_N_OUTPUTS 3\n" in source


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_comment_counts_the_memory(problem):
    source = to_c(fitted(problem, (8, 5, 9)))
    constants, floats, stack = map(
        int, re.search(r"Constants: (\d+) bytes, (\d+) floats. .*: (\d+) bytes", source).groups()
    )
    declared = re.findall(r"static const float \w+\[(\d+)\]", source)
    assert floats == sum(map(int, declared)) and constants == 4 * floats
    assert stack == 4 * sum(map(int, re.findall(r"^    float \w+\[(\d+)\];", source, re.MULTILINE)))
    assert source.isascii() and max(map(len, source.splitlines())) <= 120


def test_only_what_is_needed_is_there():
    source = to_c(fitted("values", (8,), "relu"))
    assert "softmax" not in source and "tanh" not in source and "classes" not in source
    assert source.count("#include") == 1 and "malloc" not in source


def test_what_c_lacks_is_refused(monkeypatch):
    model = fitted()
    for prefix in ("", "2nd", "a-b", "ö", "a b"):
        with pytest.raises(ValueError, match="prefix must be a C identifier"):
            to_c(model, prefix=prefix)
    with pytest.raises(NotFittedError):
        to_c(MLPClassifier())
    with pytest.raises(TypeError, match="pass the fitted step"):
        to_c(make_pipeline(StandardScaler(), MLPClassifier((2,), max_iter=1)).fit(X, Y))
    with pytest.raises(ValueError, match="labels must be strings or numbers"):
        model.classes_ = np.array([b"a", b"b", b"c"])
        to_c(model)
    with pytest.raises(ValueError, match="64 bits"):
        model.classes_ = np.array([0, 1, 2**64 - 1], np.uint64)
        to_c(model)
    model = fitted()
    model.coefs_[0][0, 0] = 1e300
    with pytest.raises(ValueError, match="not finite in float32"):
        to_c(model)
    monkeypatch.delitem(ACTIVATIONS, "tanh")
    with pytest.raises(ValueError, match="'tanh' has no C expression"):
        to_c(fitted())
