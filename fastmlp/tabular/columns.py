"""Columns of a table: numbers and categories, from a data frame or an array."""

from collections.abc import Collection
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import check_array

NUMBER, CATEGORY, DATE = "number", "category", "date"
MISSING = np.nan  # the level of a category that is missing
UNIX_EPOCH = np.datetime64(0, "us")
MICROSECONDS_PER_DAY = 86_400_000_000
REAL = bool | np.bool_ | int | float | np.integer | np.floating | Decimal
SPAN = timedelta | np.timedelta64  # NumPy's is an np.integer
CONTAINER = list | dict | set | np.ndarray
NESTED = nw.List, nw.Array, nw.Struct
WIDE = nw.Decimal, nw.Int128, nw.UInt128  # numbers that NumPy has no type for


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
        If a column cannot be read as its kind, if a number is infinite or complex, or if a cell
        holds several values.
    """
    columns = []
    for position, (name, series) in enumerate(_series_of(table)):
        values = _values_of(name, series)
        if kinds is not None:
            kind = kinds[position]
        elif position in categorical:
            kind = CATEGORY
        else:
            kind = _kind_of(series, values)
        columns.append(Column(name, kind, READERS[kind](name, values)))
    return columns


def as_table(X) -> nw.DataFrame | np.ndarray:
    """A data frame, wrapped by narwhals, or an array of two dimensions.

    Raises
    ------
    ValueError
        If X has no rows or no columns, or two columns of the same name, or is not a table.
    TypeError
        If X is sparse, or a frame that is not computed yet.
    """
    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TypeError(f"X is a {type(X).__name__}, which has no rows yet: collect it first")
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


def _values_of(name: str, series) -> np.ndarray:
    """The values of a series, without the zone of a date.

    Raises
    ------
    ValueError
        If a value is complex, or a list or the like.
    """
    values = _array_of(name, series)
    if values.dtype.kind == "c" or _has(values, complex | np.complexfloating):
        raise ValueError(f"Complex data not supported: column {name!r}")
    if _has(values, CONTAINER):
        raise _nested(name)
    return values


def _array_of(name: str, series) -> np.ndarray:
    """The values of a series of any type."""
    if not isinstance(series, nw.Series):
        return series
    if series.dtype in NESTED:
        raise _nested(name)
    if series.dtype in (nw.Categorical, nw.Enum):
        # Of Arrow's categories, `to_numpy` loses what is missing.
        return _objects(series.to_list())
    if series.dtype in WIDE:
        series = series.cast(nw.Float64)
    if series.dtype == nw.Datetime and series.dtype.time_zone:
        series = series.dt.replace_time_zone(None)
    return series.to_numpy()


def _nested(name: str) -> ValueError:
    return ValueError(
        f"column {name!r} has lists or the like in its cells; give each of their values a column"
    )


def _has(values: np.ndarray, kinds) -> bool:
    """Whether an array of objects has one of these kinds."""
    return values.dtype == object and any(isinstance(value, kinds) for value in values)


def _objects(values: list) -> np.ndarray:
    """An array of objects."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _kind_of(series, values: np.ndarray) -> str:
    """The kind that a column's type suggests, or else its values."""
    if isinstance(series, nw.Series):
        if series.dtype.is_numeric() or series.dtype in (nw.Boolean, nw.Duration):
            return NUMBER
        if series.dtype in (nw.Date, nw.Datetime):
            return DATE
        if series.dtype != nw.Object:
            return CATEGORY
    if values.dtype.kind in "biufm":
        return NUMBER
    if values.dtype.kind == "M":
        return DATE
    known = [value for value in values if not _is_missing(value)]
    if not known:  # a category can be read later, whatever comes
        return CATEGORY
    is_span = [isinstance(value, SPAN) for value in known]
    if all(is_span) or (not any(is_span) and all(isinstance(value, REAL) for value in known)):
        return NUMBER
    return DATE if all(isinstance(value, date | np.datetime64) for value in known) else CATEGORY


def _is_missing(value) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # pandas' NA has no truth value
        return True


def _read_numbers(name: str, values: np.ndarray) -> np.ndarray:
    """float64 values, NaN if missing; durations are days."""
    if values.dtype.kind == "M":
        raise ValueError(f"column {name!r} was numbers in fit, and is not now: it has dates")
    if values.dtype.kind == "m":
        days = values / np.timedelta64(MICROSECONDS_PER_DAY, "us")
        return days.astype(np.float64)
    if values.dtype.kind not in "biuf":
        values = _objects([np.nan if _is_missing(each) else _number(each) for each in values])
    try:
        numbers = values.astype(np.float64)
    except OverflowError as error:
        raise ValueError(f"column {name!r} contains a value too large for float64") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r} was numbers in fit, and is not now: {error}") from error
    if np.isinf(numbers).any():
        raise ValueError(f"column {name!r} contains infinity or a value too large for float64")
    return numbers


def _number(value):
    """The days of a duration; any other value as it is."""
    if isinstance(value, timedelta):
        return value / timedelta(days=1)
    if isinstance(value, np.timedelta64):
        return value / np.timedelta64(MICROSECONDS_PER_DAY, "us")
    return value


def _read_categories(name: str, values: np.ndarray) -> np.ndarray:
    """Strings, `MISSING` if missing."""
    return _objects([MISSING if _is_missing(each) else _level(each) for each in values])


def _level(value) -> str:
    """The name of a level: the same for 1 and 1.0, which a missing value makes of it."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return str(value)


def _read_dates(name: str, values: np.ndarray) -> np.ndarray:
    """datetime64 in microseconds, NaT if missing."""
    no_dates = f"column {name!r} was dates in fit, and is not now"
    if values.dtype.kind in "bium" or (values.dtype.kind == "f" and not np.isnan(values).all()):
        raise ValueError(f"{no_dates}: it has numbers")
    if values.dtype == object:
        values = _objects([None if _is_missing(each) else _naive(each) for each in values])
        if _has(values, REAL | SPAN):
            raise ValueError(f"{no_dates}: it has numbers")
    elif values.dtype.kind == "f":
        return np.full(len(values), "NaT", "datetime64[us]")
    try:
        return values.astype("datetime64[us]")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{no_dates}: {error}") from error


def _naive(value):
    """A date without its zone; any other value as it is."""
    return value.replace(tzinfo=None) if getattr(value, "tzinfo", None) else value


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
