"""X as the kernels read it: in place where that is possible."""

import numpy as np
from scipy.sparse import issparse


def rows_in_place(X, dtype: np.dtype):
    """X as the kernels read it: itself where that is possible, else one converted copy.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        Of numbers, validated.
    dtype : numpy.float32 or numpy.float64

    Returns
    -------
    ndarray or CSR
        Of `dtype`: rows contiguous; if sparse, columns in range and rising in each row.

    Raises
    ------
    ValueError
        If a sparse X is not valid, or a value is beyond the range of `dtype`.
    """
    if issparse(X):
        return _canonical(X, dtype)
    if X.dtype.kind in "mM":
        raise ValueError("X holds dates or times, not numbers")
    rows = np.asarray(X, dtype=dtype)
    if rows.itemsize < X.itemsize and not np.isfinite(rows).all():
        raise ValueError(f"X holds values beyond the range of {dtype}, the type of the weights")
    if rows.strides[1] == rows.itemsize and rows.flags.aligned:
        return rows
    return np.require(rows, requirements=["C", "ALIGNED"])


def _canonical(X, dtype: np.dtype):
    """A sparse matrix as CSR with valid, rising columns, whatever flags SciPy has kept."""
    X.check_format(full_check=True)
    X = X.tocsr().astype(dtype, copy=False)
    X = type(X)((X.data, X.indices, X.indptr), shape=X.shape, copy=False)
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X
