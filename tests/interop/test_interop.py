"""Models from and to scikit-learn: the same predictions, and training that goes on the same."""

import subprocess
import sys

import numpy as np
import pytest
from interrupting import assert_no_interrupt_is_swallowed
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.preprocessing import scale
from sklearn.tree import DecisionTreeClassifier

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.interop import from_sklearn, to_sklearn
from fastmlp.interop.scikit_learn import is_default

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
WORDS = np.array(["setosa", "versicolor", "virginica"])
SKLEARN = {MLPClassifier: SklearnMLPClassifier, MLPRegressor: SklearnMLPRegressor}
OWN = {theirs: ours for ours, theirs in SKLEARN.items()}

PROBLEMS = {
    "multiclass": (MLPClassifier, Y, {}),
    "words": (MLPClassifier, WORDS[Y], {}),
    "objects": (MLPClassifier, WORDS[Y].astype(object), {}),
    "binary words": (MLPClassifier, WORDS[Y // 2], {}),
    "booleans": (MLPClassifier, Y > 1, {}),
    "floats": (MLPClassifier, Y.astype(float), {}),
    "multilabel": (MLPClassifier, np.column_stack([Y > 0, Y > 1]).astype(int), {}),
    "one target": (MLPRegressor, X[:, 0], {}),
    "two targets": (MLPRegressor, X[:, :2], {}),
    "poisson": (MLPRegressor, Y, {"loss": "poisson"}),
    "poisson, two targets": (MLPRegressor, np.column_stack([Y, Y + 1]), {"loss": "poisson"}),
}
OPTIMIZERS = {
    "adam": {"learning_rate_init": 0.01, "beta_1": 0.8, "beta_2": 0.99, "epsilon": 1e-6},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.7},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.01, "nesterovs_momentum": False},
    "no momentum": {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0.0},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 2},
}


def fitted(problem, sklearn=False, dtype=np.float64, **parameters):
    estimator, y, own = PROBLEMS[problem]
    if sklearn:
        estimator = SKLEARN[estimator]
    defaults = dict(hidden_layer_sizes=(8, 5), activation="tanh", max_iter=9, random_state=0)
    return estimator(**defaults | own | parameters).fit(X.astype(dtype), y)


def outputs(model, inputs=X):
    predict = getattr(model, "predict_proba", model.predict)
    return predict(inputs)


def assert_same_predictions(a, b, rtol=1e-11):
    np.testing.assert_allclose(outputs(a), outputs(b), rtol=rtol)
    if hasattr(a, "classes_"):
        np.testing.assert_array_equal(a.predict(X), b.predict(X))
        assert a.predict(X).dtype == b.predict(X).dtype
        np.testing.assert_array_equal(a.classes_, b.classes_)


@pytest.mark.parametrize("parameters", [{}, {"solver": "lbfgs"}, {"hidden_layer_sizes": ()}])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_predictions_are_equal_in_both_directions(problem, parameters):
    model = fitted(problem, **parameters)
    exported = to_sklearn(model)
    assert type(exported) is SKLEARN[type(model)]
    assert_same_predictions(exported, model)
    theirs = fitted(problem, sklearn=True, **parameters)
    imported = from_sklearn(theirs)
    assert type(imported) is OWN[type(theirs)]
    assert_same_predictions(imported, theirs)


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_float32_model_stays_float32(activation):
    model = fitted("words", dtype=np.float32, activation=activation)
    exported = to_sklearn(model)
    imported = from_sklearn(exported)
    small = X.astype(np.float32)
    assert {array.dtype for array in exported.coefs_ + imported.coefs_} == {np.dtype(np.float32)}
    np.testing.assert_allclose(outputs(exported, small), outputs(model, small), rtol=1e-5)
    np.testing.assert_array_equal(outputs(imported, small), outputs(model, small))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("problem", ["words", "multilabel", "two targets"])
def test_after_a_round_trip_partial_fit_goes_on_with_the_same_numbers(problem, optimizer):
    original = fitted(problem, batch_size=32, **OPTIMIZERS[optimizer])
    exported = to_sklearn(original)
    returned = from_sklearn(exported)
    before = [coef.copy() for coef in original.coefs_]
    for _ in range(5):
        for model in (original, exported, returned):
            model.partial_fit(X, PROBLEMS[problem][1])
    arrays = [model.coefs_ + model.intercepts_ for model in (original, exported, returned)]
    assert not np.allclose(before[0], original.coefs_[0], rtol=1e-3), "nothing was learned"
    for own, theirs, back in zip(*arrays, strict=True):
        np.testing.assert_array_equal(own, back)
        np.testing.assert_allclose(own, theirs, rtol=1e-10, atol=1e-12)
    assert original.loss_curve_ == returned.loss_curve_
    np.testing.assert_allclose(original.loss_curve_, exported.loss_curve_, rtol=1e-10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_partial_fit_goes_on_where_scikit_learn_stood(optimizer):
    theirs = fitted("words", sklearn=True, batch_size=32, **OPTIMIZERS[optimizer])
    model = from_sklearn(theirs)
    for _ in range(5):
        model.partial_fit(X, WORDS[Y])
        theirs.partial_fit(X, WORDS[Y])
    for own, other in zip(model.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-10, atol=1e-12)
    assert model.t_ == theirs.t_ and model.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize(
    "parameters", [{}, {"early_stopping": True}, {"solver": "lbfgs", "max_iter": 3}]
)
def test_warm_start_goes_on_in_both_directions(parameters):
    original = fitted("words", warm_start=True, **parameters)
    exported, labels = to_sklearn(original), WORDS[Y]
    imported = from_sklearn(exported)
    for model in (original, exported, imported):
        model.fit(X, labels)
    np.testing.assert_array_equal(imported.coefs_[0], original.coefs_[0])
    np.testing.assert_allclose(exported.coefs_[0], original.coefs_[0], rtol=1e-7)
    assert imported.n_iter_ == original.n_iter_ == exported.n_iter_


def test_the_two_models_share_nothing():
    model = fitted("words", random_state=np.random.RandomState(0))
    expected = outputs(model)
    exported = to_sklearn(model)
    exported.coefs_[0][:] = 0
    exported.classes_[:] = "x"
    exported._optimizer.ms[0][:] = np.nan
    exported.random_state.rand()
    imported = from_sklearn(to_sklearn(model)).partial_fit(X, WORDS[Y])
    np.testing.assert_array_equal(outputs(model), expected)
    np.testing.assert_array_equal(imported.coefs_[0], model.partial_fit(X, WORDS[Y]).coefs_[0])


def test_feature_names_travel():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    model = MLPClassifier((3,), max_iter=2, random_state=0).fit(frame, Y)
    for other in (to_sklearn(model), from_sklearn(to_sklearn(model))):
        assert list(other.feature_names_in_) == list("abcd")
        with pytest.raises(ValueError, match="feature names"):
            other.predict(frame[list("dcba")])


def test_what_scikit_learn_lacks_is_named():
    model = fitted("words")
    for name, value in {"activation": "gelu", "solver": "adamw", "learning_rate": "cosine"}.items():
        other = from_sklearn(to_sklearn(model)).set_params(**{name: value})
        with pytest.raises(ValueError, match=f"cannot express.*'{name}'.*{value}"):
            to_sklearn(other)


def test_one_name_per_layer_is_exported_where_all_are_the_same():
    model = fitted("words")
    expected = outputs(model)
    model.activation = ("tanh", "tanh")
    exported = to_sklearn(model)
    assert exported.activation == "tanh"
    np.testing.assert_allclose(outputs(exported), expected, rtol=1e-12)
    model.activation = ("tanh", "relu")
    with pytest.raises(ValueError, match=r"one activation.*activation=\('tanh', 'relu'\)"):
        to_sklearn(model)


class WithOption(MLPClassifier):
    """One with a parameter that scikit-learn does not know."""

    def __init__(self, option=0.0, n_jobs=None):
        super().__init__(max_iter=2, n_jobs=n_jobs)
        self.option = option


def test_a_parameter_scikit_learn_does_not_have_is_named_unless_at_its_default():
    assert isinstance(to_sklearn(WithOption(n_jobs=1).fit(X, Y)), SklearnMLPClassifier)
    for value in (0.5, [0.1, 0.2], "balanced"):
        with pytest.raises(ValueError, match="MLPClassifier has no option; got"):
            to_sklearn(WithOption(option=value).fit(X, Y))


@pytest.mark.parametrize("convert", [to_sklearn, from_sklearn])
def test_others_and_unfitted_estimators_are_refused(convert):
    right = MLPClassifier if convert is to_sklearn else SklearnMLPClassifier
    with pytest.raises(NotFittedError):
        convert(right())
    with pytest.raises(TypeError, match=r"MLPClassifier or .*got DecisionTreeClassifier"):
        convert(DecisionTreeClassifier())


@pytest.mark.slow
def test_importing_fastmlp_brings_in_none_of_the_optional_packages():
    code = """if True:
        import sys
        import fastmlp, fastmlp.displays, fastmlp.interop, fastmlp._estimator.architecture
        optional = "matplotlib onnx onnxruntime skl2onnx shap skops dask distributed".split()
        print([name for name in optional if name in sys.modules])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["KernelExplainer", "PermutationExplainer"])
def test_shap_explains_predict_proba(name):
    shap = pytest.importorskip("shap")
    model, rows = fitted("words"), X[::40]
    explainer = getattr(shap, name)(model.predict_proba, X[::15], seed=0)
    explanation = explainer(rows)
    assert explanation.values.shape == (len(rows), 4, 3)
    totals = explanation.base_values + explanation.values.sum(axis=1)
    np.testing.assert_allclose(totals, model.predict_proba(rows), atol=1e-6)
    assert np.abs(explanation.values).max() > 0.01


def test_no_interrupt_is_taken_for_a_parameter_that_scikit_learn_lacks():
    """NumPy's array_equal would say that the parameters differ from their defaults."""
    model = MLPClassifier((3,), max_iter=1, dropout=0, warmup=np.float32(0)).fit(X, Y)
    to_sklearn(model)
    for name, default in {"dropout": 0.0, "warmup": 0, "max_time": None}.items():
        assert_no_interrupt_is_swallowed(is_default, getattr(model, name), default)


@pytest.mark.parametrize(
    "option", [{"dropout": [0.0]}, {"dropout": [[0.1], [0.1, 0.2]]}, {"warmup": 2}]
)
def test_a_parameter_that_scikit_learn_lacks_is_refused(option):
    model = MLPClassifier((3,), max_iter=1).fit(X, Y).set_params(**option)
    with pytest.raises(ValueError, match=f"has no {next(iter(option))}"):
        to_sklearn(model)
