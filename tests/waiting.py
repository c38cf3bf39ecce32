"""Waiting for what other threads do."""

import time

PATIENCE = 30.0  # seconds; a busy machine may let threads wait


def wait_until(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)
