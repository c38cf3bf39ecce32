"""Compiled kernels on disk, keyed on all that their code depends on."""

import contextlib
import functools
import hashlib
import os
import pickle
import pkgutil
import sys
import time
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import llvmlite
import numba
from llvmlite.binding import llvm_version_info

from fastmlp._engine.compat import numba as internals

ENGINE = "fastmlp._engine"  # the package whose modules the kernels are compiled from
BESIDE_PACKAGE = Path(__file__).parents[1] / "__pycache__"
DIGEST_BYTES = hashlib.sha256().digest_size
NAME_CHARACTERS = 16  # of a digest in a file's name: Windows limits paths to 260
# Environments of other versions, and other CPUs, may share a folder. So a save removes only files
# that nobody has used for long, and the oldest of very many.
DAYS_KEPT = 90
MOST_KEPT = 64  # files of one kernel
DAY = 86_400  # seconds; a file's time of last use is this coarse
# On Windows a file cannot be replaced or removed while somebody has it open: another process that
# loads it, or a virus scanner. That takes milliseconds.
RETRIES, RETRY_SECONDS = 5, 0.02

# Numba's settings that can change the generated code.
SETTINGS = (
    "OPT",
    "LOOP_VECTORIZE",
    "SLP_VECTORIZE",
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "EXTEND_VARIABLE_LIFETIMES",
    "ENABLE_PROFILING",
    "ENABLE_AVX",
    "CPU_NAME",
    "CPU_FEATURES",
    "DISABLE_INTEL_SVML",
    "LLVM_REFPRUNE_PASS",
    "LLVM_REFPRUNE_FLAGS",
)


def _described(code: CodeType) -> tuple:
    """What a code object does: not where its file is, nor anything that differs between runs."""
    constants = [
        _described(each)
        if isinstance(each, CodeType)
        else sorted(map(repr, each))
        if isinstance(each, frozenset)
        else repr(each)
        for each in code.co_consts
    ]
    counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_name, code.co_code, code.co_exceptiontable, *counts, *names, constants


def _contents(paths: Iterable[str], package: str) -> Iterator[tuple[str, bytes]]:
    """Name and source of every module in a package; of those without a source, their code."""
    for found in pkgutil.iter_modules(paths, f"{package}."):
        spec = found.module_finder.find_spec(found.name, None)
        source = spec.loader.get_source(found.name)
        if source is None:
            yield found.name, repr(_described(spec.loader.get_code(found.name))).encode()
        else:
            yield found.name, source.encode()
        if found.ispkg:
            yield from _contents(spec.submodule_search_locations, found.name)


def digest_of(paths: Iterable[str]) -> str:
    """SHA-256 of all modules of an engine in these folders, which may be inside a zip file.

    Raises
    ------
    RuntimeError
        If there are neither sources nor code: cached kernels could be stale.
    """
    digest, found = hashlib.sha256(), False
    try:
        for name, content in sorted(_contents(paths, ENGINE)):
            digest.update(f"{name} {len(content)} ".encode() + content)
            found = True
    except (AttributeError, ImportError, OSError) as error:  # an importer without these methods
        raise RuntimeError(f"the modules of {ENGINE} cannot be read") from error
    if not found:
        raise RuntimeError(f"{ENGINE} has no modules to identify its compiled kernels")
    return digest.hexdigest()


@functools.cache
def engine_digest() -> str:
    """The digest of this engine: Numba alone would miss a change in a callee's file."""
    return digest_of(sys.modules[ENGINE].__path__)


# Read the sources while they are imported: a later upgrade must not give its name to this code.
with contextlib.suppress(RuntimeError):
    engine_digest()


def _versions() -> tuple:
    python = sys.implementation.cache_tag, getattr(sys, "abiflags", ""), sys.flags.optimize
    return (*python, numba.__version__, llvmlite.__version__, llvm_version_info)


def user_folder() -> Path | None:
    """The folder for kernels in the user's cache directory; None if there is no home."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = os.path.expanduser(base)
    return Path(folder, "fastmlp") if os.path.isabs(folder) else None


def is_writable(folder: Path) -> bool:
    """Whether files can be made in a folder, which is created if possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"probe.nbc.{uuid.uuid4().hex[:8]}"
        os.close(os.open(probe, os.O_CREAT | os.O_EXCL))
    except OSError:
        return False
    _remove(probe)
    return True


def _remove(path: Path) -> None:
    """Remove a file if it is there; if somebody has it open, `_remove_unused` will later."""
    with contextlib.suppress(OSError):
        path.unlink()


class Folders:
    """Where compiled kernels are looked for, and where new ones are written.

    They are read from NUMBA_CACHE_DIR, from beside the package, and from the folder to write to:
    NUMBA_CACHE_DIR, or the user's cache if it is not set or not writable.

    Parameters
    ----------
    only : Path, optional
        Read and write here alone.
    """

    def __init__(self, only: Path | None = None):
        self._only = only

    def _chosen(self) -> list[Path]:
        """Folders that may be written to, the first first."""
        if self._only is not None:
            return [self._only]
        named = [Path(numba.config.CACHE_DIR, "fastmlp")] if numba.config.CACHE_DIR else []
        return [*named, *filter(None, [user_folder()])]

    def to_write(self) -> Path | None:
        """The first folder that is writable."""
        return next(filter(is_writable, self._chosen()), None)

    def to_read(self) -> list[Path]:
        """All folders, in the order in which they are searched."""
        chosen = self._chosen()
        if self._only is None:
            if numba.config.CACHE_DIR and is_writable(chosen[0]):
                del chosen[1:]
            chosen.insert(1 if numba.config.CACHE_DIR else 0, BESIDE_PACKAGE)
        return chosen


folders = Folders()


@contextlib.contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Read and write compiled kernels in one folder alone."""
    global folders
    before, folders = folders, Folders(folder)
    try:
        yield
    finally:
        folders = before


def _remove_unused(folder: Path) -> None:
    """Remove what has not been used for DAYS_KEPT days, or is older than MOST_KEPT others."""
    oldest = time.time() - DAYS_KEPT * DAY
    kernels = defaultdict(list)
    for path in folder.glob("*.nbc*"):
        with contextlib.suppress(OSError):  # another process may have removed it
            kernels[path.name.rsplit(".", 3)[0]].append((path.stat().st_mtime, path))
    for files in kernels.values():
        for place, (used, path) in enumerate(sorted(files, reverse=True)):
            if used < oldest or place >= MOST_KEPT:
                _remove(path)


class KernelCache:
    """The compiled forms of a kernel on disk, each in a file of its own.

    All that a form's code depends on enters its file's name and checksum. There is no index that
    two processes could overwrite, and a partly written file is never mistaken for a complete one.

    Parameters
    ----------
    function : callable
    variant : str
        Distinguishes forms of the same sources and signature.

    Raises
    ------
    RuntimeError
        If the engine cannot be identified.
    """

    def __init__(self, function, variant: str = ""):
        self._about = function.__module__, function.__qualname__, _described(function.__code__)
        self._variant = variant
        self._stamp = hashlib.sha256(repr((engine_digest(), _versions())).encode()).hexdigest()
        names = [function.__module__.rpartition(".")[2], function.__name__]
        self._base = f"{'.'.join(names)}{variant and '-'}{variant}.{self._stamp[:NAME_CHARACTERS]}"

    def _identity(self, signature, codegen) -> bytes:
        settings = [(name, repr(getattr(numba.config, name, None))) for name in SETTINGS]
        key = self._stamp, self._about, self._variant, signature, codegen.magic_tuple(), settings
        return hashlib.sha256(repr(key).encode()).digest()

    def _name(self, identity: bytes) -> str:
        return f"{self._base}.{identity.hex()[:NAME_CHARACTERS]}.nbc"

    def saved(self, folder: Path) -> list[Path]:
        """The files in a folder that belong to the current sources and versions."""
        try:
            return list(folder.glob(f"{self._base}.*.nbc"))
        except OSError:
            return []

    def describe(self) -> str:
        """Where compiled forms are kept, for people to read."""
        counts = {folder: len(self.saved(folder)) for folder in folders.to_read()}
        write = folders.to_write()
        kept = [f"{place} ({n} compiled)" for place, n in counts.items() if n or place == write]
        return ", ".join(kept) or "in memory only: no writable directory was found"

    def load_overload(self, signature, target_context) -> Any:
        """The saved form for a signature, or None if there is no valid one."""
        target_context.refresh()
        identity = self._identity(signature, target_context.codegen())
        for folder in folders.to_read():
            saved = _read(folder / self._name(identity), identity)
            if saved is not None:
                return internals.CompileResult._rebuild(target_context, *saved)
        return None

    def save_overload(self, signature, data) -> None:
        """Save a form, if possible."""
        folder = folders.to_write()
        if folder is None or data.library.has_dynamic_globals:  # addresses of this process
            return
        identity = self._identity(signature, data.codegen)
        try:
            _write(folder / self._name(identity), identity + internals.dumps(data._reduce()))
            _remove_unused(folder)
        except OSError as error:  # a full disk must not stop a fit
            warnings.warn(f"fastmlp could not cache a compiled kernel: {error}", stacklevel=2)


def _read(path: Path, identity: bytes):
    """What a file holds, or None if it is not whole or not the one with this identity."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    checksum, body = data[:DIGEST_BYTES], data[DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != checksum or not body.startswith(identity):
        return None
    with contextlib.suppress(OSError):  # a place that is read-only
        if path.stat().st_mtime < time.time() - DAY:
            os.utime(path)
    try:
        return pickle.loads(body[len(identity) :])
    except Exception:  # a library that the pickle refers to has changed: recompile
        return None


def _write(path: Path, body: bytes) -> None:
    """Write a file atomically."""
    unfinished = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        unfinished.write_bytes(hashlib.sha256(body).digest() + body)
        _replace(unfinished, path)
    finally:
        _remove(unfinished)


def _replace(unfinished: Path, path: Path) -> None:
    """Rename a file; if another stays open under its new name, that one is as good."""
    for _ in range(RETRIES):
        with contextlib.suppress(PermissionError):
            return os.replace(unfinished, path)
        time.sleep(RETRY_SECONDS)
    try:
        os.replace(unfinished, path)
    except PermissionError:
        if not path.exists():
            raise


class NoCache:
    """Stands for the cache where compiled forms cannot be identified, or not be saved.

    Parameters
    ----------
    reason : str
    """

    def __init__(self, reason: str):
        self._reason = reason

    def load_overload(self, signature, target_context) -> None:
        """Nothing."""

    def save_overload(self, signature, data) -> None:
        """Nothing to do."""

    def describe(self) -> str:
        """Where compiled forms are kept, for people to read."""
        return f"in memory only: {self._reason}"


def cache_for(function, variant: str = "") -> KernelCache | NoCache:
    """The cache of a kernel's compiled forms; NoCache if there can be none."""
    if not internals.HAS_COMPILER:
        return NoCache(f"Numba {numba.__version__} has no way to save kernels that fastmlp knows")
    try:
        return KernelCache(function, variant)
    except RuntimeError:
        return NoCache("the engine's sources cannot be read")
