"""A network of weights set by hand, never fitted: it predicts as scikit-learn's does."""

import pickle
from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import LabelBinarizer

import fastmlp as ours
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._estimator import fitted
from fastmlp._estimator.architecture import Architecture
from fastmlp.inspection import check_gradient, input_gradient
from fastmlp.interop import from_sklearn, to_onnx, to_sklearn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.RandomState(0)
X = RNG.randn(30, 4)
LABELS = ["a", "b", "c"]


def weights_of(*sizes):
    pairs = list(pairwise(sizes))
    return [RNG.randn(*pair) for pair in pairs], [RNG.randn(n_out) for _, n_out in pairs]


def given(estimator, n_outputs=1, hidden=(5,), **attributes):
    """An estimator with random weights and these attributes, and no other."""
    coefs, intercepts = weights_of(4, *hidden, n_outputs)
    estimator.coefs_, estimator.intercepts_ = coefs, intercepts
    for name, value in attributes.items():
        setattr(estimator, name, value)
    return estimator


def by_scikit_learn(model, kind, **attributes):
    """scikit-learn's estimator with the same weights and what it cannot do without."""
    other = getattr(theirs, kind)(activation=model.activation)
    other.coefs_, other.intercepts_ = model.coefs_, model.intercepts_
    other.n_layers_, other.n_outputs_ = len(model.coefs_) + 1, len(model.intercepts_[-1])
    for name, value in attributes.items():
        setattr(other, name, value)
    return other


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("hidden", [(), (5,), (6, 5)])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_regressor_predicts(n_outputs, hidden, activation):
    model = given(MLPRegressor(activation=activation), n_outputs, hidden)
    other = by_scikit_learn(model, "MLPRegressor", out_activation_="identity")
    before = set(vars(model))
    np.testing.assert_allclose(model.predict(X), other.predict(X), rtol=1e-12)
    y = other.predict(X)
    assert model.score(X, y) == 1
    assert set(vars(model)) == before  # a prediction sets nothing
    with pytest.raises(ValueError, match=r"3 features.*4 features"):
        model.predict(X[:, :3])
    with pytest.raises(ValueError, match="NaN"):
        model.predict(np.full((1, 4), np.nan))


@pytest.mark.parametrize("output", ["identity", "logistic", "softmax", "relu", "tanh", "exp"])
def test_the_output_activation_may_be_any_of_scikit_learns(output):
    model = given(MLPRegressor(), 3, out_activation_=output)
    other = by_scikit_learn(model, "MLPRegressor", out_activation_=output)
    np.testing.assert_allclose(model.predict(X), other.predict(X), rtol=1e-12, atol=1e-15)
    model.out_activation_ = "sine"
    with pytest.raises(
        ValueError, match=r"out_activation_ must be one of softmax, .*tanh.*; got 'sine'"
    ):
        model.predict(X)


def test_a_poisson_regressor_predicts_exp():
    model = given(MLPRegressor(loss="poisson"))
    other = by_scikit_learn(model, "MLPRegressor", out_activation_="exp")
    np.testing.assert_allclose(model.predict(X), other.predict(X), rtol=1e-12)


CLASSIFIERS = {
    "3 classes": (3, "softmax", LabelBinarizer().fit(LABELS), np.array(LABELS)),
    "2 classes": (1, "logistic", LabelBinarizer().fit([3, 7]), np.array([3, 7])),
    "multilabel": (3, "logistic", LabelBinarizer().fit(np.eye(3, dtype=int)), np.arange(3)),
    "multilabel, 2": (2, "logistic", LabelBinarizer().fit(np.eye(2, dtype=int)), np.arange(2)),
}


@pytest.mark.parametrize("case", CLASSIFIERS)
@pytest.mark.parametrize("gives", ["classes_", "_label_binarizer", "both"])
def test_a_classifier_predicts_labels(case, gives):
    n_outputs, output, binarizer, classes = CLASSIFIERS[case]
    labels = {"classes_": classes, "_label_binarizer": binarizer}
    chosen = labels if gives == "both" else {gives: labels[gives]}
    if case.startswith("multilabel") and gives == "classes_":
        chosen["out_activation_"] = output  # else three outputs are three classes
    model = given(MLPClassifier(), n_outputs, **chosen)
    other = by_scikit_learn(model, "MLPClassifier", out_activation_=output, **labels)
    np.testing.assert_allclose(model.predict_proba(X), other.predict_proba(X), rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), other.predict(X), strict=True)
    np.testing.assert_allclose(model.predict_log_proba(X), other.predict_log_proba(X), rtol=1e-9)
    assert model.score(X, other.predict(X)) == 1
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X), strict=True)


def test_two_outputs_alone_are_the_probabilities_of_two_classes():
    model = given(MLPClassifier(), 2, classes_=["a", "b"])
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)


def test_labels_in_the_order_given():
    coefs, intercepts = [np.eye(4)[:, :3]], [np.zeros(3)]
    model = MLPClassifier(())
    model.coefs_, model.intercepts_, model.classes_ = coefs, intercepts, ["z", "a", "m"]
    assert model.predict(np.eye(4)[:3]).tolist() == ["z", "a", "m"]


def test_without_labels_there_are_only_probabilities():
    model = given(MLPClassifier(), 3)
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    for method, data in (("predict", (X,)), ("score", (X, np.zeros(30)))):
        with pytest.raises(NotFittedError, match="classes_"):
            getattr(model, method)(*data)
    with pytest.raises(ValueError, match=r"classes_ has 4 labels.* 3 outputs"):
        given(MLPClassifier(), 3, classes_=range(4)).predict(X)


def test_without_weights_it_is_not_fitted():
    for model in (MLPClassifier(), MLPRegressor()):
        model.out_activation_, model.n_layers_ = "identity", 3
        with pytest.raises((NotFittedError, AttributeError)):
            model.predict(X)


@pytest.mark.parametrize("kind", ["MLPRegressor", "MLPClassifier"])
def test_copies_parameters_and_pickles(kind):
    labels = {"classes_": np.array(LABELS)} if kind == "MLPClassifier" else {}
    model = given(getattr(ours, kind)(), 3, **labels)
    expected = model.predict(X)
    for other in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        np.testing.assert_array_equal(other.predict(X), expected)
    assert not hasattr(clone(model), "coefs_")
    np.testing.assert_array_equal(model.set_params(alpha=1.0, n_jobs=1).predict(X), expected)
    model.coefs_[0][:] = 0
    assert not np.array_equal(model.predict(X), expected)
    model.set_params(activation="tanh").coefs_[0][:] = 1
    assert model.predict(X[:1]).shape == expected[:1].shape


@pytest.mark.parametrize("order", ["C", "F"])
def test_saved_weights_are_contiguous_whatever_the_given_ones_are(order):
    model = given(MLPRegressor())
    model.coefs_ = [np.asarray(each, order=order) for each in model.coefs_]
    for saved, coef in zip(model.__getstate__()["coefs_"], model.coefs_, strict=True):
        assert saved.flags.c_contiguous and np.array_equal(saved, coef)


def test_a_pickle_without_intercepts_loads():
    model = MLPRegressor()
    model.coefs_ = [np.ones((4, 1))]
    again = pickle.loads(pickle.dumps(model))
    with pytest.raises(AttributeError, match="intercepts_"):
        again.predict(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predictions_have_the_type_of_the_weights(dtype):
    model = given(MLPRegressor())
    model.coefs_ = [each.astype(dtype) for each in model.coefs_]
    model.intercepts_ = [each.astype(dtype).tolist() for each in model.intercepts_]
    assert model.predict(X).dtype == np.float64
    model.intercepts_ = [np.asarray(each, dtype) for each in model.intercepts_]
    assert model.predict(X.astype(dtype)).dtype == dtype


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_training_continues_from_given_weights(solver):
    y = RNG.randn(30)
    for kind, target, labels in (
        (MLPRegressor, y, {}),
        (MLPClassifier, np.array(LABELS)[np.digitize(y, [-0.5, 0.5])], {"classes_": LABELS}),
    ):
        model = given(kind(hidden_layer_sizes=(5,), max_iter=3), 3 if labels else 1, **labels)
        start = model.coefs_[0].copy()
        model.set_params(warm_start=True, solver=solver, learning_rate_init=1e-6).fit(X, target)
        assert model.n_features_in_ == 4 and model.n_iter_ <= 3 and model.t_ >= 0
        if solver == "adam":
            np.testing.assert_allclose(model.coefs_[0], start, atol=1e-4)
            model.partial_fit(X, target)
        assert model.predict(X).shape == (30,)


def test_partial_fit_begins_with_given_weights():
    model = given(MLPClassifier((5,), learning_rate_init=1e-6), 3)
    start = model.coefs_[0].copy()
    model.partial_fit(X, np.resize(LABELS, 30), classes=LABELS)
    np.testing.assert_allclose(model.coefs_[0], start, atol=1e-5)
    assert set(model.predict(X)) <= set(LABELS)


def test_partial_fit_counts_samples_from_zero_after_given_weights():
    model = given(MLPRegressor(hidden_layer_sizes=(5,)))
    for calls in (1, 2, 3):
        assert model.partial_fit(X, X[:, 0]).t_ == calls * len(X)


def test_the_network_is_made_again_only_of_new_weights():
    model = MLPRegressor(hidden_layer_sizes=(5,), max_iter=2, random_state=0).fit(X, X[:, 0])
    network = fitted.network_of(model)
    assert fitted.network_of(model) is network
    model.coefs_ = [2 * each for each in model.coefs_]
    assert fitted.network_of(model) is not network


@pytest.mark.parametrize(("sizes", "found"), [((5, 6, 1), "5 .* 1"), ((4, 6, 2), "4 .* 2")])
def test_weights_for_other_features_or_outputs_than_the_fitted_ones_are_refused(sizes, found):
    model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=2, random_state=0).fit(X, X[:, 0])
    model.coefs_, model.intercepts_ = weights_of(*sizes)
    message = rf"coefs_ have {found} *outputs; the estimator was fitted with 4 and 1"
    with pytest.raises(ValueError, match=message):
        model.predict(np.ones((3, sizes[0])))
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, X[:, 0])


def test_gradients_pictures_and_exports_work():
    model = given(MLPRegressor(hidden_layer_sizes=(5,), activation="tanh"), 2)
    assert Architecture.of(model).activations == ("tanh", "identity")
    gradient = input_gradient(model, X)
    assert check_gradient(model, X, RNG.randn(30, 2)) < 1e-6
    step = 1e-6 * np.eye(4)[0]
    expected = (model.predict(X + step) - model.predict(X - step)) / 2e-6
    np.testing.assert_allclose(gradient[:, :, 0], expected, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(to_sklearn(model).predict(X), model.predict(X), rtol=1e-12)
    classifier = given(MLPClassifier((5,)), 3, classes_=np.array(LABELS))
    exported = to_sklearn(classifier)
    np.testing.assert_array_equal(exported.predict(X), classifier.predict(X))
    other = by_scikit_learn(model, "MLPRegressor", out_activation_="identity")
    np.testing.assert_allclose(from_sklearn(other).predict(X), other.predict(X), rtol=1e-12)


def test_onnx_computes_the_same():
    pytest.importorskip("onnx", reason="needs the extra onnx")
    runtime = pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    model = given(MLPClassifier(), 3, classes_=np.array(LABELS))
    session = runtime.InferenceSession(to_onnx(model).SerializeToString())
    labels, probabilities = session.run(None, {"X": X})
    np.testing.assert_array_equal(labels, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), rtol=1e-10)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    "sizes", [True, (True,), [5, True], np.array([True, True]), [np.True_, 3], (False,)]
)
def test_a_boolean_is_no_size(kind, sizes):
    with pytest.raises(TypeError, match=r"hidden_layer_sizes must hold integers, not booleans"):
        kind(hidden_layer_sizes=sizes, max_iter=1).fit(np.eye(6), np.arange(6) % 2)
