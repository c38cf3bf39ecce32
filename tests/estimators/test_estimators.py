"""MLPClassifier as a scikit-learn estimator: input, errors, state."""

import inspect
import pickle
import warnings

import needs
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier
from fastmlp._compat.sklearn import InvalidParameterError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)


def small(**parameters):
    return MLPClassifier(
        **{"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0} | parameters
    )


def state_of(model):
    """Everything a user can see of a fitted model, as comparable values."""
    return {
        name: [np.asarray(a).tobytes() for a in value] if isinstance(value, list) else repr(value)
        for name, value in vars(model).items()
        if name.endswith("_")
    }


def test_signatures_begin_with_scikit_learns():
    for owner in ("__init__", "fit", "partial_fit"):
        ours, theirs = (
            inspect.signature(getattr(estimator, owner)).parameters
            for estimator in (MLPClassifier, SklearnMLPClassifier)
        )
        assert [*ours][: len(theirs)] == [*theirs]
        assert all(ours[name].default == theirs[name].default for name in theirs)
        assert all(ours[name].kind == theirs[name].kind for name in theirs)
        own = [ours[name] for name in ours if name not in theirs]
        assert all(each.kind is each.KEYWORD_ONLY for each in own)
    assert MLPClassifier().n_jobs is None


@pytest.mark.parametrize(
    "parameter, value",
    [
        ("alpha", -1.0),
        ("batch_size", 0),
        ("learning_rate_init", 0.0),
        ("max_iter", 0),
        ("shuffle", "yes"),
        ("tol", -1e-3),
        ("momentum", 1.5),
        ("beta_1", 1.0),
        ("beta_2", -0.1),
        ("epsilon", 0.0),
        ("n_iter_no_change", 0),
        ("hidden_layer_sizes", -1),
        ("validation_fraction", 1.0),
    ],
)
def test_wrong_parameters_raise_scikit_learns_errors(parameter, value):
    errors = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.raises(InvalidParameterError) as caught:
            estimator(**{parameter: value}).fit(X, Y)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


@pytest.mark.parametrize("n_jobs", ["two", 1.5])
def test_wrong_n_jobs_is_refused(n_jobs):
    with pytest.raises(InvalidParameterError, match="n_jobs"):
        small(n_jobs=n_jobs).fit(X, Y)
    with pytest.raises(ValueError, match="n_jobs == 0"):
        small(n_jobs=0).fit(X, Y)


def with_one(value):
    spoiled = X.copy()
    spoiled[3, 2] = value
    return spoiled


@pytest.mark.parametrize(
    "bad_X, bad_y",
    [
        (with_one(np.nan), Y),
        (with_one(np.inf), Y),
        (X[:, 0], Y),
        (X[:, :, None], Y),
        (X[:0], Y[:0]),
        (X[:, :0], Y),
        (X, Y[:-1]),
        (X.astype(complex), Y),
        (np.full(X.shape, "five"), Y),
        (X, np.linspace(0, 1, len(X))),
        (X, np.where(Y == 1, np.nan, Y)),
        (X, None),
        ([[1, 2], [3]], [0, 1]),
    ],
    ids=[
        "nan", "infinity", "1d", "3d", "no samples", "no features", "short y", "complex",
        "strings", "continuous y", "nan in y", "no y", "ragged",
    ],
)  # fmt: skip
def test_bad_input_raises_scikit_learns_errors_and_loses_nothing(bad_X, bad_y):
    errors = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with warnings.catch_warnings(), pytest.raises((ValueError, TypeError)) as caught:
            warnings.simplefilter("ignore")
            estimator(hidden_layer_sizes=(5,), max_iter=3).fit(bad_X, bad_y)
        name = estimator.__name__
        errors.append((type(caught.value), str(caught.value).replace(name, "MLP")))
    assert errors[0] == errors[1]
    model = small().fit(X, Y)
    before, predictions = state_of(model), model.predict_proba(X)
    with pytest.raises((ValueError, TypeError)):
        model.fit(bad_X, bad_y)
    assert state_of(model) == before
    np.testing.assert_array_equal(model.predict_proba(X), predictions)


def begun_by_fit(estimator, y):
    return estimator(hidden_layer_sizes=(5,), max_iter=3, warm_start=True).fit(X, y)


def begun_by_partial_fit(estimator, y):
    return estimator(hidden_layer_sizes=(5,)).partial_fit(X, y, classes=np.unique(y))


@pytest.mark.parametrize("begin", [begun_by_fit, begun_by_partial_fit])
@pytest.mark.parametrize(
    "labels",
    [Y, Y % 2, np.minimum(Y, 1) * 2, Y + 1, np.where(Y == 0, 7, Y), Y[::-1]],
    ids=["the same", "one less", "one missing", "shifted", "another", "in another order"],
)
def test_later_labels_are_refused_where_scikit_learn_refuses_them(begin, labels):
    errors = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        model = begin(estimator, Y)
        try:
            (model.fit if begin is begun_by_fit else model.partial_fit)(X, labels)
        except ValueError as error:
            errors.append(" ".join(str(error).split()))
        else:
            errors.append(None)
    assert errors[0] == errors[1]


def test_the_first_call_of_partial_fit_needs_the_classes():
    errors = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.raises(ValueError) as caught:
            estimator().partial_fit(X, Y)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_a_first_fit_that_fails_leaves_no_trace():
    model = small()
    with pytest.raises(ValueError):
        model.fit(with_one(np.nan), Y)
    assert vars(model) == vars(small())
    with pytest.raises(NotFittedError):
        model.predict(X)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_an_unfitted_model_says_so(method):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(small(), method)(X)


def test_divergence_is_an_error_and_loses_nothing():
    model = small().fit(X, Y)
    before = state_of(model)
    model.set_params(solver="sgd", learning_rate_init=1e200, max_iter=20, activation="identity")
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite parameter"):
        model.fit(X, Y)
    assert state_of(model) == before


def test_wrong_number_of_features_is_refused():
    model = small().fit(X, Y)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        model.predict(X[:, :3])


@pytest.mark.parametrize("sizes", [(0,), (5, -2), [3, 0]])
def test_empty_layers_are_refused(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        small(hidden_layer_sizes=sizes).fit(X, Y)


@needs.scikit_learn(1, 9, reason="its errors say more, and it refuses weights of zero")
@pytest.mark.parametrize(
    "weight", [np.ones(3), np.ones((150, 2)), np.full(150, np.nan), np.zeros(150)]
)
def test_bad_sample_weights_raise_scikit_learns_errors(weight):
    errors = []
    for estimator in (MLPClassifier, SklearnMLPClassifier):
        with pytest.raises(ValueError) as caught:
            estimator(max_iter=2).fit(X, Y, weight)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]


def test_labels_of_any_kind_come_back():
    names = np.array(["setosa", "versicolor", "virginica"])
    for labels in (names[Y], names[Y].astype(object), Y - 7, Y == 0, [names[i] for i in Y]):
        model = small(max_iter=100, learning_rate_init=0.02).fit(X, labels)
        predicted = model.predict(X)
        assert np.mean(predicted == np.asarray(labels)) > 0.9
        assert predicted.dtype == model.classes_.dtype
        theirs = SklearnMLPClassifier((5,), random_state=0, max_iter=100, learning_rate_init=0.02)
        theirs.fit(X, labels)
        np.testing.assert_array_equal(predicted, theirs.predict(X))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.float16, bool, object])
def test_other_types_are_trained_on_as_float64(dtype):
    given = (X * 10).astype(np.uint8).astype(dtype)
    model = small().fit(given, Y)
    assert model.coefs_[0].dtype == np.float64
    expected = small().fit(np.asarray(given, dtype=np.float64), Y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_probabilities_sum_to_one_at_huge_logits():
    for n_classes in (2, 3):
        model = small().fit(X, np.minimum(Y, n_classes - 1))
        model.coefs_[-1][...] *= 1e5
        probabilities = model.predict_proba(X)
        assert np.isfinite(probabilities).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        with np.errstate(divide="ignore"):
            np.testing.assert_array_equal(model.predict_log_proba(X), np.log(probabilities))


def test_a_pandas_frame_keeps_its_feature_names():
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    model = make_pipeline(
        StandardScaler().set_output(transform="pandas"),
        small(max_iter=200, learning_rate_init=0.02),
    )
    model.fit(frame, pd.Series(Y))
    np.testing.assert_array_equal(model[-1].feature_names_in_, ["a", "b", "c", "d"])
    assert model.score(frame, Y) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(frame[["d", "c", "b", "a"]])


def test_coefs_can_be_changed_in_place_and_replaced():
    model = small().fit(X, Y)
    before = model.predict_proba(X)
    model.coefs_[0][:, 2] = 0
    changed = model.predict_proba(X)
    assert not np.array_equal(changed, before)
    replaced = clone(model).fit(X, Y)
    replaced.coefs_ = [np.array(coef) for coef in model.coefs_]
    np.testing.assert_array_equal(replaced.predict_proba(X), changed)
    replaced.coefs_[0][:, 2] = 1
    assert not np.array_equal(replaced.predict_proba(X), changed)


def test_a_pickle_is_whole_and_still_tied_to_its_coefs():
    model = small().fit(X, Y).partial_fit(X, Y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    for each in (model, copy):
        each.partial_fit(X, Y)
    np.testing.assert_array_equal(copy.coefs_[0], model.coefs_[0])
    copy.coefs_[0][...] = 0
    assert not np.array_equal(copy.predict_proba(X), model.predict_proba(X))


def test_ctrl_c_keeps_the_model_so_far(monkeypatch):
    from fastmlp._training.sgd import Descent

    whole = Descent.epoch

    def interrupted(self):
        if self.state.step >= 3:
            raise KeyboardInterrupt
        return whole(self)

    monkeypatch.setattr(Descent, "epoch", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model = small(max_iter=50, batch_size=150).fit(X, Y)
    assert model.n_iter_ == 3 == len(model.loss_curve_)
    monkeypatch.undo()
    np.testing.assert_array_equal(
        model.coefs_[0], small(max_iter=3, batch_size=150).fit(X, Y).coefs_[0]
    )


def test_a_batch_larger_than_the_data_warns_as_scikit_learn_does():
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        small(batch_size=1000).fit(X, Y)


def test_no_warning_but_convergence_is_given():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        small().fit(X.astype(np.float32), Y).predict(X.astype(np.float32))
