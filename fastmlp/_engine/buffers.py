"""Buffers: the engine's own memory, which the kernels read and write by address."""

import ctypes
from collections.abc import Callable

import numpy as np

from fastmlp._engine.jit.target import CACHE_LINE


def address_of_array(array: np.ndarray) -> int:
    """Address of an array's first element. `array.ctypes` takes 0.8 us, a buffer 0.2 us."""
    if array.flags.c_contiguous and array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    return array.ctypes.data


def aligned_empty(count: int, dtype: np.dtype | type, make: Callable = np.empty) -> np.ndarray:
    """A flat array that begins on a cache line; `make` allocates it."""
    dtype = np.dtype(dtype)
    raw = make(count * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    skip = -address_of_array(raw) % CACHE_LINE
    return raw[skip : skip + count * dtype.itemsize].view(dtype)


def aligned_zeros(count: int, dtype: np.dtype | type) -> np.ndarray:
    """The same, filled with zeros."""
    return aligned_empty(count, dtype, np.zeros)


def aligned_copy(array: np.ndarray) -> np.ndarray:
    """A copy of a flat array that begins on a cache line."""
    copy = aligned_empty(array.size, array.dtype)
    copy[:] = array
    return copy


class Layout:
    """Where the arrays in a buffer lie: one after the other.

    Parameters
    ----------
    dtype : numpy.dtype
        Of all elements.

    Attributes
    ----------
    size : int
        Elements of the buffer.
    """

    def __init__(self, dtype: np.dtype | type):
        self.dtype, self.size = np.dtype(dtype), 0

    def place(self, count: int) -> int:
        """The index of the first element of another array of `count` elements."""
        first = self.size
        self.size += count
        return first

    def empty(self) -> np.ndarray:
        """A buffer for these arrays."""
        return aligned_empty(self.size, self.dtype)

    def zeros(self, copies: int = 1) -> np.ndarray:
        """A buffer of zeros for so many copies of these arrays, `size` elements apart."""
        return aligned_zeros(copies * self.size, self.dtype)
