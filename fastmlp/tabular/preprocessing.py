"""TabularPreprocessor: from a table of numbers, categories and dates to float32 inputs."""

from collections.abc import Collection, Iterable, Sequence
from itertools import count
from numbers import Integral
from typing import ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp._compat.sklearn import Interval, StrOptions, fit_context
from fastmlp.tabular.columns import DATE, NUMBER, Column, as_table, parts_of_date, read_columns
from fastmlp.tabular.encoding import Category, Number


class TabularPreprocessor(TransformerMixin, BaseEstimator):
    """Make a table of numbers, categories and dates fit for a multilayer perceptron.

    - A number is centred at the median, scaled by the interquartile range and smoothly clipped at
      +-10. `n_bins` further columns have its place in each of as many bins between quantiles: -0.5
      below the bin, 0.5 above it, linear within. A target that is a bent function of a number is
      a linear one of these. A missing number becomes the median, and another column marks it.
    - If y is real and follows the extremes of a number with a heavy tail (a delay, price or count),
      a column without clipping is added.
    - A category becomes one column for each level, or one of -1 and 1 for two levels. A missing
      category is a level of its own.
    - A date becomes the days since 1970, a number, and three categories: month, weekday and hour.
    - Columns that were constant in `fit` are dropped.
    - A column of Python objects is numbers, durations or dates if all of its values are; otherwise
      it is a category. 1, 1.0 and "1" are the same level. A duration is a number of days.

    Parameters
    ----------
    categorical_features : {'from_dtype'} or array-like of int, str or bool, default='from_dtype'
        The columns that are categories, whatever their type is: positions, names or a mask. Columns
        of strings and of categorical types are categories always. 'from_dtype' adds no others.
    n_bins : int, default=16
        The number of bins of a number; fewer if quantiles coincide, none if there are two values.
        0 and 1 make no columns for bins.
    min_frequency : int, default=2
        Levels with fewer samples share a column, together with levels that `fit` has not seen.
    max_categories : int, default=64
        The largest number of columns for one category. The most frequent levels get columns of
        their own, and all others share one.

    Attributes
    ----------
    n_features_in_ : int
        The number of columns of the table.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if the table has names that are all strings.
    n_features_out_ : int
        The number of columns of the result.

    See Also
    --------
    sklearn.preprocessing.RobustScaler : Scales numbers by median and interquartile range.
    sklearn.preprocessing.OneHotEncoder : Makes columns of categories.

    References
    ----------
    D. Holzmueller, L. Grinsztajn, I. Steinwart: Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. NeurIPS 2024. (Scaling and clipping.)

    Y. Gorishniy, I. Rubachev, A. Babenko: On embeddings for numerical features in tabular deep
    learning. NeurIPS 2022. (Piecewise linear encoding.)

    Examples
    --------
    >>> import pandas as pd
    >>> from fastmlp.tabular import TabularPreprocessor
    >>> table = pd.DataFrame({"age": [20.0, 30.0, None, 40.0], "city": ["A", "B", "A", "C"]})
    >>> preprocessor = TabularPreprocessor(n_bins=0, min_frequency=1).fit(table)
    >>> preprocessor.get_feature_names_out().tolist()
    ['age', 'age_missing', 'city_A', 'city_B', 'city_C']
    >>> preprocessor.transform(table).dtype.name
    'float32'
    """

    _parameter_constraints: ClassVar[dict] = {
        "categorical_features": [StrOptions({"from_dtype"}), "array-like"],
        "n_bins": [Interval(Integral, 0, None, closed="left")],
        "min_frequency": [Interval(Integral, 1, None, closed="left")],
        "max_categories": [Interval(Integral, 2, None, closed="left")],
    }

    def __init__(
        self,
        *,
        categorical_features: str | Sequence = "from_dtype",
        n_bins: int = 16,
        min_frequency: int = 2,
        max_categories: int = 64,
    ) -> None:
        self.categorical_features = categorical_features
        self.n_bins = n_bins
        self.min_frequency = min_frequency
        self.max_categories = max_categories

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None) -> Self:
        """Learn the columns' kinds, medians, scales and levels.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            The table.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), default=None
            Used if it has real numbers, not all of them integers: see heavy tails above.

        Returns
        -------
        TabularPreprocessor
            The preprocessor itself.

        Raises
        ------
        ValueError
            If X has no rows or no columns, two columns of the same name, infinite or complex
            numbers, or lists in its cells.
        TypeError
            If X is sparse, or a lazy frame.
        """
        table = as_table(X)
        self._check_features(X, table, reset=True)
        columns = read_columns(table, self._categorical_positions())
        self._kinds = [column.kind for column in columns]
        columns = _without_dates(columns)
        y = self._real_target(y, len(columns[0].values))
        self._encodings = [self._learn(each, y) for each in columns]
        self._names = _distinct(
            name
            for column, encoding in zip(columns, self._encodings, strict=True)
            if encoding is not None
            for name in encoding.names(column.name)
        )
        self.n_features_out_ = len(self._names)
        return self

    def _real_target(self, y, n_samples: int) -> np.ndarray | None:
        """y as floats (n_samples, n_outputs) if it has real numbers; None if it has labels."""
        if y is None or not type_of_target(y).startswith("continuous"):
            return None
        y = np.asarray(y, np.float64).reshape(len(y), -1)
        if len(y) != n_samples:
            raise ValueError(f"X has {n_samples} rows and y has {len(y)}")
        return y

    def _learn(self, column: Column, y: np.ndarray | None) -> Number | Category | None:
        """The encoding of a column; None if it is constant."""
        if column.kind == NUMBER:
            return Number.of(column.values, y, self.n_bins)
        return Category(column.values, self.min_frequency, self.max_categories)

    def _check_features(self, X, table, reset: bool) -> None:
        """Learn the table's features, or compare them with those of `fit`."""
        named = X if hasattr(X, "columns") or hasattr(X, "__dataframe__") else table
        validate_data(self, named, reset=reset, skip_check_array=True)

    def _categorical_positions(self) -> set[int]:
        """The positions of the columns that the user declares to be categories."""
        given = self.categorical_features
        if isinstance(given, str):
            return set()
        given = list(given)
        if len(given) == self.n_features_in_ and all(isinstance(e, bool | np.bool_) for e in given):
            return set(np.flatnonzero(given).tolist())
        names = list(getattr(self, "feature_names_in_", ()))
        positions = set()
        for each in given:
            if isinstance(each, str) and each in names:
                positions.add(names.index(each))
            elif isinstance(each, Integral) and -self.n_features_in_ <= each < self.n_features_in_:
                positions.add(int(each) % self.n_features_in_)
            else:
                raise ValueError(f"categorical_features names no column of X: {each!r}")
        return positions

    def transform(self, X) -> np.ndarray:
        """Transform a table with the columns of `fit`.

        Parameters
        ----------
        X : data frame or array-like of shape (n_samples, n_features)
            A table with the columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, `n_features_out_`)
            In float32.

        Raises
        ------
        ValueError
            If a column is not of the kind that it was in `fit`.
        """
        check_is_fitted(self)
        table = as_table(X)
        self._check_features(X, table, reset=False)
        columns = _without_dates(read_columns(table, (), self._kinds))
        result = np.empty((len(columns[0].values), self.n_features_out_), np.float32)
        position = 0
        for column, encoding in zip(columns, self._encodings, strict=True):
            for values in [] if encoding is None else encoding.encode(column.values):
                result[:, position] = values
                position += 1
        return result

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Get the names of the result's columns.

        Parameters
        ----------
        input_features : ignored
            The table's own names are used.

        Returns
        -------
        ndarray of str of shape (`n_features_out_`,)
            A number keeps its name; other columns have a suffix.
        """
        check_is_fitted(self)
        return np.array(self._names, object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = True
        return tags


def _without_dates(columns: Collection[Column]) -> list[Column]:
    """The columns, with dates split into their parts."""
    parts = [parts_of_date(each) if each.kind == DATE else [each] for each in columns]
    return [column for columns in parts for column in columns]


def _distinct(names: Iterable[str]) -> list[str]:
    """The names; one that was there before has a number behind it."""
    found: dict[str, None] = {}
    for name in names:
        numbered = (f"{name}_{number}" for number in count(2))
        if name in found:
            name = next(each for each in numbered if each not in found)
        found[name] = None
    return list(found)
