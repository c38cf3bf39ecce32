"""MLPAutoencoder: a network fitted to reproduce X, as a transformer of scikit-learn."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPAutoencoder, MLPRegressor
from fastmlp._training.denoising import DenoisingDescent
from fastmlp.displays import LossCurveDisplay
from fastmlp.inspection import check_gradient, hidden_activations
from fastmlp.interop import to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_digits(return_X_y=True)
X, Y = X[:200] / 16, Y[:200]


def quick(hidden=(20, 6, 20), activation="tanh", **parameters):
    defaults = dict(max_iter=5, learning_rate_init=0.01, random_state=0)
    return MLPAutoencoder(hidden, activation, **defaults | parameters)


NOISE_OF_COPIES = {
    "check_sample_weight_equivalence_on_dense_data": "a row that is there twice gets two noises"
}


@parametrize_with_checks([MLPAutoencoder((5, 2, 5), max_iter=20, random_state=0)])
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [MLPAutoencoder((5,), noise=0.1, max_iter=20, random_state=0)],
    expected_failed_checks=lambda estimator: NOISE_OF_COPIES,
)
def test_scikit_learns_estimator_checks_with_noise(estimator, check):
    check(estimator)


def test_its_parameters_are_those_of_the_regressor_and_noise():
    ours, theirs = MLPAutoencoder().get_params(), MLPRegressor().get_params()
    assert ours.keys() - theirs.keys() == {"noise"}
    assert theirs.keys() - ours.keys() == {
        *("loss", "huber_delta", "quantile", "sort_quantiles", "scoring")
    }
    changed = {name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]}
    assert changed == {"hidden_layer_sizes"}


@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"solver": "sgd"}])
def test_it_is_scikit_learns_regressor_of_x_on_x(options):
    model = quick(max_iter=20, **options).fit(X)
    theirs = SklearnMLPRegressor(
        hidden_layer_sizes=(20, 6, 20), activation="tanh", max_iter=20, learning_rate_init=0.01,
        random_state=0, **options,
    ).fit(X, X)  # fmt: skip
    np.testing.assert_allclose(model.predict(X), theirs.predict(X), rtol=1e-7, atol=1e-9)
    errors = ((theirs.predict(X) - X) ** 2).mean(axis=1)
    np.testing.assert_allclose(model.reconstruction_error(X), errors, rtol=1e-6)
    assert model.score(X) == pytest.approx(-errors.mean(), rel=1e-6)
    assert model.score(X, Y, sample_weight=Y) == pytest.approx(-np.average(errors, weights=Y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weight", [None, np.arange(200.0) + 1])
def test_it_has_the_bytes_of_the_regressor_for_any_number_of_threads(dtype, weight):
    rows = X.astype(dtype)
    options = dict(max_iter=5, learning_rate_init=0.01, dropout=0.1, random_state=0)
    theirs = MLPRegressor("squared_error", (20, 6, 20), "tanh", **options).fit(rows, rows, weight)
    for n_jobs in (1, 2):
        model = quick(dropout=0.1, n_jobs=n_jobs).fit(rows, sample_weight=weight)
        code = model.transform(rows)
        assert code.dtype == model.reconstruction_error(rows).dtype == dtype
        np.testing.assert_array_equal(code, hidden_activations(theirs, rows, 1))
        for outputs in (model.predict(rows), model.inverse_transform(code)):
            np.testing.assert_array_equal(outputs, theirs.predict(rows))


@pytest.mark.parametrize(
    ("hidden", "narrowest"),
    [((7,), 0), ((7, 3, 7), 1), ((3, 7), 0), ((4, 4), 0), ((4, 4, 4), 1), ((9, 4, 4, 9), 1),
     ((4, 9, 4), 0), ((4, 4, 4, 4, 9), 1)],
)  # fmt: skip
def test_the_code_is_that_of_the_middle_one_of_the_narrowest_layers(hidden, narrowest):
    model = quick(hidden, max_iter=1).fit(X)
    code = model.transform(X)
    np.testing.assert_array_equal(code, hidden_activations(model, X, narrowest))
    np.testing.assert_array_equal(model.inverse_transform(code), model.predict(X))
    assert len(model.get_feature_names_out()) == hidden[narrowest]


def test_each_layer_above_the_code_has_its_own_activation():
    model = quick((4, 9, 5), ("tanh", "softplus", "relu"), max_iter=1).fit(X)
    np.testing.assert_array_equal(model.inverse_transform(model.transform(X)), model.predict(X))


def test_width_and_depth_may_be_two_numbers():
    model = quick(6, n_hidden_layers=3).fit(X)
    np.testing.assert_array_equal(model.transform(X), quick((6, 6, 6)).fit(X).transform(X))


def test_one_feature_is_a_column_all_the_way():
    column = X[:, [3]]
    model = quick((3,)).fit(column, X_val=column).partial_fit(column)
    assert model.predict(column).shape == (200, 1)
    assert model.inverse_transform(model.transform(column)).shape == (200, 1)
    assert model.reconstruction_error(column).shape == (200,)


def test_partial_fit_goes_on_where_it_stopped():
    model, theirs = quick(), MLPRegressor("squared_error", (20, 6, 20), "tanh", random_state=0)
    theirs.set_params(learning_rate_init=0.01)
    for first in (0, 50, 100, 150):
        rows = X[first : first + 50]
        model.partial_fit(rows)
        theirs.partial_fit(rows, rows)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X))
    assert not hasattr(quick(solver="lbfgs"), "partial_fit")


def test_clones_pickles_and_frames():
    frame = pd.DataFrame(X, columns=[f"p{n}" for n in range(64)], index=np.arange(200) + 7)
    model = quick().set_output(transform="pandas").fit(frame)
    expected = model.transform(frame)
    assert list(expected.columns) == [f"mlpautoencoder{n}" for n in range(6)]
    assert (expected.index == frame.index).all()
    for other in (clone(model).fit(frame), pickle.loads(pickle.dumps(model))):
        pd.testing.assert_frame_equal(other.transform(frame), expected)
        assert list(other.feature_names_in_) == list(frame.columns)
    np.testing.assert_array_equal(model.inverse_transform(expected), model.predict(frame))


def test_it_stands_in_pipelines_and_searches():
    model = make_pipeline(
        MinMaxScaler(), quick((20, 10, 20), max_iter=100), LogisticRegression(max_iter=500)
    )
    assert model.fit(X, Y).score(X, Y) > 0.8
    scaled = model[:-1]
    back = scaled.inverse_transform(scaled.transform(X))
    assert back.shape == X.shape and np.abs(back - X).mean() < 0.15
    grid = {"hidden_layer_sizes": [(2,), (8,), (20, 8, 20)], "noise": [0, 5.0]}
    search = GridSearchCV(quick(max_iter=40), grid, cv=2).fit(X)
    assert search.best_params_["noise"] == 0 and search.best_score_ < 0
    assert search.best_params_["hidden_layer_sizes"] != (2,)


def test_early_stopping_judges_by_the_loss_on_rows_without_noise():
    model = quick(early_stopping=True, noise=0.5, max_iter=8).fit(X, X_val=X)
    assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]
    best = int(np.argmax(model.validation_scores_))
    found = 0.5 * model.reconstruction_error(X).mean()
    assert found == pytest.approx(model.validation_loss_curve_[best])
    assert len(quick(early_stopping=True, noise=0.1).fit(X).validation_scores_) == 5


def test_what_takes_a_regressor_takes_it_too():
    model = quick().fit(X)
    assert LossCurveDisplay.from_estimator(model) is not None
    assert check_gradient(quick((2,)), X[:20, 2:5], X[:20, 2:5]) < 1e-7
    with pytest.raises(TypeError, match="got MLPAutoencoder"):
        to_sklearn(model)


@pytest.fixture
def noisy_rows(monkeypatch):
    """The rows that each epoch was trained on."""
    seen, epoch = [], DenoisingDescent.__mro__[1].epoch

    def recording(descent):
        if isinstance(descent, DenoisingDescent):
            seen.append(descent.noisy.copy())
        return epoch(descent)

    monkeypatch.setattr(DenoisingDescent.__mro__[1], "epoch", recording)
    return seen


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_on_the_inputs_alone_and_new_in_every_epoch(dtype, noisy_rows):
    rows = X.astype(dtype)
    before = rows.copy()
    model = quick(noise=0.3, shuffle=False, max_iter=4).fit(rows)
    np.testing.assert_array_equal(rows, before)
    assert len(noisy_rows) == 4
    noise = np.array(noisy_rows) - rows
    assert abs(noise.mean()) < 0.005 and abs(noise.std() - 0.3) < 0.005
    assert np.abs(np.corrcoef(noise.reshape(4, -1)) - np.eye(4)).max() < 0.03
    theirs = MLPRegressor("squared_error", (20, 6, 20), "tanh", shuffle=False, random_state=0)
    theirs.set_params(learning_rate_init=0.01)
    for noisy in list(noisy_rows):  # the targets have no noise
        theirs.partial_fit(noisy, rows)
    np.testing.assert_array_equal(model.predict(rows), theirs.predict(rows))


def test_calls_of_partial_fit_draw_different_noise_and_forget_the_rows(noisy_rows):
    model = quick(noise=0.3)
    for _ in range(3):
        model.partial_fit(X)
    first, second, third = noisy_rows
    assert np.abs(first - second).min() > 0 and np.abs(second - third).min() > 0
    assert model._continuation.descent.clean is model._continuation.descent.noisy is None


def test_noise_comes_from_the_random_state():
    one, same = (quick(noise=0.3).fit(X).predict(X) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    for other in (quick(noise=0.3, random_state=1), quick(noise=0.2), quick()):
        assert (other.fit(X).predict(X) != one).any()


@pytest.mark.slow
def test_a_linear_network_learns_to_shrink_noise_as_the_covariance_says():
    random_state, noise = np.random.RandomState(0), 0.7
    rows = random_state.randn(4000, 3) @ np.diag([2.0, 1.0, 0.5])
    covariance = rows.T @ rows / len(rows)
    model = MLPAutoencoder(
        (3,), "identity", noise=noise, alpha=0, max_iter=300, learning_rate="cosine", tol=0,
        n_iter_no_change=np.inf, learning_rate_init=0.01, random_state=0,
    ).fit(rows)  # fmt: skip
    expected = np.linalg.solve(covariance + noise**2 * np.eye(3), covariance)
    np.testing.assert_allclose(model.coefs_[0] @ model.coefs_[1], expected, atol=0.02)


def test_noise_in_training_helps_against_noise():
    noisy = X + np.random.RandomState(1).normal(scale=0.3, size=X.shape)
    plain, denoising = (
        quick((50,), max_iter=200, noise=noise, tol=0).fit(X).predict(noisy) for noise in (0, 0.3)
    )
    assert np.square(denoising - X).mean() < 0.6 * np.square(plain - X).mean()


def test_sparse_and_invalid_rows_are_refused():
    with pytest.raises(TypeError, match="dense data is required"):
        quick().fit(csr_array(X))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        quick().fit(np.where(X > 0.9, np.nan, X))
    with pytest.raises(ValueError, match="Input X_val contains infinity"):
        quick().fit(X, X_val=np.where(X > 0.9, np.inf, X))
    model = quick().fit(X)
    for method in (model.transform, model.predict, model.reconstruction_error, model.score):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            method(np.where(X > 0.9, np.nan, X))
        with pytest.raises(ValueError, match="63 features"):
            method(X[:, 1:])
    with pytest.raises(ValueError, match="X has 64 columns, but the layer has 6 units"):
        model.inverse_transform(X)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.inverse_transform(np.full((2, 6), np.nan))
    narrow = quick().fit(X.astype(np.float32))
    with np.errstate(over="ignore"), pytest.raises(ValueError, match="a value too large for dtype"):
        narrow.inverse_transform(np.full((2, 6), 1e300))


def test_invalid_parameters_are_refused():
    with pytest.raises(ValueError, match="needs a hidden layer"):
        quick(()).fit(X)
    for noise in (-0.1, "much"):
        with pytest.raises(ValueError, match="'noise' parameter of MLPAutoencoder"):
            quick(noise=noise).fit(X)
    with pytest.raises(ValueError, match="solver='lbfgs' does not support noise"):
        quick(noise=0.1, solver="lbfgs").fit(X)
    with pytest.raises(ValueError, match="does not support early_stopping"):
        quick(early_stopping=True).partial_fit(X)
    with pytest.raises(NotFittedError):
        quick().inverse_transform(X)


def test_a_fit_that_fails_leaves_the_last_one():
    model = quick().fit(X)
    expected = model.transform(X)
    with pytest.raises(ValueError):
        model.fit(X * np.nan)
    np.testing.assert_array_equal(model.transform(X), expected)
