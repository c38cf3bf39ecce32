"""Options that scikit-learn's MLP lacks: class weights and a limit of time."""

import itertools
import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLPClassifier
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp._training import lbfgs, loop, sgd
from fastmlp.inspection import check_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
WEIGHT = np.random.RandomState(0).uniform(0.1, 2, len(X))
MULTILABEL_X, MULTILABEL_Y = make_multilabel_classification(120, 6, n_classes=3, random_state=0)
DICTS = [{0: 1.0, 1: 5.0}, {0: 2.0, 1: 0.5}, {0: 1.0, 1: 1.0}]
FEW = slice(0, 70)  # all of one class, some of another, none of the third


def quick(estimator=MLPClassifier, **parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0}
    return estimator(**defaults | parameters)


def assert_same_bytes(model, other):
    for a, b in zip(
        model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True
    ):
        np.testing.assert_array_equal(a, b)


CLASS_WEIGHTS = [
    (X, Y, "balanced"),
    (X[:110], Y[:110], "balanced"),
    (X, Y, {0: 1.0, 1: 7.0, 2: 0.25}),
    (X, Y, {1: 3}),
    (X, Y, {0: 0.0}),
    (X[:100], NAMES[:100], {"setosa": 0.5, "versicolor": 4.0}),
    (MULTILABEL_X, MULTILABEL_Y, "balanced"),
    (MULTILABEL_X, MULTILABEL_Y, DICTS),
    (MULTILABEL_X, scipy.sparse.csr_array(MULTILABEL_Y), DICTS),
]


def test_class_weights_take_any_nonzero_indicator_for_yes():
    model = quick(class_weight=DICTS).fit(MULTILABEL_X, 2 * MULTILABEL_Y)
    assert_same_bytes(model, quick(class_weight=DICTS).fit(MULTILABEL_X, MULTILABEL_Y))


@pytest.mark.parametrize(("X", "y", "class_weight"), CLASS_WEIGHTS)
@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@pytest.mark.parametrize("weighted", [False, True])
def test_class_weight_is_the_equal_sample_weight(X, y, class_weight, options, weighted):
    weight = np.random.RandomState(1).uniform(0.1, 2, X.shape[0]) if weighted else None
    model = quick(class_weight=class_weight, **options).fit(X, y, weight)
    factors = compute_sample_weight(class_weight, y)
    other = quick(**options).fit(X, y, factors if weight is None else factors * weight)
    assert_same_bytes(model, other)
    plain = quick(**options).fit(X, y, weight)
    assert (factors == 1).all() == np.array_equal(model.coefs_[0], plain.coefs_[0])


def test_a_dict_counts_in_every_batch_of_partial_fit():
    class_weight = {0: 3.0, 1: 0.5}  # no word of class 2, and not every batch has class 0 or 1
    models = quick(class_weight=class_weight), quick()
    for rows in (FEW, slice(100, 150), slice(0, 50), slice(60, 120)):
        factors = np.select([Y[rows] == 0, Y[rows] == 1], [3.0, 0.5], 1.0)
        models[0].partial_fit(X[rows], Y[rows], WEIGHT[rows], classes=[0, 1, 2])
        models[1].partial_fit(X[rows], Y[rows], WEIGHT[rows] * factors, classes=[0, 1, 2])
        assert_same_bytes(*models)


def test_balanced_weights_are_refused_where_y_comes_in_parts():
    for model in (quick(), quick().fit(X, Y)):
        with pytest.raises(ValueError, match="'balanced' is not supported for partial_fit"):
            model.set_params(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])
        assert model.set_params(class_weight=None).partial_fit(X, Y, classes=[0, 1, 2]).t_


@pytest.mark.parametrize("value", ["heavy", 3, (1, 2), np.ones(3)])
def test_a_class_weight_of_another_type_is_an_invalid_parameter(value):
    with pytest.raises(InvalidParameterError, match="class_weight"):
        quick(class_weight=value).fit(X, Y)


@pytest.mark.parametrize(
    ("X", "y", "class_weight", "message"),
    [
        (X, Y, {7: 1.0}, "not in class_weight"),
        (X, Y, [{0: 1.0}], "multilabel y"),
        (MULTILABEL_X, MULTILABEL_Y, [1.0, 2.0, 3.0], "multilabel y"),
        (X, Y, {0: np.nan, 1: 1.0, 2: 1.0}, "NaN"),
        (MULTILABEL_X, MULTILABEL_Y, {0: 1.0}, "list of dicts"),
        (MULTILABEL_X, MULTILABEL_Y, DICTS[:2], "number of elements"),
    ],
)
def test_class_weights_that_do_not_fit_y_are_a_clear_error(X, y, class_weight, message):
    model = quick(class_weight=class_weight)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert not hasattr(model, "classes_")


@pytest.mark.parametrize(("X", "y", "class_weight"), CLASS_WEIGHTS)
def test_the_gradient_with_class_weights_is_right(X, y, class_weight):
    model = quick(activation="tanh", class_weight=class_weight)
    assert check_gradient(model, X, y, WEIGHT[: X.shape[0]]) < 1e-7


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_bits_do_not_depend_on_thread_count_with_every_option(every_thread_works, solver):
    options = {"class_weight": "balanced", "early_stopping": True, "scoring": "loss"}
    models = [
        quick(solver=solver, max_time=1e6, n_jobs=n_jobs, **options).fit(
            *(X, Y, WEIGHT), X_val=X[::3], y_val=Y[::3], sample_weight_val=WEIGHT[::3]
        )
        for n_jobs in (1, 2, 3)
    ]
    for model in models[1:]:
        assert_same_bytes(model, models[0])
        assert model.validation_loss_curve_ == models[0].validation_loss_curve_


def test_options_survive_clone_pickle_and_grid_search():
    options = {
        "class_weight": {0: 2.0},
        "early_stopping": True,
        "scoring": "f1_macro",
        "restore_best_weights": False,
        "max_time": 1e6,
    }
    model = quick(**options).fit(X, Y)
    assert_same_bytes(clone(model).fit(X, Y), model)
    assert_same_bytes(pickle.loads(pickle.dumps(model)), model)
    assert clone(model).get_params().items() >= options.items()
    grid = {
        "class_weight": [None, "balanced", {1: 3.0}],
        "scoring": [None, "loss"],
        "restore_best_weights": [True, False],
        "max_time": [None, 1e6],
    }
    search = GridSearchCV(quick(early_stopping=True, max_iter=3), grid, cv=2).fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def tick(monkeypatch, module):
    """Let each look at the module's clock be one second after the one before."""
    seconds = itertools.count()
    monkeypatch.setattr(module, "monotonic", lambda: float(next(seconds)))


@pytest.mark.parametrize("options", [{}, {"early_stopping": True}, {"solver": "sgd"}])
def test_max_time_ends_a_fit_after_whole_epochs(monkeypatch, options):
    options = {"learning_rate_init": 0.3, "batch_size": 16, **options}
    shorter = quick(max_iter=6, **options).fit(X, Y)
    tick(monkeypatch, loop)
    with pytest.warns(ConvergenceWarning, match="max_time=7 seconds"):
        model = quick(max_iter=50, max_time=7, **options).fit(X, Y)
    assert model.n_iter_ == 6 and model.loss_curve_ == shorter.loss_curve_
    assert model.validation_scores_ == shorter.validation_scores_
    assert_same_bytes(model, shorter)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_max_time_ends_a_long_epoch_after_whole_batches(monkeypatch, solver):
    options = {"solver": solver, "batch_size": 50, "shuffle": False}
    expected = quick(**options).partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X[:100], Y[:100])
    tick(monkeypatch, loop)
    monkeypatch.setattr(sgd, "FLOPS_PER_LAUNCH", 1)  # a launch for every batch
    with pytest.warns(ConvergenceWarning, match="max_time"):
        model = quick(max_time=6, **options).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 1 and model.t_ == 150
    assert_same_bytes(model, expected)


def test_max_time_may_end_a_fit_before_its_first_epoch(monkeypatch):
    tick(monkeypatch, loop)
    for early_stopping in (False, True):
        model = quick(max_time=0.5, early_stopping=early_stopping).fit(X, Y)
        assert (model.n_iter_, model.t_, model.loss_curve_) == (0, 0, [])
        assert np.isfinite(model.predict_proba(X)).all()


def test_ctrl_c_keeps_the_last_iteration_of_lbfgs(monkeypatch):
    """It comes within an evaluation, when the network holds the point that is tried."""
    whole, evaluations = lbfgs.LossAndGradient.__call__, iter(range(9))

    def interrupted(self, packed):
        value = whole(self, packed)
        if next(evaluations) == 8:
            raise KeyboardInterrupt
        return value

    monkeypatch.setattr(lbfgs.LossAndGradient, "__call__", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = quick(solver="lbfgs", max_iter=50).fit(X, Y)
    monkeypatch.undo()
    assert model.n_iter_ > 1
    shorter = quick(solver="lbfgs", max_iter=model.n_iter_).fit(X, Y)
    assert_same_bytes(model, shorter)
    assert model.loss_ == shorter.loss_


def test_max_time_ends_lbfgs_after_whole_iterations(monkeypatch):
    shorter = quick(solver="lbfgs", max_iter=4).fit(X, Y)
    tick(monkeypatch, loop)
    with pytest.warns(ConvergenceWarning, match="max_time=4 seconds") as caught:
        model = quick(solver="lbfgs", max_iter=50, max_time=4).fit(X, Y)
    assert len(caught) == 1
    assert model.n_iter_ == 4 and model.loss_ == shorter.loss_
    assert_same_bytes(model, shorter)


@pytest.mark.filterwarnings("error::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_fit_that_is_done_in_time_is_as_without_a_limit(solver):
    options = {"solver": solver, "max_iter": 1000, "tol": 1e-2}
    assert_same_bytes(quick(max_time=1e6, **options).fit(X, Y), quick(**options).fit(X, Y))


@pytest.mark.parametrize("value", [0, -1, 0.0, np.nan, np.inf, "1 s", [1]])
def test_an_invalid_max_time_is_refused(value):
    with pytest.raises(InvalidParameterError, match="max_time"):
        quick(max_time=value).fit(X, Y)


@pytest.mark.slow
def test_options_against_overfitting_find_a_rare_class_better_on_real_data():
    """Is it an eight? One digit in ten is; half of the set trains, the other half judges."""
    X, y = load_digits(return_X_y=True)
    X, y = X / 16, y == 8
    asked = {
        "defaults": {},
        "dropout": {"dropout": 0.5, "class_weight": "balanced"},
        "adamw": {
            "solver": "adamw",
            "weight_decay": 0.1,
            "class_weight": "balanced",
            "early_stopping": True,
            "scoring": "balanced_accuracy",
            "n_iter_no_change": 20,
        },
    }
    scores = {name: [] for name in asked}
    for seed in range(6):
        X_train, X_test, y_train, y_test = train_test_split(
            X, y, test_size=0.5, stratify=y, random_state=seed
        )
        for name, parameters in asked.items():
            model = MLPClassifier((100,), max_iter=100, random_state=seed, **parameters)
            predictions = model.fit(X_train, y_train).predict(X_test)
            scores[name].append(balanced_accuracy_score(y_test, predictions))
    defaults = np.mean(scores["defaults"])
    assert np.mean(scores["dropout"]) > defaults + 0.005, scores
    assert np.mean(scores["adamw"]) > defaults + 0.005, scores


def test_dropout_depends_on_the_random_state():
    """With the same weights to begin with, and no shuffling, nothing else does."""
    first = quick(max_iter=1).fit(X, Y)

    def trained(seed, **options):
        model = quick(random_state=seed, shuffle=False, **options)
        return model.fit(X, Y, coefs_init=first.coefs_, intercepts_init=first.intercepts_)

    assert_same_bytes(trained(0), trained(1))
    assert_same_bytes(trained(0, dropout=0.5), trained(0, dropout=0.5))
    models = [trained(seed, dropout=0.5) for seed in (0, 1)]
    assert not np.array_equal(models[0].coefs_[0], models[1].coefs_[0])
