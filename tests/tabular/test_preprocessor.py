"""TabularPreprocessor: what columns become, and what is refused."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp.tabular import TabularPreprocessor

ROWS = 60
RNG = np.random.RandomState(0)
TABLE = pd.DataFrame(
    {
        "number": RNG.randn(ROWS),
        "gaps": np.where(RNG.rand(ROWS) < 0.3, np.nan, RNG.rand(ROWS)),
        "constant": 3.0,
        "two": np.array(["yes", "no"])[RNG.randint(0, 2, ROWS)],
        "three": pd.Categorical(np.array(["a", "b", "c"])[RNG.randint(0, 3, ROWS)]),
        "flag": RNG.rand(ROWS) < 0.5,
        "when": pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.randint(0, 9000, ROWS), "h"),
    }
)


def transformed(table, y=None, **options):
    """A preprocessor and its result as a dictionary of columns."""
    preprocessor = TabularPreprocessor(**options).fit(table, y)
    columns = preprocessor.transform(table).T
    return dict(zip(preprocessor.get_feature_names_out(), columns, strict=True))


@parametrize_with_checks([TabularPreprocessor()])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


def test_a_number_is_scaled_by_its_quartiles_and_clipped_softly():
    x = TABLE["number"].to_numpy()
    low, median, high = np.quantile(x, [0.25, 0.5, 0.75])
    z = (x - median) / (high - low)
    found = transformed(TABLE[["number"]], n_bins=0)
    assert list(found) == ["number"]
    np.testing.assert_allclose(found["number"], z / np.sqrt(1 + (z / 10) ** 2), rtol=1e-5)


@pytest.mark.parametrize("bins", [2, 5])
def test_bins_hold_equal_shares_and_add_up_to_a_monotonic_code(bins):
    x = TABLE["number"].to_numpy()
    found = transformed(TABLE[["number"]], n_bins=bins)
    edges = np.quantile(x, np.linspace(0, 1, bins + 1), method="lower")
    codes = np.array([found[f"number_bin{index}"] for index in range(bins)]).T
    for code, value in zip(codes, x, strict=True):
        expected = np.interp(value, edges, np.arange(bins + 1))
        assert (code + 0.5).sum() == pytest.approx(expected, abs=1e-5)
    assert codes.min() == -0.5 and codes.max() == 0.5


@pytest.mark.parametrize(
    ("values", "bins"), [([0.0, 1.0], 16), ([0.0, 0.0, 1.0], 16), ([1.0, 2.0, 3.0], 1)]
)
def test_two_values_or_one_bin_need_no_columns_for_bins(values, bins):
    assert list(transformed(pd.DataFrame({"x": values}), n_bins=bins)) == ["x"]


def test_columns_may_have_numbers_for_names():
    table = TABLE[["number", "two"]]
    numbered = table.set_axis([1, 0], axis="columns")
    np.testing.assert_array_equal(
        TabularPreprocessor().fit_transform(numbered), TabularPreprocessor().fit_transform(table)
    )


def test_a_missing_number_is_the_median_and_is_marked():
    missing = TABLE["gaps"].isna().to_numpy()
    found = transformed(TABLE[["gaps"]], n_bins=0)
    np.testing.assert_array_equal(found["gaps_missing"], missing)
    assert (found["gaps"][missing] == 0).all()


def test_a_number_missing_for_the_first_time_is_the_median():
    preprocessor = TabularPreprocessor(n_bins=0).fit(TABLE[["number"]])
    result = preprocessor.transform(pd.DataFrame({"number": [np.nan, 1.0]}))
    assert result[0].tolist() == [0.0] and result.shape == (2, 1)


def test_what_never_varies_is_dropped():
    table = TABLE[["number"]].assign(constant=1.0, nothing=np.nan, one_level="a")
    assert list(transformed(table, n_bins=0)) == ["number"]


def test_two_levels_are_one_column_and_more_levels_one_each():
    found = transformed(TABLE[["two", "three"]])
    assert set(found) == {"two_yes", "three_a", "three_b", "three_c"}
    is_yes = TABLE["two"].to_numpy() == "yes"
    np.testing.assert_array_equal(found["two_yes"], np.where(is_yes, 1, -1))
    for level in "abc":
        is_level = TABLE["three"].to_numpy() == level
        np.testing.assert_array_equal(found[f"three_{level}"] > 0, is_level)


def test_a_missing_category_is_a_level():
    table = pd.DataFrame({"c": ["a", None, "b", np.nan, "a", "b"]})
    assert list(transformed(table)) == ["c_a", "c_b", "c_nan"]


def test_rare_and_unseen_levels_share_a_column():
    train = pd.DataFrame({"c": ["a"] * 5 + ["b"] * 5 + ["c", "d"]})
    preprocessor = TabularPreprocessor().fit(train)
    rare, unseen = preprocessor.transform(pd.DataFrame({"c": ["d", "never seen"]}))
    np.testing.assert_array_equal(rare, unseen)
    assert preprocessor.n_features_out_ == 3


def test_an_unseen_level_is_zero_if_no_level_is_rare():
    preprocessor = TabularPreprocessor().fit(TABLE[["two", "three"]])
    table = pd.DataFrame({"two": ["maybe"], "three": ["z"]})
    assert not preprocessor.transform(table).any()


def test_a_category_of_many_levels_has_bounded_columns():
    levels = [f"level {index}" for index in range(50_000)] + ["common"] * 10
    preprocessor = TabularPreprocessor(max_categories=5, min_frequency=1)
    preprocessor.fit(pd.DataFrame({"c": levels}))
    assert preprocessor.n_features_out_ == 5


def test_a_date_has_days_month_weekday_and_hour():
    found = transformed(TABLE[["when"]], n_bins=0, min_frequency=1)
    when = TABLE["when"]
    for index in range(len(when)):
        for part in ("month", "weekday", "hour"):
            level = getattr(when.iloc[index], part)
            level = level() if callable(level) else level
            assert found[f"when_{part}_{level}"][index] > 0
    days = (when - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    assert (np.argsort(found["when_days"]) == np.argsort(days.to_numpy(), kind="stable")).all()


def test_dates_with_time_zones_durations_and_missing_dates_are_read():
    table = pd.DataFrame(
        {
            "zoned": TABLE["when"].dt.tz_localize("Europe/Berlin", ambiguous=True),
            "late": TABLE["when"].where(RNG.rand(ROWS) < 0.8),
            "took": pd.to_timedelta(RNG.rand(ROWS), "h"),
        }
    )
    found = transformed(table)
    assert {"zoned_days", "late_days", "late_days_missing", "took"} <= set(found)


@pytest.mark.parametrize("categorical", [[0], ["code"], [True, False]])
def test_a_column_of_numbers_is_a_category_if_declared_so(categorical):
    table = pd.DataFrame({"code": [1, 2, 3] * 4, "x": np.arange(12.0)})
    found = transformed(table, categorical_features=categorical, n_bins=0)
    assert list(found) == ["code_1", "code_2", "code_3", "x"]


@pytest.mark.parametrize("categorical", [["nowhere"], [2], [-3], [1.5]])
def test_a_category_that_is_no_column_is_an_error(categorical):
    with pytest.raises(ValueError, match="names no column"):
        TabularPreprocessor(categorical_features=categorical).fit(TABLE[["number", "two"]])


def test_levels_are_the_same_for_whole_floats_as_for_integers():
    train = pd.DataFrame({"code": [1, 2, 3] * 4})
    preprocessor = TabularPreprocessor(categorical_features=[0]).fit(train)
    later = pd.DataFrame({"code": [1.0, np.nan]})
    np.testing.assert_array_equal(
        preprocessor.transform(later)[0], preprocessor.transform(train)[0]
    )


@pytest.mark.parametrize("kind", ["polars", "pyarrow", "object array"])
def test_every_kind_of_table_gives_the_same_result(kind):
    table = TABLE.assign(three=TABLE["three"].astype(str))
    expected = TabularPreprocessor().fit_transform(table)
    if kind == "object array":
        found = TabularPreprocessor().fit_transform(table.drop(columns="when").to_numpy(object))
        expected = TabularPreprocessor().fit_transform(table.drop(columns="when"))
    else:
        library = pytest.importorskip(kind)
        convert = library.from_pandas if kind == "polars" else library.Table.from_pandas
        found = TabularPreprocessor().fit_transform(convert(table))
    np.testing.assert_array_equal(found, expected)


TAIL = np.exp(2 * RNG.randn(400))
OTHER = RNG.randn(400)


@pytest.mark.parametrize(
    ("y", "expected"),
    [(3 * TAIL + OTHER, True), (np.log(TAIL), False), (OTHER, False), (None, False)],
)
def test_a_heavy_tail_is_kept_if_the_target_follows_it(y, expected):
    found = transformed(pd.DataFrame({"x": TAIL}), y)
    assert ("x_tail" in found) == expected
    if expected:
        assert np.corrcoef(found["x_tail"], TAIL)[0, 1] == pytest.approx(1, abs=1e-6)


def test_frames_come_out_with_names():
    preprocessor = TabularPreprocessor().set_output(transform="pandas").fit(TABLE)
    result = preprocessor.transform(TABLE)
    assert list(result.columns) == preprocessor.get_feature_names_out().tolist()
    assert set(result.dtypes) == {np.dtype(np.float32)}


def test_clones_and_pickles_give_the_same_result():
    preprocessor = TabularPreprocessor().fit(TABLE)
    expected = preprocessor.transform(TABLE)
    copies = clone(preprocessor).fit(TABLE), pickle.loads(pickle.dumps(preprocessor))
    for each in copies:
        np.testing.assert_array_equal(each.transform(TABLE), expected)


@pytest.mark.parametrize("name", ["number", "when"])
def test_a_column_of_another_kind_is_an_error_that_names_it(name):
    preprocessor = TabularPreprocessor().fit(TABLE)
    with pytest.raises(ValueError, match=f"column '{name}'"):
        preprocessor.transform(TABLE.assign(**{name: "text"}))


def test_numbers_as_strings_are_read_where_numbers_were():
    preprocessor = TabularPreprocessor().fit(TABLE[["number"]])
    strings = TABLE[["number"]].map(repr).astype(object)
    np.testing.assert_array_equal(
        preprocessor.transform(strings), preprocessor.transform(TABLE[["number"]])
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "unique column names"),
        (pd.DataFrame({"a": [1.0, np.inf]}), "column 'a' contains infinity"),
        (pd.DataFrame({"a": []}), "0 sample"),
        (pd.DataFrame(index=[0, 1]), "0 feature"),
        ([1, 2, 3], "Reshape your data"),
    ],
)
def test_what_is_no_table_is_an_error(table, message):
    with pytest.raises(ValueError, match=message):
        TabularPreprocessor().fit(table)


@pytest.mark.parametrize(
    "wrong", [{"n_bins": -1}, {"min_frequency": 0}, {"max_categories": 1}, {"n_bins": 2.5}]
)
def test_parameters_are_checked(wrong):
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        TabularPreprocessor(**wrong).fit(TABLE)
