"""Compiled kernels on disk: fresh after every change, right after every damage."""

import compileall
import contextlib
import ctypes
import errno
import os
import shutil
import subprocess
import sys
import threading
import time
import types
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit

import fastmlp
from fastmlp._engine.jit import cache
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.jit.target import JIT
from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.kernels.training import train
from fastmlp._engine.threading import pool

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


@pytest.fixture
def engine(tmp_path):
    """A copy of the engine's sources."""
    copy = tmp_path / "copy" / "engine"
    shutil.copytree(PACKAGE / "_engine", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_digest_changes_with_every_source_and_only_then(engine):
    original = cache.digest_of([str(engine)])
    assert original == cache.engine_digest()
    sources = sorted(engine.rglob("*.py"))
    assert len(sources) > 5
    for source in [each for each in sources if each != engine / "__init__.py"]:
        text = source.read_text()
        source.write_text(text + "\n")
        assert cache.digest_of([str(engine)]) != original
        source.write_text(text)
        assert cache.digest_of([str(engine)]) == original
    (engine / "inner").mkdir()
    assert cache.digest_of([str(engine)]) == original
    (engine / "another.py").write_text("")
    assert cache.digest_of([str(engine)]) != original


def test_digest_without_sources_is_that_of_the_code_wherever_it_is(engine, tmp_path):
    """As in a frozen application: compiled modules only."""

    def strip(folder):
        compileall.compile_dir(folder, quiet=1, legacy=True)
        for source in folder.rglob("*.py"):
            source.unlink()
        return cache.digest_of([str(folder)])

    elsewhere, changed = tmp_path / "elsewhere", tmp_path / "changed"
    shutil.copytree(engine, elsewhere)
    shutil.copytree(engine, changed)
    losses = changed / "kernels" / "losses.py"
    losses.write_text(losses.read_text() + "\nANOTHER = 1\n")
    original = strip(engine)
    assert strip(elsewhere) == original
    assert strip(changed) != original


def test_an_engine_that_cannot_be_read_compiles_in_memory(folder, tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="no modules"):
        cache.digest_of([str(tmp_path)])
    monkeypatch.setattr(cache, "engine_digest", lambda: cache.digest_of([str(tmp_path)]))
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    assert kernel.cache_state().startswith("in memory only")
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
    (new,) = set(files(folder)) - {old}
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


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder for kernels in the cache directory of a user who has kept none yet."""
    home = tmp_path / "user"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    return cache.user_folder()


def test_a_kernel_compiles_in_memory_where_no_directory_is_writable(folder, home, monkeypatch):
    (folder / "file").write_text("")
    (folder / "user").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder / "file" / "cache"))
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    assert {path.name for path in folder.rglob("*")} == {"file", "user"}
    assert kernel.cache_state() == "in memory only: no writable directory was found"


def test_without_a_named_directory_kernels_are_kept_in_the_users_cache(home, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    result(make_kernel())
    assert [path.parent for path in files(home)] == [home]
    assert hits_of_a_new_kernel() == 1


def test_where_a_named_directory_takes_no_files_they_are_kept_in_the_users_cache(
    folder, home, monkeypatch
):
    (folder / "file").write_text("")
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder / "file"))
    assert hits_of_a_new_kernel() == 0
    assert len(files(home)) == 1
    assert hits_of_a_new_kernel() == 1


def test_a_named_directory_hides_the_users_cache(folder, home, monkeypatch):
    with monkeypatch.context() as unnamed:
        unnamed.setattr(numba.config, "CACHE_DIR", "")
        assert hits_of_a_new_kernel() == 0
    assert hits_of_a_new_kernel() == 0
    assert hits_of_a_new_kernel() == 1


def hits_of_a_new_kernel():
    kernel = make_kernel()
    assert result(kernel) == [2, 2, 2]
    return hits(kernel)


def unwritable(*arguments, **options):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("place", ["named", "user", "beside"])
def test_kernels_in_a_place_that_is_read_only_are_used(place, folder, home, tmp_path, monkeypatch):
    beside = tmp_path / "beside"
    monkeypatch.setattr(cache, "BESIDE_PACKAGE", beside)
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path) if place == "named" else "")
    with cache.kept_in(beside) if place == "beside" else contextlib.nullcontext():
        assert hits_of_a_new_kernel() == 0
    (path,) = files(tmp_path)
    long_ago = time.time() - 10 * cache.DAY
    os.utime(path, (long_ago, long_ago))
    for function in ("mkdir", "write_bytes"):
        monkeypatch.setattr(Path, function, unwritable)
    for function in ("open", "utime"):
        monkeypatch.setattr(os, function, unwritable)
    assert hits_of_a_new_kernel() == 1
    assert make_kernel().cache_state() == f"{path.parent} (1 compiled)"


def test_kernels_beside_the_package_are_used_whatever_directory_is_named(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(cache, "BESIDE_PACKAGE", tmp_path / "beside")
    with cache.kept_in(cache.BESIDE_PACKAGE):
        assert hits_of_a_new_kernel() == 0
    assert hits_of_a_new_kernel() == 1
    assert [path.parent for path in files(folder)] == [tmp_path / "beside"]


def test_a_damaged_file_does_not_hide_a_whole_one(folder, home, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "BESIDE_PACKAGE", tmp_path / "beside")
    with cache.kept_in(cache.BESIDE_PACKAGE):
        hits_of_a_new_kernel()
    (whole,) = files(tmp_path)
    damaged = cache.folders.to_write() / whole.name
    damaged.write_bytes(whole.read_bytes()[:-1])
    assert hits_of_a_new_kernel() == 1


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_the_users_cache_is_where_the_system_keeps_caches(system, home, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert cache.user_folder().name == "fastmlp"
    assert cache.user_folder().is_relative_to(os.path.expanduser("~"))


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the variable of other systems")
def test_the_users_cache_is_where_the_user_says(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.user_folder() == tmp_path / "fastmlp"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache.user_folder() is None


SETTINGS = {
    "OPT": numba.core.config._OptLevel(2),
    "LOOP_VECTORIZE": 0,
    "SLP_VECTORIZE": 1,
    "BOUNDSCHECK": 1,
    "EXTEND_VARIABLE_LIFETIMES": 1,
    "ENABLE_PROFILING": 1,
    "CPU_NAME": "haswell",
    "CPU_FEATURES": "+avx2",
    "LLVM_REFPRUNE_PASS": 0,
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_another_setting_of_numba_compiles_anew(setting, folder, monkeypatch):
    assert hits_of_a_new_kernel() == 0
    with monkeypatch.context() as changed:
        changed.setattr(numba.config, setting, SETTINGS[setting])
        assert hits_of_a_new_kernel() == 0
        assert hits_of_a_new_kernel() == 1
    assert hits_of_a_new_kernel() == 1  # that of the first setting is still there


VERSIONS = {
    "numba.__version__": "0.1",
    "llvmlite.__version__": "0.1",
    "fastmlp._engine.jit.cache.llvm_version_info": (1, 2, 3),
    "fastmlp._engine.jit.cache.engine_digest": lambda: "another",
    "sys.abiflags": "t",
}


@pytest.mark.parametrize("version", VERSIONS)
def test_versions_that_share_a_directory_keep_each_others_kernels(version, folder, monkeypatch):
    assert hits_of_a_new_kernel() == 0
    with monkeypatch.context() as changed:
        changed.setattr(version, VERSIONS[version], raising=False)
        assert hits_of_a_new_kernel() == 0
        assert hits_of_a_new_kernel() == 1
    assert hits_of_a_new_kernel() == 1


def test_each_variant_has_a_file_and_a_name_of_its_own(folder):
    for variant in ("", "1", "11"):
        kernel = Kernel(make_kernel()._function, make_kernel()._signature, variant)
        assert result(kernel) == [2, 2, 2]
        assert hits(kernel) == 0
    names = {path.name.split(".")[1] for path in files(folder)}
    assert names == {"apply", "apply-1", "apply-11"}


def test_what_nobody_uses_is_removed_in_the_end(folder):
    make = cache.folders.to_write() / "training.of_an_older_version.0123.4567.nbc"
    unfinished = make.with_name(f"{make.name}.89ab")
    recent = make.with_name("training.another.0123.4567.nbc")
    for path, days in ((make, 91), (unfinished, 91), (recent, 89)):
        path.write_bytes(b"")
        os.utime(path, (time.time() - days * cache.DAY,) * 2)
    result(make_kernel())
    assert [path.exists() for path in (make, unfinished, recent)] == [False, False, True]


def test_use_keeps_a_kernel(folder):
    result(make_kernel())
    (path,) = files(folder)
    os.utime(path, (time.time() - 91 * cache.DAY,) * 2)
    assert hits_of_a_new_kernel() == 1
    assert path.stat().st_mtime > time.time() - cache.DAY


def test_of_very_many_forms_the_oldest_are_removed(folder, monkeypatch):
    monkeypatch.setattr(cache, "MOST_KEPT", 3)
    for age in range(5):
        monkeypatch.setattr(cache, "engine_digest", lambda age=age: f"version {age}")
        before = set(files(folder))
        assert hits_of_a_new_kernel() == 0
        (path,) = set(files(folder)) - before
        os.utime(path, (time.time() - 100 + age,) * 2)
    assert len(files(folder)) == 3
    assert hits_of_a_new_kernel() == 1  # the newest


def test_another_process_that_reads_the_file_does_not_matter(folder, monkeypatch):
    """On Windows, a file that is open cannot be replaced."""
    result(make_kernel())

    def in_use(*arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", in_use)
    (path,) = files(folder)
    path.write_bytes(b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == [path]


def test_names_are_short():
    """Windows limits a path to 260 characters, most of which may be the folder's."""
    for kernel in (train, predict, pool._launch):
        cached = cache.cache_for(kernel._function, kernel._variant)
        assert len(cached._name(bytes(cache.DIGEST_BYTES))) < 70


def test_threads_that_need_a_kernel_at_once_share_one(folder):
    kernel, start = make_kernel(), threading.Barrier(4)

    def ask(_):
        start.wait()
        return kernel.compiled()

    with ThreadPoolExecutor(4) as threads:
        forms = list(threads.map(ask, range(4)))
    assert len(set(map(id, forms))) == 1


@pytest.mark.parametrize("setting", ["DISABLE_JIT", "DEBUGINFO_DEFAULT"])
def test_settings_for_functions_of_the_user_do_not_matter(setting, folder, monkeypatch):
    assert hits_of_a_new_kernel() == 0
    monkeypatch.setattr(numba.config, setting, 1)
    assert hits_of_a_new_kernel() == 1
    assert getattr(numba.config, setting) == 1


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
