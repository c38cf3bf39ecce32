"""Any calls in any order: an estimator beside a copy of itself and beside scikit-learn's.

``HYPOTHESIS_PROFILE=long python -m pytest -s tests/system/test_state_machine.py -k claimed`` makes
200,000 steps instead of 2,000, and prints how many of each kind.
"""

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import run_state_machine_as_test
from state_machine.faults import FAULTS
from state_machine.rules import STEPS, AnyOrder

IS_LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
SEQUENCES, STEPS_EACH = (4000, 50) if IS_LONG else (60, 40)

pytestmark = pytest.mark.usefixtures("every_thread_works")


def run(sequences, each, shrinks=True):
    """Make sequences of steps; raise what the first one that fails raises."""
    options = settings(
        max_examples=sequences,
        stateful_step_count=each,
        deadline=None,
        derandomize=not IS_LONG,
        database=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, *([Phase.shrink] if shrinks else [])],
        suppress_health_check=list(HealthCheck),
    )
    STEPS.clear()
    run_state_machine_as_test(AnyOrder, settings=options)
    print(dict(STEPS.most_common()), "steps:", STEPS.total())


def test_few_calls_in_any_order():
    run(sequences=5, each=20)


@pytest.mark.slow
def test_calls_in_any_order_keep_what_is_claimed():
    run(SEQUENCES, STEPS_EACH)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_planted_faults_are_found(fault, monkeypatch):
    """A machine that finds nothing could not fail either."""
    fault(monkeypatch)
    with pytest.raises((AssertionError, FlakyFailure)):  # threads need not repeat what they did
        run(5 * SEQUENCES, STEPS_EACH, shrinks=False)
    print("found after", STEPS.total(), "steps")
