"""The pool of threads with the system functions of Windows and macOS."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastmlp._engine.threading import system

TESTS = Path(__file__).parents[1]
LAUNCHES = "every_thread_comes_once or wakes_as_many or whatever_pauses"


@pytest.mark.slow
@pytest.mark.skipif(not system.HAS_FUTEX, reason="a futex plays their parts")
@pytest.mark.parametrize("played", ["Windows", "macOS"])
def test_threads_sleep_and_wake_by_the_functions_of_another_system(played, tmp_path):
    own = {"PLAYED_SYSTEM": played, "NUMBA_CACHE_DIR": str(tmp_path)}
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "played_systems"]
    run = subprocess.run(
        [sys.executable, *command, "-k", LAUNCHES, str(TESTS / "engine" / "test_pool.py")],
        env={**os.environ, **own, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-1000:]
    *_, calls, _ = run.stdout.splitlines()
    waits, wakes, wrong = map(int, calls.split())
    assert waits > 100 and wakes > 100 and wrong == 0
