"""Folders of compiled kernels: which are searched, which is written to, what is removed."""

import contextlib
import errno
import os
import sys
import time
from pathlib import Path

import numba
import pytest
from small_kernel import files, hits_of_a_new_kernel, make_kernel, result

from fastmlp import __main__ as command
from fastmlp._engine.jit import cache


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


def test_only_warmup_keeps_kernels_beside_the_package(capsys):
    with pytest.raises(SystemExit):
        command.main(["info", "--beside-package"])
    assert "for warmup only" in capsys.readouterr().err
