"""scikit-learn's callbacks on a fit: what they see, how they end it, what they leave."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import random_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._estimator.base import BaseMLP
from fastmlp._training import loop
from fastmlp._training.solve import Problem

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9: it has callbacks")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
WEIGHT = np.random.RandomState(0).uniform(0.1, 2, len(X))
SOLVERS = ["adam", "sgd", "lbfgs"]


def quick(estimator=MLPClassifier, **parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}
    return estimator(**defaults | parameters)


def assert_same_bytes(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b)


class Recorder:
    """Remembers every hook; ends the fit or raises at a given one, counted from 1."""

    def __init__(self, stop_at=None, fail_at=None, error=ArithmeticError):
        self.stop_at, self.fail_at, self.error = stop_at, fail_at, error
        self.hooks = []

    def _note(self, hook, estimator, context, **seen):
        self.hooks.append((hook, context.task_name, estimator, seen))
        at = hook, sum(each[0] == hook for each in self.hooks)
        if at == self.fail_at:
            raise self.error(f"in {hook}")
        return at == self.stop_at

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None):
        self._note("begin", estimator, context, fitted=fitted_estimator)

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        return self._note(
            "end", estimator, context, X=X, y=y, metadata=metadata, fitted=fitted_estimator
        )

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)

    def seen(self, hook, task):
        return [seen for name, at, _, seen in self.hooks if (name, at) == (hook, task)]


def fit_watched(model, *data, recorder=None, **parameters):
    recorder = Recorder() if recorder is None else recorder
    return model.set_callbacks(recorder).fit(*data, **parameters), recorder


@pytest.mark.parametrize("solver", SOLVERS)
def test_every_epoch_is_a_task_within_the_fit(solver):
    model, recorder = fit_watched(quick(solver=solver), X, Y)
    epoch = [("begin", "epoch"), ("end", "epoch")]
    assert [hook[:2] for hook in recorder.hooks] == [
        ("setup", "fit"),
        ("begin", "fit"),
        *epoch * model.n_iter_,
        ("end", "fit"),
        ("teardown", "fit"),
    ]
    assert all(estimator is model for _, _, estimator, _ in recorder.hooks)
    assert_same_bytes(model, quick(solver=solver).fit(X, Y))


class LengthRecorder(Recorder):
    """Remembers how long the loss curve is at each end; the list itself may grow later."""

    def __init__(self):
        super().__init__()
        self.lengths = []

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, **data):
        self.lengths.append(len(fitted_estimator.loss_curve_))


def test_callbacks_see_the_curves_of_earlier_fits_too():
    model, recorder = quick(warm_start=True).fit(X, Y), LengthRecorder()
    earlier = len(model.loss_curve_)
    model, recorder = fit_watched(model, X, Y, recorder=recorder)
    total = len(model.loss_curve_)
    assert recorder.lengths == [*range(earlier + 1, total + 1), total]


@pytest.mark.parametrize("solver", SOLVERS)
def test_callbacks_see_the_model_as_if_the_fit_ended_there(solver):
    recorder = fit_watched(quick(solver=solver), X, Y, WEIGHT)[1]
    for number, seen in enumerate(recorder.seen("end", "epoch"), start=1):
        shorter = quick(solver=solver, max_iter=number).fit(X, Y, WEIGHT)
        assert_same_bytes(seen["fitted"], shorter)
        np.testing.assert_array_equal(seen["fitted"].predict(X), shorter.predict(X))
        assert seen["X"] is X and seen["y"] is Y
        assert seen["metadata"] == {"sample_weight": WEIGHT}
        if solver != "lbfgs":
            assert seen["fitted"].loss_curve_ == shorter.loss_curve_
            assert (seen["fitted"].n_iter_, seen["fitted"].t_) == (number, shorter.t_)
    begun = recorder.seen("begin", "epoch")
    ended = [*recorder.seen("begin", "fit"), *recorder.seen("end", "epoch")]
    for before, after in zip(ended, begun, strict=False):
        assert_same_bytes(before["fitted"], after["fitted"])


def test_the_last_hook_sees_the_weights_that_are_kept():
    options = {"early_stopping": True, "learning_rate_init": 0.3, "batch_size": 8}
    model, recorder = fit_watched(quick(**options, max_iter=9), X, Y)
    assert_same_bytes(recorder.seen("end", "fit")[0]["fitted"], model)
    last = quick(**options, max_iter=9, restore_best_weights=False).fit(X, Y)
    assert_same_bytes(recorder.seen("end", "epoch")[-1]["fitted"], last)
    assert not np.array_equal(last.coefs_[0], model.coefs_[0])


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.filterwarnings("error")
def test_a_callback_can_end_the_fit(solver):
    recorder = Recorder(stop_at=("end", 3))
    model = fit_watched(quick(solver=solver, max_iter=100), X, Y, recorder=recorder)[0]
    assert model.n_iter_ == 3 and len(recorder.seen("end", "epoch")) == 3
    assert recorder.hooks[-2][:2] == ("end", "fit")
    with pytest.warns(match="reached|converge"):
        shorter = quick(solver=solver, max_iter=3).fit(X, Y)
    assert_same_bytes(model, shorter)
    assert model.loss_ == shorter.loss_


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "fail_at", [("setup", 1), ("begin", 1), ("begin", 3), ("end", 1), ("end", 4), ("end", 6)]
)
@pytest.mark.parametrize("fitted", [False, True])
def test_an_exception_in_a_callback_leaves_the_estimator_as_it_was(solver, fail_at, fitted):
    model = quick(solver=solver, warm_start=True)
    if fitted:
        model.fit(X, Y)
    recorder = Recorder(fail_at=fail_at)
    model.set_callbacks(recorder)
    before = vars(model).copy()
    coefs = [coef.copy() for coef in before.get("coefs_", [])]
    with pytest.raises(ArithmeticError, match=f"in {fail_at[0]}"):
        model.fit(X, Y)
    assert recorder.hooks[-1][0] == "teardown"
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)
    for coef, old in zip(before.get("coefs_", []), coefs, strict=True):
        np.testing.assert_array_equal(coef, old)
    assert model.set_callbacks().fit(X, Y).n_iter_ == 5


def test_invalid_data_are_refused_before_any_task():
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        fit_watched(quick(), np.full_like(X, np.nan), Y, recorder=recorder)
    assert [hook[0] for hook in recorder.hooks] == ["setup", "teardown"]


@pytest.mark.parametrize("solver", SOLVERS)
def test_ctrl_c_within_a_callback_ends_the_fit_as_elsewhere(solver):
    recorder = Recorder(fail_at=("end", 3), error=KeyboardInterrupt)
    with pytest.warns(UserWarning, match="interrupted"):
        model = fit_watched(quick(solver=solver), X, Y, recorder=recorder)[0]
    assert_same_bytes(model, quick(solver=solver, max_iter=3).fit(X, Y))


def test_an_epoch_cut_short_has_an_end_without_a_model(monkeypatch):
    times = iter(range(100))
    monkeypatch.setattr(loop, "monotonic", lambda: next(times))
    model, recorder = fit_watched(quick(max_time=4, max_iter=50), X, Y)
    ends = recorder.seen("end", "epoch")
    assert len(recorder.seen("begin", "epoch")) == len(ends) == model.n_iter_ + 1 == 4
    assert [seen["fitted"] is None for seen in ends] == [False, False, False, True]


def test_without_callbacks_nothing_is_called(monkeypatch):
    monkeypatch.setattr(BaseMLP, "_init_callback_context", None)
    monkeypatch.setattr(Problem, "snapshot", None)
    model = quick().set_callbacks(Recorder()).set_callbacks()
    assert len(model.fit(X, Y).loss_curve_) == 5
    watched = quick().set_callbacks(Recorder())
    with pytest.raises(TypeError):
        watched.fit(X, Y)


def test_verbose_lines_are_the_same_beside_callbacks(capsys):
    for options in ({}, {"early_stopping": True}):
        printed = []
        for callbacks in ((), (Recorder(),)):
            quick(verbose=True, **options).set_callbacks(*callbacks).fit(X, Y)
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1] and printed[0].count("\n") >= 5


def test_callbacks_stay_out_of_partial_fit_and_survive_clone_and_pickle():
    recorder = Recorder()
    model = quick().set_callbacks(recorder).partial_fit(X, Y, classes=[0, 1, 2])
    assert not recorder.hooks
    clone(model).fit(X, Y)
    assert len(recorder.seen("end", "epoch")) == 5
    copy = pickle.loads(pickle.dumps(quick().set_callbacks(Recorder()).fit(X, Y)))
    copy.fit(X, Y)
    assert len(copy._skl_callbacks[0].seen("end", "epoch")) == 10


def test_what_is_no_callback_is_refused():
    with pytest.raises(TypeError, match="FitCallback"):
        quick().set_callbacks(print)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("weight", [None, WEIGHT])
@pytest.mark.parametrize(
    ("estimator", "score"), [(MLPClassifier, "accuracy"), (MLPRegressor, "r2")]
)
def test_scoring_monitor_logs_the_score_of_every_epoch(estimator, score, weight):
    features, y = (X, Y) if estimator is MLPClassifier else load_diabetes(return_X_y=True)
    weight = None if weight is None else np.resize(weight, len(y))
    features = pd.DataFrame(features).rename(columns=str)
    monitor = callback.ScoringMonitor(scoring=score)
    quick(estimator).set_callbacks(monitor).fit(features, y, weight)
    data = monitor.get_logs().data_as_pandas
    epochs = data[data["task_name"] == "epoch"][score].tolist()
    assert epochs == [
        quick(estimator, max_iter=count).fit(features, y, weight).score(features, y, weight)
        for count in range(1, 6)
    ]


@pytest.mark.slow
def test_scoring_monitor_follows_every_fit_of_a_search_in_two_processes():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    search = GridSearchCV(
        quick().set_callbacks(monitor), {"alpha": [1e-4, 1.0]}, cv=2, n_jobs=2, refit=True
    )
    search.fit(X, Y)
    data = monitor.get_logs(select="all")
    assert sum((log.data_as_pandas["task_name"] == "epoch").sum() for log in data) == 5 * 5


@pytest.mark.parametrize("max_time", [None, 4])
def test_a_progress_bar_fills_over_the_epochs(capsys, max_time, monkeypatch):
    times = iter(range(100))
    monkeypatch.setattr(loop, "monotonic", lambda: next(times))
    quick(max_time=max_time).set_callbacks(callback.ProgressBar()).fit(X, Y)
    printed = capsys.readouterr().out
    assert "MLPClassifier - fit" in printed and "100%" in printed


def test_a_progress_bar_shows_the_fits_of_a_pipeline_within_a_search(capsys):
    search = GridSearchCV(
        make_pipeline(StandardScaler(), quick()), {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2
    )
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, Y)
    printed = capsys.readouterr().out
    assert printed.count("MLPClassifier - fit") == 5  # four fits and the last on all data
    assert "GridSearchCV - fit" in printed


def test_no_bar_counts_more_epochs_than_there_may_be():
    class Children(Recorder):
        def on_fit_task_end(self, estimator, context):
            self._note("end", estimator, context)
            if context.parent is None:
                assert context.max_subtasks == 5 == len(list(context)) - 1

    for solver in SOLVERS:
        recorder = fit_watched(quick(solver=solver), X, Y, recorder=Children())[1]
        assert len(recorder.seen("end", "fit")) == 1


def test_callbacks_of_lbfgs_see_the_weights_of_inputs_that_are_not_in_use():
    wide = random_array((60, 70_001), density=0.0005, format="csr", random_state=0)
    model = quick(solver="lbfgs", hidden_layer_sizes=(3,), max_iter=2)
    model, recorder = fit_watched(model, wide, np.arange(60) % 3)
    assert_same_bytes(recorder.seen("end", "epoch")[-1]["fitted"], model)


@pytest.mark.parametrize("task", ["epoch", "fit"])
def test_a_callback_that_raises_leaves_the_curves_of_a_warm_start(task):
    model = quick(warm_start=True, max_iter=2).fit(X, Y, X_val=X[:9], y_val=Y[:9])
    curves = model.loss_curve_.copy(), model.validation_loss_curve_.copy()
    ends = 1 if task == "epoch" else 3  # the fit ends after its two epochs
    with pytest.raises(ArithmeticError):
        fit_watched(model, X, Y, recorder=Recorder(fail_at=("end", ends)), X_val=X[:9], y_val=Y[:9])
    assert (model.loss_curve_, model.validation_loss_curve_) == curves
