"""X as the kernels read it: in place, if possible."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import issparse

from fastmlp._engine.network import padded

# Bytes of a padded first layer: from here on, it is compact for sparse X. A smaller one fits a
# core's own cache, and predictions of dense rows use it as it is.
LEAST_COMPACTED = 1 << 20


def rows_in_place(X, dtype: np.dtype):
    """X as the kernels read it: X itself if possible, else one converted copy.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Validated numbers.
    dtype : numpy.float32 or numpy.float64

    Returns
    -------
    ndarray or CSR matrix of `dtype`
        Rows are contiguous. In a sparse matrix, columns are in range and increase in each row.

    Raises
    ------
    ValueError
        If a sparse X is invalid, or a value is out of range for `dtype`.
    """
    if issparse(X):
        return _canonical(X, dtype)
    if X.dtype.kind in "mM":
        raise ValueError("X contains dates or times instead of numbers")
    rows = np.asarray(X, dtype=dtype)
    if rows.itemsize < X.itemsize and not np.isfinite(rows).all():
        raise ValueError(f"X contains values beyond the range of {dtype}, the type of the weights")
    if rows.strides[1] == rows.itemsize and rows.flags.aligned:
        return rows
    return np.require(rows, requirements=["C", "ALIGNED"])


def can_be_read(X) -> bool:
    """Whether the prediction kernel, which checks rows itself, can read X as it is.

    Parameters
    ----------
    X : ndarray or CSR matrix
        Of the type of the weights.

    Returns
    -------
    bool

    Raises
    ------
    ValueError
        If the arrays of a sparse matrix do not fit together.
    """
    if isinstance(X, np.ndarray):
        return True
    X.check_format(full_check=False)
    return X.indices.dtype == np.int32  # conversion might bring a column into range


def _canonical(X, dtype: np.dtype):
    """A sparse matrix as CSR with valid, increasing columns, whatever SciPy's flags say."""
    X.check_format(full_check=True)
    X = X.tocsr().astype(dtype, copy=False)
    if not _columns_increase(X):
        X = type(X)((X.data, X.indices, X.indptr), shape=X.shape, copy=True)
        X.sum_duplicates()
    return X


def _columns_increase(X) -> bool:
    """Whether columns increase in each row of a valid CSR matrix."""
    increases = X.indices[1:] > X.indices[:-1]
    starts = X.indptr[1:-1]
    increases[starts[(starts > 0) & (starts < X.indices.size)] - 1] = True
    return bool(increases.all())


def should_be_compact(X, layer_sizes: Sequence[int], dtype: np.dtype) -> bool:
    """Whether the first layer of a network that trains on X should be compact."""
    size = layer_sizes[0] * padded(layer_sizes[1], dtype) * np.dtype(dtype).itemsize
    return issparse(X) and size >= LEAST_COMPACTED
