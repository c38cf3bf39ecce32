"""Whatever holds estimators, converted to scikit-learn as a whole."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler, scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.interop import to_sklearn
from fastmlp.interop.substitution import copy_with

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
TARGETS = np.column_stack([X[:, 0], X[:, 1] ** 2])


def classifier(**parameters):
    return MLPClassifier(**dict(hidden_layer_sizes=(6,), max_iter=5, random_state=0) | parameters)


def regressor():
    return MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0)


def importance(estimator):
    return np.abs(estimator.coefs_[0]).sum(axis=1)


CLASSIFIERS = {
    "pipeline": make_pipeline(StandardScaler(), classifier()),
    "pipeline in a pipeline": Pipeline([("a", make_pipeline(StandardScaler(), classifier()))]),
    "after columns": make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), [0, 2])], remainder="passthrough"),
        classifier(),
    ),
    "inside columns": make_pipeline(
        ColumnTransformer(
            [("chosen", SelectFromModel(classifier(), importance_getter=importance), [0, 1, 2])]
        ),
        LogisticRegression(),
    ),
    "union": make_pipeline(
        FeatureUnion([("chosen", SelectFromModel(classifier(), importance_getter=importance))]),
        classifier(),
    ),
    "search": GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2),
    "search of a pipeline": GridSearchCV(
        make_pipeline(StandardScaler(), classifier()), {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2
    ),
    "voting": VotingClassifier([("a", classifier()), ("b", LogisticRegression())], voting="soft"),
    "stacking": StackingClassifier([("a", classifier())], classifier(), cv=2),
    "bagging": BaggingClassifier(classifier(), n_estimators=3, random_state=0),
    "boosting": AdaBoostClassifier(
        classifier(learning_rate_init=0.1), n_estimators=2, random_state=0
    ),
    "calibrated": CalibratedClassifierCV(classifier(), cv=2),
    "one versus rest": OneVsRestClassifier(classifier()),
    "one versus one": OneVsOneClassifier(classifier()),
    "lambda": make_pipeline(FunctionTransformer(lambda X: X * 2), classifier()),
}
REGRESSORS = {
    "target": TransformedTargetRegressor(regressor(), transformer=StandardScaler()),
    "voting": VotingRegressor([("a", regressor()), ("b", LinearRegression())]),
    "outputs": MultiOutputRegressor(regressor()),
    "chain": RegressorChain(regressor()),
}


def modules_in(obj):
    """The packages of the classes of all objects that an object holds."""
    found = set()
    copy_with(obj, lambda each: found.add(type(each).__module__.partition(".")[0]))
    return found


def predictions(model):
    names = [n for n in ("predict_proba", "decision_function", "predict") if hasattr(model, n)]
    return {name: getattr(model, name)(X) for name in names}


def assert_converted(model):
    before, expected = pickle.dumps(copy_with(model, lambda each: None)), predictions(model)
    exported = to_sklearn(model)
    assert type(exported) is type(model) and exported is not model
    assert "fastmlp" in modules_in(model) and "fastmlp" not in modules_in(exported)
    for name, values in predictions(exported).items():
        np.testing.assert_allclose(values, expected[name], rtol=1e-9, atol=1e-12)
    assert pickle.dumps(copy_with(model, lambda each: None)) == before, "the original has changed"
    return exported


@pytest.mark.parametrize("name", [name for name in CLASSIFIERS if name != "lambda"])
def test_estimators_inside_a_classifier_are_converted(name):
    exported = assert_converted(clone(CLASSIFIERS[name]).fit(X, Y))
    clone(exported).fit(X, Y)  # templates are converted too


@pytest.mark.parametrize("name", REGRESSORS)
def test_estimators_inside_a_regressor_are_converted(name):
    y = TARGETS if name in ("outputs", "chain") else TARGETS[:, 0]
    assert_converted(clone(REGRESSORS[name]).fit(X, y))


def test_functions_without_a_name_are_kept():
    model = clone(CLASSIFIERS["lambda"]).fit(X, Y)
    exported = to_sklearn(model)
    assert exported[0].func is model[0].func
    np.testing.assert_allclose(exported.predict_proba(X), model.predict_proba(X), rtol=1e-9)


def test_one_object_in_several_places_stays_one():
    model = FixedThresholdClassifier(classifier()).fit(X, Y > 0)
    shared = [model.estimator_, {"again": model.estimator_}, np.array([model.estimator_])]
    exported = to_sklearn(shared)
    assert exported[0] is exported[1]["again"] is exported[2][0]
    assert type(exported[0]) is SklearnMLPClassifier
    assert to_sklearn([classifier().fit(X, Y), MLPClassifier])[1] is SklearnMLPClassifier


def test_the_copy_shares_nothing():
    model = make_pipeline(StandardScaler(), classifier()).fit(X, Y)
    expected = model.predict_proba(X)
    exported = to_sklearn(model)
    exported[0].mean_[:] = np.nan
    exported[1].coefs_[0][:] = np.nan
    np.testing.assert_array_equal(model.predict_proba(X), expected)


def test_what_scikit_learn_lacks_is_named():
    model = make_pipeline(StandardScaler(), classifier(dropout=0.5)).fit(X, Y)
    with pytest.raises(ValueError, match=r"has no dropout; got 0\.5"):
        to_sklearn(model)


def test_nothing_to_convert_is_an_error():
    with pytest.raises(TypeError, match="or hold one; got Pipeline"):
        to_sklearn(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y))
    with pytest.raises(NotFittedError, match="Pipeline holds no fitted estimator"):
        to_sklearn(make_pipeline(StandardScaler(), classifier()))


WITHOUT_FASTMLP = """
import pickle, sys
sys.modules["fastmlp"] = None  # an import of it fails
model, X, expected = pickle.load(open(sys.argv[1], "rb"))
import numpy as np
np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
print(type(model).__name__, [name for name in sys.modules if name.startswith("fastmlp.")])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["search of a pipeline", "bagging", "calibrated", "stacking"])
def test_the_copy_loads_where_fastmlp_is_not_installed(name, tmp_path):
    model = clone(CLASSIFIERS[name]).fit(X, Y)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((to_sklearn(model), X, model.predict(X))))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_FASTMLP, str(path)], capture_output=True, text=True
    )
    assert done.stdout.strip() == f"{type(model).__name__} []", done.stderr
