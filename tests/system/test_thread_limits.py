"""The limits on the number of threads: who sets them, and that the least counts."""

import os
import subprocess
import sys
from functools import lru_cache
from types import SimpleNamespace

import joblib
import numba
import pytest
import threadpoolctl

from fastmlp._engine import threads
from fastmlp._engine.threads import available_threads, usable_cpus, useful_threads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def cpus(monkeypatch):
    """A machine of 8 CPUs."""
    monkeypatch.setattr(threads, "_cpu_count", lambda *_: 8)
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 8)
    monkeypatch.setattr(threads, "openmp_counter", lambda: None)
    monkeypatch.setattr(threads, "_OMP_NUM_THREADS", None)


def test_limits_on_threads_are_honoured(cpus, monkeypatch):
    assert available_threads(5) == 5
    assert (available_threads(None), available_threads(-1), available_threads(-3)) == (8, 8, 6)
    assert available_threads(-20) == 1
    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 3)
    assert available_threads(None) == 3
    monkeypatch.setattr(threads, "_cpu_count", lambda *_: 2)
    assert available_threads(None) == 2


@pytest.mark.parametrize(
    "setting, limit",
    [("1", 1), ("3", 3), (" 2 ", 2), ("2,4", 2), ("4,2", 4), ("16", 8)]
    + [(invalid, 8) for invalid in ("", "0", "-1", "many", "1.5", ",2", "²")],
)
def test_omp_num_threads_is_honoured(setting, limit, cpus, monkeypatch):
    monkeypatch.setattr(threads, "_OMP_NUM_THREADS", threads._first_number(setting))
    assert available_threads(None) == available_threads(-1) == limit
    assert available_threads(-2) == max(1, limit - 1)
    assert available_threads(7) == 7
    assert useful_threads(None, 100) == limit


def test_omp_num_threads_counts_as_it_was_when_the_process_began():
    code = """
import os
from fastmlp._engine.threads import LIMITS
os.environ["OMP_NUM_THREADS"] = "1"  # for child processes, as Dask's LocalCluster sets it
print(LIMITS["OMP_NUM_THREADS"]())
"""
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OMP_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "3"


@pytest.mark.skipif(threads.openmp_counter() is None, reason="scikit-learn without OpenMP")
def test_limits_of_threadpoolctl_are_honoured():
    free = available_threads(None)
    for libraries in (None, "openmp"):
        with threadpoolctl.threadpool_limits(1, libraries):
            assert (available_threads(None), available_threads(2)) == (1, 2)
            assert "OpenMP or threadpoolctl: 1" in threads.explain_threads()
    with threadpoolctl.threadpool_limits(1, "blas"):
        assert available_threads(None) == free
    assert available_threads(None) == free


def test_without_scikit_learns_function_openmp_sets_no_limit(monkeypatch):
    for helpers in (None, object(), SimpleNamespace(_openmp_parallelism_enabled=lambda: False)):
        monkeypatch.setitem(sys.modules, "sklearn.utils._openmp_helpers", helpers)
        assert threads.openmp_counter.__wrapped__() is None


@pytest.mark.parametrize("jobs, limit", [(1, 1), (3, 3), (20, 8), (-1, 8), (None, 8)])
def test_joblibs_configuration_is_honoured(jobs, limit, cpus):
    with joblib.parallel_config(n_jobs=jobs):
        assert (available_threads(None), available_threads(4)) == (limit, 4)
    assert available_threads(None) == 8


def test_a_search_with_one_job_leaves_all_threads_to_the_model(cpus):
    for n_jobs in (None, 1):
        counts = joblib.Parallel(n_jobs=n_jobs)(
            joblib.delayed(available_threads)(None) for _ in "ab"
        )
        assert counts == [8, 8]


def test_what_limits_the_cpus_is_asked_again_when_it_may_have_changed(monkeypatch):
    asked, now = [], [0.0]
    monkeypatch.setattr(threads, "_cpu_count", lru_cache(threads._cpu_count.__wrapped__))
    monkeypatch.setattr(threads, "monotonic", lambda: now[0])
    monkeypatch.setattr(joblib, "cpu_count", lambda: asked.append(now[0]) or 4)
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    for now[0] in (1.0, 5.0, 9.0, 11.0, 12.0):
        usable_cpus()
    assert asked == [1.0, 11.0]
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    usable_cpus()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1}, raising=False)
    usable_cpus()
    usable_cpus()
    assert len(asked) == 4


@pytest.mark.slow
def test_inner_limit_of_loky_is_honoured():
    with joblib.parallel_config(backend="loky", inner_max_num_threads=1):
        counts = joblib.Parallel(n_jobs=2)(joblib.delayed(available_threads)(None) for _ in "ab")
    assert counts == [1, 1]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_affinity_is_honoured():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from fastmlp._engine.threads import available_threads; print(available_threads(None))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(run.stdout) == 1
