"""The pool in other processes: interrupts, exit, fork, affinity, systems without a function."""

import os
import subprocess
import sys
import time

import pytest

HANGS_AFTER = 120  # seconds


def run_code(code, **options):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANGS_AFTER, **options
    )


PREDICTIONS = """
import warnings
import numpy as np
warnings.simplefilter("ignore")
from fastmlp import MLPClassifier
X = np.random.RandomState(0).rand(3000, 60).astype(np.float32)
y = np.arange(3000) % 5
model = MLPClassifier((200, 50), max_iter=1, random_state=0, n_jobs=3).fit(X, y)
expected = model.predict_proba(X)
"""

INTERRUPTED = """
import random, signal, sys, time
class Interrupt(Exception): pass
def handler(*_): raise Interrupt
signal.signal(signal.SIGALRM, handler)
rng, interrupts, end = random.Random(0), 0, time.monotonic() + 3
while time.monotonic() < end:
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 + 3e-3 * rng.random())
        model.predict_proba(X) if rng.random() < 0.7 else model.partial_fit(X[:600], y[:600])
    except Interrupt:
        interrupts += 1
    except AttributeError as error:  # scikit-learn's available_if makes one of any exception
        if not isinstance(error.__cause__, Interrupt):
            raise
    while True:
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            break
        except Interrupt:
            pass
assert np.isfinite(model.predict_proba(X)).all()
print(interrupts)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs signal.setitimer")
def test_exceptions_of_signal_handlers_hang_nothing():
    run = run_code(PREDICTIONS + INTERRUPTED)
    assert run.returncode == 0 and run.stderr == "", run.stderr
    assert int(run.stdout) > 50


@pytest.mark.slow
def test_a_process_ends_while_threads_spin_or_park():
    for pause in ("0", "0.05"):
        started = time.monotonic()
        run = run_code(PREDICTIONS + f"import time; model.predict(X); time.sleep({pause})")
        assert run.returncode == 0 and run.stderr == "", run.stderr
        assert time.monotonic() - started < HANGS_AFTER


@pytest.mark.slow
@pytest.mark.parametrize("lacks", ["HAS_FUTEX", "CAN_PLACE"])
def test_a_system_that_lacks_a_function_does_without(lacks, tmp_path):
    """Without a wait on addresses threads nap; the missing function is never linked."""
    code = f"""
from fastmlp._engine.threading import system
import llvmlite.binding as llvm
system.{lacks} = False
for name in {{"HAS_FUTEX": ["syscall"], "CAN_PLACE": ["gettid", "sched_getcpu"]}}["{lacks}"]:
    function = getattr(system, name)
    function.symbol = "no_such_" + name
import time
{PREDICTIONS}
for _ in range(5):
    time.sleep(0.003)
    assert np.array_equal(model.predict_proba(X), expected)
"""
    run = run_code(code, env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)})
    assert run.returncode == 0 and run.stderr == "", run.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_threads_of_its_own():
    code = """
import os
child = os.fork()
same = np.array_equal(model.predict_proba(X), expected)
from fastmlp._engine.threading.pool import WORKERS, pool
if child == 0:
    os._exit(not (same and pool.threads == 2))
assert same and os.waitpid(child, 0)[1] == 0
"""
    run = run_code(PREDICTIONS + code)
    assert run.returncode == 0 and run.stderr == "", run.stderr


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs affinity")
def test_no_affinity_differs_after_a_call():
    code = """
import os, time
own = os.sched_getaffinity(0)
def affinities():
    return [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
for rows in (1, 40, 1000, 3000):
    for pause in (0, 0.003):
        for _ in range(20):
            time.sleep(pause)
            model.predict_proba(X[:rows])
            if pause:  # until a busy machine has run every thread that was woken
                end = time.monotonic() + 20
                while any(each != own for each in affinities()):
                    assert time.monotonic() < end, (rows, own, affinities())
                    time.sleep(pause)
"""
    run = run_code(PREDICTIONS + code)
    assert run.returncode == 0 and run.stderr == "", run.stderr
