"""How many threads to use: limited by the user, by the machine, and by the amount of work."""

import functools
import os
import sys
from time import monotonic

import joblib
import numba

# How long to cache the cgroup's CPU limit. joblib reads it from files, which takes 0.1 ms: 2 % of
# a prediction of 20,000 rows.
LIMIT_SECONDS = 10.0


@functools.lru_cache(maxsize=8)
def _cpu_count(period: int, affinity: frozenset | None, limit: str | None) -> int:
    """CPUs that affinity, cgroup and joblib's limit allow, cached by its arguments."""
    return joblib.cpu_count()


def usable_cpus() -> int:
    """CPUs that affinity, cgroup, NUMBA_NUM_THREADS and joblib's inner limit allow this process.

    Inside a Dask task it is 1: the worker runs one task per thread, and limits the threads of
    OpenMP and BLAS but not Numba's (dask/distributed#9075). The cgroup's limit is cached for
    LIMIT_SECONDS.
    """
    if _is_in_dask_task():
        return 1
    tells = hasattr(os, "sched_getaffinity")
    affinity = frozenset(os.sched_getaffinity(0)) if tells else None
    period, limit = int(monotonic() / LIMIT_SECONDS), os.environ.get("LOKY_MAX_CPU_COUNT")
    return min(_cpu_count(period, affinity, limit), numba.config.NUMBA_NUM_THREADS)


def _is_in_dask_task() -> bool:
    get_worker = getattr(sys.modules.get("distributed"), "get_worker", None)
    if get_worker is None:
        return False
    try:
        get_worker()
    except ValueError:
        return False
    return True


def available_threads(n_jobs: int | None, cpus: int | None = None) -> int:
    """Threads that `n_jobs` allows.

    Parameters
    ----------
    n_jobs : int or None
        None: all CPUs. Negative: cpus + 1 + n_jobs, as in joblib. Positive: that many.
    cpus : int, optional
        Number of CPUs; `usable_cpus` by default.

    Raises
    ------
    ValueError
        If `n_jobs` is 0.
    """
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 has no meaning; use None for all CPUs")
    if n_jobs is not None and n_jobs > 0:
        return n_jobs
    cpus = usable_cpus() if cpus is None else cpus
    return cpus if n_jobs is None else max(1, cpus + 1 + n_jobs)


def explain_threads() -> str:
    """The number of threads that ``n_jobs=None`` allows in this process, and the reason for it."""
    limits = {
        "CPUs of the machine": os.cpu_count() or 1,
        "CPUs left to this process": joblib.cpu_count(),
        "NUMBA_NUM_THREADS": numba.config.NUMBA_NUM_THREADS,
    }
    told = ", ".join(f"{name}: {limit}" for name, limit in limits.items())
    return f"{available_threads(None)}, the least of {told}"


def useful_threads(n_jobs: int | None, worth: int) -> int:
    """The number of threads to use: the available ones, at most `worth`, at least 1."""
    if worth <= 1 and n_jobs != 0:  # counting CPUs takes longer than a small prediction
        return 1
    return min(available_threads(n_jobs), worth)
