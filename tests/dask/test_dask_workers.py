"""Workers that die in the middle of a fit, and threads inside of workers."""

import importlib
import os
from concurrent.futures import CancelledError

import joblib
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier
from fastmlp._engine.threads import available_threads

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")

local_sgd = importlib.import_module("fastmlp.dask.local_sgd")
DaskMLPClassifier = importlib.import_module("fastmlp.dask").DaskMLPClassifier

pytestmark = [
    pytest.mark.slow,  # clusters are started, and workers killed
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]

X, Y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
ROUNDS, DEATH_AFTER = 5, 2
PARAMETERS = dict(hidden_layer_sizes=(20,), max_iter=ROUNDS, random_state=0)


def collections():
    return da.from_array(X, chunks=(300, 64)), da.from_array(Y, chunks=300)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_worker_that_dies_in_a_round_changes_nothing(client, tmp_path, monkeypatch, deaths):
    """With both, the round's beginning is lost as well: it is sent again."""
    expected = DaskMLPClassifier(**PARAMETERS).fit(*collections())
    train_shard, directory = local_sgd.train_shard, str(tmp_path)
    steps = DEATH_AFTER * expected._optimizer.step // ROUNDS

    def dying(shard, seed, shares, snapshot, epoch):
        """The first time that a worker gets here after some rounds, it is killed."""
        import os
        import signal

        graves = os.listdir(directory)
        if snapshot.step >= steps and len(graves) < deaths:
            open(os.path.join(directory, str(os.getpid())), "xb").close()
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # Windows: any
        return train_shard(shard, seed, shares, snapshot, epoch)

    monkeypatch.setattr(local_sgd, "train_shard", dying)
    model = DaskMLPClassifier(**PARAMETERS).fit(*collections())
    assert len(os.listdir(directory)) >= deaths
    for ours, theirs in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.loss_curve_ == expected.loss_curve_
    client.wait_for_workers(2)


def test_a_round_is_repeated_and_given_up_after_five_losses(client, monkeypatch):
    model = DaskMLPClassifier(**PARAMETERS)
    once, calls = local_sgd.ClusterDescent._round, []

    def losing(self):
        calls.append(self)
        if len(calls) <= losses:
            raise CancelledError
        return once(self)

    monkeypatch.setattr(local_sgd.ClusterDescent, "_round", losing)
    losses = 4
    model.fit(*collections())
    assert len(calls) == ROUNDS + losses
    calls.clear()
    losses = 5
    with pytest.raises(RuntimeError, match="failed 5 times"):
        DaskMLPClassifier(**PARAMETERS).fit(*collections())
    assert len(calls) == 5


def test_a_fit_inside_a_task_takes_one_thread(client):
    """Dask sets the limits of OpenMP and BLAS, not Numba's: see dask/distributed#9075."""
    assert client.submit(lambda: available_threads(None)).result() == 1
    assert client.submit(lambda: available_threads(-1)).result() == 1
    assert client.submit(lambda: available_threads(3)).result() == 3
    assert available_threads(None) == min(joblib.cpu_count(), available_threads(None, 10**6))


def test_grid_search_on_the_cluster_is_that_of_one_process(client):
    def search(scoring=None):
        grid = {"hidden_layer_sizes": [(5,), (20,)], "alpha": [1e-4, 1.0]}
        model = MLPClassifier(max_iter=5, random_state=0)
        return GridSearchCV(model, grid, cv=2, scoring=scoring, n_jobs=2, error_score="raise")

    alone = search().fit(X[:600], Y[:600])
    with joblib.parallel_config(backend="dask"):
        together = search().fit(X[:600], Y[:600])
        threads = search(lambda *each: available_threads(None)).fit(X[:600], Y[:600])
    np.testing.assert_array_equal(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )
    for ours, theirs in zip(
        together.best_estimator_.coefs_, alone.best_estimator_.coefs_, strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert set(threads.cv_results_["mean_test_score"]) == {1.0}


@pytest.mark.parametrize(
    "n_jobs, n_replicas, expected", [(None, 1, 4), (None, 2, 2), (-2, 1, 3), (1, 1, 1), (3, 2, 3)]
)
def test_replicas_share_the_threads_of_their_worker(monkeypatch, n_jobs, n_replicas, expected):
    seen = []

    class Spy(local_sgd.Descent):
        def __init__(self, network, settings, *arguments, **more):
            seen.append(settings.n_jobs)
            super().__init__(network, settings, *arguments, **more)

    monkeypatch.setattr(local_sgd, "Descent", Spy)
    four = dict(processes=False, n_workers=1, threads_per_worker=4, dashboard_address=":0")
    with distributed.Client(**four, set_as_default=False) as client:
        model = DaskMLPClassifier(**PARAMETERS, n_jobs=n_jobs)
        model.client = client
        model.fit(*collections(), n_replicas=n_replicas)
    assert set(seen) == {expected}
