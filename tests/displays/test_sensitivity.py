"""SensitivityDisplay: mean absolute gradients, and permutation importances beside them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.displays import SensitivityDisplay, sensitivity
from fastmlp.inspection import input_gradient

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
FRAME = pd.DataFrame(X, columns=["one", "two", "three", "four"])


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def fitted(estimator=MLPClassifier, inputs=X, y=Y, **parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 30, "random_state": 0}
    return estimator(**defaults | {"learning_rate_init": 0.05} | parameters).fit(inputs, y)


def widths(container):
    return [bar.get_width() for bar in container]


@pytest.mark.parametrize("block", [1, 7, 500])
@pytest.mark.parametrize("options", [{}, {"output": 1}, {"pre_activation": True}])
def test_bars_are_means_of_absolute_gradients_the_largest_first(options, block, monkeypatch):
    monkeypatch.setattr(sensitivity, "BLOCK_ROWS", block)
    model = fitted()
    display = SensitivityDisplay.from_estimator(model, X, **options)
    expected = np.abs(input_gradient(model, X, **options)).reshape(-1, 4).mean(axis=0)
    np.testing.assert_allclose(display.sensitivities, expected, rtol=1e-12)
    (bars,) = display.bars_
    np.testing.assert_allclose(widths(bars), np.sort(expected)[::-1])
    names = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert names == [str(feature) for feature in np.argsort(-expected)]
    assert bars[0].get_y() < bars[-1].get_y() and display.axes_[0].yaxis_inverted()


def test_with_y_the_permutation_importances_stand_beside():
    model = fitted()
    display = SensitivityDisplay.from_estimator(model, X, Y, n_repeats=3, random_state=0)
    found = permutation_importance(model, X, Y, n_repeats=3, random_state=0)
    np.testing.assert_array_equal(display.importances, found["importances"])
    first, second = display.bars_
    assert len(display.axes_) == 2 and len(first) == len(second) == 4
    np.testing.assert_allclose(widths(second), found["importances_mean"][display.features_])
    assert display.axes_[1].get_title() == "Permutation importance"


@pytest.mark.parametrize(
    "y, options, label",
    [
        (Y, {}, "Mean |d probability / d feature|"),
        (np.array(["se", "ve", "vi"])[Y], {"output": 2}, "Mean |d probability vi / d feature|"),
        (Y > 0, {"output": 0, "pre_activation": True}, "Mean |d logit / d feature|"),
    ],
)
def test_the_axis_says_what_is_differentiated(y, options, label):
    display = SensitivityDisplay.from_estimator(fitted(y=y), X, **options)
    assert display.axes_[0].get_xlabel() == label


def test_a_regressors_axis_says_what_is_differentiated():
    one, several = fitted(MLPRegressor), fitted(MLPRegressor, y=np.column_stack([Y, Y]))
    label = SensitivityDisplay.from_estimator(one, X).axes_[0].get_xlabel()
    assert label == "Mean |d prediction / d feature|"
    display = SensitivityDisplay.from_estimator(several, X, output=1, pre_activation=True)
    assert display.axes_[0].get_xlabel() == "Mean |d z 1 / d feature|"


@pytest.mark.parametrize("rows", [FRAME, FRAME.set_index(np.linspace(0, 1, 150))])
def test_features_of_a_frame_have_their_names(rows, monkeypatch):
    monkeypatch.setattr(sensitivity, "BLOCK_ROWS", 40)
    display = SensitivityDisplay.from_estimator(fitted(inputs=FRAME), rows, max_features=3)
    names = [label.get_text() for label in display.axes_[0].get_yticklabels()]
    assert names == [FRAME.columns[feature] for feature in display.features_] and len(names) == 3


def test_lists_and_sparse_rows_are_rows_too():
    model = fitted()
    expected = SensitivityDisplay.from_estimator(model, X).sensitivities
    for rows in (X.tolist(), csr_array(X)):
        found = SensitivityDisplay.from_estimator(model, rows).sensitivities
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_nothing_overlaps_or_leaves_the_figure():
    rows = pd.DataFrame(X, columns=[f"a feature with a long name {n}" for n in range(4)])
    display = SensitivityDisplay.from_estimator(fitted(inputs=rows), rows, Y, random_state=0)
    display.figure_.draw_without_rendering()
    first, second = (ax.get_tightbbox() for ax in display.axes_)
    assert first.x1 <= second.x0
    figure = display.figure_.bbox
    assert min(first.x0, first.y0) >= 0
    assert second.x1 <= figure.x1 and max(first.y1, second.y1) <= figure.y1


def test_axes_may_be_given():
    model, (ax, other) = fitted(), plt.subplots(1, 2)[1]
    assert SensitivityDisplay.from_estimator(model, X, ax=ax).axes_[0] is ax
    display = SensitivityDisplay.from_estimator(model, X, Y, ax=other)
    assert display.figure_ is other.figure and len(display.axes_) == 2
    with pytest.raises(ValueError, match="ax must hold 2 axes"):
        SensitivityDisplay.from_estimator(model, X, Y, ax=[ax])


def test_models_of_scikit_learn_are_drawn_and_others_refused():
    display = SensitivityDisplay.from_estimator(fitted(SklearnMLPClassifier), X)
    assert display.sensitivities.shape == (4,)
    with pytest.raises(NotFittedError):
        SensitivityDisplay.from_estimator(MLPClassifier(), X)
    with pytest.raises(TypeError, match="pass the fitted step"):
        SensitivityDisplay.from_estimator(make_pipeline(fitted()).fit(X, Y), X)
    with pytest.raises(ValueError, match="output=3"):
        SensitivityDisplay.from_estimator(fitted(), X, output=3)
