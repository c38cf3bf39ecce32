"""Compiled kernels on disk, keyed on a digest of every engine source."""

import contextlib
import functools
import hashlib
import pickle
import warnings
from pathlib import Path

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

from fastmlp.engine.config import JIT

DIGEST_BYTES = hashlib.sha256().digest_size


@functools.cache
def engine_digest() -> str:
    """SHA-256 of all engine sources: numba alone would miss a change in a callee's file."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()


class _CheckedFile(IndexDataCacheFile):
    """Cache files that are believed only if their checksum holds."""

    def _dump(self, obj) -> bytes:
        body = super()._dump(obj)
        return hashlib.sha256(body).digest() + body

    @staticmethod
    def _checked(data: bytes) -> bytes:
        checksum, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        if hashlib.sha256(body).digest() != checksum:
            raise OSError("checksum mismatch")
        return body

    def _load_index(self) -> dict:
        try:
            with open(self._index_path, "rb") as file:
                version = pickle.load(file)
                if version != self._version:
                    return {}
                stamp, overloads = pickle.loads(self._checked(file.read()))
        except Exception:  # garbage can raise anything when unpickled; it only costs a compilation
            return {}
        return overloads if stamp == self._source_stamp else {}

    def _load_data(self, name: str):
        with open(self._data_path(name), "rb") as file:
            return pickle.loads(self._checked(file.read()))


class EngineCache(FunctionCache):
    """numba's function cache, stale when any engine source has changed."""

    def __init__(self, py_func):
        super().__init__(py_func)
        self._cache_file = _CheckedFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=engine_digest(),
        )

    def save_overload(self, sig, data) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full or read-only disk must not stop a fit
            warnings.warn(f"fastmlp could not cache a compiled kernel: {error}", stacklevel=2)


def kernel(function):
    """Compile an entry point: without the GIL, cached on disk where that is possible."""
    dispatcher = numba.njit(**JIT, nogil=True)(function)
    with contextlib.suppress(RuntimeError, OSError):  # no writable place: compile in memory
        dispatcher._cache = EngineCache(function)
    return dispatcher


def cache_state(dispatcher) -> str:
    """Where a kernel's compiled forms are kept, in words."""
    cache = getattr(dispatcher, "_cache", None)
    if not isinstance(cache, EngineCache):
        return "in memory only: no writable directory was found"
    count = len(cache._cache_file._load_index())
    return f"{cache.cache_path} ({count} compiled)"
