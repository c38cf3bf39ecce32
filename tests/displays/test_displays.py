"""Pictures drawn headless: what is in them, that nothing overlaps, what can't be drawn."""

import sys
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from oracles.naive import ACTIVATIONS
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import scale

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp._engine.kernels.activations import CODES
from fastmlp.displays import ActivationDisplay, LossCurveDisplay, NetworkDisplay, WeightsDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = scale(X)
OF_ESTIMATORS = [LossCurveDisplay, NetworkDisplay, WeightsDisplay]


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def fitted(estimator=MLPClassifier, inputs=X, **parameters):
    defaults = {"hidden_layer_sizes": (6,), "max_iter": 5, "random_state": 0}
    return estimator(**defaults | parameters).fit(inputs, Y)


@pytest.mark.parametrize("display", OF_ESTIMATORS)
def test_an_unfitted_estimator_is_an_error(display):
    with pytest.raises(NotFittedError):
        display.from_estimator(MLPClassifier())


@pytest.mark.parametrize("display", OF_ESTIMATORS)
def test_a_pipeline_is_an_error_that_says_what_to_pass(display):
    model = make_pipeline(MLPClassifier((3,), max_iter=2)).fit(X, Y)
    with pytest.raises(TypeError, match="pass the fitted step"):
        display.from_estimator(model)


@pytest.mark.parametrize("display", OF_ESTIMATORS)
def test_estimators_of_scikit_learn_are_drawn_as_well(display):
    ax = plt.subplots()[1]
    drawn = display.from_estimator(fitted(SklearnMLPClassifier, hidden_layer_sizes=()), ax=ax)
    assert drawn.figure_ is ax.figure
    drawn.figure_.draw_without_rendering()


@pytest.mark.slow
def test_without_matplotlib_the_error_names_the_display(monkeypatch):
    model = fitted()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for display in OF_ESTIMATORS:
        with pytest.raises(ImportError, match=f"{display.__name__}.*requires matplotlib"):
            display.from_estimator(model)
    with pytest.raises(ImportError, match="ActivationDisplay"):
        ActivationDisplay.from_names()


# Loss curves


def test_a_training_loss_alone_is_one_line_and_a_star():
    model = fitted()
    display = LossCurveDisplay.from_estimator(model)
    ax = display.ax_
    assert ax.lines[:] == [display.line_, display.best_marker_]
    np.testing.assert_array_equal(display.line_.get_ydata(), model.loss_curve_)
    np.testing.assert_array_equal(display.line_.get_xdata(), np.arange(1, 6))
    labels = ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    assert labels == ("Loss by epoch", "Epoch", "Loss per sample (log loss, nats)")
    (legend,) = ax.get_legend().get_texts()
    assert legend.get_text() == "MLPClassifier: training, ★ best at epoch 5"
    assert display.validation_line_ is None and display.score_ax_ is None


@pytest.mark.parametrize(
    "parameters, label",
    [
        ({}, "half squared error, squared units of y"),
        ({"loss": "poisson"}, "half Poisson deviance"),
    ],
)
def test_the_loss_of_a_regressor_has_its_units(parameters, label):
    display = LossCurveDisplay.from_estimator(fitted(MLPRegressor, **parameters))
    assert label in display.ax_.get_ylabel()


@pytest.mark.parametrize("estimator, label", [(MLPClassifier, "accuracy"), (MLPRegressor, "R²")])
def test_validation_scores_have_an_axis_of_their_own(estimator, label):
    model = fitted(estimator, early_stopping=True, max_iter=20)
    model.validation_loss_curve_ = None  # as scikit-learn's own estimators are
    display = LossCurveDisplay.from_estimator(model)
    assert display.score_ax_.get_ylabel() == f"Validation {label}"
    np.testing.assert_array_equal(display.validation_line_.get_ydata(), model.validation_scores_)
    assert display.best_epoch_ == np.argmax(model.validation_scores_) + 1
    star = display.best_marker_
    assert (star.get_xdata()[0], star.get_ydata()[0]) == (
        display.best_epoch_,
        model.best_validation_score_,
    )
    assert star.axes is display.score_ax_
    assert len(display.score_ax_.get_legend().get_texts()) == 2


def test_a_validation_loss_stands_beside_the_training_loss_and_decides():
    display = LossCurveDisplay(
        loss_curve=[4.0, 3.0, 2.0, 1.0], validation_loss_curve=[5.0, 2.5, 3.0, 4.0], name="mine"
    ).plot()
    assert display.ax_ is display.validation_line_.axes and display.score_ax_ is None
    assert display.best_epoch_ == 2
    assert display.best_marker_.get_ydata() == [2.5]
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["mine: training", "mine: validation, ★ best at epoch 2"]


def test_estimators_on_one_axes_differ_without_their_colours():
    models = [fitted(early_stopping=True, random_state=seed) for seed in range(3)]
    for model in models:
        model.validation_loss_curve_ = None  # as scikit-learn's own estimators are
    ax = None
    for number, model in enumerate([*models, fitted()]):
        display = LossCurveDisplay.from_estimator(model, ax=ax, name=f"number {number}")
        ax = display.ax_
    assert len(ax.figure.axes) == 2, "losses, and scores once"
    curves = [line for line in ax.lines if line.get_linestyle() == "-"]
    assert len({line.get_marker() for line in curves}) == 4
    scores = next(other for other in ax.figure.axes if other is not ax)
    legend = [text.get_text() for text in scores.get_legend().get_texts()]
    assert len(legend) == 7 and sum("★" in text for text in legend) == 4
    dashed = [line for line in scores.lines if line.get_linestyle() == "--"]
    assert [line.get_marker() for line in dashed] == [line.get_marker() for line in curves[:3]]


def test_losses_of_several_kinds_are_not_labelled_as_one():
    display = LossCurveDisplay.from_estimator(fitted())
    LossCurveDisplay.from_estimator(fitted(MLPRegressor), ax=display.ax_)
    assert display.ax_.get_ylabel() == "Loss per sample"


def test_one_epoch_is_a_point_at_epoch_1():
    display = LossCurveDisplay.from_estimator(fitted(max_iter=1))
    display.figure_.draw_without_rendering()
    low, high = display.ax_.get_xlim()
    assert [tick for tick in display.ax_.get_xticks() if low <= tick <= high] == [1]
    assert display.line_.get_marker() not in ("", "None")


def test_a_loss_that_is_never_finite_has_no_best_epoch():
    display = LossCurveDisplay(loss_curve=[np.nan, np.inf]).plot()
    assert display.best_epoch_ is None and display.best_marker_ is None


def test_lbfgs_has_no_loss_curve():
    with pytest.raises(ValueError, match="solver='lbfgs' left no loss curve"):
        LossCurveDisplay.from_estimator(fitted(solver="lbfgs"))


# Activations


@pytest.mark.slow
def test_every_activation_has_a_panel_with_its_derivative():
    display = ActivationDisplay.from_names()
    assert [ax.get_title() for ax in display.axes_] == list(CODES)
    step = display.z[1] - display.z[0]
    smooth = np.abs(display.z) > 1.5 * step
    for ax, (f, df), name in zip(display.axes_, display.lines_, CODES, strict=True):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("z", "f(z), f'(z)")
        slope = np.gradient(f.get_ydata(), step)
        np.testing.assert_allclose(df.get_ydata()[smooth], slope[smooth], atol=1e-3, err_msg=name)
        if name in ACTIVATIONS:
            np.testing.assert_allclose(f.get_ydata(), ACTIVATIONS[name](display.z), atol=1e-14)
    assert [text.get_text() for text in display.axes_[0].get_legend().get_texts()] == [
        "f(z)",
        "f'(z)",
    ]


@pytest.mark.slow
def test_panels_go_where_they_are_told():
    left, right = plt.subplots(1, 2)[1]
    display = ActivationDisplay.from_names(["tanh", "relu", "logistic"], ax=left)
    assert display.figure_ is left.figure and len(display.figure_.axes) == 5
    panels = [ax.get_position() for ax in display.axes_]
    assert all(panel.x1 < right.get_position().x0 for panel in panels)
    assert not any(a.overlaps(b) for n, a in enumerate(panels) for b in panels[:n])
    assert ActivationDisplay.from_names(["tanh"], ax=right).axes_.tolist() == [right]
    pair = plt.subplots(1, 2)[1]
    assert ActivationDisplay.from_names(["tanh", "relu"], ax=pair).axes_.tolist() == [*pair]
    with pytest.raises(ValueError, match="3 axes"):
        ActivationDisplay.from_names(["tanh", "relu", "logistic"], ax=pair)


def test_an_unknown_activation_is_named():
    with pytest.raises(ValueError, match="'swishy'"):
        ActivationDisplay.from_names(["relu", "swishy"])


# Weights

SQUARE = np.random.RandomState(0).rand(150, 25)


def test_weights_of_square_features_are_images_in_one_mosaic():
    model = fitted(inputs=SQUARE)
    display = WeightsDisplay.from_estimator(model)
    (ax,), (image,) = display.axes_, display.images_
    assert ax.get_title() == "First-layer weights of 6 of 6 units"
    assert "hidden" in ax.get_xlabel() and ax.get_ylabel() == "First unit of the row"
    mosaic = image.get_array()
    assert mosaic.shape == (2 * 5 + 1, 3 * 5 + 2)
    np.testing.assert_array_equal(mosaic[6:11, 6:11], model.coefs_[0][:, 4].reshape(5, 5))
    assert mosaic.mask.sum() == mosaic.size - 6 * 25
    vmin, vmax = image.get_clim()
    assert vmin == -vmax == -np.abs(model.coefs_[0]).max()
    assert [other.get_ylabel() for other in display.figure_.axes] == [ax.get_ylabel(), "Weight"]


def test_an_image_shape_may_be_given_and_must_hold_the_features():
    model = fitted()
    display = WeightsDisplay.from_estimator(model, image_shape=(1, 4), max_units=2)
    assert display.axes_[0].get_title() == "First-layer weights of 2 of 6 units"
    assert not np.ma.is_masked(display.images_[0].get_array()[[0, -1], :4])
    with pytest.raises(ValueError, match="does not match the number of features, 4"):
        WeightsDisplay.from_estimator(model, image_shape=(2, 3))


@pytest.mark.parametrize("hidden", [(), (6,), (3,) * 10, (1000, 2)])
def test_other_weights_are_a_heat_map_of_each_layer(hidden):
    frame = pd.DataFrame(X, columns=["one", "two", "three", "four"])
    model = fitted(inputs=frame, hidden_layer_sizes=hidden, max_iter=1)
    display = WeightsDisplay.from_estimator(model)
    for image, coef in zip(display.images_, model.coefs_, strict=True):
        np.testing.assert_array_equal(image.get_array(), coef)
    assert len(display.figure_.axes) == 2 * len(model.coefs_), "a colour bar for each"
    titles = [ax.get_title() for ax in display.axes_]
    assert titles[0].startswith("input to") and titles[-1].endswith("to output")
    first = display.axes_[0]
    assert [label.get_text() for label in first.get_yticklabels()] == list(frame.columns)
    assert first.get_ylabel() == "Feature"


# Diagrams


def test_the_diagram_tells_sizes_activations_and_parameters():
    model = fitted(hidden_layer_sizes=(6, 100), activation="tanh")
    display = NetworkDisplay.from_estimator(model)
    total = sum(array.size for array in model.coefs_ + model.intercepts_)
    assert display.ax_.get_title() == f"MLPClassifier: {total:,} parameters"
    assert [text.get_text() for text in display.texts_] == [
        "input\n4 features",
        "hidden 1\n6 units\ntanh\n30 parameters",
        "hidden 2\n100 units\ntanh\n700 parameters",
        "output\n3 units\nsoftmax\n303 parameters",
    ]
    assert len(display.units_.get_offsets()) == 4 + 6 + 6 + 3, "at most 6 and dots"
    assert len(display.connections_.get_segments()) == 4 * 6 + 6 * 6 + 6 * 3


def test_a_name_per_layer_is_told_per_layer():
    model = fitted(hidden_layer_sizes=(6, 5))
    model.activation = ["tanh", "relu"]
    texts = [text.get_text() for text in NetworkDisplay.from_estimator(model).texts_]
    assert "tanh" in texts[1] and "relu" in texts[2]
    model.activation = ["tanh"]
    with pytest.raises(ValueError, match="activation has length 1"):
        NetworkDisplay.from_estimator(model)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", [(), (1,), (5,), (1000, 1000), (12,) * 10])
@pytest.mark.parametrize("in_subplot", [False, True])
def test_nothing_in_a_diagram_overlaps(hidden, in_subplot):
    model = fitted(MLPRegressor, hidden_layer_sizes=hidden, max_iter=1)
    ax = plt.subplots(2, 2)[1][0, 0] if in_subplot else None
    display = NetworkDisplay.from_estimator(model, ax=ax)
    display.figure_.draw_without_rendering()
    texts = [text.get_window_extent() for text in display.texts_]
    assert all(left.x1 < right.x0 for left, right in pairwise(texts))
    units = display.units_.get_window_extent()
    assert max(text.y1 for text in texts) < units.y0
    assert display.ax_.title.get_window_extent().y0 > units.y1
    places = display.ax_.transData.transform(display.units_.get_offsets())
    apart = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(len(places), 1)]
    diameter = np.sqrt(display.units_.get_sizes()[0]) * display.figure_.dpi / 72
    assert apart.min() > diameter
