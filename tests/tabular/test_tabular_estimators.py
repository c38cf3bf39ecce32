"""TabularMLPClassifier and TabularMLPRegressor: folds, members, predictions, hostile tables."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp.interop import to_sklearn
from fastmlp.tabular import TabularMLPClassifier, TabularMLPRegressor, encoding
from fastmlp.tabular.estimators import best_temperature, tempered
from fastmlp.tabular.members import splits_of

SMALL = {"hidden_layer_sizes": (16,), "max_iter": 8, "n_members": 2, "random_state": 0}
IRIS, KINDS = load_iris(return_X_y=True, as_frame=True)
NAMES = KINDS.map({0: "setosa", 1: "versicolor", 2: "virginica"})
DIABETES, PROGRESSION = load_diabetes(return_X_y=True, as_frame=True)
ESTIMATORS = [(TabularMLPClassifier, IRIS, NAMES), (TabularMLPRegressor, DIABETES, PROGRESSION)]


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def failures_to_expect(estimator):
    """The folds of repeated rows are others than those of weighted rows."""
    name = "check_sample_weight_equivalence_on_dense_data"
    return {name: "rows are drawn for the folds, whatever their weights"}


@pytest.mark.slow
@parametrize_with_checks(
    [
        TabularMLPClassifier(hidden_layer_sizes=(24,), max_iter=40, learning_rate_init=0.02),
        TabularMLPRegressor(hidden_layer_sizes=(24,), max_iter=40, learning_rate_init=0.02),
    ],
    expected_failed_checks=failures_to_expect,
)
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.mark.parametrize("n_members", [1, 2, 5])
@pytest.mark.parametrize("labels", [None, np.arange(103) % 3])
def test_folds_are_a_partition_and_no_member_sees_what_it_holds_out(labels, n_members):
    splits = splits_of(103, labels, n_members, seed=0)
    assert len(splits) == n_members
    for split in splits:
        assert sorted([*split.training, *split.held_out]) == list(range(103))
    held_out = np.concatenate([split.held_out for split in splits])
    assert len(set(held_out)) == len(held_out) == (103 if n_members > 1 else 21)
    if labels is not None:
        shares = [np.bincount(labels[split.held_out]) for split in splits]
        assert np.ptp(shares, axis=1).max() <= 1


def test_rare_classes_are_never_held_out():
    labels = np.array([0] * 50 + [1] * 50 + [2] * 3)
    for split in splits_of(103, labels, 5, seed=0):
        assert set(labels[split.held_out]) == {0, 1} and (labels[split.training] == 2).sum() == 3


@pytest.mark.parametrize(("rows", "members"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (11, 5)])
def test_few_rows_make_fewer_members(rows, members):
    splits = splits_of(rows, None, 5, seed=0)
    assert len(splits) == members
    assert all(len(split.held_out) != 1 for split in splits)


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_predictions_are_the_members_mean(kind, X, y):
    model = kind(**SMALL).fit(X, y)
    inputs = model.preprocessor_.transform(X)
    assert len(model.members_) == 2
    if kind is TabularMLPClassifier:
        parts = [
            tempered(member.predict_proba(inputs), model.temperature_) for member in model.members_
        ]
    else:
        mean, deviation = y.mean(), y.std(ddof=0)
        parts = [member.predict(inputs) * deviation + mean for member in model.members_]
        parts = np.clip(parts, y.min(), y.max())
    np.testing.assert_allclose(outputs(model, X), np.mean(parts, axis=0), rtol=1e-5)


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_held_out_predictions_are_those_of_the_member_that_held_a_row_out(kind, X, y):
    model = kind(**SMALL).fit(X, y)
    assert not np.isnan(model.oof_prediction_).any()
    parts = [
        kind._outputs_of(model, each, model.preprocessor_.transform(X)) for each in model.members_
    ]
    is_one = [(part == model.oof_prediction_).reshape(len(X), -1).all(axis=1) for part in parts]
    assert np.logical_or(*is_one).all() and min(map(np.sum, is_one)) >= len(X) // 2 - 1


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_bits_do_not_depend_on_threads(kind, X, y):
    models = [kind(**SMALL, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 2, 3)]
    for model in models[1:]:
        np.testing.assert_array_equal(outputs(model, X), outputs(models[0], X))


def test_a_classifier_learns():
    X, y = load_wine(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    model = TabularMLPClassifier(n_members=3, hidden_layer_sizes=(32, 32), random_state=0)
    assert model.fit(X_train, y_train).score(X_test, y_test) >= 0.95


def test_a_regressor_follows_a_heavy_tail_further_than_clipped_numbers_would(monkeypatch):
    rng = np.random.RandomState(1)
    X = np.column_stack([np.exp(1.5 * rng.randn(900)), rng.randn(900)])
    y = X[:, 0] + 0.1 * X[:, 1] + 0.01
    train, test = slice(600), slice(600, None)
    options = {"n_members": 1, "hidden_layer_sizes": (32,), "batch_size": 32, "random_state": 0}
    scores = []
    for share in (encoding.TAIL_SHARE, 2.0):
        monkeypatch.setattr(encoding, "TAIL_SHARE", share)
        model = TabularMLPRegressor(**options).fit(X[train], y[train])
        scores.append(model.score(X[test], y[test]))
    assert scores[0] > 0.95 and 1 - scores[0] < 0.2 * (1 - scores[1])  # of what is unexplained
    assert LinearRegression().fit(X[train], y[train]).score(X[test], y[test]) > 0.99


@pytest.mark.parametrize("size", [1e2, 1e6, 1e30])
def test_outliers_in_training_are_harmless(size):
    """A wrong value in every column, as by a misplaced decimal point."""
    X, y = DIABETES.to_numpy(), PROGRESSION.to_numpy()
    wrong = X[:300].copy()
    np.fill_diagonal(wrong, size * np.ptp(X, axis=0))
    options = {"n_members": 1, "hidden_layer_sizes": (32,), "batch_size": 32, "random_state": 0}
    clean, found = (
        TabularMLPRegressor(**options).fit(each, y[:300]).score(X[300:], y[300:])
        for each in (X[:300], wrong)
    )
    assert found > clean - 0.1


def test_what_has_no_counterpart_is_refused_by_name():
    model = TabularMLPClassifier(**SMALL).fit(IRIS, NAMES)
    for each in (model, make_pipeline(model)):
        with pytest.raises(ValueError, match="no counterpart of TabularMLPClassifier"):
            to_sklearn(each)


def test_predictions_stay_in_the_range_that_was_seen():
    model = TabularMLPRegressor(**SMALL).fit(DIABETES, PROGRESSION)
    found = model.predict(1e6 * DIABETES)
    assert PROGRESSION.min() <= found.min() and found.max() <= PROGRESSION.max()


@pytest.mark.parametrize("power", [-1000, -600, 600, 1014])
def test_the_size_of_targets_does_not_matter(power):
    expected = TabularMLPRegressor(**SMALL).fit(DIABETES, PROGRESSION).predict(DIABETES)
    y = np.ldexp(PROGRESSION.to_numpy(), power)
    found = TabularMLPRegressor(**SMALL).fit(DIABETES, y).predict(DIABETES)
    np.testing.assert_array_equal(found, np.ldexp(expected, power))


def test_several_outputs_are_several_columns():
    y = np.column_stack([PROGRESSION, -PROGRESSION, np.ones(len(PROGRESSION))])
    model = TabularMLPRegressor(**SMALL).fit(DIABETES, y)
    found = model.predict(DIABETES)
    assert found.shape == y.shape == model.oof_prediction_.shape and (found[:, 2] == 1).all()


def test_calibration_lowers_the_log_loss_of_timid_probabilities():
    rng = np.random.RandomState(0)
    true = rng.dirichlet([0.3] * 3, 2000)
    labels = np.array([rng.choice(3, p=each) for each in true])
    timid = tempered(true, 2.0)
    assert best_temperature(timid, labels, None) == pytest.approx(0.5, rel=0.1)
    calibrated = tempered(timid, best_temperature(timid, labels, None))
    assert log_loss(labels, calibrated) < log_loss(labels, timid)


def test_calibration_does_not_change_what_a_member_predicts():
    models = [TabularMLPClassifier(**SMALL | {"n_members": 1}, calibrate=each) for each in (0, 1)]
    plain, calibrated = [
        model.set_params(calibrate=bool(model.calibrate)).fit(IRIS, NAMES) for model in models
    ]
    assert calibrated.temperature_ != 1 == plain.temperature_
    np.testing.assert_array_equal(plain.predict(IRIS), calibrated.predict(IRIS))


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_weights_of_zero_leave_rows_out_of_the_loss(kind, X, y):
    weights = np.ones(len(X))
    weights[::3] = 0
    wrong = y.copy()
    wrong.iloc[::3] = y.iloc[0]
    models = [kind(**SMALL, n_bins=0).fit(X, each, sample_weight=weights) for each in (y, wrong)]
    assert len({str(type(model)) for model in models}) == 1
    one, other = (model.score(X[weights > 0], y[weights > 0]) for model in models)
    assert one == pytest.approx(other, abs=0.15)


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_models_travel(kind, X, y):
    model = kind(**SMALL).fit(X, y)
    expected = outputs(model, X)
    np.testing.assert_array_equal(outputs(pickle.loads(pickle.dumps(model)), X), expected)
    np.testing.assert_array_equal(outputs(clone(model).fit(X, y), X), expected)
    pipeline = make_pipeline(FunctionTransformer(), kind(**SMALL))
    name = kind.__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__n_members": [1, 2]}, cv=2).fit(X, y)
    assert np.isfinite(search.best_score_)


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
def test_a_fit_that_fails_changes_nothing(kind, X, y):
    model = kind(**SMALL).fit(X, y)
    expected = outputs(model, X)
    with pytest.raises(ValueError):
        model.fit(X.assign(bad=np.inf), y)
    with pytest.raises(ValueError):
        model.fit(X[:10], y)
    np.testing.assert_array_equal(outputs(model, X), expected)


def test_no_warning_says_that_members_ended():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TabularMLPClassifier(**SMALL).fit(IRIS, NAMES)


def test_a_class_without_rows_in_a_members_training_has_probability_zero_there():
    table, labels = pd.DataFrame({"x": [0.0, 1.0, 2.0]}), ["a", "b", "c"]
    model = TabularMLPClassifier(**SMALL).fit(table, labels)
    assert model.predict_proba(table).shape == (3, 3)


@pytest.mark.parametrize(("kind", "X", "y"), ESTIMATORS)
@pytest.mark.parametrize("rows", [2, 3, 5, 7])
def test_a_handful_of_rows_is_enough(kind, X, y, rows):
    chosen = np.linspace(0, len(X) - 1, rows).astype(int)
    model = kind(**SMALL | {"n_members": 5}).fit(X.iloc[chosen], y.iloc[chosen])
    assert np.isfinite(outputs(model, X)).all()


def test_two_thousand_columns_are_read():
    X = np.random.RandomState(0).randn(60, 2000)
    model = TabularMLPRegressor(**SMALL, n_bins=0).fit(X, X[:, 0])
    assert np.isfinite(model.predict(X)).all()


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="at least 2 classes"):
        TabularMLPClassifier(**SMALL).fit(IRIS, np.full(len(IRIS), "only"))


@pytest.mark.parametrize("wrong", [{"n_members": 0}, {"max_iter": 0}, {"calibrate": "yes"}])
def test_parameters_are_checked(wrong):
    with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
        TabularMLPClassifier(**SMALL | wrong).fit(IRIS, NAMES)
