"""Local SGD on a Dask cluster, and lazy predictions."""

import importlib
import pickle
import subprocess
import sys
import warnings
from copy import deepcopy
from itertools import chain

import numpy as np
import pytest
import scipy.sparse
from interrupting import assert_no_interrupt_is_swallowed
from recipes import recipe
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._estimator.parameters import settings_of
from fastmlp._training.optimizer import OptimizerState

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
dask = pytest.importorskip("dask", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")
dd = pytest.importorskip("dask.dataframe", reason="needs Dask's data frames")

estimators = importlib.import_module("fastmlp.dask.estimators")
DaskMLPClassifier, DaskMLPRegressor = estimators.DaskMLPClassifier, estimators.DaskMLPRegressor
partitions = importlib.import_module("fastmlp.dask.partitions")
Snapshot = importlib.import_module("fastmlp.dask.local_sgd").Snapshot

pytestmark = [
    pytest.mark.slow,  # a cluster has to start
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]

DIGITS_X, DIGITS_Y = load_digits(return_X_y=True)
DIGITS_X = (DIGITS_X / 16).astype(np.float32)
CHUNK = 300
PARAMETERS = dict(hidden_layer_sizes=(20,), max_iter=4, random_state=0)


def blocks(*arrays, chunk=CHUNK):
    return [da.from_array(each, chunks=(chunk, *each.shape[1:])) for each in arrays]


def assert_same_bytes(ours, theirs):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


MULTILABEL = np.column_stack([DIGITS_Y % 2 == 0, DIGITS_Y > 4]).astype(int)
WEIGHT = np.random.RandomState(0).uniform(0.5, 2, len(DIGITS_Y))


@pytest.mark.parametrize("y", [DIGITS_Y, DIGITS_Y > 4, MULTILABEL], ids=["10", "2", "multilabel"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weighted"])
def test_one_replica_without_shuffling_is_the_local_fit(client, y, weight):
    parameters = dict(PARAMETERS, shuffle=False)
    local = MLPClassifier(**parameters).fit(DIGITS_X, y, weight)
    X, y = blocks(DIGITS_X, y)
    weights = None if weight is None else blocks(weight)[0]
    model = DaskMLPClassifier(**parameters).fit(X, y, weights, n_replicas=1)
    assert_same_bytes(model, local)
    np.testing.assert_array_equal(model.classes_, local.classes_)
    np.testing.assert_allclose(model.loss_curve_, local.loss_curve_, rtol=1e-12)
    assert (model.n_iter_, model.t_) == (local.n_iter_, local.t_)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_one_replica_of_a_regressor_is_the_local_fit(client, loss):
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X), np.column_stack([y, y[::-1]]) / 100
    parameters = dict(PARAMETERS, shuffle=False, loss=loss, solver="sgd")
    local = MLPRegressor(**parameters).fit(X, y)
    dask_X, dask_y = blocks(X, y, chunk=100)
    model = DaskMLPRegressor(**parameters).fit(dask_X, dask_y, n_replicas=1)
    assert_same_bytes(model, local)
    predictions = model.predict(dask_X)
    assert predictions.shape == y.shape and predictions.chunks[0] == dask_X.chunks[0]
    np.testing.assert_array_equal(predictions.compute(), local.predict(X))
    assert model.score(dask_X, dask_y) == pytest.approx(local.score(X, y))


def fit_an_epoch(local, X, y, weight, runs):
    """Train on runs of batches, each given by its rows and its batch size."""
    first = 0
    for rows, batch_size in runs:
        part = slice(first, first + rows)
        local.set_params(batch_size=batch_size)
        local.partial_fit(X[part], y[part], weight[part], classes=range(10))
        first += rows


def arrays_of(local):
    moments = [moment.arrays() for moment in local._optimizer.moments]
    return [[*local.coefs_, *local.intercepts_], *map(list, moments)]


def remove_noise(states, shares, second_before, steps):
    """Adam's second moments as batches of all rows would have them, into every state."""
    m = [np.concatenate([each.ravel() for each in arrays[1]]) for arrays in states]
    v = [np.concatenate([each.ravel() for each in arrays[2]]) for arrays in states]
    mean = sum(share * each for share, each in zip(shares, m, strict=True))
    spread = sum(share * each**2 for share, each in zip(shares, m, strict=True)) - mean**2
    noise = spread.sum() * 1.9 / 0.1 / (1 - 0.9 ** (2 * steps))
    new = sum(share * each for share, each in zip(shares, v, strict=True))
    gained = new - 0.999**steps * second_before
    kept = max(1 / len(states), 1 - noise / (gained.sum() / (1 - 0.999**steps)))
    assert kept < 1
    return new - (1 - kept) * gained


def average(states, shares):
    for arrays in zip(*(chain.from_iterable(state) for state in states), strict=True):
        mean = sum(share * each for share, each in zip(shares, arrays, strict=True))
        for array in arrays:
            array[...] = mean


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(
    "batch_size, steps, runs",
    [  # 200 * 600 / 1700 = 70.6 rows, 200 * 500 / 1700 = 58.8
        ("auto", 9, [[(600, 71)], [(600, 71)], [(500, 59)]]),
        # 170 batches of 600 / 170 and 500 / 170 rows
        (10, 170, [[(360, 4), (240, 3)], [(360, 4), (240, 3)], [(480, 3), (20, 2)]]),
    ],
)
def test_a_round_is_the_mean_of_local_epochs_weighted_by_samples(
    client, solver, batch_size, steps, runs
):
    """Five partitions on three replicas, of 600, 600 and 500 rows, from sums of their weights."""
    X, y, weight = DIGITS_X[:1700].astype(float), DIGITS_Y[:1700], WEIGHT[:1700]
    rounds = 3
    parameters = dict(PARAMETERS, shuffle=False, solver=solver, max_iter=rounds, alpha=0.5)
    dask_X, dask_y, dask_weight = blocks(X, y, weight)
    dask_X = dask_X.rechunk(((300, 300, 300, 300, 500), 64))
    model = DaskMLPClassifier(**parameters, batch_size=batch_size)
    model.fit(dask_X, dask_y, dask_weight, n_replicas=3)
    shards = [slice(0, 600), slice(600, 1200), slice(1200, 1700)]
    shares = [weight[each].sum() / weight.sum() for each in shards]
    locals_ = [MLPClassifier(**parameters) for _ in shards]
    for local, share in zip(locals_, shares, strict=True):
        local.alpha *= share
    second = 0.0
    for _ in range(rounds):
        for local, rows, its in zip(locals_, shards, runs, strict=True):
            fit_an_epoch(local, X[rows], y[rows], weight[rows], its)
        states = [arrays_of(local) for local in locals_]
        if solver == "adam":
            second = remove_noise(states, shares, second, steps)
        average(states, shares)
        if solver == "adam":
            for state in states:
                ends = np.cumsum([each.size for each in state[2]])[:-1]
                for array, values in zip(state[2], np.split(second, ends), strict=True):
                    array[...] = values.reshape(array.shape)
    assert model._optimizer.step == locals_[0]._optimizer.step == rounds * steps
    for ours, expected in zip(model.coefs_, locals_[0].coefs_, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-12)


def test_the_same_partitions_give_the_same_bytes_on_any_workers(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    model = DaskMLPClassifier(**PARAMETERS).fit(X, y)
    assert_same_bytes(DaskMLPClassifier(**PARAMETERS).fit(X, y), model)
    one_thread = dict(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with distributed.Client(**one_thread, set_as_default=False) as other:
        alone = DaskMLPClassifier(**PARAMETERS)
        alone.client = other
        assert_same_bytes(alone.fit(X, y, n_replicas=2), model)


def test_both_workers_train(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    DaskMLPClassifier(**PARAMETERS).fit(X, y)
    log = client.run(
        lambda dask_worker: sum("train_shard" in entry[0] for entry in dask_worker.state.log)
    )
    assert len(log) == 2 and min(log.values()) > 0


def test_classes_are_found_in_every_partition(client):
    order = np.argsort(DIGITS_Y, kind="stable")
    labels = np.array(list("jihgfedcba"))[DIGITS_Y]
    X, y = blocks(DIGITS_X[order], labels[order])
    model = DaskMLPClassifier(**PARAMETERS).fit(X, y)
    np.testing.assert_array_equal(model.classes_, list("abcdefghij"))
    assert model.predict_proba(X).shape == (len(DIGITS_Y), 10)
    assert set(model.predict(X).compute()) <= set("abcdefghij")


def test_data_frames_keep_their_names_and_any_index(client):
    import pandas as pd

    frame = pd.DataFrame(DIGITS_X, columns=[f"pixel {i}" for i in range(64)])
    frame.index = frame.index[::-1]
    frame["digit"] = pd.Categorical([f"digit {digit}" for digit in DIGITS_Y])
    dask_frame = dd.from_pandas(frame, npartitions=4, sort=False)
    X, y = dask_frame.drop(columns="digit"), dask_frame["digit"]
    model = DaskMLPClassifier(**PARAMETERS).fit(X, y)
    assert list(model.feature_names_in_) == list(frame.columns[:-1])
    assert model.coefs_[0].dtype == np.float32
    proba = model.predict_proba(X)
    assert isinstance(proba, da.Array) and np.isnan(proba.shape[0]) and proba.shape[1] == 10
    local = model.to_local()
    np.testing.assert_array_equal(proba.compute(), local.predict_proba(frame[X.columns]))
    assert model.score(X, y) == local.score(frame[X.columns], frame["digit"])
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"pixel 0": "other"}))


def test_the_documented_recipe_runs(client, tmp_path, monkeypatch):
    import pandas as pd

    frame = pd.DataFrame(DIGITS_X, columns=[f"pixel {i}" for i in range(64)])
    frame["label"] = DIGITS_Y
    frame.to_parquet(tmp_path / "table.parquet", row_group_size=CHUNK)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(recipe(importlib.import_module("fastmlp.dask").__doc__, "Several machines"), found)
    probabilities = found["probabilities"].compute()
    assert np.mean(probabilities.argmax(axis=1) == DIGITS_Y) > 0.9
    assert type(found["local"]) is MLPClassifier


def test_blocks_of_unknown_length_and_empty_ones_are_taken(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    keep = (y > 0) & (y < 7) & (da.arange(len(DIGITS_Y), chunks=CHUNK) >= CHUNK)
    some_X, some_y = X[keep], y[keep]
    assert np.isnan(some_X.shape[0])
    model = DaskMLPClassifier(**PARAMETERS).fit(some_X, some_y, n_replicas=6)
    np.testing.assert_array_equal(model.classes_, range(1, 7))
    expected = model.to_local().predict(some_X.compute())
    np.testing.assert_array_equal(model.predict(some_X).compute(), expected)


def test_sparse_blocks_are_taken(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    parameters = dict(PARAMETERS, shuffle=False)
    local = MLPClassifier(**parameters).fit(scipy.sparse.csr_matrix(DIGITS_X), DIGITS_Y)
    sparse = X.map_blocks(scipy.sparse.csr_matrix)
    model = DaskMLPClassifier(**parameters).fit(sparse, y, n_replicas=1)
    assert_same_bytes(model, local)
    np.testing.assert_array_equal(
        model.predict(sparse).compute(), local.predict(scipy.sparse.csr_matrix(DIGITS_X))
    )


def test_predictions_are_lazy_and_by_block(client):
    X, y = blocks(DIGITS_X, MULTILABEL)
    model = DaskMLPClassifier(**PARAMETERS).fit(X, y)
    local = model.to_local()
    wide = da.from_array(DIGITS_X, chunks=(500, 20))
    for method in ("predict", "predict_proba", "predict_log_proba"):
        result = getattr(model, method)(wide)
        expected = getattr(local, method)(DIGITS_X)
        assert isinstance(result, da.Array) and result.chunks[0] == wide.chunks[0]
        assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_array_equal(result.compute(), expected)
    with pytest.raises(ValueError, match="features"):
        model.predict(wide[:, :10])


def test_a_warm_start_continues(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    model = DaskMLPClassifier(**PARAMETERS, warm_start=True).fit(X, y)
    first = model.loss_
    model.fit(X, y)
    assert model.loss_ < first and len(model.loss_curve_) == 2 * PARAMETERS["max_iter"]
    before = deepcopy(model.coefs_)
    with pytest.raises(ValueError, match="same classes"):
        model.fit(X, y % 5)
    for ours, expected in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_a_common_factor_of_the_weights_changes_no_bit(client):
    """Nor does it matter that one replica's weights are all tiny beside the other's."""
    weights = np.round(WEIGHT * 8)
    weights[: 2 * CHUNK] *= 2.0**-50
    models = []
    for factor in (1.0, 2.0**-300):
        data = blocks(DIGITS_X[: 4 * CHUNK], DIGITS_Y[: 4 * CHUNK], weights[: 4 * CHUNK] * factor)
        models.append(DaskMLPClassifier(**PARAMETERS, alpha=0).fit(*data, n_replicas=2))
    assert_same_bytes(*models)
    assert models[0].loss_curve_ == models[1].loss_curve_
    assert models[0].loss_curve_[-1] < models[0].loss_curve_[0]


@pytest.mark.parametrize("option", [{"max_time": 1e-9}, {}, {"batch_size": 2 * CHUNK + 1}])
def test_a_warning_as_an_error_leaves_the_fitted_model(client, option):
    X, y = blocks(DIGITS_X[: 2 * CHUNK], DIGITS_Y[: 2 * CHUNK])
    model = DaskMLPClassifier(**PARAMETERS, **option)
    words = "clipped" if "batch_size" in option else "converged yet"
    with warnings.catch_warnings(), pytest.raises(UserWarning, match=words):
        warnings.filterwarnings("error", message=f".*{words}", module="fastmlp")
        model.fit(X, y)
    assert model.predict(X).compute().shape == (2 * CHUNK,)
    assert model.n_iter_ == (0 if "max_time" in option else PARAMETERS["max_iter"])


def test_a_local_model_a_pickle_and_a_clone_leave_the_client_behind(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    model = DaskMLPClassifier(**PARAMETERS)
    model.client = client
    local = model.fit(X, y).to_local()
    assert type(local) is MLPClassifier and local.get_params() == model.get_params()
    assert_same_bytes(local, model)
    local.partial_fit(DIGITS_X, DIGITS_Y)  # goes on with the averaged optimizer state
    assert local.t_ == model.t_ + len(DIGITS_Y) and local.coefs_[0] is not model.coefs_[0]
    again = pickle.loads(pickle.dumps(model))
    assert_same_bytes(again, model)
    assert "_client" not in vars(again) and "_client" not in vars(clone(model))


def refused(match, X, y, weight=None, error=ValueError, **parameters):
    model = DaskMLPClassifier(**dict(PARAMETERS, **parameters))
    with pytest.raises(error, match=match):
        model.fit(X, y, weight)
    assert not hasattr(model, "coefs_") and not hasattr(model, "_rows")


def test_what_cannot_be_trained_on_is_a_clear_error(client):
    X, y = blocks(DIGITS_X, DIGITS_Y)
    refused("dask array.*not ndarray", DIGITS_X, y, error=TypeError)
    refused("y must be a dask array", X, None, error=TypeError)
    refused("lbfgs", X, y, solver="lbfgs")
    refused("early_stopping", X, y, early_stopping=True)
    refused("class_weight", X, y, class_weight="balanced")
    refused("1797 rows, y has 1700", X, y[:1700])
    refused("compute_chunk_sizes", X[y > 0], y.rechunk(500)[y.rechunk(500) > 0])
    refused("a partition of X has", X[y > 0], y[y > 1])
    refused("NaN", da.where(y[:, None] == 3, np.nan, X), y)
    refused("sums to 0", X, y, da.zeros_like(y))
    refused("Unknown label type|continuous", X, y + 0.5)
    refused("no rows", X[y > 20], y[y > 20])
    narrow = da.from_delayed(dask.delayed(DIGITS_X[:300, :60]), (300, 64), np.float32)
    refused("partitions of X differ", da.concatenate([X[:300], narrow]), y[:600])
    with pytest.raises(ValueError, match="n_replicas"):
        DaskMLPClassifier().fit(X, y, n_replicas=0)
    assert not hasattr(DaskMLPClassifier(), "partial_fit")


@pytest.mark.parametrize("names", [None, np.array(["a", "b"], dtype=object)])
def test_no_interrupt_is_taken_for_other_features(names):
    """NumPy's array_equal would say that the names differ."""
    pytest.importorskip("pandas", reason="only data frames have names")
    row = np.zeros((1, 2))
    summaries = [partitions.Summary(1, 1.0, 0, row, np.arange(3), names) for _ in range(3)]
    assert_no_interrupt_is_swallowed(partitions.have_same_features, *summaries[:2])
    X, y = partitions.representative(summaries, is_classification=True)
    assert X.shape == (3, 2) and list(y) == [0, 1, 2]


def test_a_snapshot_is_as_large_as_the_documentation_says():
    settings = settings_of(MLPClassifier(), 1)
    network = Network((784, 100, 10), np.float32)
    snapshot = Snapshot.of(network, OptimizerState.begin(network, settings), 0.0)
    assert snapshot.vectors.nbytes == 79_510 * 4 * 3


def test_without_dask_the_error_names_the_extra():
    code = "import sys; sys.modules['distributed'] = None; import fastmlp.dask"
    missing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "fastmlp[dask]" in missing.stderr
