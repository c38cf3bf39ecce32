"""Places for the engine's kernels."""

import numba
import pytest

from fastmlp._engine.jit import cache


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty directory in which kernels are cached."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder for kernels in the cache directory of a user who has kept none yet."""
    home = tmp_path / "user"
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(home))
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    return cache.user_folder()
