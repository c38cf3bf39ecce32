"""What several test modules ask for."""

import os

import pytest

# OpenBLAS's threads go on spinning after scikit-learn's small products, beside the kernels' threads
# and those of child processes: with one, reference fits take a fraction of the time. It reads this
# when NumPy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.fixture
def every_thread_works(monkeypatch):
    """Small work uses the threads it is given too, instead of fewer."""
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD", 1)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD_OF_FIT", 1)
    monkeypatch.setattr("fastmlp._inference.predictions.FLOPS_PER_THREAD", 1)


@pytest.fixture(scope="session")
def other_cpu(pytestconfig, tmp_path_factory):
    """Environment variables of a process that compiles for another CPU.

    Each set of `NUMBA_CPU_...` has its own kernel cache, which all tests share, and which pytest
    keeps for the next run if it keeps anything.
    """
    keeps = hasattr(pytestconfig, "cache")
    root = pytestconfig.cache.mkdir("kernels") if keeps else tmp_path_factory.mktemp("kernels")

    def environment(**numba_cpu):
        kept = {key: each for key, each in os.environ.items() if not key.startswith("NUMBA_CPU_")}
        folder = root / "-".join(["cpu", *numba_cpu.values()])
        return {**kept, **numba_cpu, "NUMBA_CACHE_DIR": str(folder)}

    return environment
