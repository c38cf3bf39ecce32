"""Parity beyond the plain classifier fit: regression, stopping, continuing, sparse, L-BFGS."""

import itertools

import needs
import numpy as np
import pytest
import scipy.sparse
from sklearn import neural_network
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_iris,
    make_multilabel_classification,
)
from sklearn.preprocessing import scale

import fastmlp

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
]

LIBRARIES = (fastmlp, neural_network)
IRIS = load_iris(return_X_y=True)
CANCER = load_breast_cancer(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
DIABETES = scale(DIABETES[0]), DIABETES[1] / 100
MULTILABEL = make_multilabel_classification(n_samples=150, n_features=12, random_state=0)
WEIGHT = np.random.RandomState(4).uniform(0, 2, 1000)
CURVES = ("loss_curve_", "validation_scores_", "loss_", "best_loss_", "best_validation_score_")
NUMBERS = ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_")


def pair(name, **parameters):
    """The estimator of each library."""
    return [getattr(library, name)(**parameters) for library in LIBRARIES]


def assert_same_model(models, rtol=1e-8):
    ours, theirs = models
    for name in CURVES:
        mine, other = getattr(ours, name, "absent"), getattr(theirs, name, "absent")
        assert (mine is None) == (other is None) and (mine == "absent") == (other == "absent")
        if mine is not None and mine != "absent":
            np.testing.assert_allclose(mine, other, rtol=rtol, err_msg=name)
    for name in NUMBERS:
        assert getattr(ours, name) == getattr(theirs, name), name
    mine, other = ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_
    for a, b in zip(mine, other, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_regressors_equal_scikit_learns(solver, loss, activation):
    X, y = DIABETES
    many = np.column_stack([y, y[::-1], y**2 / 3])
    for target, weight, hidden in itertools.product((y, many), (None, WEIGHT), ((), (9, 17))):
        models = pair(
            "MLPRegressor",
            loss=loss,
            hidden_layer_sizes=hidden,
            activation=activation,
            solver=solver,
            max_iter=5,
            batch_size=64,
            alpha=0.1,
            random_state=1,
        )
        for model in models:
            model.fit(X, target, weight if weight is None else weight[: len(X)])
        assert_same_model(models)
        predictions = [model.predict(X) for model in models]
        np.testing.assert_allclose(*predictions, rtol=1e-7)
        assert predictions[0].shape == predictions[1].shape
        np.testing.assert_allclose(*(model.score(X, target) for model in models), rtol=1e-6)


@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu"])
def test_multilabel_fits_equal_scikit_learns(activation):
    X, Y = MULTILABEL
    for weight in (None, WEIGHT[: len(X)]):
        models = pair("MLPClassifier", activation=activation, max_iter=20, random_state=0)
        for model in models:
            model.fit(X, Y, weight)
        assert_same_model(models)
        np.testing.assert_array_equal(*(model.predict(X) for model in models))
        np.testing.assert_allclose(*(model.predict_proba(X) for model in models), rtol=1e-7)


@pytest.mark.parametrize(
    "name, data",
    [
        ("MLPClassifier", IRIS),
        pytest.param(
            "MLPClassifier",
            (scale(CANCER[0]), np.array(["b", "a"])[CANCER[1]]),
            marks=needs.scikit_learn(1, 9, reason="its early stopping takes strings"),
        ),
        ("MLPClassifier", MULTILABEL),
        ("MLPRegressor", DIABETES),
    ],
    ids=["multiclass", "binary strings", "multilabel", "regression"],
)
def test_early_stopping_equals_scikit_learns(name, data):
    X, y = data
    for weight, fraction in itertools.product((None, WEIGHT[: len(X)]), (0.1, 0.33)):
        models = pair(
            name,
            early_stopping=True,
            validation_fraction=fraction,
            max_iter=60,
            n_iter_no_change=4,
            tol=1e-3,
            learning_rate_init=0.01,
            random_state=2,
        )
        for model in models:
            model.fit(X, y, weight)
        assert_same_model(models)
        assert len(models[0].validation_scores_) == models[0].n_iter_


@pytest.mark.parametrize("schedule", ["invscaling", "adaptive", "constant"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_learning_rate_schedules_equal_scikit_learns(schedule, nesterov):
    X, y = IRIS
    models = pair(
        "MLPClassifier",
        solver="sgd",
        learning_rate=schedule,
        learning_rate_init=0.05,
        nesterovs_momentum=nesterov,
        power_t=0.3,
        tol=1e-2,
        n_iter_no_change=3,
        max_iter=80,
        random_state=0,
    )
    for model in models:
        model.fit(X, y)
    assert_same_model(models)
    rates = [model._optimizer.learning_rate for model in models]
    np.testing.assert_allclose(*rates, rtol=1e-12)
    assert (rates[0] == 0.05) == (schedule == "constant")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_warm_start_equals_scikit_learns(solver, early_stopping):
    X, y = IRIS
    models = pair(
        "MLPClassifier",
        solver=solver,
        early_stopping=early_stopping,
        warm_start=True,
        max_iter=6,
        random_state=0,
    )
    for _ in range(3):
        for model in models:
            model.fit(X, y)
        assert_same_model(models)
    assert len(models[0].loss_curve_) > 12


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("seed", [0, None])
def test_every_call_of_partial_fit_equals_scikit_learns(solver, seed):
    X, y = IRIS
    state = [np.random.RandomState(3) if seed is None else seed for _ in LIBRARIES]
    models = pair("MLPClassifier", solver=solver, batch_size=20, learning_rate="invscaling")
    for model, random_state in zip(models, state, strict=True):
        model.set_params(random_state=random_state)
    pieces = np.array_split(np.random.RandomState(0).permutation(len(X)), 4)
    for _ in range(3):
        for rows in pieces:
            for model in models:
                model.partial_fit(X[rows], y[rows], WEIGHT[rows], classes=[0, 1, 2])
            assert_same_model(models)
    regressors = pair("MLPRegressor", solver=solver, random_state=0)
    for _ in range(4):
        for model in regressors:
            model.partial_fit(*DIABETES)
        assert_same_model(regressors)


def test_partial_fit_between_fits_equals_scikit_learns():
    X, y = IRIS
    models = pair("MLPClassifier", max_iter=5, random_state=0)
    for call in ("fit", "partial_fit", "partial_fit", "fit"):
        for model in models:
            getattr(model, call)(X, y)
        assert_same_model(models)


@pytest.mark.parametrize("kind", ["csr_array", "csc_array", "csr_matrix", "csc_matrix"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sparse_input_gives_the_dense_model(kind, dtype):
    random_state = np.random.RandomState(0)
    dense = np.where(random_state.rand(300, 40) < 0.1, random_state.randn(300, 40), 0)
    dense = dense.astype(dtype)
    dense[7] = 0
    dense[:, 11] = 0
    y = (dense.sum(axis=1) > 0).astype(int) + (dense[:, 0] != 0)
    X = getattr(scipy.sparse, kind)(dense)
    for hidden, early_stopping in itertools.product(((), (20, 7)), (False, True)):
        parameters = dict(
            hidden_layer_sizes=hidden,
            early_stopping=early_stopping,
            batch_size=64,
            max_iter=4,
            random_state=0,
        )
        models = pair("MLPClassifier", **parameters)
        for model in models:
            model.fit(X, y, WEIGHT[:300].astype(dtype))
        if dtype == np.float64:
            assert_same_model(models)
        ours = models[0]
        of_dense = fastmlp.MLPClassifier(**parameters).fit(dense, y, WEIGHT[:300].astype(dtype))
        for a, b in zip(ours.coefs_, of_dense.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9 if dtype == np.float64 else 1e-3, atol=1e-6)
        np.testing.assert_allclose(
            ours.predict_proba(X), of_dense.predict_proba(dense), rtol=1e-3, atol=1e-6
        )


def test_sparse_input_in_any_form_is_understood(monkeypatch, every_thread_works):
    """Unsorted columns, duplicates, 64-bit indices; several blocks and threads."""
    random_state = np.random.RandomState(1)
    dense = np.where(random_state.rand(90, 30) < 0.2, random_state.randn(90, 30), 0)
    y = random_state.randint(0, 3, 90)
    tidy = scipy.sparse.csr_array(dense)
    rows = np.repeat(np.arange(90), 30)
    order = random_state.permutation(2 * rows.size)
    columns = np.tile(np.arange(30), 90)
    doubled = scipy.sparse.coo_array(
        (
            np.r_[dense.ravel() / 2, dense.ravel() / 2][order],
            (np.r_[rows, rows][order], np.r_[columns, columns][order]),
        )
    )
    untidy = scipy.sparse.csr_array(tidy)
    untidy.indices = untidy.indices.astype(np.int64)
    untidy.indptr = untidy.indptr.astype(np.int64)
    loose = (
        scipy.sparse.csr_matrix(
            (
                doubled.data,
                doubled.coords[1],
                np.searchsorted(np.sort(doubled.coords[0]), range(91)),
            )
        )
        if (np.diff(doubled.coords[0]) >= 0).all()
        else doubled.tocsr()
    )
    before = loose.copy()
    reference = fastmlp.MLPClassifier(max_iter=5, batch_size=90, random_state=0, n_jobs=1)
    expected = reference.fit(dense, y).predict_proba(dense)
    for X, n_jobs, block in itertools.product((tidy, untidy, loose), (1, 2, 3), (1024, 16)):
        monkeypatch.setattr("fastmlp._training.sgd.BLOCK_ROWS", block)
        model = fastmlp.MLPClassifier(max_iter=5, batch_size=90, random_state=0, n_jobs=n_jobs)
        np.testing.assert_allclose(model.fit(X, y).predict_proba(X), expected, rtol=1e-9)
    assert (before != loose).nnz == 0


@pytest.mark.parametrize("hidden, activation", [((), "relu"), ((4,), "tanh"), ((4,), "logistic")])
@pytest.mark.parametrize(
    "name, data",
    [
        ("MLPClassifier", (scale(IRIS[0]), IRIS[1])),
        ("MLPClassifier", (scale(CANCER[0]), CANCER[1])),
        ("MLPClassifier", (scale(MULTILABEL[0]), MULTILABEL[1])),
        ("MLPRegressor", DIABETES),
    ],
    ids=["multiclass", "binary", "multilabel", "regression"],
)
def test_lbfgs_finds_the_same_optimum(name, data, hidden, activation):
    X, y = data
    for weight in (None, WEIGHT[: len(X)]):
        models = pair(
            name,
            hidden_layer_sizes=hidden,
            activation=activation,
            solver="lbfgs",
            alpha=10.0,  # smooth ground with one optimum in reach
            tol=1e-7,
            max_iter=4000,
            random_state=0,
        )
        for model in models:
            model.fit(X, y, weight)
        # Each ends within some 1e-6 of the optimum, after 137 to 149 iterations.
        np.testing.assert_allclose(*(model.loss_ for model in models), rtol=1e-5)
        assert not hasattr(models[0], "loss_curve_")
        assert models[0].t_ == models[1].t_ == 0


def test_lbfgs_takes_the_same_first_steps():
    X, y = IRIS
    for dtype in (np.float64, np.float32):
        models = pair("MLPClassifier", solver="lbfgs", max_iter=5, random_state=0)
        for model in models:
            model.fit(X.astype(dtype), y)
        assert models[0].coefs_[0].dtype == models[1].coefs_[0].dtype == np.float64
        assert_same_model(models, rtol=1e-6)


def test_lbfgs_keeps_the_same_point_wherever_its_evaluations_end():
    X, y = IRIS
    for max_fun in range(1, 12):
        models = pair("MLPClassifier", solver="lbfgs", max_fun=max_fun, random_state=0)
        for model in models:
            model.fit(50 * X, y)
        assert models[0].n_iter_ == models[1].n_iter_
        np.testing.assert_allclose(models[0].loss_, models[1].loss_, rtol=1e-6)
        assert_same_model(models, rtol=1e-6)


def test_zero_weights_equal_removed_rows():
    X, y = IRIS
    keep = np.arange(len(X)) % 3 != 0
    for solver in ("lbfgs", "adam", "sgd"):
        parameters = dict(solver=solver, batch_size=len(X), max_iter=20, random_state=0)
        parameters |= dict(shuffle=False, alpha=0.1)
        weighted = fastmlp.MLPClassifier(**parameters).fit(X, y, keep.astype(float))
        removed = fastmlp.MLPClassifier(**parameters | dict(batch_size=sum(keep)))
        removed.fit(X[keep], y[keep])
        np.testing.assert_allclose(weighted.coefs_[0], removed.coefs_[0], rtol=1e-6, atol=1e-9)


def test_a_batch_without_weight_makes_no_difference_to_the_loss():
    X, y = IRIS
    weight = np.r_[np.zeros(50), np.ones(100)]
    parameters = dict(solver="sgd", momentum=0.0, batch_size=50, shuffle=False, max_iter=1)
    model = fastmlp.MLPClassifier(**parameters, random_state=0).fit(X, y, weight)
    rest = fastmlp.MLPClassifier(**parameters, random_state=0).fit(X[50:], np.r_[y[50:-1], 0])
    assert np.isfinite(model.loss_) and np.isfinite(model.coefs_[0]).all()
    assert model.coefs_[0].shape == rest.coefs_[0].shape


def test_negative_sample_weights_mean_what_they_mean_to_scikit_learn():
    X, y = IRIS
    weight = WEIGHT[: len(X)] - 0.2
    models = pair("MLPClassifier", max_iter=3, batch_size=50, random_state=0)
    for model in models:
        model.fit(X, y, weight)
    assert weight.min() < 0
    assert_same_model(models)


def test_negative_targets_are_refused_by_poisson():
    X, y = DIABETES
    with pytest.raises(ValueError, match="poisson"):
        fastmlp.MLPRegressor(loss="poisson").fit(X, y - 10)


def test_a_changed_architecture_is_an_error_that_loses_nothing():
    X, y = IRIS
    model = fastmlp.MLPClassifier((5,), warm_start=True, max_iter=3, random_state=0).fit(X, y)
    before = [coef.copy() for coef in model.coefs_]
    for sizes in ((6,), (5, 5), ()):
        with pytest.raises(ValueError, match="sizes were"):
            model.set_params(hidden_layer_sizes=sizes).fit(X, y)
    with pytest.raises(ValueError, match="X has 3 features"):
        model.set_params(hidden_layer_sizes=(5,)).fit(X[:, :3], y)
    for coef, old in zip(model.coefs_, before, strict=True):
        np.testing.assert_array_equal(coef, old)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_partial_fit_is_hidden_from_lbfgs(name):
    assert not hasattr(getattr(fastmlp, name)(solver="lbfgs"), "partial_fit")
    assert hasattr(getattr(fastmlp, name)(), "partial_fit")


@pytest.mark.parametrize(
    "parameters",
    [
        dict(max_iter=3),
        dict(solver="sgd", learning_rate="adaptive", tol=0.5, n_iter_no_change=1, max_iter=30),
        dict(early_stopping=True, n_iter_no_change=2, max_iter=10, tol=0.3),
    ],
)
def test_verbose_prints_scikit_learns_lines(capsys, parameters):
    printed = []
    for model in pair("MLPClassifier", verbose=True, random_state=0, **parameters):
        model.fit(*IRIS)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and "loss = " in printed[0]
