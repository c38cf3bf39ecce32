"""Tables of unusual types: read as people mean them, or refused by an error."""

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from fastmlp.tabular import TabularMLPClassifier, TabularMLPRegressor, TabularPreprocessor

ROWS = 12
X = np.arange(float(ROWS))
TOKYO = timezone(timedelta(hours=9))


def repeated(*values):
    """The values, as often as a table has room for them."""
    return list(values) * (ROWS // len(values))


def of_pandas(values, dtype=None):
    return pd.DataFrame({"x": X, "c": pd.Series(values, dtype=dtype)})


def of_polars(values, dtype=None):
    polars = pytest.importorskip("polars")
    dtype = None if dtype is None else dtype(polars)
    return polars.DataFrame({"x": X, "c": polars.Series(values, dtype=dtype, strict=False)})


def of_pyarrow(values, kind=None):
    pyarrow = pytest.importorskip("pyarrow")
    array = pyarrow.array(values, None if kind is None else kind(pyarrow))
    return pyarrow.table({"x": X, "c": array})


def outcome(table, **options):
    """Names and values of what a table becomes."""
    preprocessor = TabularPreprocessor(n_bins=0, min_frequency=1, **options)
    values = preprocessor.fit_transform(table)
    assert values.dtype == np.float32 and np.isfinite(values).all()
    return preprocessor.get_feature_names_out().tolist(), values


def assert_same_outcome(table, like):
    (names, values), (expected_names, expected) = outcome(table), outcome(like)
    assert names == expected_names
    np.testing.assert_array_equal(values, expected)


NUMBERS = repeated(1.5, np.nan, 2.0)
DAYS = repeated(timedelta(1), None, timedelta(3))
DATES = repeated(date(2020, 1, 1), None, date(2021, 3, 2))
TIMES = repeated(datetime(2020, 1, 1, 5), None, datetime(2021, 3, 2, 17))
DECIMALS = repeated(Decimal("1.5"), None, Decimal(2))


@pytest.mark.parametrize(
    ("table", "like"),
    [
        (lambda: of_pandas(repeated(1.5, None, 2), object), NUMBERS),
        (lambda: of_pandas(NUMBERS, "Float64"), NUMBERS),
        (lambda: of_pandas(repeated(3, None, 4), "Int64"), repeated(3.0, np.nan, 4.0)),
        (lambda: of_pandas(repeated(True, None, False), "boolean"), repeated(1.0, np.nan, 0.0)),
        (lambda: of_pandas(repeated(True, None, False), object), repeated(1.0, np.nan, 0.0)),
        (lambda: of_pandas(DECIMALS, object), NUMBERS),
        (lambda: of_polars(DECIMALS), NUMBERS),
        (lambda: of_pyarrow(DECIMALS), NUMBERS),
        (lambda: of_polars(repeated(3, None, 4), lambda pl: pl.Int128), repeated(3, np.nan, 4)),
        (lambda: of_polars(repeated(True, None, False)), repeated(1.0, np.nan, 0.0)),
        (lambda: of_pyarrow(repeated(True, None, False)), repeated(1.0, np.nan, 0.0)),
        (lambda: of_pandas(DAYS), repeated(1.0, np.nan, 3.0)),
        (lambda: of_pandas(DAYS, object), repeated(1.0, np.nan, 3.0)),
        (lambda: of_pandas([np.timedelta64(36, "h"), None] * 6, object), [1.5, np.nan] * 6),
        (lambda: of_polars(DAYS), repeated(1.0, np.nan, 3.0)),
        (lambda: of_pyarrow(DAYS), repeated(1.0, np.nan, 3.0)),
    ],
)
def test_numbers_of_every_type_are_numbers(table, like):
    assert_same_outcome(table(), of_pandas(like))


@pytest.mark.parametrize("values", [DATES, TIMES])
@pytest.mark.parametrize(
    "table", [lambda each: of_pandas(each, object), of_polars, of_pyarrow], ids=str
)
def test_dates_of_every_type_are_dates(table, values):
    names, found = outcome(table(values))
    expected_names, expected = outcome(of_pandas(pd.to_datetime(pd.Series(values))))
    positions = [expected_names.index(name) for name in names]
    np.testing.assert_array_equal(found, expected[:, positions])
    assert "c_days" in names and "c_month_3" in names


def test_dates_with_zones_are_read_as_their_clocks_show_them():
    zoned = [None if each is None else each.replace(tzinfo=TOKYO) for each in TIMES]
    plain = of_pandas(pd.to_datetime(pd.Series(TIMES)))
    assert_same_outcome(of_pandas(zoned, object), plain)
    assert_same_outcome(of_pandas(pd.to_datetime(pd.Series(zoned))), plain)


@pytest.mark.parametrize(
    "table",
    [
        lambda each: of_pandas(each, object),
        lambda each: of_pandas(each, "string"),
        lambda each: of_pandas(each, "category"),
        of_polars,
        lambda each: of_polars(each, lambda pl: pl.Categorical),
        lambda each: of_polars(each, lambda pl: pl.Enum(["", "a"])),
        of_pyarrow,
        lambda each: of_pyarrow(each, lambda pa: pa.large_string()),
        lambda each: of_pyarrow(each, lambda pa: pa.dictionary(pa.int8(), pa.string())),
    ],
    ids=range(9),
)
def test_strings_of_every_type_keep_empty_ones_apart_from_missing_ones(table):
    names, values = outcome(table(repeated("a", None, "")))
    assert names == ["x", "c_", "c_a", "c_nan"]
    np.testing.assert_array_equal(values[:3, 1:] > 0, np.eye(3)[[1, 2, 0]])


def test_the_string_nan_is_not_what_is_missing():
    names, values = outcome(of_pandas(repeated("nan", np.nan, "b"), object))
    assert len(set(names)) == 4
    np.testing.assert_array_equal(values[:3, 1:].sum(axis=1) > 0, True)
    assert len(np.unique(values[:, 1:], axis=0)) == 3


def test_names_of_results_are_distinct():
    table = pd.DataFrame(
        {"a": repeated("b_c", "x", "y"), "a_b": repeated("c", "u", "v"), "a_x": X, "a_x_2": X}
    )
    names, _ = outcome(table)
    assert len(set(names)) == len(names) == 8


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        (repeated(1, "a", 2.5, None), ["1", "2.5", "a", "nan"]),
        (repeated(1, "1", 2.0, "x"), ["1", "2", "x"]),
        (repeated(timedelta(1), 1, 2), ["1", "1 day, 0:00:00", "2"]),
        (repeated(date(2020, 1, 1), "never", None), ["2020-01-01", "never", "nan"]),
        (repeated(time(1), time(2), None), ["01:00:00", "02:00:00", "nan"]),
    ],
)
def test_objects_of_several_types_are_levels(values, levels):
    assert outcome(of_pandas(values, object))[0][1:] == [f"c_{level}" for level in levels]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([np.nan] * ROWS, float),
        ([None] * ROWS, object),
        ([None] * ROWS, "category"),
        ([None] * ROWS, "string"),
        ([pd.NaT] * ROWS, None),
    ],
)
def test_columns_where_all_is_missing_are_dropped(values, dtype):
    assert outcome(of_pandas(values, dtype))[0] == ["x"]


@pytest.mark.parametrize("later", [1.0, "text", None, date(2020, 1, 1)])
def test_what_comes_later_in_a_column_that_was_empty_does_not_matter(later):
    preprocessor = TabularPreprocessor().fit(of_pandas([None] * ROWS, object))
    found = preprocessor.transform(of_pandas([later] * ROWS, object))
    np.testing.assert_array_equal(found, preprocessor.transform(of_pandas([None] * ROWS, object)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (repeated(1 + 1j, 2, 3), "Complex data not supported: column 'c'"),
        (repeated(1 + 1j, "a", None), "Complex data not supported: column 'c'"),
        (repeated(np.inf, 1, 2), "column 'c' contains infinity"),
        (repeated(-np.inf, 1, None), "column 'c' contains infinity"),
        (repeated(Decimal("inf"), Decimal(1)), "column 'c' contains infinity"),
        (repeated(10**400, 1), "column 'c' contains a value too large"),
        (repeated([1], [2]), "column 'c' has lists"),
        (repeated({"a": 1}, None), "column 'c' has lists"),
        (repeated(np.arange(2), np.arange(3)), "column 'c' has lists"),
    ],
)
def test_what_has_no_meaning_is_an_error_in_fit_and_later(values, message):
    table = of_pandas(pd.Series(values))
    with pytest.raises(ValueError, match=message):
        TabularPreprocessor().fit(table)
    with pytest.raises(ValueError, match=message):
        TabularPreprocessor().fit(of_pandas(X)).transform(table)


@pytest.mark.parametrize("table", [of_polars, of_pyarrow])
@pytest.mark.parametrize("values", [repeated([1], [2]), repeated({"a": 1}, {"a": 2})])
def test_nested_columns_are_an_error(table, values):
    with pytest.raises(ValueError, match="column 'c' has lists"):
        TabularPreprocessor().fit(table(values))


def test_lazy_frames_are_an_error():
    with pytest.raises(TypeError, match="collect it first"):
        TabularPreprocessor().fit(of_polars(NUMBERS).lazy())


def test_columns_of_the_same_name_are_an_error_in_arrow_too():
    pyarrow = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="unique column names"):
        TabularPreprocessor().fit(pyarrow.table([X, X], names=["a", "a"]))


@pytest.mark.parametrize("power", [-1070, -600, 0, 600, 1019])
@pytest.mark.parametrize("n_bins", [0, 4])
def test_the_size_of_numbers_does_not_matter(power, n_bins):
    x = np.random.RandomState(0).randint(-8, 9, 40).astype(float)
    x[:2] = np.nan, 16.0
    expected = TabularPreprocessor(n_bins=n_bins).fit_transform(x[:, np.newaxis])
    with np.errstate(all="raise", under="ignore"):
        found = TabularPreprocessor(n_bins=n_bins).fit_transform(np.ldexp(x, power)[:, np.newaxis])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("values", [[1e308, -1e308, 0.0], [5e-324, 0.0, 1e308], [5e-324, 0.0, 1.0]])
def test_numbers_far_from_those_in_fit_are_finite(values):
    train = np.array([*repeated(*values), 1.0, 2.0])[:, np.newaxis]
    preprocessor = TabularPreprocessor().fit(train, train[:, 0] / 1e300)
    later = np.array([1.7e308, -1.7e308, 5e-324, 0.0])[:, np.newaxis]
    for table in (train, later):
        assert np.isfinite(preprocessor.transform(table)).all()


TRAIN = pd.DataFrame(
    {
        "number": X,
        "level": repeated("a", "b", "c"),
        "when": pd.date_range("2020", periods=ROWS),
        "code": pd.Categorical(repeated(1, 2, 3)),
    }
)


@pytest.mark.parametrize(
    "later",
    [
        {"number": X.astype(int)},
        {"number": pd.Series(X, dtype="Int64")},
        {"number": [Decimal(int(each)) for each in X]},
        {"number": pd.Categorical(X)},
        {"level": pd.Categorical(TRAIN["level"])},
        {"level": TRAIN["level"].astype("string")},
        {"when": TRAIN["when"].dt.date},
        {"when": TRAIN["when"].astype(str)},
        {"when": TRAIN["when"].dt.tz_localize("Asia/Tokyo")},
        {"when": TRAIN["when"].astype("datetime64[ns]")},
        {"code": repeated(1.0, 2.0, 3.0)},
        {"code": repeated("1", "2", "3")},
    ],
    ids=str,
)
def test_the_same_values_of_another_type_give_the_same_result(later):
    preprocessor = TabularPreprocessor().fit(TRAIN)
    found = preprocessor.transform(TRAIN.assign(**later))
    np.testing.assert_array_equal(found, preprocessor.transform(TRAIN))


@pytest.mark.parametrize(
    "later",
    [
        {"number": TRAIN["when"]},
        {"number": TRAIN["when"].astype(object)},
        {"number": TRAIN["level"]},
        {"number": ""},
        {"when": X},
        {"when": X.astype(int)},
        {"when": True},
        {"when": pd.to_timedelta(X, "D")},
        {"when": pd.Series([1, "2020-01-01"] * 6, dtype=object)},
        {"when": TRAIN["level"]},
    ],
    ids=str,
)
def test_values_of_another_kind_are_an_error_that_says_so(later):
    preprocessor = TabularPreprocessor().fit(TRAIN)
    with pytest.raises(ValueError, match=f"'{next(iter(later))}' was .* in fit, and is not now"):
        preprocessor.transform(TRAIN.assign(**later))


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NaT])
def test_missing_dates_are_dates_whatever_stands_for_them(nothing):
    preprocessor = TabularPreprocessor(n_bins=0).fit(TRAIN)
    found = preprocessor.transform(TRAIN.assign(when=nothing))
    np.testing.assert_array_equal(found, preprocessor.transform(TRAIN.assign(when=pd.NaT)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table[table.columns[::-1]], "same order"),
        (lambda table: table.drop(columns="level"), "now missing:\n- level"),
        (lambda table: table.assign(more=1), "unseen at fit time:\n- more"),
    ],
)
@pytest.mark.parametrize("kind", ["pandas", "polars", "pyarrow"])
def test_other_columns_and_another_order_are_errors(change, message, kind):
    table = change(TRAIN.assign(code=TRAIN["code"].astype(int)))
    if kind != "pandas":
        library = pytest.importorskip(kind)
        convert = library.from_pandas if kind == "polars" else library.Table.from_pandas
        table = convert(table)
    with pytest.raises(ValueError, match=message):
        TabularPreprocessor().fit(TRAIN).transform(table)


@pytest.mark.parametrize("kind", [TabularMLPClassifier, TabularMLPRegressor])
def test_estimators_take_what_the_preprocessor_takes(kind):
    model = kind(n_members=2, hidden_layer_sizes=(8,), max_iter=2, random_state=0)
    model.fit(TRAIN.assign(empty=np.nan, many=[f"level {each}" for each in X]), X > 5)
    later = TRAIN.assign(empty=1.0, many=None, level="unseen", number=1e308)
    assert np.isfinite(model.predict(later).astype(float)).all()
