"""Predictions on several threads: who takes part, when, and that nobody can tell."""

import gc
import threading
import weakref

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastmlp import MLPClassifier
from fastmlp._engine import threads
from fastmlp._engine.network import Network
from fastmlp._engine.threads import available_threads
from fastmlp._engine.workspace import Workspace
from fastmlp._inference import predictions
from fastmlp._inference.predictions import Succession, apply_network

ROWS = 32


class Always(Succession):
    """A quick succession, whatever happens."""

    def is_quick(self):
        return True


@pytest.fixture
def quick(monkeypatch):
    """Every prediction follows quickly on the last."""
    monkeypatch.setattr(predictions, "succession", Always())


@pytest.fixture
def threads_used(monkeypatch):
    """The number of threads of every prediction."""
    used, run = [], Workspace.run

    def note(workspace, kernel, **options):
        used.append(workspace.threads)
        return run(workspace, kernel, **options)

    monkeypatch.setattr(Workspace, "run", note)
    return used


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
    names = ["relu"] * (len(network.layer_sizes) - 2)
    return apply_network(network, X, names, "softmax", n_jobs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_jobs", [2, 3, 5])
@pytest.mark.parametrize("sizes", [(200, 100, 10), (54, 256, 128, 7), (300, 300)])
def test_threads_that_spin_change_no_byte(sizes, n_jobs, dtype, quick):
    network = make_network(*sizes, dtype=dtype)
    for rows in (16, 17, 31, 32, 100, 700):
        X = make_rows(network, rows)
        expected, _ = predict(network, X, n_jobs=1)
        for _ in range(20):
            outputs, may_be_invalid = predict(network, X, n_jobs)
            assert outputs.tobytes() == expected.tobytes()
            assert not may_be_invalid


def test_results_stay_as_they_were_returned(quick):
    network = make_network(400, 100, 10)
    inputs = [make_rows(network, ROWS, seed) for seed in range(50)]
    expected = [predict(network, X, n_jobs=1)[0] for X in inputs]
    outputs = [predict(network, X)[0] for X in inputs]
    for a, b in zip(outputs, expected, strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_row_that_is_not_finite_is_noted_whichever_thread_meets_it(quick):
    network = make_network(400, 100, 10)
    good = make_rows(network, ROWS)
    for row in range(ROWS):
        bad = good.copy()
        bad[row, 3] = np.nan
        assert predict(network, bad)[1]
        assert not predict(network, good)[1]


def test_predictions_see_a_change_of_the_weights(quick):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    for _ in range(20):
        network.coefs[0][...] += 0.01
        assert predict(network, X)[0].tobytes() == predict(network, X, n_jobs=1)[0].tobytes()


def test_a_prediction_by_itself_takes_one_thread_unless_it_is_large(threads_used, monkeypatch):
    monkeypatch.setattr(predictions, "QUICK_SECONDS", 0.0)
    network = make_network(400, 100, 10)
    large = 2 * predictions.FLOPS_PER_THREAD // network.parameters.size
    for rows in (1, ROWS, 200, large):
        predict(network, make_rows(network, rows))
    assert threads_used == [1, 1, 1, 2]


@pytest.mark.parametrize(
    "rows, n_jobs", [(1, 2), (15, 2), (ROWS, 1), (ROWS, -available_threads(None))]
)
def test_few_rows_or_one_job_take_one_thread(rows, n_jobs, quick, threads_used):
    network = make_network(400, 100, 10)
    predict(network, make_rows(network, rows), n_jobs)
    assert threads_used == [1]


def test_each_thread_has_enough_to_do(quick, threads_used):
    network = make_network(400, 100, 10)
    for rows in (ROWS, 2 * ROWS):
        predict(network, make_rows(network, rows), n_jobs=100)
    assert threads_used == [
        min(
            rows // predictions.ROWS_PER_SPINNING_THREAD,
            2 * rows * network.parameters.size // predictions.FLOPS_PER_SPINNING_THREAD,
        )
        for rows in (ROWS, 2 * ROWS)
    ]
    assert 1 < threads_used[0] < threads_used[1]


def test_predictions_in_quick_succession_obey_a_new_limit_soon(quick, threads_used, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(predictions, "perf_counter", lambda: clock[0])
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    for limit in (2, 1, 2):
        clock[0] += 1.01 * predictions.COUNT_SECONDS
        monkeypatch.setattr(threads, "usable_cpus", lambda limit=limit: limit)
        for _ in range(3):
            predict(network, X, None)
    assert threads_used == [2] * 3 + [1] * 3 + [2] * 3


def test_a_thread_with_a_limit_of_its_own_obeys_it_at_once(quick, threads_used, monkeypatch):
    main = threading.get_ident()
    monkeypatch.setattr(predictions, "perf_counter", lambda: 100.0)
    monkeypatch.setattr(threads, "usable_cpus", lambda: 2 if threading.get_ident() == main else 1)
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    predict(network, X, None)
    other = threading.Thread(target=predict, args=(network, X, None))
    other.start()
    other.join()
    assert threads_used == [2, 1]


def test_a_quick_succession_is_one_without_a_pause_or_others(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(predictions, "perf_counter", lambda: clock[0])
    succession, pause = Succession(), predictions.QUICK_SECONDS / 2
    assert not succession.is_quick()
    succession.note(launches=1)
    clock[0] += pause
    assert succession.is_quick()
    clock[0] += 2 * pause
    assert not succession.is_quick()
    succession.note(launches=2)  # somebody else predicts, or fits
    clock[0] += pause
    assert not succession.is_quick()
    clock[0] += predictions.CROWDED_SECONDS
    succession.note(launches=1)
    clock[0] += pause
    assert succession.is_quick()


@pytest.mark.parametrize("rows", [1, ROWS, 3000])
def test_nothing_keeps_the_inputs_or_the_outputs(rows, quick):
    network = make_network(400, 100, 10)
    X = make_rows(network, rows)
    outputs = predict(network, X)[0]
    kept = weakref.ref(X), weakref.ref(outputs)
    del X, outputs
    gc.collect()
    assert [each() for each in kept] == [None, None]


def test_a_prediction_that_fails_leaves_nothing_behind(quick):
    network = make_network(400, 100, 10)
    X = make_rows(network, ROWS)
    expected = predict(network, X)[0]
    with pytest.raises(KeyError):
        apply_network(network, X, ["no such activation"], "softmax", 2)
    with pytest.raises(ValueError, match="features"):
        predict(network, X[:, 1:])
    assert predict(network, X)[0].tobytes() == expected.tobytes()


def test_workspaces_go_with_their_network():
    network = make_network(400, 100, 10)
    predict(network, make_rows(network, ROWS), n_jobs=1)
    ((workspace,),) = network.idle_workspaces.values()
    kept = weakref.ref(workspace)
    del workspace, network
    gc.collect()
    assert kept() is None


def test_many_threads_get_the_bytes_of_one():
    networks = [make_network(200, 100, 10, seed=seed) for seed in range(2)]
    inputs = [make_rows(networks[0], rows) for rows in (1, 16, 64, 500)]
    expected = [[predict(each, X, 1)[0].tobytes() for X in inputs] for each in networks]
    wrong = []

    def work(which):
        for _ in range(100):
            for X, right in zip(inputs, expected[which], strict=True):
                if predict(networks[which], X)[0].tobytes() != right:
                    wrong.append(which)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    kept = [len(each) for network in networks for each in network.idle_workspaces.values()]
    assert max(kept) <= predictions.MOST_IDLE


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_a_prediction_within_a_fit_is_as_one_without():
    X, y = np.random.RandomState(0).rand(400, 60), np.arange(400) % 3
    model = MLPClassifier((50,), max_iter=3, random_state=0, early_stopping=True, n_jobs=2)
    scores = []

    def score(estimator, X, y):
        one, two = (estimator.set_params(n_jobs=n).predict_proba(X) for n in (1, 2))
        scores.append(one.tobytes() == two.tobytes())
        return 0.5

    model.set_params(scoring=score).fit(X, y)
    assert len(scores) == 3 and all(scores)


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_a_long_prediction_is_several_launches_with_the_same_bytes(
    is_sparse, n_jobs, threads_used, monkeypatch
):
    network = make_network(40, 20, 3)
    X = make_rows(network, 700)
    X[5, 2] = np.nan
    inputs = csr_array(np.nan_to_num(X)) if is_sparse else X
    expected, suspect = predict(network, inputs, n_jobs)
    assert suspect != is_sparse and len(threads_used) == 1
    monkeypatch.setattr(predictions, "FLOPS_PER_LAUNCH", 1)
    outputs, suspect = predict(network, inputs, n_jobs)
    assert suspect != is_sparse and len(threads_used) > 3
    assert outputs.tobytes() == expected.tobytes()
