"""ONNX graphs of estimators for tables: preprocessing and members, against our own predictions."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import NotFittedError

from fastmlp.interop import to_onnx

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
tabular = pytest.importorskip("fastmlp.tabular", exc_type=ImportError)

ROWS = 120
RNG = np.random.RandomState(0)
TABLE = pd.DataFrame(
    {
        "number": RNG.randn(ROWS),
        "tail": np.exp(3 * RNG.randn(ROWS)),
        "gaps": np.where(RNG.rand(ROWS) < 0.3, np.nan, RNG.rand(ROWS)),
        "two values": RNG.randint(0, 2, ROWS).astype(float),
        "constant": 3.0,
        "one level": "same",
        "two": np.array(["yes", "no"])[RNG.randint(0, 2, ROWS)],
        "many": np.array(["a", "", "c", "d", "rare"])[np.minimum(RNG.randint(0, 29, ROWS) // 7, 4)],
        "lost": np.where(RNG.rand(ROWS) < 0.2, None, np.array(list("uvw") * (ROWS // 3))),
        "flag": RNG.rand(ROWS) < 0.5,
    }
)
Y = TABLE["tail"] + TABLE["number"]
KINDS = pd.qcut(TABLE["number"] + (TABLE["two"] == "no"), 3, labels=["low", "mid", "high"])
SMALL = {"hidden_layer_sizes": (8, 5), "max_iter": 4, "n_members": 2, "random_state": 0}
DROPPED = {"constant", "one level"}


def fitted(X, y, **options):
    is_class = not np.issubdtype(np.asarray(y).dtype, np.floating)
    kind = tabular.TabularMLPClassifier if is_class else tabular.TabularMLPRegressor
    return kind(**SMALL | options).fit(X, y)


def run(exported, X):
    session = onnxruntime.InferenceSession(
        exported.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    if isinstance(X, pd.DataFrame):
        inputs = {}
        for each in session.get_inputs():
            column = X[each.name].to_numpy(object)
            if each.type == "tensor(string)":
                column = np.array(["" if pd.isna(value) else value for value in column], object)
            else:
                assert each.type == "tensor(double)"
                column = column.astype(np.float64)
            inputs[each.name] = column[:, np.newaxis]
    else:
        inputs = {"X": X.astype(np.float64)}
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def assert_equal_predictions(model, X, tolerance=1e-5, **options):
    found = run(to_onnx(model, **options), X)
    if "variable" in found:
        expected = model.predict(X).reshape(len(X), -1)
        assert found["variable"].dtype == np.float64 and found["variable"].shape == expected.shape
        np.testing.assert_allclose(found["variable"], expected, rtol=tolerance, atol=tolerance)
        return
    np.testing.assert_allclose(
        found["probabilities"], model.predict_proba(X), rtol=tolerance, atol=tolerance / 10
    )
    np.testing.assert_array_equal(found["label"], model.predict(X))


def later_rows():
    """Rows with everything that may come after a fit."""
    rows = TABLE.head(12).astype({"flag": object})
    for name in ("number", "tail", "gaps", "two values"):
        rows[name] = [np.nan, 1e300, -1e300, 5e-324, 0.0, -0.0, 1.0, 1e9, -3.0, 0.5, 2.0, 1e-9]
    for name in ("two", "many", "lost"):
        rows.loc[rows.index[:3], name] = ["never seen", "rare", "?"]
    return rows


@pytest.mark.parametrize("y", [Y, KINDS, KINDS == "mid"], ids=["values", "labels", "booleans"])
@pytest.mark.parametrize("rows", [TABLE, TABLE.head(1), later_rows()], ids=["all", "one", "later"])
def test_predictions_equal_ours_on_tables(y, rows):
    assert_equal_predictions(fitted(TABLE, np.asarray(y)), rows)


@pytest.mark.parametrize("n_bins", [0, 3])
@pytest.mark.parametrize("min_frequency", [1, 8])
@pytest.mark.parametrize("max_categories", [2, 64])
def test_every_option_of_the_preprocessor_has_a_graph(n_bins, min_frequency, max_categories):
    options = {"min_frequency": min_frequency, "max_categories": max_categories}
    assert_equal_predictions(fitted(TABLE, np.asarray(KINDS), n_bins=n_bins, **options), TABLE)


@pytest.mark.parametrize("columns", [["number"], ["two"], ["gaps", "lost"], ["two", "many"]])
def test_tables_of_any_kinds_of_columns_have_a_graph(columns):
    model = fitted(TABLE[columns], Y.to_numpy())
    assert [each.name for each in to_onnx(model).graph.input] == columns
    assert_equal_predictions(model, later_rows()[columns])


def test_inputs_are_the_columns_that_are_used_and_their_names_do_not_matter():
    model = fitted(TABLE, np.asarray(KINDS))
    names = [each.name for each in to_onnx(model).graph.input]
    assert names == [name for name in TABLE if name not in DROPPED]
    renamed = TABLE[names].set_axis(
        ["Gemm_0", "constant_0", "X", *map(str, range(3, len(names)))], axis=1
    )
    assert_equal_predictions(fitted(renamed, np.asarray(KINDS)), renamed)


@pytest.mark.parametrize("load", [load_wine, load_diabetes])
def test_an_array_of_numbers_is_one_input(load):
    X, y = load(return_X_y=True)
    X = np.column_stack([np.ones(len(X)), X])  # the first column is dropped
    X[::7, 2] = np.nan
    model = fitted(X, y)
    (declared,) = to_onnx(model).graph.input
    assert declared.name == "X" and declared.type.tensor_type.shape.dim[1].dim_value == X.shape[1]
    assert_equal_predictions(model, X)


def test_columns_of_an_array_of_objects_are_numbered():
    X = TABLE[["number", "two", "constant", "lost"]].to_numpy(object)
    model = fitted(X, np.asarray(KINDS))
    exported = to_onnx(model)
    assert [each.name for each in exported.graph.input] == ["x0", "x1", "x3"]
    frame = pd.DataFrame(dict(zip(["x0", "x1", "x2", "x3"], X.T, strict=True)))
    np.testing.assert_array_equal(run(exported, frame)["label"], model.predict(X))


def test_categories_that_were_numbers_are_strings():
    table = pd.DataFrame({"code": np.tile([1.0, 2.0, 3.0], 40), "x": TABLE["number"]})
    model = fitted(table, np.asarray(KINDS), categorical_features=["code"])
    found = run(to_onnx(model), table.assign(code=np.tile(["1", "2", "3"], 40)))
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(table), rtol=1e-5)


@pytest.mark.parametrize(
    "options", [{"calibrate": False}, {"n_members": 1}, {"label_smoothing": 0.0}]
)
def test_every_option_of_a_classifier_has_a_graph(options):
    assert_equal_predictions(fitted(TABLE, np.asarray(KINDS), **options), TABLE)


@pytest.mark.parametrize("power", [-900, 0, 900])
def test_several_values_of_any_size_have_a_graph(power):
    y = np.column_stack([np.ldexp(Y, power), -Y, np.ones(ROWS)])
    model = fitted(TABLE, y)
    found, expected = run(to_onnx(model), TABLE)["variable"], model.predict(TABLE)
    scale = np.abs(expected).max(axis=0)  # a value near 0 is a difference of larger ones
    np.testing.assert_allclose(found / scale, expected / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("power", [-1070, -600, 600, 1010])
def test_numbers_of_any_size_have_a_graph(power):
    x = np.ldexp(RNG.randint(-8, 9, ROWS).astype(float), power)[:, np.newaxis]
    assert_equal_predictions(fitted(x, np.asarray(KINDS)), x)


def test_the_type_may_be_chosen():
    model = fitted(TABLE, np.asarray(KINDS))
    found = run(to_onnx(model, dtype="float64"), TABLE)
    assert found["probabilities"].dtype == np.float64
    assert_equal_predictions(model, TABLE, dtype="float64")
    with pytest.raises(ValueError, match="dtype must be float32 or float64"):
        to_onnx(model, dtype="float16")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"when": pd.date_range("2020", periods=ROWS)}, r"columns \['when'\] are dates"),
        ({"label": TABLE["number"]}, "column 'label' has a name that the ONNX graph needs"),
        ({"fastmlp/a": TABLE["two"]}, "column 'fastmlp/a' has a name"),
        ({"c": np.tile([None, "", "a"], 40)}, "column 'c' has missing and empty values"),
    ],
    ids=["date", "output", "prefix", "empty"],
)
def test_what_has_no_graph_is_refused_by_name(column, message):
    model = fitted(TABLE[["number"]].assign(**column), np.asarray(KINDS))
    with pytest.raises(ValueError, match=message):
        to_onnx(model)


def test_a_model_that_is_not_fitted_is_refused():
    with pytest.raises(NotFittedError):
        to_onnx(tabular.TabularMLPClassifier())
