"""A call of partial_fit that goes on from the last one does what a call from scratch does."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.workspace import Workspace
from fastmlp._estimator import continuation
from fastmlp._estimator.base import BaseMLP

FEATURES, CLASSES = 12, np.arange(3)
ROWS = (8, 1, 5, 8, 2)  # at most as many as in the first call, so that later ones can continue


@pytest.fixture
def prepared(monkeypatch):
    """The estimators whose calls were prepared from scratch."""
    calls, fit = [], BaseMLP._fit

    def note(model, *arguments, **options):
        calls.append(model)
        return fit(model, *arguments, **options)

    monkeypatch.setattr(BaseMLP, "_fit", note)
    return calls


def batches(kind, dtype=np.float64, rows=ROWS):
    """(X, y) of several calls."""
    rng = np.random.default_rng(0)
    for count in rows:
        X = rng.standard_normal((count, FEATURES)).astype(dtype)
        yield X, rng.integers(0, 3, count) if kind is MLPClassifier else rng.random(count)


def make(kind, **parameters):
    return kind(**{"hidden_layer_sizes": (9,), "random_state": 3, "n_jobs": 1, **parameters})


def train(model, data, from_scratch=False, **options):
    """Call partial_fit for each batch."""
    for X, y in data:
        if from_scratch:
            continuation.take(model)
        first = {"classes": CLASSES} if isinstance(model, MLPClassifier) else {}
        model.partial_fit(X, y, **({} if hasattr(model, "coefs_") else first), **options)
    return model


def state_of(model):
    """Everything that a model has learned, byte by byte, and its random numbers."""
    plain = pickle.loads(pickle.dumps(model)).__getstate__()
    return pickle.dumps({name: plain[name] for name in sorted(plain)})


PARAMETERS = [
    {},
    {"hidden_layer_sizes": [9, 5], "activation": ["tanh", "relu"]},
    {"solver": "sgd"},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "invscaling"},
    {"solver": "adamw", "weight_decay": 0.1},
    {"learning_rate": "one_cycle", "warmup": 3},
    {"dropout": 0.3},
    {"random_state": None},
    {"random_state": None, "dropout": 0.3},
    {"shuffle": False, "alpha": 0.1},
    {"max_grad_norm": 0.1},
    {"n_jobs": 2, "hidden_layer_sizes": (300, 300)},
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_a_continued_call_computes_the_same_bytes(parameters, kind, dtype, prepared):
    results = []
    for from_scratch in (False, True):
        np.random.seed(5)  # noqa: NPY002 - what random_state=None stands for
        model = make(kind, **parameters)
        prepared.clear()
        train(model, batches(kind, dtype), from_scratch)
        assert len(prepared) == (len(ROWS) if from_scratch else 1)
        results.append(state_of(model))
    assert results[0] == results[1]


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_generator_of_random_numbers_goes_on_from_call_to_call(kind, prepared):
    results = []
    for from_scratch in (False, True):
        model = make(kind, random_state=np.random.RandomState(1), dropout=0.5)
        results.append(state_of(train(model, batches(kind), from_scratch)))
    assert results[0] == results[1]
    assert len(prepared) == 1 + len(ROWS)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_sample_weights_count_in_a_continued_call(kind, prepared):
    results = []
    for from_scratch in (False, True):
        model = train(make(kind), batches(kind), from_scratch)
        for X, y in batches(kind):
            if from_scratch:
                continuation.take(model)
            model.partial_fit(X, y, np.linspace(0.1, 3, len(X)))
        results.append(state_of(model))
    assert results[0] == results[1]
    assert len(prepared) == 1 + 2 * len(ROWS)


def test_weights_of_classes_count_in_a_continued_call(prepared):
    parameters = {"class_weight": {0: 5.0, 1: 0.1, 2: 1.0}}
    results = [
        state_of(train(make(MLPClassifier, **parameters), batches(MLPClassifier), from_scratch))
        for from_scratch in (False, True)
    ]
    assert results[0] == results[1]
    assert len(prepared) == 1 + len(ROWS)


@pytest.mark.parametrize("classes", [CLASSES, np.arange(3), [0, 1, 2], range(3)], ids=type)
def test_classes_may_be_given_in_every_call(classes, prepared):
    model = train(make(MLPClassifier), batches(MLPClassifier), from_scratch=True)
    other = make(MLPClassifier)
    for X, y in batches(MLPClassifier):
        other.partial_fit(X, y, classes=classes)
    assert len(prepared) == len(ROWS) + 1
    assert state_of(other) == state_of(model)
    for wrong in (np.arange(4), np.array([0, 1, 3]), [0, 1, 3], [0, 1], range(4), (0, 1, 3)):
        train(other, [(X, y)])
        with pytest.raises(ValueError, match="not the same as on last call"):
            other.partial_fit(X, y, classes=wrong)


CHANGES = {
    "alpha": lambda model: model.set_params(alpha=0.5),
    "an equal number": lambda model: model.set_params(alpha=float("0.0001")),
    "batch_size": lambda model: model.set_params(batch_size=2),
    "an attribute": lambda model: setattr(model, "activation", "tanh"),
    "weights": lambda model: model.coefs_[0].__imul__(2),
    "all weights": lambda model: setattr(model, "coefs_", [2 * each for each in model.coefs_]),
    "one bias": lambda model: model.intercepts_.__setitem__(1, np.ones(model.n_outputs_)),
    "dropout's list": lambda model: model.dropout.__setitem__(0, 0.9),
    "the loss curve": lambda model: model.loss_curve_.append(7.0),
    "the optimizer": lambda model: vars(model).pop("_optimizer"),
}


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_has_changed_between_two_calls_counts(change, kind):
    results = []
    for from_scratch in (False, True):
        model = make(kind, dropout=[0.0])
        data = list(batches(kind))
        train(model, data[:3], from_scratch)
        change(model)
        results.append(state_of(train(model, data[3:], from_scratch)))
    assert results[0] == results[1]


BAD = {
    "NaN": lambda X, y: (np.where(np.arange(FEATURES) == 3, np.nan, X), y),
    "infinity": lambda X, y: (np.where(np.arange(FEATURES) == 3, np.inf, X), y),
    "a feature too few": lambda X, y: (X[:, 1:].copy(), y),
    "a row too few": lambda X, y: (X[1:], y),
    "no rows": lambda X, y: (X[:0], y[:0]),
    "one dimension": lambda X, y: (X[0], y),
    "text": lambda X, y: (X.astype(str).astype(object) + "x", y),
    "a bad target": lambda X, y: (X, np.full_like(y, 9) if y.dtype.kind == "i" else y * np.nan),
    "two columns": lambda X, y: (X, np.stack([y, y], axis=1)),
    "no target": lambda X, y: (X, None),
}


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("spoil", BAD.values(), ids=BAD)
def test_a_bad_call_raises_what_it_always_raises_and_changes_nothing(spoil, kind):
    messages = []
    for from_scratch in (False, True):
        model = train(make(kind), batches(kind), from_scratch)
        before, weights = state_of(model), model.coefs_[0].copy()
        X, y = next(batches(kind))
        if from_scratch:
            continuation.take(model)
        with pytest.raises((ValueError, TypeError)) as caught:
            model.partial_fit(*spoil(X, y))
        messages.append((caught.type, str(caught.value)))
        assert state_of(model) == before
        np.testing.assert_array_equal(model.coefs_[0], weights)
    assert messages[0] == messages[1]
    assert state_of(train(model, batches(kind))) != before


def test_counts_of_zero_continue_and_negative_ones_are_refused(prepared):
    model, data = make(MLPRegressor, loss="poisson"), list(batches(MLPRegressor))
    data = [(X, np.arange(len(y)) % 3.0) for X, y in data]
    expected = state_of(train(make(MLPRegressor, loss="poisson"), data, from_scratch=True))
    prepared.clear()
    assert state_of(train(model, data)) == expected
    assert len(prepared) == 1
    with pytest.raises(ValueError, match="needs y >= 0"):
        model.partial_fit(data[0][0], data[0][1] - 1)
    assert state_of(model) == expected


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_other_forms_of_the_same_samples_give_the_same_bytes(kind, prepared):
    expected = state_of(train(make(kind), batches(kind)))
    forms = [
        lambda X, y: (X.tolist(), y.tolist()),
        lambda X, y: (np.asfortranarray(X), y[::-1].copy()[::-1]),
        lambda X, y: (X, y[:, None]),
    ]
    for form in forms:
        model = make(kind)
        with pytest.warns() if form is forms[2] else pytest.MonkeyPatch.context():
            train(model, (form(X, y) for X, y in batches(kind)))
        assert state_of(model) == expected


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, TimeoutError])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_step_that_is_cut_short_leaves_a_model_that_goes_on(kind, error, monkeypatch):
    model, data = make(kind), list(batches(kind))
    train(model, data)
    before = state_of(model)

    def fail(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "run", fail)
        if error is KeyboardInterrupt:
            with pytest.warns(UserWarning, match="interrupted"):
                model.partial_fit(*data[0])
        else:
            with pytest.raises(error):
                model.partial_fit(*data[0])
            assert state_of(model) == before
    twin = pickle.loads(pickle.dumps(model))
    assert state_of(train(model, data)) == state_of(train(twin, data))


def test_a_step_that_diverges_leaves_the_model_as_it_was(prepared):
    model = train(make(MLPRegressor, solver="sgd"), batches(MLPRegressor))
    before = state_of(model)
    X, y = next(batches(MLPRegressor))
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(1e200 * X, y)
    assert len(prepared) == 1
    assert state_of(model) == before


@pytest.mark.parametrize("duplicate", [copy.deepcopy, clone, lambda m: m], ids=str)
def test_copies_share_nothing(duplicate):
    model, data = make(MLPRegressor), list(batches(MLPRegressor))
    train(model, data)
    pickled = pickle.dumps(model)
    other, before = duplicate(model), state_of(model)
    assert b"_continuation" not in pickled
    if other is not model:
        assert "_continuation" not in vars(other)
        train(other, data)
        assert state_of(model) == before
    assert state_of(train(model, data)) == state_of(train(pickle.loads(pickled), data))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_no_call_keeps_its_samples_alive(kind):
    model = train(make(kind, max_iter=2), batches(kind))
    for method in ("partial_fit", "fit", "partial_fit", "partial_fit"):
        X, y = next(batches(kind))
        samples = weakref.ref(X)
        getattr(model, method)(X, y)
        assert ("_continuation" in vars(model)) == (method == "partial_fit")
        del X
        gc.collect()
        assert samples() is None


def test_weights_and_moments_that_somebody_holds_keep_their_values():
    model, data = make(MLPRegressor), list(batches(MLPRegressor))
    held = []
    for X, y in 3 * data:
        model.partial_fit(X, y)
        state = model._optimizer
        held.append((model.coefs_[0], state, model.coefs_[0].copy(), state.as_arrays()["moments"]))
    for weights, state, values, moments in held:
        np.testing.assert_array_equal(weights, values)
        for now, then in zip(state.as_arrays()["moments"], moments, strict=True):
            for arrays, others in zip(now, then, strict=True):
                for a, b in zip(arrays, others, strict=True):
                    np.testing.assert_array_equal(a, b)


def test_memory_is_used_again_when_nobody_holds_it():
    model, data = make(MLPRegressor), list(batches(MLPRegressor))
    addresses = set()
    for X, y in 6 * data:
        model.partial_fit(X, y)
        addresses.add(model._optimizer.moments[0].address)
    assert len(addresses) <= 3


def test_threads_that_predict_and_train_at_once_see_whole_models():
    X, y = next(batches(MLPRegressor))
    model = train(make(MLPRegressor, learning_rate_init=0.1), batches(MLPRegressor))
    twin, published = copy.deepcopy(model), set()
    for _ in range(300):
        published.add(twin.partial_fit(X, y).predict(X).tobytes())
    published.add(model.predict(X).tobytes())
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            seen.append(model.predict(X).tobytes())

    watchers = [threading.Thread(target=watch) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    for _ in range(300):
        model.partial_fit(X, y)
    done.set()
    for watcher in watchers:
        watcher.join()
    assert seen
    assert set(seen) <= published


def test_two_threads_that_train_one_model_do_not_share_buffers():
    X, y = next(batches(MLPRegressor))
    model = train(make(MLPRegressor), batches(MLPRegressor))
    errors = []

    def step():
        try:
            for _ in range(300):
                model.partial_fit(X, y)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=step) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert np.isfinite(model.predict(X)).all()
    assert 300 <= len(model.loss_curve_) - len(ROWS) <= 900
