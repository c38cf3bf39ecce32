"""Compiled kernels on disk: fresh after every change, right after every damage."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit

import fastmlp
from fastmlp._engine.jit import cache
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.jit.target import JIT

PACKAGE = Path(fastmlp.__file__).parent


@njit(**JIT)
def double(x):
    return 2 * x


@njit(**JIT)
def triple(x):
    return 3 * x


def apply(count, values):
    for i in range(count):
        values[i] = callee(values[i])  # noqa: F821 - a global of each function's own


def make_kernel(callee=double):
    """`apply` as a kernel: a new one each time, the same place in the cache."""
    names = {"callee": callee, "__name__": __name__}
    signature = numba.types.void(numba.types.int64, numba.types.CPointer(numba.types.float64))
    return Kernel(types.FunctionType(apply.__code__, names, "apply"), signature)


def result(kernel):
    values = np.ones(3)
    call = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64)
    call(kernel.address())(values.size, values.ctypes.data)
    return values.tolist()


def hits(kernel):
    return kernel.cache_hits


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory in which kernels are cached."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    return tmp_path


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_kernel_is_compiled_once_and_then_loaded(folder):
    first = make_kernel()
    assert result(first) == [2, 2, 2]
    assert hits(first) == 0
    second = make_kernel()
    assert result(second) == [2, 2, 2]
    assert hits(second) == 1


def test_digest_changes_with_every_source_and_only_then(tmp_path, monkeypatch):
    digest = cache.engine_digest.__wrapped__
    original = digest()
    copy = tmp_path / "engine"
    shutil.copytree(PACKAGE / "_engine", copy)
    monkeypatch.setattr(cache.resources, "files", lambda package: copy)
    assert digest() == original
    sources = sorted(copy.rglob("*.py"))
    assert len(sources) > 5
    for source in sources:
        text = source.read_text()
        source.write_text(text + "\n")
        assert digest() != original
        source.write_text(text)
        assert digest() == original
    (copy / "inner").mkdir()
    assert digest() == original
    (copy / "inner" / "another.py").write_text("")
    assert digest() != original


def test_an_engine_without_sources_compiles_in_memory(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(cache.resources, "files", lambda package: tmp_path)
    monkeypatch.setattr(cache, "engine_digest", cache.engine_digest.__wrapped__)
    assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == []


@pytest.mark.slow
def test_digest_of_a_zip_is_that_of_its_sources(tmp_path):
    archive = shutil.make_archive(tmp_path / "app", "zip", PACKAGE.parent, PACKAGE.name)
    told = "import fastmlp._engine.jit.cache as c; print(c.__file__, c.engine_digest())"
    environment = {**os.environ, "PYTHONPATH": archive}
    run = subprocess.run(
        [sys.executable, "-c", told],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    origin, digest = run.stdout.split()
    assert origin.startswith(archive)
    assert digest == cache.engine_digest()


def test_a_new_digest_compiles_anew(folder, monkeypatch):
    monkeypatch.setattr(cache, "engine_digest", lambda: "before")
    assert result(make_kernel(double)) == [2, 2, 2]
    # numba itself takes no notice of a callee: this is what the digest is for.
    assert result(make_kernel(triple)) == [2, 2, 2]
    monkeypatch.setattr(cache, "engine_digest", lambda: "after")
    kernel = make_kernel(triple)
    assert result(kernel) == [3, 3, 3]
    assert hits(kernel) == 0
    assert result(make_kernel(triple)) == [3, 3, 3]


DAMAGES = {
    "emptied": lambda data: b"",
    "cut to its first bytes": lambda data: data[:10],
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut by one byte": lambda data: data[:-1],
    "garbage": lambda data: bytes(range(256)) * 9,
    "one bit changed": lambda data: data[:-40] + bytes([data[-40] ^ 1]) + data[-39:],
    "zeros": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_costs_a_compilation_and_nothing_else(damage, folder):
    assert result(make_kernel()) == [2, 2, 2]
    assert files(folder)
    for path in files(folder):
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    assert hits(kernel) == 0
    repaired = make_kernel()
    assert result(repaired) == [2, 2, 2]
    assert hits(repaired) == 1


def test_a_missing_file_costs_a_compilation(folder):
    result(make_kernel())
    for path in files(folder):
        path.unlink()
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    assert hits(kernel) == 0


def test_a_file_of_older_sources_is_not_taken_under_a_new_name(folder, monkeypatch):
    monkeypatch.setattr(cache, "engine_digest", lambda: "before")
    assert result(make_kernel(double)) == [2, 2, 2]
    (old,) = files(folder)
    content = old.read_bytes()
    monkeypatch.setattr(cache, "engine_digest", lambda: "after")
    assert result(make_kernel(triple)) == [3, 3, 3]
    (new,) = files(folder)  # and the old one is gone
    new.write_bytes(content)
    assert result(make_kernel(triple)) == [3, 3, 3]


def full_disk(*arguments):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("function", ["os.replace", "pathlib.Path.write_bytes"])
def test_a_full_disk_warns_and_the_kernel_runs(function, folder, monkeypatch):
    monkeypatch.setattr(function, full_disk)
    with pytest.warns(UserWarning, match="could not cache"):
        assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == []


@pytest.mark.parametrize("function", ["os.replace", "pathlib.Path.write_bytes"])
def test_a_half_saved_kernel_does_not_bring_back_an_older_one(function, folder, monkeypatch):
    monkeypatch.setattr(cache, "engine_digest", lambda: "before")
    assert result(make_kernel(double)) == [2, 2, 2]
    monkeypatch.setattr(cache, "engine_digest", lambda: "after")
    with monkeypatch.context() as full:
        full.setattr(function, full_disk)
        with pytest.warns(UserWarning, match="could not cache"):
            assert result(make_kernel(triple)) == [3, 3, 3]
    assert result(make_kernel(triple)) == [3, 3, 3]


def test_a_kernel_compiles_in_memory_where_no_directory_is_writable(folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder / "file" / "cache"))
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    assert [path.name for path in folder.rglob("*")] == ["file"]


PREDICT = """
import numpy as np
from fastmlp._engine.kernels.prediction import predict
from fastmlp._inference.predictions import apply_network
from fastmlp._engine.network import Network

outputs = apply_network(Network([1, 1], np.float64), np.ones((1, 1)), [], "logistic", 1)[0]
print(outputs[0, 0], predict.cache_hits)
"""

LATER_LOGISTIC = '''

@device
def logistic_function(z):
    """A quarter, whatever z."""
    return type(z)(0.25)
'''


@pytest.mark.slow
def test_editing_a_callee_of_the_real_kernels_takes_effect(tmp_path):
    copy = tmp_path / "fastmlp"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }

    def predict():
        run = subprocess.run(
            [sys.executable, "-c", PREDICT],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return run.stdout.split()

    assert predict() == ["0.5", "0"]
    assert predict() == ["0.5", "1"]
    with open(copy / "_engine" / "kernels" / "activations.py", "a") as source:
        source.write(LATER_LOGISTIC)
    assert predict() == ["0.25", "0"]
