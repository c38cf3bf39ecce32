"""When a fit improves, stops, or refuses to begin: as scikit-learn decides, ties included."""

import itertools
import warnings

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.network import Network
from fastmlp._training.history import Curve, History

RNG = np.random.RandomState(0)
X = RNG.randn(40, 3)
Y = (X[:, 0] > 0).astype(int)
# Sums and differences of these are exact, so that many improvements are equal to tol.
VALUES = (0.0, 0.5, 1.0, np.nan, np.inf, -np.inf)
TOLERANCES = (0.0, 0.5, np.inf)


class Judge(SklearnMLPRegressor):
    """scikit-learn's rule of improvement, fed with values instead of data."""

    def __init__(self, tol, stops_early):
        super().__init__(tol=tol)
        self.stops_early, self._no_improvement_count = stops_early, 0
        self.loss_curve_, self.best_loss_ = [], np.inf
        self.validation_scores_, self.best_validation_score_ = [], -np.inf
        self.coefs_, self.intercepts_ = [np.zeros(1)], []

    def _score(self, X, y, sample_weight=None):
        return X

    def judge(self, value, epoch):
        self.coefs_[0][0] = epoch
        self.loss_curve_.append(value)
        self._update_no_improvement_count(self.stops_early, value, None, None)


@pytest.mark.parametrize("tol", TOLERANCES)
@pytest.mark.parametrize("stops_early", [False, True])
def test_every_short_sequence_is_judged_as_scikit_learn_judges_it(tol, stops_early):
    network = Network([1, 1], np.float64)
    for values in itertools.product(VALUES, repeat=4):
        history = History.begin(MLPClassifier(early_stopping=stops_early))
        judge = Judge(tol, stops_early)
        for epoch, value in enumerate(values):
            network.coefs[0][...] = epoch
            history.record(value, 1)
            if stops_early:
                history.record_validation(0.0, value)
            history.judge(tol, network)
            judge.judge(value, epoch)
            assert history.no_improvement_count == judge._no_improvement_count, values
        if stops_early:
            assert history.best_validation_score == judge.best_validation_score_
            kept = None if history.best is None else history.best.coefs[0][0, 0]
            best = getattr(judge, "_best_coefs", None)
            assert kept == (None if best is None else best[0][0]), values
        else:
            assert history.best_loss == judge.best_loss_


@pytest.mark.parametrize("rate", [5e-6, 1e-6, 5.1e-6])
def test_the_adaptive_schedule_stops_at_the_rate_where_scikit_learns_does(rate):
    """One of the rates is the least one, at which both stop instead of dividing it."""
    options = dict(solver="sgd", learning_rate="adaptive", learning_rate_init=rate, tol=10.0)
    options |= dict(n_iter_no_change=2, max_iter=30, random_state=0, hidden_layer_sizes=(4,))
    ours, theirs = (each(**options).fit(X, Y) for each in (MLPClassifier, SklearnMLPClassifier))
    assert ours.n_iter_ == theirs.n_iter_ < 30


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor, SklearnMLPClassifier])
@pytest.mark.parametrize(("rows", "is_clipped"), [(39, False), (40, False), (41, True)])
def test_only_a_batch_of_more_rows_than_there_are_is_clipped(estimator, rows, is_clipped):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimator(batch_size=rows, max_iter=2, random_state=0).fit(X, Y)
    assert is_clipped == any("clipped" in str(each.message) for each in caught)


def error_of(estimator, rows, fraction):
    """The message of the error of a fit with early stopping; None without one."""
    model = estimator(early_stopping=True, validation_fraction=fraction, max_iter=2, random_state=0)
    try:
        model.fit(X[:rows], X[:rows, 0])
    except ValueError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_too_few_rows_to_split_are_refused_where_scikit_learn_refuses_them(fraction):
    messages = [error_of(SklearnMLPRegressor, rows, fraction) for rows in range(2, 13)]
    assert any(messages) and None in messages
    assert [error_of(MLPRegressor, rows, fraction) for rows in range(2, 13)] == messages


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "labels",
    [X[:, 0] > 1.2, np.digitize(X[:, 0], [-1, 1]), X > 0.5],
    ids=["a rare class", "three classes", "multilabel"],
)
def test_the_rows_split_off_are_those_of_scikit_learn(labels):
    """The rows show in the scores and the losses: a rare class is in both parts, if stratified."""
    options = dict(early_stopping=True, validation_fraction=0.3, max_iter=5, batch_size=7)
    for seed in range(4):
        ours, theirs = (
            estimator(**options, random_state=seed).fit(X, labels.astype(int))
            for estimator in (MLPClassifier, SklearnMLPClassifier)
        )
        np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_, rtol=1e-12)
        np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-8)


def test_a_curve_extends_the_earlier_list_when_it_is_finished_until_that_is_undone():
    earlier = [3.0, 2.0]
    curve = Curve(earlier)
    curve.append(1.0)
    curve.append(0.5)
    assert curve.so_far() == [3.0, 2.0, 1.0, 0.5] and len(curve) == 4
    assert curve.earlier is earlier == [3.0, 2.0]
    curve.finish()
    assert earlier == [3.0, 2.0, 1.0, 0.5] and len(curve) == 4
    curve.undo()
    assert earlier == [3.0, 2.0]


def test_a_history_finishes_and_undoes_both_of_its_curves():
    history = History(loss_curve=Curve([3.0]), validation_loss_curve=Curve([4.0]))
    for curve in (history.loss_curve, history.validation_loss_curve):
        curve.append(1.0)
    history.finish()
    assert (history.loss_curve.earlier, history.validation_loss_curve.earlier) == (
        [3.0, 1.0],
        [4.0, 1.0],
    )
    history.undo()
    assert (history.loss_curve.earlier, history.validation_loss_curve.earlier) == ([3.0], [4.0])
