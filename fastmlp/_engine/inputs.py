"""X as the kernels read it: in place, if possible."""

import numpy as np
from scipy.sparse import issparse


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


def _canonical(X, dtype: np.dtype):
    """A sparse matrix as CSR with valid, increasing columns, whatever SciPy's flags say."""
    X.check_format(full_check=True)
    X = X.tocsr().astype(dtype, copy=False)
    X = type(X)((X.data, X.indices, X.indptr), shape=X.shape, copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X
