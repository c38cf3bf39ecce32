"""At work inside scikit-learn's tools, and in pickles that travel."""

import io
import pickle
import subprocess
import sys

import joblib
import matplotlib
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    TunedThresholdClassifierCV,
    cross_val_predict,
    cross_validate,
    learning_curve,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, scale

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
IRIS_X = scale(IRIS_X)
CANCER_X, CANCER_Y = load_breast_cancer(return_X_y=True)
CANCER_X = scale(CANCER_X)


def quick(**parameters):
    defaults = dict(hidden_layer_sizes=(8,), max_iter=60, learning_rate_init=0.02, random_state=0)
    return MLPClassifier(**defaults | parameters)


def test_a_pipeline_learns_from_a_pandas_frame():
    frame = pd.DataFrame(IRIS_X, columns=["a", "b", "c", "d"])
    frame["kind"] = np.where(np.arange(150) % 2, "x", "y")
    frame.loc[::7, "kind"] = "z"
    columns = ColumnTransformer(
        [("number", StandardScaler(), ["a", "b", "c", "d"]), ("word", OneHotEncoder(), ["kind"])]
    )
    labels = pd.Series(np.array(["s", "ve", "vi"])[IRIS_Y], name="species")
    model = make_pipeline(columns, quick()).fit(frame, labels)
    assert model.score(frame, labels) > 0.9
    assert set(model.predict(frame)) == {"s", "ve", "vi"}


def test_set_output_pipelines_keep_feature_names():
    frame = pd.DataFrame(IRIS_X, columns=["a", "b", "c", "d"])
    model = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas")
    assert list(model.fit(frame, IRIS_Y)[-1].feature_names_in_) == ["a", "b", "c", "d"]


@pytest.mark.slow
def test_a_grid_search_runs_in_two_processes():
    search = GridSearchCV(
        quick(), {"hidden_layer_sizes": [(1,), (8,)], "solver": ["adam", "lbfgs"]}, n_jobs=2, cv=3
    )
    search.fit(IRIS_X, IRIS_Y)
    assert search.best_score_ > 0.9
    alone = clone(search.best_estimator_).fit(IRIS_X, IRIS_Y)
    np.testing.assert_array_equal(alone.coefs_[0], search.best_estimator_.coefs_[0])


def test_cross_val_predict_gives_probabilities():
    proba = cross_val_predict(quick(), IRIS_X, IRIS_Y, cv=3, method="predict_proba")
    assert np.mean(proba.argmax(axis=1) == IRIS_Y) > 0.9


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: CalibratedClassifierCV(model, cv=3),
        lambda model: BaggingClassifier(model, n_estimators=3, random_state=0),
        pytest.param(
            lambda model: BaggingClassifier(model, n_estimators=3, n_jobs=2, random_state=0),
            marks=pytest.mark.slow,
        ),
        lambda model: VotingClassifier([("a", model), ("b", LogisticRegression())], voting="soft"),
        OneVsRestClassifier,
    ],
    ids=["calibrated", "bagging", "bagging parallel", "voting", "one versus rest"],
)
def test_meta_estimators_learn_iris(wrap):
    model = wrap(quick()).fit(IRIS_X, IRIS_Y)
    assert model.score(IRIS_X, IRIS_Y) > 0.9
    np.testing.assert_allclose(model.predict_proba(IRIS_X).sum(axis=1), 1)


@pytest.mark.parametrize(
    "wrap",
    [lambda model: FixedThresholdClassifier(model, threshold=0.9), TunedThresholdClassifierCV],
    ids=["fixed", "tuned"],
)
def test_threshold_classifiers_take_the_probabilities(wrap):
    model = wrap(quick()).fit(CANCER_X, CANCER_Y)
    assert model.score(CANCER_X, CANCER_Y) > 0.9
    if isinstance(model, FixedThresholdClassifier):
        strict = model.estimator_.predict_proba(CANCER_X)[:, 1] >= 0.9
        np.testing.assert_array_equal(model.predict(CANCER_X), strict)


def test_learning_curve_rises():
    _, _, scores = learning_curve(
        quick(), IRIS_X, IRIS_Y, train_sizes=[10, 100], cv=3, shuffle=True, random_state=0
    )
    assert scores[1].mean() > 0.9 > scores[0].mean() - 0.1


def test_permutation_importance_finds_the_informative_feature():
    X = np.random.RandomState(0).randn(300, 3)
    model = quick().fit(X, X[:, 1] > 0)
    importances = permutation_importance(model, X, X[:, 1] > 0, random_state=0).importances_mean
    assert importances.argmax() == 1 and importances[1] > 0.3


def test_a_partial_dependence_display_is_drawn():
    matplotlib.use("Agg")
    model = quick().fit(IRIS_X, IRIS_Y)
    display = PartialDependenceDisplay.from_estimator(model, IRIS_X, [0, 2], target=2)
    assert len(display.lines_.ravel()) == 2
    assert np.ptp(display.pd_results[1]["average"]) > 0.1


def test_sample_weights_are_routed_as_metadata():
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        weight = np.where(IRIS_Y == 2, 0.0, 1.0)
        scores = cross_validate(
            model, IRIS_X, IRIS_Y, params={"sample_weight": weight}, return_estimator=True
        )
    assert all(2 not in each.predict(IRIS_X) for each in scores["estimator"])


def test_html_and_text_show_the_parameters():
    model = quick(n_jobs=2)
    assert "n_jobs=2" in repr(model)
    assert "MLPClassifier" in model._repr_html_()


def test_joblib_and_pickle_give_the_model_back():
    for model in (
        quick().fit(IRIS_X, IRIS_Y),
        quick(solver="lbfgs").fit(IRIS_X, IRIS_Y),
        MLPRegressor(max_iter=5, early_stopping=True).fit(*load_diabetes(return_X_y=True)),
    ):
        X = IRIS_X if isinstance(model, MLPClassifier) else load_diabetes().data
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        for copy in (joblib.load(file), pickle.loads(pickle.dumps(model))):
            np.testing.assert_array_equal(copy.predict(X), model.predict(X))
            assert repr(copy) == repr(model)


LOADS = """
import pickle, sys
import numpy as np
model, X, expected = pickle.load(open(sys.argv[1], "rb"))
model.set_params(n_jobs=3)
assert model.predict_proba(X).tobytes() == expected
model.partial_fit(X, model.predict(X))
sys.stdout.write(str(float(np.abs(model.coefs_[0]).sum())))
"""


@pytest.mark.slow
def test_a_pickle_loads_in_another_process_with_other_threads(tmp_path):
    model = quick(n_jobs=1, batch_size=50).fit(IRIS_X, IRIS_Y).partial_fit(IRIS_X, IRIS_Y)
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps((model, IRIS_X, model.predict_proba(IRIS_X).tobytes())))
    run = subprocess.run(
        [sys.executable, "-c", LOADS, str(path)], capture_output=True, text=True, check=True
    )
    model.partial_fit(IRIS_X, model.predict(IRIS_X))
    assert float(run.stdout) == float(np.abs(model.coefs_[0]).sum())


SPARSE_MEMORY = """
import resource
import numpy as np, scipy.sparse
from fastmlp import MLPClassifier
tiny = scipy.sparse.random_array((40, 30), density=0.1, format="csr", random_state=0)
MLPClassifier((2,), max_iter=1).fit(tiny, np.arange(40) % 2)  # compile first
X = scipy.sparse.random_array((20_000, 10_000), density=0.01, format="csr", random_state=0)
y = np.arange(20_000) % 3
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
MLPClassifier((100,), max_iter=2, random_state=0).fit(X, y)
print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="measures memory in Linux's unit")
def test_a_large_sparse_matrix_is_never_made_dense():
    """Dense, it would take 1600 MB; generating it peaks no higher than what is allowed."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SPARSE_MEMORY],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert float(run.stdout) < 300


def test_sparse_predictions_equal_dense_ones_to_rounding():
    X = scipy.sparse.random_array((500, 60), density=0.1, format="csr", random_state=0)
    y = np.asarray(X.sum(axis=1)).ravel()
    model = MLPRegressor(hidden_layer_sizes=(10,), max_iter=30, random_state=0).fit(X, y)
    np.testing.assert_allclose(model.predict(X), model.predict(X.toarray()), rtol=1e-13)
    np.testing.assert_array_equal(model.predict(X.tocsc()[3:5]), model.predict(X)[3:5])
