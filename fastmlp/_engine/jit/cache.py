"""Compiled kernels on disk, keyed on a digest of every engine source."""

import contextlib
import functools
import hashlib
import os
import pickle
import sys
import uuid
import warnings
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.serialize import dumps

ENGINE = "fastmlp._engine"  # the package whose sources the kernels are compiled from
DIGEST_BYTES = hashlib.sha256().digest_size
NAME_CHARACTERS = 16  # characters of a digest in a file's name


def _sources(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Path and content of every Python source below a folder, which may be inside a zip file."""
    for entry in folder.iterdir():
        path = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, path)
        elif path.endswith(".py"):
            yield path, entry.read_bytes()


@functools.cache
def engine_digest() -> str:
    """SHA-256 of all engine sources: Numba alone would miss a change in a callee's file.

    Raises
    ------
    RuntimeError
        If the engine was installed without its sources: cached kernels could be stale.
    """
    sources = sorted(_sources(resources.files(ENGINE)))
    if not sources:
        raise RuntimeError(f"{ENGINE} has no sources to identify its compiled kernels")
    digest = hashlib.sha256(numba.__version__.encode())
    for path, content in sources:
        digest.update(path.encode())
        digest.update(content)
    return digest.hexdigest()


class KernelFiles:
    """One file per compiled form of a kernel, used only if its checksum is right.

    Sources and signature enter a file's name and checksum. There is no index that two processes
    could overwrite, and a partly written file is never mistaken for a complete one.

    Parameters
    ----------
    folder : Path
    base : str
        Prefix of the file names.
    stamp : str
        Digest of the sources.
    """

    def __init__(self, folder: Path, base: str, stamp: str):
        self.folder, self.base, self.stamp = folder, base, stamp

    def _identity(self, key) -> bytes:
        return hashlib.sha256(f"{self.stamp} {key!r}".encode()).digest()

    def path(self, key) -> Path:
        """The file of the form for `key`."""
        stamp, form = self.stamp[:NAME_CHARACTERS], self._identity(key).hex()[:NAME_CHARACTERS]
        return self.folder / f"{self.base}.{stamp}.{form}.nbc"

    def saved(self) -> list[Path]:
        """The files that belong to the current sources."""
        return list(self.folder.glob(f"{self.base}.{self.stamp[:NAME_CHARACTERS]}.*.nbc"))

    def save(self, key, data) -> None:
        """Write a file atomically, and remove files of older sources."""
        body = self._identity(key) + dumps(data)
        path = self.path(key)
        unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        try:
            unfinished.write_bytes(hashlib.sha256(body).digest() + body)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        for stale in set(self.folder.glob(f"{self.base}.*.nbc")) - set(self.saved()):
            with contextlib.suppress(OSError):  # another process may have removed it
                stale.unlink()

    def load(self, key):
        """The saved form, or None if there is no valid one."""
        try:
            data = self.path(key).read_bytes()
        except OSError:
            return None
        checksum, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
        identity = self._identity(key)
        if hashlib.sha256(body).digest() != checksum or not body.startswith(identity):
            return None
        try:
            return pickle.loads(body[len(identity) :])
        except Exception:  # a library that the pickle refers to has changed: recompile
            return None

    def flush(self) -> None:
        """Remove all files that belong to the current sources."""
        for path in self.saved():
            path.unlink(missing_ok=True)


class EngineCache(FunctionCache):
    """Numba's function cache on top of `KernelFiles`.

    `variant` distinguishes forms of the same sources and signature.
    """

    def __init__(self, py_func, variant: str = ""):
        super().__init__(py_func)
        function = f"{py_func.__module__}.{py_func.__qualname__}"
        name = f"{function}{variant}-{sys.implementation.cache_tag}"
        self._cache_file = KernelFiles(Path(self.cache_path), name, engine_digest())

    def describe(self) -> str:
        """Where compiled forms are kept, for people to read."""
        return f"{self.cache_path} ({len(self._cache_file.saved())} compiled)"

    def save_overload(self, sig, data) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full or read-only disk must not stop a fit
            warnings.warn(f"fastmlp could not cache a compiled kernel: {error}", stacklevel=2)


def cache_for(function, variant: str = "") -> EngineCache | NullCache:
    """The cache of a kernel's compiled forms; without a writable directory, one in memory."""
    try:
        return EngineCache(function, variant)
    except (RuntimeError, OSError):  # from Numba and from the system
        return NullCache()
