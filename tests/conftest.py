"""What several test modules ask for."""

import pytest


@pytest.fixture
def every_thread_works(monkeypatch):
    """Small work uses the threads it is given too, instead of fewer."""
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_THREAD", 1)
    monkeypatch.setattr("fastmlp._training.sgd.FLOPS_PER_STARTED_THREAD", 1)
    monkeypatch.setattr("fastmlp._inference.predictions.FLOPS_PER_THREAD", 1)
