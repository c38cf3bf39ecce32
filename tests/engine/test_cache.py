"""Compiled kernels on disk: fresh after every change, right after every damage."""

import compileall
import errno
import os
import shutil
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest
from small_kernel import double, files, hits, hits_of_a_new_kernel, make_kernel, result, triple

import fastmlp
from fastmlp._engine.jit import cache
from fastmlp._engine.jit.kernel import Kernel
from fastmlp._engine.kernels.prediction import predict
from fastmlp._engine.kernels.training import train
from fastmlp._engine.threading import pool

PACKAGE = Path(fastmlp.__file__).parent


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


def in_use(*arguments):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.fixture
def replace_in_use(monkeypatch):
    """A function that lets `os.replace` fail so many times: Windows does while a file is open."""
    monkeypatch.setattr(cache, "RETRY_SECONDS", 0.001)
    really = os.replace

    def fail(times):
        left = [in_use] * times
        monkeypatch.setattr(os, "replace", lambda *paths: (left.pop() if left else really)(*paths))

    return fail


def test_a_file_that_is_open_for_a_moment_is_replaced(folder, replace_in_use):
    result(make_kernel())
    (path,) = files(folder)
    path.write_bytes(b"")
    replace_in_use(times=cache.RETRIES)
    assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == [path]
    assert hits_of_a_new_kernel() == 1


def test_a_file_that_stays_open_is_left_as_it_is(folder, replace_in_use):
    """Another process reads it: it has the same identity, and so the same code."""
    result(make_kernel())
    (path,) = files(folder)
    path.write_bytes(b"")
    replace_in_use(times=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == [path]


def test_a_new_file_that_stays_open_warns_and_the_kernel_runs(folder, replace_in_use):
    """A virus scanner looks at it."""
    replace_in_use(times=100)
    with pytest.warns(UserWarning, match="could not cache"):
        assert result(make_kernel()) == [2, 2, 2]
    assert files(folder) == []


def test_a_file_that_cannot_be_removed_yet_does_no_harm(folder, replace_in_use, monkeypatch):
    result(make_kernel())
    (path,) = files(folder)
    path.write_bytes(b"")
    replace_in_use(times=100)
    monkeypatch.setattr(Path, "unlink", in_use)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert result(make_kernel()) == [2, 2, 2]
    assert path in files(folder)


def test_names_are_short():
    """Windows limits a path to 260 characters, most of which may be the folder's."""
    for kernel in (train, predict, pool._launch, pool._serve, pool._stop):
        cached = cache.cache_for(kernel._function, kernel._variant)
        assert len(cached._name(bytes(cache.DIGEST_BYTES))) < 60


def test_no_name_in_a_folder_is_long_while_a_file_is_written(folder, monkeypatch):
    names, really = [], os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (names.extend((a, b)), really(a, b)))
    result(make_kernel())
    unfinished, finished = (len(path.name) for path in names)
    assert unfinished < finished + 10


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


@pytest.fixture
def run(tmp_path):
    """Run code in a process that imports a copy of the package in `tmp_path`."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "fastmlp", ignore=ignored)
    cache = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run_code(code):
        return subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **cache},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()

    return run_code


@pytest.mark.slow
def test_editing_a_callee_of_the_real_kernels_takes_effect(run, tmp_path):
    assert run(PREDICT) == ["0.5", "0"]
    assert run(PREDICT) == ["0.5", "1"]
    with open(tmp_path / "fastmlp" / "_engine" / "kernels" / "activations.py", "a") as source:
        source.write(LATER_LOGISTIC)
    assert run(PREDICT) == ["0.25", "0"]


@pytest.mark.slow
def test_an_upgrade_of_a_running_process_does_not_give_old_kernels_the_new_name(run):
    upgrade = f"""
import fastmlp
with open("fastmlp/_engine/kernels/activations.py", "a") as source:
    source.write({LATER_LOGISTIC!r})
"""
    assert run(upgrade + PREDICT) == ["0.5", "0"]
    assert run(PREDICT) == ["0.25", "0"]
