"""From Dask collections to the shards that replicas train on: gather, validate, summarize."""

import math
from dataclasses import dataclass

import dask
import dask.array as da
import numpy as np
import scipy.sparse
from dask.utils import is_dataframe_like, is_series_like
from sklearn.utils.multiclass import unique_labels

from fastmlp._compat.sklearn import check_sample_weight
from fastmlp._engine.inputs import rows_in_place
from fastmlp._estimator.kinds import kind_of_targets
from fastmlp._training.weights import scale_weights, scaling_exponent
from fastmlp.dask.local_sgd import Shard


@dataclass
class Rows:
    """The validated rows of one replica.

    Attributes
    ----------
    X : ndarray or CSR of shape (n_samples, n_features)
    y : ndarray
    sample_weight : ndarray or None
    names : ndarray of str or None
        The names of the features.
    """

    X: np.ndarray
    y: np.ndarray
    sample_weight: np.ndarray | None
    names: np.ndarray | None


@dataclass
class Summary:
    """What the client needs to know about a replica's rows: sizes, one row, all labels.

    `weight_sum` is the sum of the weights times 2^exponent.
    """

    n_samples: int
    weight_sum: float
    exponent: int
    row: np.ndarray
    labels: np.ndarray
    names: np.ndarray | None


def in_one_column_block(collection, name: str):
    """Return a Dask collection whose blocks hold whole rows; rechunk an array if necessary.

    Raises
    ------
    TypeError
        If the collection is not a Dask array, data frame or series.
    """
    if isinstance(collection, da.Array):
        if collection.ndim == 2 and collection.numblocks[1] > 1:
            return collection.rechunk({1: -1})
        return collection
    is_tabular = is_dataframe_like(collection) or is_series_like(collection)
    if not (dask.is_dask_collection(collection) and is_tabular):
        raise TypeError(
            f"{name} must be a dask array, data frame or series, not "
            f"{type(collection).__name__}; for data in memory, use MLPClassifier or "
            "MLPRegressor, or to_local() of a fitted model"
        )
    return collection


def row_blocks(collection) -> list:
    """The blocks of a Dask collection of whole rows, as Delayed objects."""
    blocks = collection.to_delayed()
    return blocks.ravel().tolist() if isinstance(blocks, np.ndarray) else list(blocks)


def matching_partitions(X, y, sample_weight) -> list[tuple]:
    """The blocks of X, y and sample_weight, matched by their rows.

    Raises
    ------
    ValueError
        If the numbers of blocks differ.
    """
    columns = [row_blocks(in_one_column_block(X, "X"))]
    for collection, name in ((y, "y"), (sample_weight, "sample_weight")):
        if collection is None and name == "sample_weight":
            columns.append([None] * len(columns[0]))
            continue
        if isinstance(X, da.Array) and isinstance(collection, da.Array):
            collection = _with_rows_of(X, collection, name)
        blocks = row_blocks(in_one_column_block(collection, name))
        if len(blocks) != len(columns[0]):
            raise ValueError(
                f"X has {len(columns[0])} partitions of rows, {name} has {len(blocks)}, and not "
                "all their lengths are known; repartition them alike, or call "
                "compute_chunk_sizes() on both arrays first"
            )
        columns.append(blocks)
    return list(zip(*columns, strict=True))


def _with_rows_of(X: da.Array, other: da.Array, name: str) -> da.Array:
    """Rechunk `other` to the rows of X, if all lengths are known."""
    rows, length = X.chunks[0], other.shape[0]
    if np.isnan([X.shape[0], length]).any():
        return other
    if length != X.shape[0]:
        raise ValueError(f"X has {X.shape[0]} rows, {name} has {length}")
    return other.rechunk({0: rows})


def _concatenate(parts: list):
    """Stack the parts in a container of their own type."""
    if len(parts) == 1:
        return parts[0]
    if scipy.sparse.issparse(parts[0]):
        return scipy.sparse.vstack(parts, format="csr")
    if is_dataframe_like(parts[0]) or is_series_like(parts[0]):
        import pandas as pd  # needed by Dask's data frames, but not by its arrays

        return pd.concat(parts)
    return np.concatenate(parts)


def gather_rows(model, blocks: list[tuple]) -> Rows | None:
    """Stack a replica's blocks and validate them as `model` would; None if all are empty."""
    for X, *others in blocks:
        lengths = [len(other) for other in others if other is not None]
        if any(length != X.shape[0] for length in lengths):
            raise ValueError(
                f"a partition of X has {X.shape[0]} rows, but y and sample_weight have {lengths}"
            )
    blocks = [block for block in blocks if block[0].shape[0]]
    if not blocks:
        return None
    X, y, sample_weight = (
        None if column[0] is None else _concatenate(column)
        for column in map(list, zip(*blocks, strict=True))
    )
    _, (X, y) = kind_of_targets(model).prepare(model, X, y, reset=True, incremental=False)
    if sample_weight is not None:
        sample_weight = check_sample_weight(sample_weight, X, allow_all_zero=True)
    return Rows(X, y, sample_weight, getattr(model, "feature_names_in_", None))


def summarize(rows: Rows | None, is_classification: bool) -> Summary | None:
    """Summarize a replica's rows."""
    if rows is None:
        return None
    n_samples = rows.X.shape[0]
    exponent = scaling_exponent(rows.sample_weight)
    weights = scale_weights(rows.sample_weight, exponent)
    weight_sum = float(n_samples if weights is None else weights.sum())
    has_labels = is_classification and rows.y.ndim == 1
    labels = np.unique(rows.y) if has_labels else rows.y[:1]
    return Summary(n_samples, weight_sum, exponent, rows.X[:1], labels, rows.names)


def shares_of_weights(summaries: list[Summary]) -> list[float]:
    """Each replica's share of the total sample weight.

    Raises
    ------
    ValueError
        If the total is not positive.
    """
    least = min((each.exponent for each in summaries if each.weight_sum), default=0)
    sums = [math.ldexp(each.weight_sum, least - each.exponent) for each in summaries]
    total = sum(sums)
    if total <= 0:
        raise ValueError("sample_weight sums to 0 or less; it must be more than 0")
    return [each / total for each in sums]


def have_same_features(first: Summary, other: Summary) -> bool:
    """Whether two replicas have as many features, of the same names."""
    if first.row.shape != other.row.shape or (first.names is None) != (other.names is None):
        return False
    # Not np.array_equal, which turns an exception of a signal handler into False.
    return first.names is None or bool((first.names == other.names).all())


def representative(summaries: list[Summary], is_classification: bool) -> tuple:
    """A few rows of X and y that have the features, the type and every label of all replicas.

    Raises
    ------
    ValueError
        If the features or outputs of the replicas differ.
    """
    first = summaries[0]
    for other in summaries[1:]:
        if not have_same_features(first, other):
            raise ValueError(
                f"the partitions of X differ: some have {first.row.shape[1]} features, named "
                f"{first.names}, others have {other.row.shape[1]}, named {other.names}"
            )
        if first.labels.shape[1:] != other.labels.shape[1:]:
            raise ValueError("the partitions of y differ in their number of columns")
    dtype = np.result_type(*(each.row.dtype for each in summaries))
    y = np.concatenate([np.zeros_like(first.labels[:1]), np.ones_like(first.labels[:1])])
    if is_classification and y.ndim == 1:
        y = unique_labels(*(each.labels for each in summaries))
    X = first.row.astype(dtype)[[0] * len(y)]
    if first.names is not None:
        import pandas as pd  # only its data frames have names

        X = pd.DataFrame(X, columns=first.names)
    return X, y


def make_shard(rows: Rows, model, dtype: np.dtype) -> Shard:
    """Convert rows to what the engine reads; X is copied only if its type differs."""
    exponent = scaling_exponent(rows.sample_weight)
    weights = scale_weights(rows.sample_weight, exponent, dtype)
    targets = kind_of_targets(model).of(model)
    return Shard(rows_in_place(rows.X, dtype), targets.encode(rows.y, dtype), weights, exponent)
