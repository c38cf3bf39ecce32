"""Sparse, wide X and few units: compact weights, and L-BFGS without unused inputs."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier
from fastmlp._engine import inputs
from fastmlp._engine.network import Network
from fastmlp._training import used_inputs
from fastmlp._training.used_inputs import UsedInputs

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WIDE = 70_001  # its padded weights fill more than LEAST_COMPACTED, and no whole vectors
SOLVERS = {
    "adam": {},
    "adamw": {"solver": "adamw"},
    "nesterov": {"solver": "sgd"},
    "sgd": {"solver": "sgd", "momentum": 0.0, "alpha": 0.1},
    "sgd without penalty": {"solver": "sgd", "momentum": 0.0, "alpha": 0.0},
    "clipping": {"max_grad_norm": 0.01},
    "blocks": {"batch_size": 1500},
    "lbfgs": {"solver": "lbfgs"},
}


def sparse_rows(rows, columns, dtype=np.float64, density=0.001):
    X = random_array((rows, columns), density=density, format="csr", dtype=dtype, random_state=0)
    return X, np.arange(rows) % 3


def parameters(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same_bytes(a, b):
    for one, other in zip(parameters(a), parameters(b), strict=True):
        assert one.tobytes() == other.tobytes()


def assert_close(ours, theirs):
    for one, other in zip(parameters(ours), parameters(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-8 * np.abs(other).max())


@pytest.mark.parametrize("units", [1, 5, 16])
@pytest.mark.parametrize("solver", ["adam", "nesterov", "sgd", "sgd without penalty", "lbfgs"])
def test_wide_sparse_fits_give_scikit_learns_model(solver, units):
    X, y = sparse_rows(230, WIDE)
    options = {"max_iter": 3, "random_state": 0, **SOLVERS[solver]}
    ours, theirs = (
        library((units,), **options).fit(X, y) for library in (MLPClassifier, SklearnMLPClassifier)
    )
    assert ours._fitted_network.is_compact
    assert_close(ours, theirs)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-8)
    np.testing.assert_allclose(ours.loss_, theirs.loss_, rtol=1e-8)


def test_dense_and_sparse_rows_may_alternate():
    X, y = sparse_rows(60, WIDE)
    ours, theirs = MLPClassifier((3,), random_state=0), SklearnMLPClassifier((3,), random_state=0)
    for call in range(6):
        rows = slice(10 * call, 10 * call + 10)
        batch = X[rows].toarray() if call % 3 == 1 else X[rows]
        for model in (ours, theirs):
            model.partial_fit(batch, y[rows], classes=[0, 1, 2])
        if call == 3:
            ours = pickle.loads(pickle.dumps(ours))
        assert_close(ours, theirs)
    np.testing.assert_allclose(
        ours.predict_proba(X.toarray()), ours.predict_proba(X), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("units", [1, 4, 10, 70])
@pytest.mark.parametrize("solver", SOLVERS.keys() - {"lbfgs"})
def test_compact_weights_change_no_byte(solver, units, dtype, monkeypatch):
    X, y = sparse_rows(1600 if solver == "blocks" else 250, 301, dtype, density=0.02)
    X.data[(X.indices >= 100) & (X.indices < 250)] = 0
    X.eliminate_zeros()  # so that panels have no gradient
    fits = []
    for least, n_jobs in ((0, 1), (0, 3), (np.inf, 1)):
        monkeypatch.setattr(inputs, "LEAST_COMPACTED", least)
        options = {"max_iter": 2, "random_state": 0, "n_jobs": n_jobs, **SOLVERS[solver]}
        fits.append(MLPClassifier((units, 3), **options).fit(X, y))
        assert fits[-1]._fitted_network.is_compact == (least == 0)
        fits[-1].outputs = fits[-1].predict_proba(X)
    for fit in fits[1:]:
        if solver != "clipping" or fit._fitted_network.is_compact:
            assert_same_bytes(fit, fits[0])  # clipping sums the gradient's norm by panels
            assert fit.outputs.tobytes() == fits[0].outputs.tobytes()
        np.testing.assert_allclose(fit.loss_curve_, fits[0].loss_curve_, rtol=1e-5)
        for one, other in zip(parameters(fit), parameters(fits[0]), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("tol", [1e-4, 0.01, 10.0])
@pytest.mark.parametrize("alpha", [0.0, 1e-4, 1.0, 1e3])
def test_lbfgs_without_unused_inputs_takes_scikit_learns_steps(alpha, tol):
    X, y = sparse_rows(100, WIDE, density=0.0005)
    options = {"solver": "lbfgs", "alpha": alpha, "tol": tol, "max_iter": 30, "random_state": 0}
    ours, theirs = MLPClassifier((3,), **options), SklearnMLPClassifier((3,), **options)
    told = []
    for model in (ours, theirs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y)
        told.append([each.category for each in caught])
    assert ours.n_iter_ == theirs.n_iter_
    assert told[0] == told[1]
    assert_close(ours, theirs)


def test_lbfgs_that_converges_in_the_last_iteration_allowed_warns_as_scikit_learn_does():
    X, y = sparse_rows(100, WIDE, density=0.0005)
    options = {"solver": "lbfgs", "tol": 0.01, "max_iter": 30, "random_state": 0}
    last = MLPClassifier((3,), **options).fit(X, y).n_iter_
    assert 1 < last < 30
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.warns(match="lbfgs failed to converge"):
            estimator((3,), **options | {"max_iter": last}).fit(X, y)


@pytest.mark.parametrize("share", [used_inputs.WORTHWHILE_SHARE, -1])
def test_lbfgs_continues_from_weights_of_zero(share, monkeypatch):
    monkeypatch.setattr(used_inputs, "WORTHWHILE_SHARE", share)
    X, y = sparse_rows(100, WIDE, density=0.0005)
    options = {"solver": "lbfgs", "max_iter": 5, "random_state": 0, "warm_start": True}
    ours, theirs = MLPClassifier((3,), **options), SklearnMLPClassifier((3,), **options)
    for model in (ours, theirs):
        model.fit(X, y)
        model.coefs_[0][...] = 0
        model.fit(X, y)
    assert_close(ours, theirs)


def test_a_gradient_in_unused_inputs_alone_keeps_lbfgs_going():
    """The largest element of the gradient may be the penalty's on an unused input."""
    X, y = sparse_rows(100, WIDE, density=0.0005)
    options = {"solver": "lbfgs", "max_iter": 1, "random_state": 0, "warm_start": True}
    ours, theirs = MLPClassifier((3,), **options), SklearnMLPClassifier((3,), **options)
    unused = np.flatnonzero(np.bincount(X.indices, minlength=WIDE) == 0)[7]
    for model in (ours, theirs):
        model.fit(X, y)
        model.coefs_[0][unused] = 1e3
        model.set_params(max_iter=20, tol=0.05, alpha=0.1).fit(X, y)
    assert ours.n_iter_ == theirs.n_iter_ > 0
    assert_close(ours, theirs)


def network_and_rows(used, unused=4, scale=1.0):
    """A network of random weights, and a row for each used input, every second of its inputs."""
    network, rng = Network([used + unused, 3, 2], np.float64, is_compact=True), np.random
    for array in network.arrays():
        array[...] = scale * rng.RandomState(0).standard_normal(array.shape)
    return network, csr_array(np.eye(used, used + unused))


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1.0, 1e3])
def test_unused_weights_shrink_with_their_norm_and_the_others_are_copied(scale):
    network, X = network_and_rows(3, scale=scale)
    before = [array.copy() for array in network.arrays()]
    reduced = UsedInputs.of(network, X)
    assert reduced.network.layer_sizes == (4, 3, 2)
    np.testing.assert_allclose(
        reduced.network.coefs[0][-1], [np.linalg.norm(before[0][3:]), 0, 0], rtol=1e-12
    )
    for array in reduced.network.arrays():
        array *= 0.25
    reduced.restore()
    for now, then in zip(network.arrays(), before, strict=True):
        np.testing.assert_allclose(now, 0.25 * then, rtol=1e-12)


@pytest.mark.parametrize(
    ("scale", "largest"), [(0.0, 7.0), (1e-3, 0.5), (1e-3, -0.5), (1.0, 7.0), (1.0, -7.0)]
)
@pytest.mark.parametrize("row", [0, -1])  # a used input, and an unused one
def test_the_largest_slope_of_a_penalty_is_that_of_the_largest_weight(row, largest, scale):
    network, X = network_and_rows(3, scale=scale)
    network.coefs[0][row, 1] = largest
    reduced = UsedInputs.of(network, X)
    gradient = 0.1 * np.concatenate([array.ravel() for array in reduced.network.arrays()])
    np.testing.assert_allclose(reduced.largest_slope(gradient), 0.1 * abs(largest), rtol=1e-12)


@pytest.mark.parametrize(("used", "is_worthwhile"), [(1, True), (4, True), (5, False)])
def test_inputs_are_left_out_if_at_most_half_of_them_are_used(used, is_worthwhile):
    assert (UsedInputs.of(*network_and_rows(used)) is not None) == is_worthwhile


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("weight", [1e200, np.inf, np.nan])
def test_weights_too_large_for_a_norm_are_left_as_they_are(weight):
    network, X = network_and_rows(3)
    network.coefs[0][-1] = weight
    before = network.coefs[0].copy()
    assert UsedInputs.of(network, X) is None
    np.testing.assert_array_equal(network.coefs[0], before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_refuse_sparse_values_that_are_not_finite(value):
    X, y = sparse_rows(30, 200, density=0.1)
    model = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    X.data[17] = value
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        model.predict(X)


def test_predictions_put_sparse_columns_in_order():
    X, y = sparse_rows(30, 200, density=0.1)
    model = MLPClassifier((3,), max_iter=2, random_state=0).fit(X, y)
    # The same first row, with its columns reversed and its first value in two halves.
    row = X[[0]]
    values = np.concatenate([row.data[::-1], row.data[:1] / 2])
    values[-2] /= 2
    columns = np.concatenate([row.indices[::-1], row.indices[:1]])
    shuffled = csr_array((values, columns, [0, len(values)]), shape=row.shape)
    shuffled.has_canonical_format = True  # a lie
    np.testing.assert_array_equal(model.predict_proba(shuffled), model.predict_proba(row))


def test_a_failed_partial_fit_of_compact_weights_leaves_the_estimator_as_it_was():
    X, y = sparse_rows(30, WIDE)
    model = MLPClassifier((3,), random_state=0, solver="sgd", learning_rate_init=1e3)
    model.partial_fit(X * 1e-3, y, classes=[0, 1, 2])
    before, state = pickle.dumps(parameters(model)), pickle.dumps(model._optimizer.as_arrays())
    with pytest.raises(ValueError, match="non-finite"), np.errstate(all="ignore"):
        model.partial_fit(X * 1e307, y)
    assert pickle.dumps(parameters(model)) == before
    assert pickle.dumps(model._optimizer.as_arrays()) == state


def spoil_value(X):
    X.data[3] = np.nan


def spoil_column(X):
    X.indices[3] = X.shape[1]


@pytest.mark.parametrize("spoil", [spoil_value, spoil_column])
def test_every_call_of_partial_fit_refuses_invalid_sparse_rows(spoil):
    X, y = sparse_rows(30, WIDE)
    model = MLPClassifier((3,), random_state=0)
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    before, invalid = pickle.dumps(parameters(model)), X.copy()
    spoil(invalid)
    with pytest.raises(ValueError):
        model.partial_fit(invalid, y)
    assert pickle.dumps(parameters(model)) == before
