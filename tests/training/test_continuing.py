"""What one call leaves to the next: other solvers, other sizes, other libraries, interruptions."""

import contextlib
import copy
import threading

import numpy as np
import pytest
from interrupting import HandlerError, lines_until
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.training_workspace import TrainingWorkspace
from fastmlp.interop import from_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RANDOM = np.random.RandomState(0)
X = RANDOM.rand(300, 6)
Y, Y3 = np.arange(300) % 2, np.arange(300) % 3
MULTILABEL = RANDOM.randint(0, 2, (300, 3))


def quick(**parameters):
    defaults = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
    return MLPClassifier(**defaults | parameters)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", [(5,), (7, 4)])
def test_partial_fit_after_lbfgs_knows_nothing_of_earlier_fits(hidden, dtype):
    used = quick().fit(X.astype(dtype), Y)
    fresh = quick()
    for model in (used, fresh):
        model.set_params(hidden_layer_sizes=hidden, solver="lbfgs").fit(X.astype(dtype), Y)
        model.set_params(solver="adam").partial_fit(X, Y)
    for mine, other in zip(used.coefs_, fresh.coefs_, strict=True):
        np.testing.assert_array_equal(mine, other)


def test_partial_fit_after_a_warm_start_by_lbfgs_begins_its_moments_anew():
    model = quick(warm_start=True).fit(X.astype(np.float32), Y)
    model.set_params(solver="lbfgs").fit(X, Y)
    before = model.coefs_[0].copy()
    model.set_params(solver="adam").partial_fit(X, Y)
    assert model._optimizer.step == 2 and not np.array_equal(model.coefs_[0], before)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_weights_of_another_type_go_on_with_the_moments_so_far(solver):
    wide, narrow = (quick(solver=solver, shuffle=False) for _ in range(2))
    wide.fit(X.astype(np.float32), Y)
    narrow.fit(X.astype(np.float32), Y)
    wide.coefs_[0] = wide.coefs_[0].astype(np.float64)
    for model in (wide, narrow):
        for _ in range(3):
            model.partial_fit(X.astype(np.float32), Y)
    assert (wide.coefs_[1].dtype, narrow.coefs_[1].dtype) == (np.float64, np.float32)
    for mine, other in zip(wide.coefs_, narrow.coefs_, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("scoring", [None, "loss"])
def test_a_network_of_scikit_learn_goes_on_with_early_stopping(scoring):
    trained = SklearnMLPClassifier((5,), max_iter=3, random_state=0).fit(X, Y)
    model = from_sklearn(trained).set_params(early_stopping=True, warm_start=True, scoring=scoring)
    assert len(model.fit(X, Y).validation_scores_) == model.n_iter_


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
def test_parts_of_different_sizes_are_at_the_same_place_of_a_schedule(schedule):
    model = quick(learning_rate=schedule, max_iter=100, batch_size=20)
    for _ in range(30):
        model.partial_fit(X, Y, classes=[0, 1])
    small, large = clone(model), clone(model)
    changes = []
    for part, rows in ((small, 20), (large, 300)):
        part.__dict__.update(model.__dict__)
        before = part.coefs_[0].copy()
        changes.append(np.abs(part.partial_fit(X[:rows], Y[:rows]).coefs_[0] - before).max())
    assert changes[0] > changes[1] / 100  # one step beside fifteen


def test_an_interrupted_score_leaves_the_curves_of_one_length():
    calls = []

    def scoring(estimator, X, y):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return 0.5

    model = quick(early_stopping=True, scoring=scoring, warm_start=True)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, Y)
    model.fit(X, Y)
    lengths = {len(model.loss_curve_), len(model.validation_loss_curve_)}
    assert lengths == {len(model.validation_scores_)} == {6}
    assert np.isnan(model.validation_scores_).tolist() == [False, False, True] + [False] * 3


def test_a_batch_may_lack_a_class_that_has_a_weight():
    weights = [{1: 5}, {1: 2}, {1: 3}]
    model = quick(class_weight=weights).partial_fit(X, MULTILABEL, classes=[0, 1, 2])
    lacking = MULTILABEL.copy()
    lacking[:, 0] = 0
    factors = np.where(lacking == 1, [5, 2, 3], 1).prod(axis=1)
    other = quick().partial_fit(
        X, MULTILABEL, np.where(MULTILABEL == 1, [5, 2, 3], 1).prod(axis=1), classes=[0, 1, 2]
    )
    model.partial_fit(X, lacking)
    other.partial_fit(X, lacking, factors)
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("weights", [{0: -1, 1: 1}, {1: -0.5}])
def test_negative_class_weights_are_refused(weights):
    with pytest.raises(ValueError, match="class_weight must not be negative"):
        quick(class_weight=weights).fit(X, Y)


def test_classes_set_by_hand_in_another_order_are_refused():
    model = quick().partial_fit(X, Y, classes=np.unique(Y))
    model.classes_ = model.classes_[::-1]
    with pytest.raises(ValueError, match="or classes_ is not sorted"):
        model.partial_fit(X, Y)


def test_dates_are_refused_as_features():
    model = quick().fit(X, Y)
    with pytest.raises(ValueError, match="dates"):
        model.predict(np.full((2, 6), "2020-01-01", "M8[D]"))


@pytest.mark.slow
def test_a_prediction_is_of_one_model_while_another_thread_refits():
    model, wrong, stop = quick(max_iter=1).fit(X, Y), [], threading.Event()

    def predict():
        while not stop.is_set():
            probabilities, labels = model.predict_proba(X[:4]), model.predict(X[:4])
            if probabilities.shape not in ((4, 2), (4, 3)) or labels.shape != (4,):
                wrong.append((probabilities.shape, labels.shape))

    threads = [threading.Thread(target=predict) for _ in range(6)]
    for thread in threads:
        thread.start()
    for refit in range(60):
        model.fit(X, Y3 if refit % 2 else Y)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
def test_partial_fit_has_no_early_stopping_and_says_so(estimator):
    model = estimator(hidden_layer_sizes=(5,), max_iter=3, early_stopping=True, random_state=0)
    model.fit(X, Y3)
    coef, scores = model.coefs_[0].copy(), list(model.validation_scores_)
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        model.partial_fit(X, Y3)
    np.testing.assert_array_equal(model.coefs_[0], coef)
    assert model.validation_scores_ == scores
    model.set_params(early_stopping=False).partial_fit(X, Y3)
    assert len(model.loss_curve_) == 4 and not np.array_equal(model.coefs_[0], coef)


def test_multilabel_partial_fit_equals_fit():
    parameters = dict(max_iter=12, shuffle=False, tol=0.0, batch_size=40)
    whole, model = quick(**parameters).fit(X, MULTILABEL), quick(**parameters)
    for _ in range(12):
        model.partial_fit(X, MULTILABEL, classes=[0, 1, 2])
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(model, name), getattr(whole, name), strict=True):
            np.testing.assert_array_equal(mine, other)
    assert model.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(model.predict(X), whole.predict(X))


def test_an_interrupt_right_after_a_launch_keeps_the_count_of_steps(monkeypatch):
    """Else Adam's bias correction would be wrong when partial_fit goes on."""
    X, y = np.random.RandomState(0).rand(100, 5), np.arange(100) % 3
    model = MLPClassifier((7,), max_iter=5, batch_size=10, random_state=0)
    run, calls = TrainingWorkspace.run, []

    def interrupted(workspace, kernel, **options):
        run(workspace, kernel, **options)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingWorkspace, "run", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert model._optimizer.step == 30


def test_partial_fit_extends_the_loss_curve_in_place_and_only_if_it_succeeds():
    X, y = np.random.RandomState(0).rand(40, 5), np.arange(40) % 3
    model = MLPClassifier((7,), solver="sgd", random_state=0).partial_fit(X, y, classes=range(3))
    curve = model.loss_curve_
    for calls in range(2, 5):
        model.partial_fit(X, y)
        assert model.loss_curve_ is curve and len(curve) == calls
        assert model.loss_ == curve[-1]
    before = list(curve)
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(np.full_like(X, 1e308), y)
    assert model.loss_curve_ is curve and curve == before


def test_a_warm_start_extends_the_curves_it_has():
    X, y = np.random.RandomState(0).rand(60, 5), np.arange(60) % 3
    model = MLPClassifier((7,), max_iter=3, random_state=0, warm_start=True)
    for fits in (1, 2, 3):
        model.fit(X, y, X_val=X[:10], y_val=y[:10])
        assert len(model.loss_curve_) == len(model.validation_loss_curve_) == 3 * fits
        assert np.isfinite(model.validation_loss_curve_).all()
    model.partial_fit(X, y)
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == 10
    assert np.isnan(model.validation_loss_curve_[-1])


def everything(model):
    weights = [each.tobytes() for each in [*model.coefs_, *model.intercepts_]]
    return weights, model.loss_curve_.copy(), model.n_iter_, model.t_, model._optimizer.step


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_interrupt_leaves_the_model_from_before_or_after(method):
    """Wherever the exception of a signal handler comes, and though curves grow in place."""
    model = quick(max_iter=1, warm_start=True).fit(X, Y).partial_fit(X, Y)
    twin = copy.deepcopy(model)
    within = "fastmlp/_estimator"
    lines = lines_until(None, getattr(twin, method), X, Y, within=within)
    before, after, line = everything(model), everything(twin), 0
    while everything(model) == before:
        with contextlib.suppress(HandlerError):
            lines_until(line, getattr(model, method), X, Y, within=within)
        line += 1
    assert everything(model) == after and 0 < line <= lines + 1


@pytest.mark.parametrize("earlier_calls", [0, 1, 2])
def test_with_warm_start_partial_fit_needs_every_class_in_each_call(earlier_calls):
    """As scikit-learn does, however many calls the model has seen."""
    few = slice(30)  # one batch, which takes the shortcut past validation
    for library in (MLPClassifier, SklearnMLPClassifier):
        model = library((5,), max_iter=1, random_state=0, warm_start=True).fit(X[few], Y3[few])
        for _ in range(earlier_calls):
            model.partial_fit(X[few], Y3[few])
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same"):
            model.partial_fit(X[few], Y[few])
        model.set_params(warm_start=False).partial_fit(X[few], Y[few]).partial_fit(X[few], Y[few])
