"""Validation data of the user's, the losses and scores on them, and what early stopping keeps."""

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.metrics import (
    balanced_accuracy_score,
    get_scorer,
    log_loss,
    make_scorer,
    max_error,
    mean_poisson_deviance,
    mean_squared_error,
)
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp._estimator.kinds import kind_of_targets

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
ROWS, HELD = train_test_split(np.arange(len(X)), test_size=0.3, stratify=Y, random_state=0)
WEIGHT = np.random.RandomState(0).uniform(0.1, 2, len(X))
TRAINING, VALIDATION = (X[ROWS], Y[ROWS]), {"X_val": X[HELD], "y_val": Y[HELD]}
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
MULTILABEL = make_multilabel_classification(150, 4, n_classes=3, random_state=0)
DIABETES = load_diabetes(return_X_y=True)
DIABETES = DIABETES[0][:150], DIABETES[1][:150] / 100


def quick(estimator=MLPClassifier, **parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 12, "random_state": 0}
    return estimator(**defaults | parameters)


def assert_same_bytes(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b)


PROBLEMS = {
    "classes": (MLPClassifier, {}, X, Y),
    "two classes": (MLPClassifier, {}, X[:100], NAMES[:100]),
    "multilabel": (MLPClassifier, {}, *MULTILABEL),
    "values": (MLPRegressor, {}, *DIABETES),
    "outputs": (MLPRegressor, {}, DIABETES[0], np.c_[DIABETES[1], X[:, 0]]),
    "counts": (MLPRegressor, {"loss": "poisson"}, *DIABETES),
    "smoothed classes": (MLPClassifier, {"label_smoothing": 0.2}, X, Y),
    "smoothed columns": (MLPClassifier, {"label_smoothing": 0.2}, *MULTILABEL),
    "squared classes": (MLPClassifier, {"loss": "squared_error"}, X, Y),
    "squared columns": (MLPClassifier, {"loss": "squared_error"}, *MULTILABEL),
    "absolute": (MLPRegressor, {"loss": "absolute_error"}, DIABETES[0], np.c_[DIABETES[1], X]),
    "huber": (MLPRegressor, {"loss": "huber", "huber_delta": 0.5}, *DIABETES),
}


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_loss_is_the_training_loss_of_the_same_data(problem, weighted, early_stopping):
    """With one batch an epoch the kernels' loss is taken before its only step."""
    estimator, parameters, X, y = PROBLEMS[problem]
    weight = WEIGHT[: len(X)] if weighted else None
    model = quick(
        estimator, alpha=0, batch_size=len(X), early_stopping=early_stopping, **parameters
    )
    model.fit(X, y, weight, X_val=X, y_val=y, sample_weight_val=weight)
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 12
    np.testing.assert_allclose(model.validation_loss_curve_[:-1], model.loss_curve_[1:], rtol=1e-9)


def test_validation_loss_is_the_metrics_loss():
    model = quick().fit(*TRAINING, **VALIDATION, sample_weight_val=WEIGHT[HELD])
    expected = log_loss(Y[HELD], model.predict_proba(X[HELD]), sample_weight=WEIGHT[HELD])
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)
    features, y = DIABETES
    for loss, metric in (("squared_error", mean_squared_error), ("poisson", mean_poisson_deviance)):
        model = quick(MLPRegressor, loss=loss).fit(features, y, X_val=features[:9], y_val=y[:9])
        expected = metric(y[:9], model.predict(features[:9])) / 2
        assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_validation_data_alone_leave_the_model_as_it_is(problem):
    estimator, parameters, X, y = PROBLEMS[problem]
    model = quick(estimator, **parameters).fit(X, y, X_val=X[:30], y_val=y[:30])
    plain = quick(estimator, **parameters).fit(X, y)
    assert_same_bytes(model, plain)
    assert plain.validation_loss_curve_ is None
    assert model.validation_scores_ is plain.validation_scores_ is None


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("form", ["dense", "sparse", "float32"])
@pytest.mark.parametrize("restore_best_weights", [True, False])
def test_given_data_do_what_the_split_does(problem, form, restore_best_weights):
    estimator, parameters, X, y = PROBLEMS[problem]
    X = np.where(np.median(X) < X, X, 0.0)
    if form != "dense":
        X = X.astype(np.float32) if form == "float32" else scipy.sparse.csr_array(X)
    options = {
        "early_stopping": True,
        "warm_start": True,
        "learning_rate_init": 0.3,
        "restore_best_weights": restore_best_weights,
        **parameters,
    }
    start = quick(estimator, **options, shuffle=False).fit(X, y)
    models = pickle.loads(pickle.dumps(start)), pickle.loads(pickle.dumps(start))
    stratify = kind_of_targets(start).of(start).stratification(y)
    rows, held = train_test_split(
        np.arange(len(y)), test_size=0.1, random_state=0, stratify=stratify
    )
    for model in models:  # whatever score was reached, forget it
        model._criterion = "another"
    models[0].fit(X, y, WEIGHT[: len(y)])
    models[1].fit(
        *(X[rows], y[rows], WEIGHT[rows]),
        X_val=X[held],
        y_val=y[held],
        sample_weight_val=WEIGHT[held],
    )
    assert_same_bytes(*models)
    assert models[0].validation_scores_ == models[1].validation_scores_
    assert models[0].validation_loss_curve_ == models[1].validation_loss_curve_
    assert models[0].best_validation_score_ == max(models[0].validation_scores_)


def test_the_weights_kept_are_the_best_or_the_last():
    options = {"early_stopping": True, "learning_rate_init": 0.2, "batch_size": 4}
    best = quick(**options).fit(*TRAINING, **VALIDATION)
    last = quick(**options, restore_best_weights=False).fit(*TRAINING, **VALIDATION)
    assert best.validation_scores_ == last.validation_scores_
    scores = [model.score(X[HELD], Y[HELD]) for model in (best, last)]
    assert scores == [max(best.validation_scores_), best.validation_scores_[-1]]
    assert scores[0] > scores[1]


@pytest.mark.parametrize(("estimator", "same"), [(MLPClassifier, "accuracy"), (MLPRegressor, "r2")])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_default_score_by_name_gives_the_default_model(estimator, same, weighted):
    weight = WEIGHT if weighted else None
    models = [
        quick(estimator, early_stopping=True, scoring=scoring).fit(X, Y, weight)
        for scoring in (None, same)
    ]
    assert_same_bytes(*models)
    assert models[0].validation_scores_ == models[1].validation_scores_


def test_scoring_loss_is_the_negative_validation_loss():
    for estimator, parameters, X, y in PROBLEMS.values():
        model = quick(estimator, early_stopping=True, scoring="loss", **parameters).fit(X, y)
        assert model.validation_scores_ == [-loss for loss in model.validation_loss_curve_]
        assert model.best_validation_score_ == -min(model.validation_loss_curve_)


def only_the_second_class(estimator, X, y):
    """A scorer that takes no weights, and needs a fitted estimator of the original labels."""
    assert list(estimator.classes_) == ["setosa", "versicolor", "virginica"]
    return np.mean(estimator.predict_proba(X)[y == "versicolor", 1])


@pytest.mark.parametrize(
    "scoring",
    ["balanced_accuracy", "neg_log_loss", "roc_auc_ovr", "f1_macro", only_the_second_class],
)
@pytest.mark.filterwarnings("error:X does not have valid feature names")
@pytest.mark.parametrize("frame", [False, True])
def test_a_scorer_sees_the_network_in_training(scoring, frame):
    features = pd.DataFrame(X, columns=list("abcd")) if frame else X
    model = quick(early_stopping=True, scoring=scoring, restore_best_weights=False)
    weight = WEIGHT[HELD]
    if frame:
        data = {"X_val": features.iloc[HELD], "y_val": pd.Series(NAMES[HELD])}
        model.fit(features.iloc[ROWS], NAMES[ROWS], **data, sample_weight_val=weight)
    else:
        data = {"X_val": X[HELD], "y_val": NAMES[HELD]}
        model.fit(X[ROWS], NAMES[ROWS], **data, sample_weight_val=weight)
    judge = scoring
    if isinstance(scoring, str):
        judge = partial(get_scorer(scoring), sample_weight=weight)
    last = judge(model, data["X_val"], NAMES[HELD])
    assert model.validation_scores_[-1] == pytest.approx(last, rel=1e-12)
    assert len(set(model.validation_scores_)) > 1


def test_a_metric_without_weights_is_taken_without():
    model = quick(MLPRegressor, early_stopping=True, scoring="neg_max_error", max_iter=3)
    model.set_params(restore_best_weights=False)
    model.fit(X, Y, X_val=X, y_val=Y, sample_weight_val=WEIGHT)
    assert -model.validation_scores_[-1] == pytest.approx(max_error(Y, model.predict(X)))


@pytest.mark.parametrize("value", ["accurate", 3, ["accuracy"], {"a": "accuracy"}])
def test_a_scoring_that_is_none_is_an_invalid_parameter(value):
    with pytest.raises(InvalidParameterError, match="scoring"):
        quick(scoring=value).fit(X, Y)


@pytest.mark.parametrize("value", ["yes", 2, None])
def test_whether_to_restore_is_a_boolean(value):
    with pytest.raises(InvalidParameterError, match="restore_best_weights"):
        quick(restore_best_weights=value).fit(X, Y)


def test_a_metric_in_place_of_a_scorer_is_a_clear_error():
    model = quick(early_stopping=True, scoring=balanced_accuracy_score)
    with pytest.raises(ValueError, match="make_scorer"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")
    model.set_params(scoring=make_scorer(balanced_accuracy_score)).fit(X, Y)
    assert len(model.validation_scores_) == 12


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("scoring", ["loss", "r2"])
def test_a_diverged_network_is_reported_as_such(scoring):
    model = quick(MLPRegressor, solver="sgd", learning_rate_init=1e9, batch_size=10)
    model.set_params(early_stopping=True, scoring=scoring)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        model.fit(X, Y)


MULTILABEL_TRAINING = dict(zip(("X", "y"), MULTILABEL, strict=True))


@pytest.mark.parametrize(
    ("training", "validation", "message"),
    [
        ({}, {"X_val": X}, "need each other"),
        ({}, {"y_val": Y}, "need each other"),
        ({}, {"sample_weight_val": WEIGHT}, "needs both"),
        ({}, {"X_val": X[:, :3], "y_val": Y}, "X_val.* 3 features.*expecting 4"),
        ({}, {"X_val": X, "y_val": Y[:9]}, "X_val.* inconsistent"),
        ({}, {"X_val": X, "y_val": Y + 1}, r"X_val.* labels \[1 2 3\]"),
        ({}, {"X_val": X, "y_val": NAMES}, "X_val.* labels .*setosa"),
        ({}, {"X_val": X, "y_val": X[:, 0]}, "Unknown label type"),
        ({}, {"X_val": X, "y_val": MULTILABEL[1]}, "X_val.* labels"),
        ({}, {"X_val": np.full_like(X, np.nan), "y_val": Y}, "X_val.* NaN"),
        ({}, {"X_val": X, "y_val": Y, "sample_weight_val": WEIGHT[:9]}, "X_val.* sample_weight"),
        (MULTILABEL_TRAINING, {"X_val": MULTILABEL[0], "y_val": Y}, "X_val.* labels"),
        (
            MULTILABEL_TRAINING,
            {"X_val": MULTILABEL[0], "y_val": MULTILABEL[1][:, [0, 1, 2, 0]]},
            "X_val.* labels",
        ),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_data_that_do_not_fit_are_a_clear_error(
    training, validation, message, early_stopping
):
    model = quick(early_stopping=early_stopping)
    with pytest.raises(ValueError, match=message):
        model.fit(**{"X": X, "y": Y} | training, **validation)
    assert not hasattr(model, "coefs_") and not hasattr(model, "n_features_in_")


def test_a_regressors_validation_data_are_checked_too():
    features, y = DIABETES
    for loss, y_val, message in (
        ("squared_error", np.c_[y, y], "2 outputs, not 1"),
        ("squared_error", y.astype(str), "real numbers"),
        ("poisson", -y, "y >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            quick(MLPRegressor, loss=loss).fit(features, y, X_val=features, y_val=y_val)
    with pytest.raises(ValueError, match="lbfgs"):
        quick(MLPRegressor, solver="lbfgs").fit(features, y, X_val=features, y_val=y)


def test_feature_names_of_validation_data_are_compared():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = quick().fit(frame, Y, X_val=frame[:30], y_val=Y[:30])
    with pytest.raises(ValueError, match="feature names"):
        model.fit(frame, Y, X_val=frame[list("dcba")], y_val=Y)
    with pytest.warns(UserWarning, match="valid feature names"):
        model.fit(frame, Y, X_val=X, y_val=Y)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_and_dense_data_may_validate_each_other():
    sparse = scipy.sparse.csc_matrix(X)
    models = [
        quick(early_stopping=True).fit(train[ROWS], Y[ROWS], X_val=held[HELD], y_val=Y[HELD])
        for train in (X, sparse.tocsr())
        for held in (X, sparse)
    ]
    for model in models[1:]:
        np.testing.assert_allclose(
            model.validation_loss_curve_, models[0].validation_loss_curve_, rtol=1e-9
        )


def test_a_pipeline_transforms_the_validation_data_as_well():
    with config_context(enable_metadata_routing=True):
        model = quick(early_stopping=True).set_fit_request(X_val=True, y_val=True)
        pipeline = Pipeline(
            [("scale", StandardScaler()), ("mlp", model)], transform_input=["X_val"]
        ).fit(*TRAINING, **VALIDATION)
    scaler = StandardScaler().fit(X[ROWS])
    alone = quick(early_stopping=True).fit(
        scaler.transform(X[ROWS]), Y[ROWS], X_val=scaler.transform(X[HELD]), y_val=Y[HELD]
    )
    assert_same_bytes(pipeline[-1], alone)


def test_grid_search_passes_weights_and_validation_data_on():
    with config_context(enable_metadata_routing=True):
        model = quick(early_stopping=True).set_fit_request(X_val=True, y_val=True)
        search = GridSearchCV(model, {"scoring": [None, "loss", "f1_macro"]}, cv=2)
        search.fit(*TRAINING, **VALIDATION)
    assert len(search.best_estimator_.validation_loss_curve_) == 12


def test_a_warm_start_continues_both_curves_and_the_best_score():
    model = quick(early_stopping=True, warm_start=True, n_iter_no_change=50)
    # Nothing starts anew that a plain gradient step has.
    model.set_params(restore_best_weights=False, solver="sgd", momentum=0, shuffle=False)
    whole = clone(model).set_params(max_iter=24).fit(*TRAINING, **VALIDATION)
    for _ in range(2):
        model.fit(*TRAINING, **VALIDATION)
    assert_same_bytes(model, whole)
    for name in ("loss_curve_", "validation_loss_curve_", "validation_scores_", "t_"):
        assert getattr(model, name) == getattr(whole, name)
    assert model.best_validation_score_ == whole.best_validation_score_
    assert (model.n_iter_, whole.n_iter_) == (12, 24)


def test_a_warm_start_that_finds_nothing_better_keeps_the_weights():
    model = quick(early_stopping=True, warm_start=True, learning_rate_init=0.05, batch_size=8)
    model.fit(*TRAINING, **VALIDATION)
    best, coef = model.best_validation_score_, model.coefs_[0].copy()
    model.set_params(learning_rate_init=10.0, max_iter=3).fit(*TRAINING, **VALIDATION)
    assert max(model.validation_scores_[-3:]) < best == model.best_validation_score_
    np.testing.assert_array_equal(model.coefs_[0], coef)


def test_another_criterion_begins_anew_under_warm_start():
    model = quick(warm_start=True, learning_rate_init=0.05).fit(*TRAINING)
    assert np.isnan(model.fit(*TRAINING, **VALIDATION).validation_loss_curve_[:12]).all()
    model.set_params(early_stopping=True).fit(*TRAINING, **VALIDATION)
    assert model.best_loss_ is None and len(model.validation_scores_) == 12
    accuracy = model.best_validation_score_
    model.set_params(scoring="loss").fit(*TRAINING, **VALIDATION)
    assert model.best_validation_score_ < 0 < accuracy
    assert model.best_validation_score_ == max(model.validation_scores_)
    model.set_params(early_stopping=False).fit(*TRAINING)
    assert model.validation_scores_ is None and model.best_loss_ == min(model.loss_curve_[-12:])
    assert len(model.loss_curve_) == len(model.validation_loss_curve_) == 60
    assert np.isnan(model.validation_loss_curve_[-12:]).all()


@pytest.mark.parametrize("kind", [np.asarray, scipy.sparse.csr_matrix])
def test_multilabel_y_of_other_numbers_stops_where_scikit_learn_stops(kind):
    rng = np.random.RandomState(0)
    X = rng.randn(400, 5)
    Y = 2 * (X[:, :3] > 0).astype(int)
    options = dict(
        hidden_layer_sizes=(20,), early_stopping=True, learning_rate_init=0.01, random_state=0
    )
    ours = MLPClassifier(**options).fit(X, kind(Y))
    theirs = SklearnMLPClassifier(**options).fit(X, Y)
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.validation_scores_, theirs.validation_scores_)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)


def test_labels_of_validation_data_take_any_nonzero_number_for_yes():
    rng = np.random.RandomState(0)
    X = rng.randn(80, 4)
    Y = (X[:, :2] > 0).astype(int)

    def fit(factor):
        model = MLPClassifier((6,), early_stopping=True, max_iter=20, random_state=0)
        return model.fit(X, factor * Y, X_val=X, y_val=factor * Y)

    assert fit(2).validation_scores_ == fit(1).validation_scores_
