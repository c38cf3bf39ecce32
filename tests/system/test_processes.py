"""Many threads, forked and spawned processes, interrupts: the same bytes, nothing hangs."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from waiting import wait_until

from fastmlp import MLPClassifier
from fastmlp._engine import workspace
from fastmlp._engine.threading.pool import Pool

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
CHILD_SECONDS = 120  # a child that has not ended by then hangs


def fitted(n_jobs=None, seed=0, max_iter=4):
    return MLPClassifier((100,), max_iter=max_iter, random_state=seed, n_jobs=n_jobs).fit(X, Y)


def fingerprint(n_jobs=None, seed=0):
    model = fitted(n_jobs, seed)
    return model.coefs_[0].tobytes() + model.predict_proba(X).tobytes()


def in_forked_child(function):
    """Run `function` after os.fork; True if it returned there within the time allowed."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def test_eight_concurrent_fits_give_the_bytes_of_single_ones():
    jobs = [(n_jobs, seed) for seed, n_jobs in enumerate([1, 2, None, 3, 1, 2, None, 2])]
    alone = [fingerprint(1, seed) for _, seed in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: fingerprint(*job), jobs))
    assert together == alone and len(set(alone)) == len(alone)


def test_sixteen_threads_get_the_same_predictions_of_one_model(every_thread_works):
    model = fitted()
    expected = model.predict_proba(X)

    def serve(seed):
        random_state = np.random.RandomState(seed)
        for _ in range(200):
            rows = random_state.randint(0, len(X), random_state.randint(1, 60))
            if model.predict_proba(X[rows]).tobytes() != expected[rows].tobytes():
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(serve, range(16)))


@needs_fork
def test_a_fork_fits_and_predicts_the_same_bytes(every_thread_works):
    model, expected = fitted(2), fingerprint(2)
    proba = model.predict_proba(X).tobytes()

    def child():
        assert model.predict_proba(X).tobytes() == proba
        assert fingerprint(2) == expected

    assert in_forked_child(child)


@needs_fork
def test_a_fork_during_another_threads_fit_hangs_nothing():
    expected = fingerprint(2)
    stop, started = threading.Event(), threading.Event()

    def keep_fitting():
        while not stop.is_set():
            fitted(2)
            started.set()

    thread = threading.Thread(target=keep_fitting)
    thread.start()
    try:
        started.wait()

        def child():
            assert fingerprint(2) == expected

        assert all(in_forked_child(child) for _ in range(5))
    finally:
        stop.set()
        thread.join()


@needs_fork
@pytest.mark.slow
def test_a_fork_during_other_threads_predictions_hangs_nothing(every_thread_works):
    model, stop = fitted(2), threading.Event()
    expected = model.predict_proba(X).tobytes()

    def keep_predicting():
        while not stop.is_set():
            model.predict_proba(X)

    threads = [threading.Thread(target=keep_predicting) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:

        def child():
            assert model.predict_proba(X).tobytes() == expected

        assert all(in_forked_child(child) for _ in range(20))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@needs_fork
def test_four_workers_forked_from_a_warm_parent_serve_together(every_thread_works):
    model = fitted(2)
    proba = model.predict_proba(X).tobytes()
    context = multiprocessing.get_context("fork")

    def serve(queue):
        same = all(model.predict_proba(X).tobytes() == proba for _ in range(20))
        queue.put(same)

    queue = context.Queue()
    workers = [context.Process(target=serve, args=(queue,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert all(queue.get(timeout=CHILD_SECONDS) for _ in workers)
    for worker in workers:
        worker.join()


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(each, marks=[] if each == "fork" else pytest.mark.slow)
        for each in multiprocessing.get_all_start_methods()
    ],
)
def test_every_start_method_gives_the_same_bytes(method):
    expected = [fingerprint(1, seed) for seed in (0, 1)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap_async(fingerprint, [(2, 0), (2, 1)]).get(CHILD_SECONDS) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend", [pytest.param("loky", marks=pytest.mark.slow), "threading", "multiprocessing"]
)
def test_every_joblib_backend_gives_the_same_bytes(backend):
    expected = [fingerprint(1, seed) for seed in range(4)]
    results = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(fingerprint)(None, seed) for seed in range(4)
    )
    assert results == expected


INTERRUPTED = """
import signal, threading, time, warnings
import numpy as np
from fastmlp import MLPClassifier
from fastmlp._engine.threading.pool import pool
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
X = np.random.RandomState(0).rand(100_000, 784).astype(np.float32)
y = np.arange(100_000) % 10
model = MLPClassifier((500,), max_iter=1000, random_state=0)
MLPClassifier((500,), max_iter=1).fit(X[:500], y[:500])
threads = pool.threads
sent = []
def send():
    time.sleep(1.0)
    sent.append(time.perf_counter())
    signal.raise_signal(signal.SIGINT)  # os.kill would end the process on Windows
threading.Thread(target=send).start()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, y)
late = time.perf_counter() - sent[0]
assert any("interrupted" in str(w.message) for w in caught), [str(w.message) for w in caught]
assert pool.threads == threads, (pool.threads, threads)
assert np.isfinite(model.predict_proba(X[:100])).all()
model.set_params(max_iter=1).fit(X[:5000], y[:5000])
print(late)
"""


@pytest.mark.slow
def test_ctrl_c_ends_a_large_epoch_soon():
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    assert float(run.stdout) < CHILD_SECONDS / 4  # the exact delay is a benchmark's matter


def system_threads():
    """The identifiers of the threads of this process, of Python or not."""
    return set(os.listdir("/proc/self/task"))


@pytest.fixture
def own_pool(monkeypatch):
    """A pool that has no threads yet, in place of the process's."""
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    own = Pool()
    monkeypatch.setattr(workspace, "pool", own)
    yield own
    own.stop()


@pytest.mark.parametrize("n_jobs", [1, 2, 4])
def test_a_fit_starts_one_thread_less_than_n_jobs_and_the_next_none(
    n_jobs, own_pool, every_thread_works
):
    before = system_threads()
    model = fitted(n_jobs)
    started = system_threads() - before
    assert len(started) == own_pool.threads == n_jobs - 1
    fitted(n_jobs)
    model.predict(X)
    assert system_threads() - before == started
    own_pool.stop()
    wait_until(lambda: not system_threads() & started)


def test_callers_at_once_share_the_threads_of_the_pool(own_pool, every_thread_works):
    model = fitted(4)
    before = system_threads()
    with ThreadPoolExecutor(20) as callers:
        list(callers.map(lambda _: model.predict(X), range(100)))
    wait_until(lambda: system_threads() <= before)
    assert own_pool.threads == 3


AT_EXIT = """
import atexit
@atexit.register  # handlers run from the last to the first: this one after the pool's
def report():
    from fastmlp._engine.threading.pool import WORKERS, pool
    print(pool.threads, pool._words[WORKERS])
import numpy as np
from fastmlp import MLPClassifier
X = np.random.RandomState(0).rand(3000, 60)
MLPClassifier((200, 50), tol=9.0, n_iter_no_change=1, n_jobs=3).fit(X, np.arange(3000) % 5)
"""


@pytest.mark.slow
def test_no_thread_runs_when_the_interpreter_goes():
    command = [sys.executable, "-c", AT_EXIT]
    run = subprocess.run(command, capture_output=True, text=True, timeout=CHILD_SECONDS)
    assert (run.returncode, run.stderr, run.stdout.split()) == (0, "", ["2", "0"])


class FromOutside(Exception):
    """Raised in a fitting thread by another one."""


def raise_in(thread, exception):
    """Let an exception come up in another thread at its next step in Python."""
    identity = ctypes.c_ulong(thread.ident)
    assert ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(exception)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("exception", [KeyboardInterrupt, FromOutside])
def test_an_exception_ends_a_fit_in_any_thread(exception):
    """KeyboardInterrupt keeps the model so far, any other leaves the old one."""
    model = MLPClassifier((200,), max_iter=1, random_state=0, n_jobs=2).fit(X, Y)
    before, threads = model.coefs_[0].tobytes(), workspace.pool.threads
    model.set_params(max_iter=10**6, tol=0.0, n_iter_no_change=10**6)
    caught, started = [], threading.Event()

    def fit():
        started.set()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            try:
                model.fit(X, Y)
            except FromOutside as error:
                caught.append(error)
            caught.extend(str(each.message) for each in seen)

    thread = threading.Thread(target=fit)
    thread.start()
    started.wait()
    time.sleep(0.5)  # somewhere among the epochs
    raise_in(thread, exception)
    thread.join(CHILD_SECONDS)
    assert not thread.is_alive() and workspace.pool.threads == threads
    if exception is KeyboardInterrupt:
        assert caught == ["Training interrupted by user."] and model.n_iter_ > 1
    else:
        assert isinstance(caught[0], FromOutside) and model.coefs_[0].tobytes() == before
    assert model.set_params(max_iter=2).fit(X, Y).n_iter_ == 2


def test_predictions_do_not_change_while_a_clone_is_refitted():
    model = fitted(2)
    expected = model.predict_proba(X).tobytes()
    with ThreadPoolExecutor(1) as pool:
        refit = pool.submit(clone(model).set_params(max_iter=60).fit, X, Y)
        while not refit.done():
            assert model.predict_proba(X).tobytes() == expected
    assert refit.result().coefs_[0].tobytes() != model.coefs_[0].tobytes()
