"""Waiting for what other threads do: for a condition, or for each other in a launch."""

import time

from numba import njit

from fastmlp._engine.jit.target import JIT
from fastmlp._engine.threading.work_stealing import await_done, complete, join, leave

PATIENCE = 30.0  # seconds; a busy machine may let threads wait


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@njit(**JIT, nogil=True)
def enter(sync, thread):
    return join(sync, thread)


@njit(**JIT, nogil=True)
def arrive(sync, goal):
    complete(sync, 1)
    return await_done(sync, goal)


@njit(**JIT, nogil=True)
def exit_launch(sync, thread):
    leave(sync, thread)
