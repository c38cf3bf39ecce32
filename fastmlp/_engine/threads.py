"""How many threads: the user's limit, the machine's, and what the work is worth."""

import functools
import os
import sys
from time import monotonic

import joblib
import numba

# joblib reads files of the system for the limit of a cgroup, for 0.1 ms, which a prediction of
# 20,000 rows would spend 2 % of its time on. So old what the cgroup allows may be.
LIMIT_SECONDS = 10.0


@functools.lru_cache(maxsize=8)
def _cpu_count(period: int, affinity: frozenset | None, limit: str | None) -> int:
    """CPUs that affinity, cgroup and joblib's limit leave; all it depends on but the cgroup."""
    return joblib.cpu_count()


def usable_cpus() -> int:
    """CPUs that affinity, cgroup, NUMBA_NUM_THREADS and joblib's inner limit leave this process.

    In a task of a Dask worker it is one: the worker runs as many tasks at once as it has threads,
    and tells OpenMP and BLAS so, but not Numba (dask/distributed#9075). The cgroup's limit may be
    LIMIT_SECONDS old.
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
        None: every CPU. Negative: all but that many and one, as joblib counts. Positive: as many.
    cpus : int, optional
        How many there are; `usable_cpus` by default.

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
    """How many threads ``n_jobs=None`` allows in this process, and what sets the number."""
    limits = {
        "CPUs of the machine": os.cpu_count() or 1,
        "CPUs left to this process": joblib.cpu_count(),
        "NUMBA_NUM_THREADS": numba.config.NUMBA_NUM_THREADS,
    }
    told = ", ".join(f"{name}: {limit}" for name, limit in limits.items())
    return f"{available_threads(None)}, the least of {told}"


def useful_threads(n_jobs: int | None, worth: int) -> int:
    """Of the available threads, as many as the work is worth, at least one."""
    if worth <= 1 and n_jobs != 0:  # asking the system takes longer than a small prediction
        return 1
    return min(available_threads(n_jobs), worth)
