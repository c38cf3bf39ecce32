"""Columns of a table: numbers and categories, from a data frame or an array."""

from collections.abc import Collection
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import check_array

NUMBER, CATEGORY, DATE = "number", "category", "date"
MISSING = np.nan  # the level of a category that is missing
UNIX_EPOCH = np.datetime64(0, "us")
MICROSECONDS_PER_DAY = 86_400_000_000


class Column(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    name : str
    kind : {'number', 'category', 'date'}
    values : ndarray of shape (n_samples,)
        Numbers are float64, and NaN if missing. Categories are strings, and `MISSING` if missing.
        Dates are datetime64 in microseconds, and NaT if missing.
    """

    name: str
    kind: str
    values: np.ndarray


def read_columns(
    table: nw.DataFrame | np.ndarray, categorical: Collection[int], kinds: list[str] | None = None
) -> list[Column]:
    """Read a table.

    Parameters
    ----------
    table : DataFrame or ndarray
        From `as_table`.
    categorical : collection of int
        Positions of columns that are categories whatever their type is.
    kinds : list of str, optional
        The kinds of the columns; by default their types decide.

    Raises
    ------
    ValueError
        If a column cannot be read as its kind, or if a number is infinite.
    """
    columns = []
    for position, (name, each) in enumerate(_series_of(table)):
        kind = _kind_of(each) if kinds is None else kinds[position]
        if kinds is None and position in categorical:
            kind = CATEGORY
        columns.append(Column(name, kind, READERS[kind](name, each)))
    return columns


def as_table(X) -> nw.DataFrame | np.ndarray:
    """A data frame, wrapped by narwhals, or an array of two dimensions.

    Raises
    ------
    ValueError
        If X has no rows or no columns, or two columns of the same name, or is not a table.
    TypeError
        If X is sparse.
    """
    frame = nw.from_native(X, eager_only=True, pass_through=True)
    if not isinstance(frame, nw.DataFrame):
        return check_array(X, dtype=None, ensure_all_finite=False)
    for count, thing in zip(frame.shape, ("sample", "feature"), strict=True):
        if count == 0:
            raise ValueError(
                f"Found array with 0 {thing}(s) (shape={frame.shape}) while a minimum of 1 is "
                "required."
            )
    return frame


def _series_of(table: nw.DataFrame | np.ndarray) -> list[tuple[str, Any]]:
    """The names of the columns, and a narwhals series or an array of each."""
    if isinstance(table, nw.DataFrame):
        # By position: narwhals takes the number of a column for that of a row.
        return list(zip(map(str, table.columns), table.iter_columns(), strict=True))
    return [(f"x{index}", column) for index, column in enumerate(table.T)]


def _kind_of(series) -> str:
    """The kind that a column's type suggests."""
    if isinstance(series, nw.Series):
        if series.dtype.is_numeric() or series.dtype in (nw.Boolean, nw.Duration):
            return NUMBER
        if series.dtype in (nw.Date, nw.Datetime):
            return DATE
        if series.dtype != nw.Object:
            return CATEGORY
        series = series.to_numpy()
    if series.dtype.kind in "biufm":
        return NUMBER
    if series.dtype.kind == "M":
        return DATE
    known = [value for value in series if not _is_missing(value)]
    is_number = all(isinstance(value, int | float | np.number | np.bool_) for value in known)
    return NUMBER if is_number else CATEGORY


def _is_missing(value) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA has no truth value
        return True


def _array_of(series) -> np.ndarray:
    """The values of a series of any type."""
    return series.to_numpy() if isinstance(series, nw.Series) else series


def _read_numbers(name: str, series) -> np.ndarray:
    """float64 values, NaN if missing; durations are days."""
    if isinstance(series, nw.Series) and series.dtype == nw.Duration:
        series = series.to_numpy()
    values = _array_of(series)
    if values.dtype.kind == "m":
        days = values / np.timedelta64(MICROSECONDS_PER_DAY, "us")
        return days.astype(np.float64)
    if values.dtype.kind not in "biuf":
        values = np.array([np.nan if _is_missing(each) else each for each in values], object)
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} was numbers in fit, and is not now: {error}") from error
    if np.isinf(numbers).any():
        raise ValueError(f"column {name!r} contains infinity or a value too large for float64")
    return numbers


def _read_categories(name: str, series) -> np.ndarray:
    """Strings, `MISSING` if missing."""
    levels = np.empty(len(series), object)
    levels[:] = [MISSING if _is_missing(each) else _level(each) for each in _array_of(series)]
    return levels


def _level(value) -> str:
    """The name of a level: the same for 1 and 1.0, which a missing value makes of it."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def _read_dates(name: str, series) -> np.ndarray:
    """datetime64 in microseconds, NaT if missing."""
    if isinstance(series, nw.Series) and series.dtype == nw.Datetime and series.dtype.time_zone:
        series = series.dt.replace_time_zone(None)
    try:
        return _array_of(series).astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} was dates in fit, and is not now: {error}") from error


READERS = {NUMBER: _read_numbers, CATEGORY: _read_categories, DATE: _read_dates}


def parts_of_date(column: Column) -> list[Column]:
    """The parts of a date that matter to people: days since 1970, month, weekday, hour."""
    values, missing = column.values, np.isnat(column.values)
    days = (values - UNIX_EPOCH) / np.timedelta64(MICROSECONDS_PER_DAY, "us")
    day = values.astype("datetime64[D]")
    month = day.astype("datetime64[M]").astype(np.int64) % 12 + 1
    weekday = (day.astype(np.int64) + 3) % 7  # Monday is 0, as in Python; 1970 began on a Thursday
    hour = (values - day).astype("timedelta64[h]").astype(np.int64)
    parts = [Column(f"{column.name}_days", NUMBER, np.where(missing, np.nan, days))]
    for name, numbers in (("month", month), ("weekday", weekday), ("hour", hour)):
        levels = np.empty(len(values), object)
        levels[:] = [
            MISSING if is_missing else str(number)
            for number, is_missing in zip(numbers, missing, strict=True)
        ]
        parts.append(Column(f"{column.name}_{name}", CATEGORY, levels))
    return parts
