"""scikit-learn's callbacks on the fit of an ensemble: epochs of all members, ends and failures."""

import threading
import time

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from fastmlp.tabular import TabularMLPClassifier, TabularMLPRegressor

callback = pytest.importorskip("sklearn.callback", reason="scikit-learn 1.9: it has callbacks")

IRIS = load_iris(return_X_y=True)
DIABETES = load_diabetes(return_X_y=True)
ESTIMATORS = [(TabularMLPClassifier, IRIS), (TabularMLPRegressor, DIABETES)]
EPOCHS, MEMBERS = 4, 3


def quick(kind, **parameters):
    defaults = {"hidden_layer_sizes": (8,), "max_iter": EPOCHS, "n_members": MEMBERS}
    return kind(**defaults | {"random_state": 0} | parameters)


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


class Recorder:
    """Remembers every hook; ends the fit or raises after so many epochs."""

    def __init__(self, stop_after=None, fail_after=None):
        self.stop_after, self.fail_after = stop_after, fail_after
        self.hooks, self.ends, self.overlaps = [], [], 0
        self._is_free = threading.Lock()

    def _note(self, hook, estimator, context):
        if not self._is_free.acquire(blocking=False):
            self.overlaps += 1
            return
        self.hooks.append((hook, context.task_name, context.task_id, estimator))
        time.sleep(1e-3)  # long enough for hooks of other threads to come in between
        self._is_free.release()

    def setup(self, estimator, context):
        self._note("setup", estimator, context)

    def on_fit_task_begin(self, estimator, context, *, fitted_estimator=None):
        self._note("begin", estimator, context)
        self.most = context.max_subtasks if context.parent is None else self.most

    def on_fit_task_end(
        self, estimator, context, *, X=None, y=None, metadata=None, fitted_estimator=None
    ):
        self._note("end", estimator, context)
        if context.parent is not None:
            self.ends.append((context.task_id, X, y, metadata, fitted_estimator))
            if len(self.ends) == self.fail_after:
                raise ArithmeticError("in an epoch")
            return len(self.ends) == self.stop_after
        self.last = fitted_estimator
        return False

    def teardown(self, estimator, context):
        self._note("teardown", estimator, context)


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_every_epoch_of_every_member_is_a_task_within_the_fit(kind, data, n_jobs):
    recorder = Recorder()
    model = quick(kind, n_jobs=n_jobs).set_callbacks(recorder).fit(*data)
    hooks = [hook[:2] for hook in recorder.hooks]
    assert hooks[:2] == [("setup", "fit"), ("begin", "fit")]
    assert hooks[-2:] == [("end", "fit"), ("teardown", "fit")]
    for hook in ("begin", "end"):
        epochs = [number for at, name, number, _ in recorder.hooks if (at, name) == (hook, "epoch")]
        assert sorted(epochs) == list(range(MEMBERS * EPOCHS))
    assert recorder.most == MEMBERS * EPOCHS and recorder.overlaps == 0
    assert all(estimator is model for *_, estimator in recorder.hooks)
    expected = outputs(quick(kind).fit(*data), data[0])
    np.testing.assert_array_equal(outputs(model, data[0]), expected)
    np.testing.assert_array_equal(outputs(recorder.last, data[0]), expected)


def test_fewer_members_have_fewer_epochs():
    recorder = Recorder()
    X, y = DIABETES
    quick(TabularMLPRegressor).set_callbacks(recorder).fit(X[:5], y[:5])
    assert recorder.most == 2 * EPOCHS == len(recorder.ends)


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
def test_an_epoch_shows_the_ensemble_as_if_it_had_that_member_alone(kind, data):
    recorder, weights = Recorder(), np.linspace(0.5, 1, len(data[0]))
    model = quick(kind, n_jobs=2).set_callbacks(recorder).fit(*data, weights)
    for number, X, y, metadata, shown in recorder.ends:
        assert X is data[0] and y is data[1] and metadata == {"sample_weight": weights}
        assert len(shown.members_) == 1 and shown.n_iter_ == number % EPOCHS + 1
        assert np.isfinite(outputs(shown, X)).all()
        is_held_out = ~np.isnan(shown.oof_prediction_).reshape(len(X), -1).any(axis=1)
        assert is_held_out.sum() == pytest.approx(len(X) / MEMBERS, abs=1)
        member, shorter = shown.members_[0], model.members_[number // EPOCHS]
        assert member.loss_curve_ == shorter.loss_curve_[: shown.n_iter_]


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
def test_the_progress_bar_is_one_for_all_members(kind, data, capsys):
    pytest.importorskip("rich")
    model = quick(kind, n_jobs=2).set_callbacks(callback.ProgressBar()).fit(*data)
    printed = capsys.readouterr().out
    assert printed.count(f"{kind.__name__} - fit") == 1 and "100%" in printed
    assert "epoch" not in printed
    assert clone(model).fit(*data).n_iter_ == EPOCHS


def test_a_bar_of_a_search_holds_those_of_its_fits(capsys):
    pytest.importorskip("rich")
    search = GridSearchCV(quick(TabularMLPClassifier), {"n_members": [1, 2]}, cv=2)
    search.set_callbacks(callback.ProgressBar()).fit(*IRIS)
    assert "TabularMLPClassifier - fit" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "data"), ESTIMATORS)
@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.filterwarnings("error")
def test_a_callback_can_end_the_fit_and_later_members_are_left_out(kind, data, n_jobs):
    recorder = Recorder(stop_after=3)
    model = quick(kind, n_jobs=n_jobs, max_iter=10**4, max_time=1000.0).set_callbacks(recorder)
    model.fit(*data)
    assert 1 <= len(model.members_) <= n_jobs and model.n_iter_ <= 3
    assert len(recorder.ends) <= 2 + n_jobs
    assert np.isfinite(outputs(model, data[0])).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_exception_in_a_callback_leaves_the_estimator_as_it_was(n_jobs):
    model = quick(TabularMLPClassifier, n_jobs=n_jobs).fit(*IRIS)
    recorder, before = Recorder(fail_after=3), vars(model).copy()
    model.set_callbacks(recorder)
    with pytest.raises(ArithmeticError, match="in an epoch"):
        model.fit(*IRIS)
    quick(TabularMLPClassifier).fit(*IRIS)  # meanwhile, hooks may come that must not
    assert recorder.hooks[-1][0] == "teardown"
    model.set_callbacks()
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def test_an_epoch_cut_short_has_an_end_without_a_model():
    recorder = Recorder()
    model = quick(TabularMLPClassifier, max_iter=10**6, max_time=0.1, n_jobs=2)
    with pytest.warns(ConvergenceWarning, match="3 of 3 members"):
        model.set_callbacks(recorder).fit(*IRIS)
    begun = [hook for hook in recorder.hooks if hook[:2] == ("begin", "epoch")]
    assert len(begun) == len(recorder.ends)
    assert sum(shown is None for *_, shown in recorder.ends) <= MEMBERS


def test_invalid_data_are_refused_before_any_task():
    recorder = Recorder()
    X, y = IRIS
    with pytest.raises(ValueError, match="infinity"):
        quick(TabularMLPClassifier).set_callbacks(recorder).fit(np.full_like(X, np.inf), y)
    assert [hook[0] for hook in recorder.hooks] == ["setup", "teardown"]


@pytest.mark.parametrize(
    ("kind", "data", "score"),
    [(TabularMLPClassifier, IRIS, "accuracy"), (TabularMLPRegressor, DIABETES, "r2")],
)
def test_a_scoring_monitor_logs_every_epoch(kind, data, score):
    monitor = callback.ScoringMonitor(scoring=score)
    quick(kind).set_callbacks(monitor).fit(*data)
    logs = monitor.get_logs().data_as_pandas
    assert logs[logs["task_name"] == "epoch"][score].notna().sum() == MEMBERS * EPOCHS
