"""Options of the estimators in fits on a Dask cluster."""

import importlib

import numpy as np
import pytest
from sklearn.datasets import load_digits

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")

estimators = importlib.import_module("fastmlp.dask.estimators")
DaskMLPClassifier, DaskMLPRegressor = estimators.DaskMLPClassifier, estimators.DaskMLPRegressor

pytestmark = [
    pytest.mark.slow,  # a cluster has to start
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Sending large graph"),
]

CHUNK = 300
PARAMETERS = dict(hidden_layer_sizes=(20,), max_iter=4, random_state=0)


def blocks():
    """The digits as Dask arrays of several blocks."""
    X, y = load_digits(return_X_y=True)
    return [
        da.from_array((X / 16).astype(np.float32), chunks=(CHUNK, X.shape[1])),
        da.from_array(y, chunks=CHUNK),
    ]


def bytes_of(model):
    return [each.tobytes() for each in (*model.coefs_, *model.intercepts_)]


def test_dropout_and_schedules_work_on_a_cluster(client):
    parameters = dict(PARAMETERS, dropout=0.2, learning_rate="cosine", solver="adamw", warmup=1)
    X, y = blocks()
    first, second = (
        DaskMLPClassifier(**parameters).fit(X, y, n_replicas=2).to_local() for _ in range(2)
    )
    assert bytes_of(first) == bytes_of(second)
    plain = DaskMLPClassifier(**PARAMETERS).fit(X, y, n_replicas=2).to_local()
    assert not np.array_equal(first.coefs_[0], plain.coefs_[0])
    assert first.loss_curve_[-1] < first.loss_curve_[0]


def test_a_fit_that_diverges_ends_at_once(client):
    model = DaskMLPRegressor(**PARAMETERS).set_params(
        solver="sgd", learning_rate_init=10.0, batch_size=100, activation="identity", max_iter=400
    )
    with (
        pytest.raises(ValueError, match=r"non-finite .* The loss of epoch [12] is (nan|inf)\."),
        np.errstate(all="ignore"),
    ):
        model.fit(*blocks())
    assert not hasattr(model, "coefs_")


def test_depth_and_width_may_be_two_numbers(client):
    data = blocks()
    models = [
        DaskMLPClassifier(**PARAMETERS | sizes).fit(*data)
        for sizes in (
            {"hidden_layer_sizes": 9, "n_hidden_layers": 2},
            {"hidden_layer_sizes": (9, 9)},
        )
    ]
    assert bytes_of(models[0]) == bytes_of(models[1])
    assert models[0].to_local().n_hidden_layers == 2


@pytest.mark.parametrize("options", [{}, {"solver": "adamw", "alpha": 1.0}, {"solver": "sgd"}])
def test_frozen_layers_keep_their_bytes_in_the_mean_of_replicas(client, options):
    X, y = blocks()
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=(64, 20)).astype(np.float32), None]
    model = DaskMLPClassifier(**PARAMETERS | options, frozen_layers=(0,))
    biases = [np.arange(20) / 7, None]
    model.fit(X, y, n_replicas=3, coefs_init=coefs, intercepts_init=biases)
    assert model.coefs_[0].tobytes() == coefs[0].tobytes()
    np.testing.assert_array_equal(model.intercepts_[0], np.float32(biases[0]))
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_one_replica_freezes_layers_as_one_machine_does(client):
    X, y = blocks()
    parameters = PARAMETERS | {"frozen_layers": (1,), "shuffle": False}
    source = DaskMLPClassifier(**PARAMETERS).fit(X, y, n_replicas=1)
    model = DaskMLPClassifier(**parameters).fit(X, y, n_replicas=1, coefs_init=source)
    local = model._local_type(**parameters).fit(
        X.compute(), y.compute(), coefs_init=source.to_local()
    )
    assert bytes_of(model) == bytes_of(local)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.EfficiencyWarning")
def test_a_cluster_multiplies_in_bfloat16_too(client):
    X, y = blocks()
    model = DaskMLPClassifier(**PARAMETERS, precision="bfloat16", shuffle=False).fit(X, y)
    single = DaskMLPClassifier(**PARAMETERS, precision="float32", shuffle=False).fit(X, y)
    differences = [a - b for a, b in zip(model.coefs_, single.coefs_, strict=True)]
    assert 0 < max(np.abs(each).max() for each in differences) < 0.02
    ours, theirs = (each.predict_proba(X).compute() for each in (model, single))
    assert 0 < np.abs(ours - theirs).max() < 0.05
