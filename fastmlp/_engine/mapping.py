"""Weights in a memory-mapped file, which the prediction kernel reads where they lie.

Processes that map one file share its pages; a copy of the weights for each of them is saved. In a
file, no padding follows a row of W (n_in, n_out). The kernel reads whole vectors all the same: the
vector that a row ends in goes on into the next row, and what it computes from there falls into the
padding of z, which nobody reads. Only after the last row there has to be something to read.
"""

import mmap

import numpy as np


def _mapping_of(array: np.ndarray) -> mmap.mmap | None:
    """The mapping that an array is a view of; None if it is memory of another kind."""
    base = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def can_stay(coef: np.ndarray, dtype: np.dtype, stride: int) -> bool:
    """Whether the kernel can read a matrix of weights (n_in, n_out) where it lies.

    It is in a memory-mapped file, as contiguous and aligned elements of `dtype`. Its last row can
    be read to a length of `stride` elements: a mapping ends where a page ends. So less than one
    matrix in thirty, depending on its place in the file, cannot stay there.
    """
    if not isinstance(coef, np.ndarray) or coef.dtype != dtype or coef.ndim != 2:
        return False
    mapping = _mapping_of(coef)
    if mapping is None or not (coef.flags.c_contiguous and coef.flags.aligned):
        return False
    end_of_file = np.frombuffer(mapping, np.uint8).ctypes.data + len(mapping)
    end_of_pages = -(-end_of_file // mmap.PAGESIZE) * mmap.PAGESIZE
    padding = (stride - coef.shape[1]) * coef.itemsize
    return coef.ctypes.data + coef.nbytes + padding <= end_of_pages
