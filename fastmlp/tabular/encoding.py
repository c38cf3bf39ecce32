"""Numbers and levels of categories as inputs of a neural network."""

from typing import NamedTuple, Self

import numpy as np
from sklearn.preprocessing import OneHotEncoder

# Holzmueller et al. (2024): a number becomes z = (x - median) / (interquartile range), and then
# z / sqrt(1 + (z / limit)^2), which is z near 0 and never exceeds the limit. Theirs is 3. With 10,
# the error of one member is 0.988 +- 0.007 of that with 3, and the log loss 0.976 +- 0.006:
# geometric means over 16 real tables, 5 splits each. Without a limit, outliers break the fit.
SOFT_LIMIT = 10.0
# A column has a heavy tail if |z| exceeds FAR_OUT anywhere. Of a normal distribution, 1 value in
# 1e11 does. The tail gets a column of its own if that explains TAIL_SHARE more of the target's
# variance than z clipped at TAIL_LIMIT, which is nearly a logarithm. On the 16 tables, it changes
# errors by 0.1 +- 0.1 %. It is there for targets that grow with a number without bounds.
FAR_OUT, TAIL_SHARE, TAIL_LIMIT = 5.0, 0.01, 3.0
# A range between quartiles that is narrower than this share of the whole range is taken for none,
# and |z| stays below FARTHEST: squares of z fit into float64, and sums of it into float32.
NARROWEST, FARTHEST = 1e-100, 1e30
# Bins instead of learned periodic embeddings (Gorishniy et al., 2022), which have 1.037 +- 0.028 of
# their error, and beside them 0.993 +- 0.015: 13 tables, 3 splits, the recipe in PyTorch.
LEAST_EDGES = 2  # a column with as many values or fewer has no bins


def soft_clip(z, limit: float):
    """z / sqrt(1 + (z / limit)^2)."""
    return z / np.sqrt(1 + np.square(z / limit))


LEVEL = soft_clip(2.0, 3.0)  # the input of a category's level, as Holzmueller et al. have it


class Number(NamedTuple):
    """What a column of numbers was like in the training data.

    Attributes
    ----------
    exponent : int
        All that follows is for x / 2^exponent, which is at most 1: differences do not overflow.
    median, scale : float
        z = (x - median) * scale.
    edges : ndarray of shape (n_bins + 1,)
        Quantiles, increasing; empty if the column has two values or fewer.
    tail_scale : float
        1 over the standard deviation of z, if its extremes carry the target; otherwise 0.
    has_gaps : bool
        Whether values were missing.
    """

    exponent: int
    median: float
    scale: float
    edges: np.ndarray
    tail_scale: float
    has_gaps: bool

    @classmethod
    def of(cls, values: np.ndarray, y: np.ndarray | None, bins: int) -> Self | None:
        """Learn from training data; None if nothing varies, not even what is missing.

        `y` has real targets, of shape (n_samples, n_outputs), or is None.
        """
        missing = np.isnan(values)
        known = values[~missing]
        if known.size == 0:
            return None
        exponent = int(np.frexp(np.abs(known).max())[1])
        known = np.ldexp(known, -exponent)
        spread = known.max() - known.min()
        if spread == 0 and not missing.any():
            return None
        low, median, high = np.quantile(known, [0.25, 0.5, 0.75])
        is_wide = high - low > NARROWEST * spread
        scale = 1 / (high - low) if is_wide else 2 / spread if spread > 0 else 0.0
        edges = np.unique(np.quantile(known, np.linspace(0, 1, bins + 1), method="lower"))
        if len(edges) <= LEAST_EDGES:
            edges = edges[:0]
        number = cls(exponent, float(median), float(scale), edges, 0.0, bool(missing.any()))
        if y is not None and scale > 0:
            number = number._replace(tail_scale=number._tail_scale(known, y[~missing]))
        return number

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        """z of x / 2^exponent, at most FARTHEST from 0."""
        return np.clip((x - self.median) * self.scale, -FARTHEST, FARTHEST)

    def _tail_scale(self, known: np.ndarray, y: np.ndarray) -> float:
        """1 over the standard deviation of z if y follows the tail of z; otherwise 0."""
        z = self._scaled(known)
        if np.abs(z).max() <= FAR_OUT:
            return 0.0
        y, inputs = y - y.mean(axis=0), np.column_stack([soft_clip(z, TAIL_LIMIT), z])
        inputs -= inputs.mean(axis=0)
        without, within = (
            np.square(y - part @ np.linalg.lstsq(part, y, rcond=None)[0]).sum(axis=0)
            for part in (inputs[:, :1], inputs)
        )
        gains = without - within
        return float(1 / z.std()) if (gains > TAIL_SHARE * np.square(y).sum(axis=0)).any() else 0.0

    def names(self, name: str) -> list[str]:
        """Names of the columns that `encode` makes."""
        bins = [f"{name}_bin{index}" for index in range(len(self.edges) - 1)]
        tail, missing = [f"{name}_tail"], [f"{name}_missing"]
        return (
            [name] * (self.scale > 0)
            + bins
            + tail * (self.tail_scale > 0)
            + missing * self.has_gaps
        )

    def encode(self, values: np.ndarray) -> list[np.ndarray]:
        """z, softly clipped; its place in each bin; z of a heavy tail; what is missing."""
        missing = np.isnan(values)
        with np.errstate(over="ignore"):  # infinity is clipped
            x = np.where(missing, self.median, np.ldexp(values, -self.exponent))
            z = self._scaled(x)
            places = [
                np.clip((x - low) / (high - low), 0, 1) - 0.5
                for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)
            ]
        columns = [soft_clip(z, SOFT_LIMIT), *places] if self.scale > 0 else []
        if self.tail_scale > 0:
            columns.append(z * self.tail_scale)
        if self.has_gaps:
            columns.append(missing.astype(np.float64))
        return columns


class Category:
    """The levels of a column of categories: one column each, or one of -1 and 1 for two levels.

    Parameters
    ----------
    values : ndarray of str
        The training data.
    min_frequency, max_categories : int
        See `TabularPreprocessor`.
    """

    def __init__(self, values: np.ndarray, min_frequency: int, max_categories: int):
        self._encoder = OneHotEncoder(
            min_frequency=min_frequency,
            max_categories=max_categories,
            handle_unknown="infrequent_if_exist",
            dtype=np.float64,
            sparse_output=False,
        )
        self._encoder.set_output(transform="default").fit(values[:, np.newaxis])

    @property
    def levels(self) -> np.ndarray:
        """The levels that training data had, strings and maybe `MISSING`."""
        return self._encoder.categories_[0]

    def names(self, name: str) -> list[str]:
        """Names of the columns that `encode` makes."""
        names = self._encoder.get_feature_names_out([name]).tolist()
        return names[1:] if len(names) <= 2 else names

    def encode(self, values: np.ndarray) -> list[np.ndarray]:
        """0 and LEVEL for each level; a level that `fit` has not seen is 0."""
        columns = self._encoder.transform(values[:, np.newaxis]).T
        if len(columns) <= 2:
            return [column - columns[0] for column in columns[1:]]
        return list(LEVEL * columns)
