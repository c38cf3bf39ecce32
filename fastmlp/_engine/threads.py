"""How many threads to use: limited by the user, by the machine, and by the amount of work."""

import functools
import os
import sys
from time import monotonic

import joblib
import numba

from fastmlp._engine.compat.joblib import jobs_of_context
from fastmlp._engine.compat.sklearn import openmp_counter

# How long to cache the cgroup's CPU limit. joblib reads it from files, which takes 0.1 ms: 2 % of
# a prediction of 20,000 rows.
LIMIT_SECONDS = 10.0


@functools.lru_cache(maxsize=8)
def _cpu_count(period: int, affinity: frozenset | None, limit: str | None) -> int:
    """CPUs that affinity, cgroup and joblib's limit allow, cached by its arguments."""
    return joblib.cpu_count()


def _cpus_of_process() -> int:
    """CPUs left to this process; the cgroup's limit is cached for LIMIT_SECONDS."""
    tells = hasattr(os, "sched_getaffinity")
    affinity = frozenset(os.sched_getaffinity(0)) if tells else None
    period, limit = int(monotonic() / LIMIT_SECONDS), os.environ.get("LOKY_MAX_CPU_COUNT")
    return _cpu_count(period, affinity, limit)


def _first_number(setting: str) -> int | None:
    """The first number of a list, which is that of the outermost parallel region."""
    first = setting.split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


# Read once, as OpenMP does. Later changes are meant for child processes: Dask's LocalCluster sets
# it to 1 for its workers in the process that starts them, and leaves it so.
_OMP_NUM_THREADS = _first_number(os.environ.get("OMP_NUM_THREADS", ""))


def _openmp_threads() -> int | None:
    """What OpenMP allows this thread, where scikit-learn is loaded; threadpoolctl sets it."""
    count = openmp_counter()
    return None if count is None else count(None, False)  # not only one thread per core


def _joblib_jobs() -> int | None:
    """The number of jobs in `joblib.parallel_config`, if it is positive."""
    jobs = jobs_of_context()
    return jobs if jobs is not None and jobs > 0 else None


def _dask_threads() -> int | None:
    """1 inside a task of a Dask worker.

    The worker runs one task per thread, and limits the threads of OpenMP and BLAS but not Numba's
    (dask/distributed#9075).
    """
    get_worker = getattr(sys.modules.get("distributed"), "get_worker", None)
    if get_worker is None:
        return None
    try:
        get_worker()
    except ValueError:
        return None
    return 1


# Every limit, by the name under which `explain_threads` tells it.
LIMITS = {
    "CPUs left to this process": _cpus_of_process,
    "NUMBA_NUM_THREADS": lambda: numba.config.NUMBA_NUM_THREADS,
    "OMP_NUM_THREADS": lambda: _OMP_NUM_THREADS,
    "OpenMP or threadpoolctl": _openmp_threads,
    "joblib.parallel_config": _joblib_jobs,
    "a Dask task": _dask_threads,
}


def usable_cpus() -> int:
    """The number of CPUs that this thread may use: the least of all limits."""
    return min([limit for read in LIMITS.values() if (limit := read()) is not None])


def available_threads(n_jobs: int | None, cpus: int | None = None) -> int:
    """Threads that `n_jobs` allows.

    Parameters
    ----------
    n_jobs : int or None
        None: as many as `cpus`. Negative: cpus + 1 + n_jobs, as in joblib. Positive: that many.
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
    limits = {name: read() for name, read in LIMITS.items()}
    limits = {"CPUs of the machine": os.cpu_count() or 1} | limits
    set_ones = {name: limit for name, limit in limits.items() if limit is not None}
    reason = min(set_ones, key=set_ones.__getitem__)  # the first of equals
    told = ", ".join(f"{name}: {limit}" for name, limit in set_ones.items())
    return f"{set_ones[reason]}, limited by {reason} ({told})"


def useful_threads(n_jobs: int | None, worth: int) -> int:
    """The number of threads to use: the available ones, at most `worth`, at least 1."""
    if worth <= 1 and n_jobs != 0:  # counting CPUs takes longer than a small prediction
        return 1
    return min(available_threads(n_jobs), worth)
