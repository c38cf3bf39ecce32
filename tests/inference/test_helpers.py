"""Helpers that wait near between predictions: who gets them, when, and that nobody can tell."""

import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest
from fastmlp._engine.threading.team import Team
from waiting import PATIENCE, wait_until

from fastmlp import MLPClassifier
from fastmlp._engine.network import Network
from fastmlp._engine.threading import team
from fastmlp._engine.threading.work_stealing import STOP
from fastmlp._engine.threads import available_threads
from fastmlp._inference import helpers, predictions
from fastmlp._inference.predictions import apply_network

ROWS = 32


@pytest.fixture(autouse=True)
def nearby(monkeypatch):
    """A fresh state of the helpers, in which every prediction follows quickly on the last."""
    fresh = helpers.Nearby()
    monkeypatch.setattr(predictions, "nearby", fresh)
    monkeypatch.setattr(helpers, "QUICK_SECONDS", np.inf)
    monkeypatch.setattr(helpers, "ALONE_SECONDS", 0.0)
    yield fresh
    fresh._dismiss()


def make_network(*sizes, dtype=np.float32, seed=0):
    network = Network(sizes, dtype)
    rng = np.random.default_rng(seed)
    for array in network.arrays():
        array[...] = rng.standard_normal(array.shape) / 10
    return network


def make_rows(network, rows, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((rows, network.layer_sizes[0])).astype(network.dtype)


def predict(network, X, n_jobs=2):
    return apply_network(network, X, "relu", "softmax", n_jobs)


def predict_until_helped(nearby, network, X, n_jobs=2):
    """Predict in a row until somebody is near; returns that crew."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        predict(network, X, n_jobs)
        if nearby._crew is not None and nearby._crew.helped.are_near():
            return nearby._crew
    raise AssertionError("no helper came")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [2, 3, 5])
@pytest.mark.parametrize("sizes", [(200, 100, 10), (54, 256, 128, 7), (300, 300)])
def test_helpers_that_are_near_change_no_byte(sizes, n_jobs, dtype, nearby):
    network = make_network(*sizes, dtype=dtype)
    for rows in (16, 17, 31, 32, 100, 700):
        X = make_rows(network, rows)
        expected, _ = predict(network, X, n_jobs=1)
        predict_until_helped(nearby, network, make_rows(network, 64), n_jobs)
        for _ in range(20):
            outputs, may_be_nonfinite = predict(network, X, n_jobs)
            assert outputs.tobytes() == expected.tobytes()
            assert not may_be_nonfinite


def test_results_stay_as_they_were_returned(nearby):
    network = make_network(400, 100, 10)
    inputs = [make_rows(network, ROWS, seed) for seed in range(50)]
    expected = [predict(network, X, n_jobs=1)[0] for X in inputs]
    predict_until_helped(nearby, network, inputs[0])
    outputs = [predict(network, X)[0] for X in inputs]
    for a, b in zip(outputs, expected, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_row_that_is_not_finite_is_noted_whoever_meets_it(nearby):
    network = make_network(400, 100, 10)
    good = make_rows(network, ROWS)
    predict_until_helped(nearby, network, good)
    for row in range(ROWS):
        bad = good.copy()
        bad[row, 3] = np.nan
        assert predict(network, bad)[1]
        assert not predict(network, good)[1]


def test_predictions_with_helpers_see_a_change_of_the_weights(nearby):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    predict_until_helped(nearby, network, X)
    for _ in range(20):
        network.coefs[0][...] += 0.01
        assert predict(network, X)[0].tobytes() == predict(network, X, n_jobs=1)[0].tobytes()


def test_single_predictions_call_nobody(nearby, monkeypatch):
    monkeypatch.setattr(helpers, "QUICK_SECONDS", 0.0)
    network = make_network(400, 100, 10)
    for _ in range(10):
        predict(network, make_rows(network, ROWS))
    assert nearby._crew is None


@pytest.mark.parametrize("rows, n_jobs", [(1, 2), (15, 2), (ROWS, 1)])
def test_few_rows_or_one_thread_take_no_turn(rows, n_jobs, nearby, monkeypatch):
    def fail(network):
        raise AssertionError("asked for helpers")

    monkeypatch.setattr(nearby, "begin", fail)
    network = make_network(400, 100, 10)
    predict(network, make_rows(network, rows), n_jobs)


def test_much_work_calls_helpers_of_its_own(nearby):
    network = make_network(400, 100, 10)
    rows = 2 * predictions.FLOPS_PER_THREAD // network.parameters.size
    X = make_rows(network, rows)
    expected = predict(network, X, n_jobs=1)[0].tobytes()
    for _ in range(3):
        assert predict(network, X)[0].tobytes() == expected
    assert nearby._crew is None


def test_a_crew_has_no_more_threads_than_the_work_is_worth(nearby):
    network = make_network(300, 300)
    predict(network, make_rows(network, ROWS), n_jobs=64)
    predict(network, make_rows(network, ROWS), n_jobs=64)
    assert nearby._crew.helped.threads == ROWS // predictions.ROWS_PER_NEAR_THREAD
    predict(network, make_rows(network, 200), n_jobs=64)
    assert nearby._crew.helped.threads > ROWS // predictions.ROWS_PER_NEAR_THREAD


def test_another_network_sends_the_helpers_away(nearby):
    first, second = make_network(400, 100, 10), make_network(400, 100, 10, seed=1)
    crew = predict_until_helped(nearby, first, make_rows(first, ROWS))
    expected = predict(second, make_rows(second, ROWS), n_jobs=1)[0]
    assert predict(second, make_rows(second, ROWS))[0].tobytes() == expected.tobytes()
    assert nearby._crew is not crew
    assert crew.helped._sync[STOP] == 1, "at once"
    wait_until(lambda: not crew.helped.are_near())


def test_another_limit_of_threads_makes_another_crew(nearby):
    network = make_network(400, 100, 10)
    X = make_rows(network, 200)
    for n_jobs in (2, 3, -1, 2):
        predict(network, X, n_jobs)
        predict(network, X, n_jobs)
        assert nearby._limit == (n_jobs, available_threads(n_jobs))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_nothing_keeps_the_inputs_or_the_outputs(rows, nearby):
    network = make_network(400, 100, 10)
    predict_until_helped(nearby, network, make_rows(network, ROWS))
    X = make_rows(network, rows)
    outputs = predict(network, X)[0]
    kept = weakref.ref(X), weakref.ref(outputs)
    del X, outputs
    assert [each() for each in kept] == [None, None]


def test_a_prediction_that_fails_ends_its_turn(nearby):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    predict_until_helped(nearby, network, X)
    with pytest.raises(KeyError):
        apply_network(network, X, "no such activation", "softmax", 2)
    turn = nearby.begin(network)
    assert turn is not None
    nearby.end()


def test_a_turn_that_is_lost_is_over(nearby):
    network = make_network(400, 100, 10)
    turn = nearby.begin(network)
    assert nearby.begin(network) is None
    del turn  # as where an interrupt comes before the turn is kept
    turn = nearby.begin(network)
    assert turn is not None


def test_a_network_that_is_gone_leaves_no_crew(nearby):
    network = make_network(400, 100, 10)
    crew = weakref.ref(predict_until_helped(nearby, network, make_rows(network, ROWS)))
    parameters = weakref.ref(network.parameters)
    del network
    wait_until(lambda: gc.collect() is not None and crew() is None and parameters() is None)


def test_threads_that_predict_at_once_do_without(nearby, monkeypatch):
    monkeypatch.setattr(helpers, "ALONE_SECONDS", np.inf)
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    expected = predict(network, X, n_jobs=1)[0].tobytes()
    turn = nearby.begin(network)
    results = []
    other = threading.Thread(target=lambda: results.append(predict(network, X)[0].tobytes()))
    other.start()
    other.join()
    assert turn is not None and results == [expected]
    nearby.end()
    assert nearby.begin(network) is None, "and for some time after"
    assert predict(network, X)[0].tobytes() == expected


def test_many_threads_get_the_bytes_of_one(nearby):
    network = make_network(400, 100, 10)
    inputs = [make_rows(network, ROWS + seed, seed) for seed in range(8)]
    expected = [predict(network, X, n_jobs=1)[0].tobytes() for X in inputs]
    outputs = [[] for _ in inputs]

    def work(which):
        for _ in range(300):
            outputs[which].append(predict(network, inputs[which])[0].tobytes())

    threads = [threading.Thread(target=work, args=(which,)) for which in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for which, each in enumerate(outputs):
        assert len(each) == 300 and set(each) == {expected[which]}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_fit_has_the_cores_for_itself(nearby):
    network, seen = make_network(400, 100, 10), []

    def score(estimator, X, y):
        seen.append(team.is_any_at_work())
        predict(network, make_rows(network, ROWS))
        return 0.0

    X, y = np.random.default_rng(0).random((100, 5)), np.arange(100) % 2
    MLPClassifier((8,), max_iter=3, early_stopping=True, scoring=score, random_state=0).fit(X, y)
    assert seen and all(seen) and nearby._crew is None
    assert not team.is_any_at_work()


def test_a_fit_that_fails_is_no_longer_at_work():
    def fail(estimator, X, y):
        raise ZeroDivisionError

    X, y = np.random.default_rng(0).random((100, 5)), np.arange(100) % 2
    with pytest.raises(ZeroDivisionError):
        MLPClassifier((8,), early_stopping=True, scoring=fail).fit(X, y)
    assert not team.is_any_at_work()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no os.fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_predicts_without_its_parents_helpers(monkeypatch):
    monkeypatch.setattr(predictions, "nearby", helpers.nearby)
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    expected = predict(network, X, n_jobs=1)[0].tobytes()
    predict_until_helped(helpers.nearby, network, X)
    turn = helpers.nearby.begin(network)  # the child must not wait for this turn to end
    with Team(time.sleep, (), 1):
        child = os.fork()
        if child == 0:
            same = all(predict(network, X)[0].tobytes() == expected for _ in range(5))
            is_new = not team.is_any_at_work() and helpers.nearby.begin(network) is not None
            os._exit(0 if same and is_new else 1)
    helpers.nearby.end()
    assert turn is not None and os.waitpid(child, 0)[1] == 0


def test_no_more_threads_to_be_had_is_no_error(nearby, monkeypatch):
    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(team.ThreadPoolExecutor, "submit", refuse)
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    expected = predict(network, X, n_jobs=1)[0].tobytes()
    for _ in range(3):
        assert predict(network, X)[0].tobytes() == expected


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_call_that_fails_halfway_leaves_no_crew(failure, nearby, monkeypatch):
    submit, asked = team.ThreadPoolExecutor.submit, []

    def fail_the_second_time(pool, help_with, sleepers, cpus, run, thread, sync, *rest):
        asked.append(sync)
        if len(asked) == 2:
            raise failure
        return submit(pool, help_with, sleepers, cpus, run, thread, sync, *rest)

    network = make_network(400, 100, 10)
    X = make_rows(network, 200)
    expected = predict(network, X, n_jobs=1)[0].tobytes()
    monkeypatch.setattr(team.ThreadPoolExecutor, "submit", fail_the_second_time)
    predict(network, X, n_jobs=3)
    if failure is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            predict(network, X, n_jobs=3)
    else:
        assert predict(network, X, n_jobs=3)[0].tobytes() == expected
        assert asked[0][STOP] == 1
    assert nearby._crew is None, "one of whose helpers nobody knows"
    for _ in range(20):
        assert predict(network, X, n_jobs=3)[0].tobytes() == expected
    assert all(sync is not asked[0] for sync in asked[2:])


def test_a_cpu_that_came_later_is_found(nearby, monkeypatch):
    network = make_network(400, 100, 10)
    X = make_rows(network, 200)
    for cpus in (1, 2, 3, 1):
        monkeypatch.setattr(helpers, "available_threads", lambda n_jobs, cpus=cpus: cpus)
        if nearby._crew is not None:
            wait_until(lambda: not nearby._crew.helped.are_near())
        predict(network, X, None)
        predict(network, X, None)
        assert nearby._limit == (None, cpus)
        assert cpus == 1 or nearby._crew.helped.threads == cpus


def test_helpers_are_called_once_while_they_are_there(nearby):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    crew = predict_until_helped(nearby, network, X)
    asked = list(crew.helped._asked)
    crew.helped.call()
    assert crew.helped._asked == asked or not any(each.running() for each in asked)


def test_helpers_go_when_nothing_more_comes_and_come_again(nearby):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    for _ in range(3):
        crew = predict_until_helped(nearby, network, X)
        wait_until(lambda helped=crew.helped: not helped.are_near())
