"""Frozen layers: their parameters keep their bytes, and the others train as they would anyway."""

import pickle

import numpy as np
import pytest
from oracles import naive
from oracles.problem import DTYPES, Problem, assert_all_close
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._compat.sklearn import InvalidParameterError
from fastmlp._estimator import continuation
from fastmlp._training import sgd
from fastmlp.inspection import check_gradient
from fastmlp.interop import to_sklearn

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:lbfgs failed to converge"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
SIZES = (13, 9, 11)  # with the outputs, four layers of weights
LAYERS = range(4)
SETS = [(0,), (3,), (0, 2), (1, 2), (0, 1, 2), (1, 2, 3)]
RULES = {
    "sgd": ({"solver": "sgd", "momentum": 0}, naive.Sgd),
    "momentum": ({"solver": "sgd", "momentum": 0.8, "nesterovs_momentum": False}, naive.Momentum),
    "nesterov": ({"solver": "sgd", "momentum": 0.8}, naive.Nesterov),
    "adam": ({"solver": "adam", "epsilon": 1e-3}, naive.Adam),
}
OPTIONS = {
    "Adam": {},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.1, "alpha": 0.5},
    "plain SGD": {"solver": "sgd", "momentum": 0.0},
    "AdamW": {"solver": "adamw", "weight_decay": 0.3},
    "a penalty": {"alpha": 10.0},
    "clipping": {"max_grad_norm": 0.01, "alpha": 1.0},
    "dropout": {"dropout": 0.4, "activation": ["gelu", "tanh", "mish"]},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 1},
    "L-BFGS": {"solver": "lbfgs", "alpha": 1.0},
    "a schedule": {"learning_rate": "one_cycle", "warmup": 1},
    "split-K": {"batch_size": 16, "n_jobs": 2},
}


class Frozen:
    """An update rule that gets gradients of zero for frozen layers, and leaves these out."""

    def __init__(self, rule, frozen, limit=None):
        self.rule, self.frozen, self.limit = rule, frozen, limit

    def step(self, arrays, gradients):
        n_layers = len(arrays) // 2
        trained = [i for i in range(len(arrays)) if i % n_layers not in self.frozen]
        gradients = [gradients[i] for i in trained]
        if self.limit is not None:
            norm = np.sqrt(sum((each**2).sum() for each in gradients))
            gradients = [each * min(1.0, self.limit / norm) for each in gradients]
        self.rule.step([arrays[i] for i in trained], gradients)


def layers_of(model):
    """The bytes of each layer's weights and biases."""
    pairs = zip(model.coefs_, model.intercepts_, strict=True)
    return [coef.tobytes() + intercept.tobytes() for coef, intercept in pairs]


def make(kind=MLPClassifier, **parameters):
    return kind(**{"hidden_layer_sizes": SIZES, "random_state": 1, "max_iter": 3} | parameters)


def beginning(**parameters):
    """A model whose weights are those that a fit begins with."""
    model = make(**parameters | {"solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1})
    return model.set_params(frozen_layers=None, early_stopping=False).fit(X, Y)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("frozen", SETS, ids=str)
def test_epochs_equal_the_oracle_with_gradients_of_zero(frozen, rule, dtype):
    parameters, oracle_rule = RULES[rule]
    for sizes in ([7, 5, 40, 6, 3], [40, 33, 16, 17, 2]):
        problem = Problem(sizes, 50, dtype, alpha=0.8, seed=len(frozen))
        problem.weigh()
        oracle = problem.oracle()
        losses, _ = problem.train(
            epochs=2, batch_size=16, n_jobs=2, frozen_layers=frozen, **parameters
        )
        update = Frozen(oracle_rule(0.1, momentum=0.8, epsilon=1e-3), frozen)
        expected = [oracle.train(problem.batches(16), update) for _ in range(2)]
        shares = [len(batch[0]) / 50 for batch in problem.batches(16)]
        units = 2000
        assert_all_close(problem.network.coefs, oracle.coefs, units)
        assert_all_close(problem.network.intercepts, oracle.intercepts, units)
        for loss, of_batches in zip(losses, expected, strict=True):
            np.testing.assert_allclose(
                loss, shares @ np.array(of_batches), rtol=units * np.finfo(dtype).eps
            )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("frozen", SETS, ids=str)
def test_frozen_gradients_do_not_count_in_the_norm(frozen, dtype):
    problem = Problem([7, 5, 40, 6, 3], 30, dtype, alpha=5.0)
    oracle = problem.oracle()
    clipped = {"max_grad_norm": 0.05, "solver": "sgd", "momentum": 0}
    problem.train(epochs=2, batch_size=10, frozen_layers=frozen, **clipped)
    for _ in range(2):
        oracle.train(problem.batches(10), Frozen(naive.Sgd(0.1), frozen, limit=0.05))
    assert_all_close(problem.network.coefs, oracle.coefs, units=500)


@pytest.mark.parametrize("block", [4, 1024])
@pytest.mark.parametrize("frozen", [(0,), (1,), (0, 1), (0, 3), (1, 2, 3)], ids=str)
def test_sparse_rows_and_blocks_train_the_rest_alike(frozen, block, monkeypatch):
    monkeypatch.setattr(sgd, "BLOCK_ROWS", block)
    monkeypatch.setattr(sgd, "LEAST_BLOCK_ROWS", block)
    parameters = {"frozen_layers": frozen, "solver": "sgd", "momentum": 0, "batch_size": 20}
    problems = [Problem([30, 9, 12, 5, 3], 60, np.float64).thin_out() for _ in range(2)]
    problems[1].compressed()
    oracle = problems[0].oracle()
    for problem in problems:
        problem.train(epochs=2, **parameters)
    for _ in range(2):
        oracle.train(problems[0].batches(20), Frozen(naive.Sgd(0.1), frozen))
    np.testing.assert_array_equal(*(each.network.parameters for each in problems))
    assert_all_close(problems[0].network.coefs, oracle.coefs, units=1000)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("frozen", [(0,), (1, -1), (0, 1), (0, 1, 2), (1, 2, 3)], ids=str)
def test_frozen_layers_keep_their_bytes_and_the_others_move(frozen, options):
    model = make(frozen_layers=frozen, **options).fit(X, Y)
    before = layers_of(beginning(**options))
    indices = {index % 4 for index in frozen}
    same = [one == other for one, other in zip(layers_of(model), before, strict=True)]
    assert same == [index in indices for index in LAYERS]


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_bits_do_not_depend_on_the_number_of_threads(options):
    options = {"hidden_layer_sizes": (120, 90, 40)} | options
    models = [
        make(frozen_layers=(1,), **options | {"n_jobs": n_jobs}).fit(X, Y) for n_jobs in (1, 2, 3)
    ]
    assert layers_of(models[0]) == layers_of(models[1]) == layers_of(models[2])


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
@pytest.mark.parametrize("options", [{}, {"activation": "gelu", "dropout": 0.2}], ids=str)
def test_the_first_loss_is_that_of_the_fit_without_frozen_layers(options, form):
    options = {"batch_size": 300, "max_iter": 1, "alpha": 3.0} | options
    losses = [
        make(frozen_layers=frozen, **options).fit(form(X), Y).loss_
        for frozen in (None, (), (0,), (1, 2), (0, 1, 2))
    ]
    np.testing.assert_allclose(losses, losses[0], rtol=1e-14)


def test_no_frozen_layer_is_the_default():
    models = [make(frozen_layers=frozen).fit(X, Y) for frozen in (None, (), [], np.array([], int))]
    assert all(layers_of(each) == layers_of(models[0]) for each in models)


def test_indices_may_come_in_any_form_and_order():
    forms = [(0, 2), [2, 0], np.array([0, 2]), (-2, -4), {0, 2}, range(0, 3, 2), (2, 0, 0, -4)]
    models = [make(frozen_layers=form).fit(X, Y) for form in forms]
    assert all(layers_of(each) == layers_of(models[0]) for each in models)


@pytest.mark.parametrize("frozen", [(4,), (-5,), (0, 7), [np.int64(4)]])
def test_an_index_out_of_range_is_a_clear_error(frozen):
    with pytest.raises(ValueError, match=r"has index -?\d, but the network has 4 layers.*0 to 3"):
        make(frozen_layers=frozen).fit(X, Y)


@pytest.mark.parametrize("frozen", [LAYERS, (0, 1, 2, 3), (0, 1, -2, -1)])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_to_freeze_all_layers_is_a_clear_error(method, frozen):
    model = make(frozen_layers=frozen)
    with pytest.raises(ValueError, match="leaves no layer to train"):
        getattr(model, method)(X, Y, **({} if method == "fit" else {"classes": range(10)}))
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("frozen", [(0.0,), (True, False), ("0",), np.eye(2), [None], [1j]])
def test_what_is_no_index_is_a_clear_error(frozen):
    with pytest.raises(TypeError, match="frozen_layers must hold indices of layers"):
        make(frozen_layers=frozen).fit(X, Y)
    for scalar in (0, "0", 1.5):
        with pytest.raises(InvalidParameterError, match="frozen_layers"):
            make(frozen_layers=scalar).fit(X, Y)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("from_scratch", [False, True])
def test_partial_fit_follows_a_changed_choice(from_scratch, kind):
    model = make(kind, frozen_layers=[0, 1])
    first = {"classes": range(10)} if kind is MLPClassifier else {}
    model.partial_fit(X[:50], Y[:50], **first)
    for frozen in ([0, 1], [0, 1], [3], None, (1, 2)):
        if frozen == [3]:
            model.frozen_layers[:] = frozen  # in place
        else:
            model.set_params(frozen_layers=frozen)
        before = layers_of(model)
        if from_scratch:
            continuation.take(model)
        model.partial_fit(X[:50], Y[:50])
        same = [one == other for one, other in zip(layers_of(model), before, strict=True)]
        assert same == [index in (frozen or ()) for index in LAYERS]


def test_warm_starts_follow_a_changed_choice():
    model = make(warm_start=True, early_stopping=True).fit(X, Y)
    for frozen in ((0, 1), (2, 3), (1,)):
        before = layers_of(model)
        model.set_params(frozen_layers=frozen, learning_rate_init=0.01).fit(X, Y)
        same = [one == other for one, other in zip(layers_of(model), before, strict=True)]
        assert [index for index in LAYERS if same[index]] == list(frozen)


def test_moments_of_frozen_layers_stay_zero():
    model = make(frozen_layers=(1,)).fit(X, Y)
    for moment in model._optimizer.moments:
        assert [bool(coef.any()) for coef in moment.coefs] == [True, False, True, True]
        assert [bool(bias.any()) for bias in moment.intercepts] == [True, False, True, True]


def test_lbfgs_finds_the_optimum_of_the_trained_layer():
    """A linear model on the hidden layer has the same optimum."""
    parameters = {"solver": "lbfgs", "alpha": 30.0, "max_iter": 1000, "tol": 1e-9}
    model = make(hidden_layer_sizes=(20,), frozen_layers=(0,), **parameters).fit(X, Y)
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    linear = make(hidden_layer_sizes=(), **parameters).fit(hidden, Y)
    np.testing.assert_allclose(model.coefs_[1], linear.coefs_[0], atol=1e-4)
    penalty = 15 * (model.coefs_[0] ** 2).sum() / len(X)
    np.testing.assert_allclose(model.loss_ - penalty, linear.loss_, rtol=1e-8)


def test_lbfgs_does_not_shrink_frozen_weights_of_inputs_that_are_all_zero():
    rows = np.repeat(np.arange(len(X)), 2), np.tile([5, 9000], len(X))
    wide = csr_matrix((X[:, 20:22].ravel(), rows), shape=(len(X), 10_000))
    parameters = {"hidden_layer_sizes": (3,), "alpha": 9.0, "solver": "lbfgs"}
    before = [make(**parameters, max_iter=1, frozen_layers=(0,)).fit(wide, Y)]
    before.append(make(**parameters, max_iter=9, frozen_layers=(0,)).fit(wide, Y))
    assert before[0].coefs_[0].tobytes() == before[1].coefs_[0].tobytes()
    assert not np.array_equal(make(**parameters).fit(wide, Y).coefs_[0], before[0].coefs_[0])


@pytest.mark.parametrize("fitted", [False, True])
def test_gradients_are_checked_as_if_nothing_was_frozen(fitted):
    model = make(hidden_layer_sizes=(3,), activation="tanh", frozen_layers=(0,))
    few = X[:10, 2:5], Y[:10] % 3
    if fitted:
        model.fit(*few)
    assert check_gradient(model, *few) < 1e-6


def test_clones_pickles_and_searches_carry_the_choice():
    model = make(frozen_layers=(0, 1))
    assert clone(model).frozen_layers == (0, 1)
    copy = pickle.loads(pickle.dumps(model.partial_fit(X, Y, classes=range(10))))
    assert layers_of(copy.partial_fit(X, Y)) == layers_of(model.partial_fit(X, Y))
    choices = [None, (0,), (0, 1, 2)]
    quick = make(max_iter=20, learning_rate_init=0.01)
    search = GridSearchCV(quick, {"frozen_layers": choices}, cv=2).fit(X, Y)
    assert len(set(search.cv_results_["mean_test_score"])) == 3
    assert search.best_estimator_.frozen_layers == search.best_params_["frozen_layers"]


def test_scikit_learn_gets_the_model_without_the_choice():
    model = make(frozen_layers=(0, 1)).fit(X, Y)
    with pytest.raises(ValueError, match="no frozen_layers"):
        to_sklearn(model)
    converted = to_sklearn(model.set_params(frozen_layers=None))
    np.testing.assert_allclose(converted.predict_proba(X), model.predict_proba(X), rtol=1e-9)
