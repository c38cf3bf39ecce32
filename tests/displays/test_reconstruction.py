"""ReconstructionDisplay: images above what a model makes of them."""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

from fastmlp import MLPAutoencoder
from fastmlp.displays import ReconstructionDisplay

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = load_digits().data[:60] / 16
MODEL = MLPAutoencoder((8,), tol=1, random_state=0).fit(X)


@pytest.fixture(autouse=True)
def headless():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("shape", [None, (8, 8), (4, 16), (32, 2)])
def test_each_image_stands_above_its_reconstruction(shape):
    display = ReconstructionDisplay.from_estimator(MODEL, X, image_shape=shape, max_images=3)
    height, width = shape or (8, 8)
    gap = max(1, min(height, width) // 10)
    drawn = np.ma.filled(display.image_.get_array(), np.nan)
    assert drawn.shape == (2 * height + gap, 3 * (width + gap) - gap)
    for number, (row, predicted) in enumerate(zip(X[:3], MODEL.predict(X[:3]), strict=True)):
        columns = slice(number * (width + gap), number * (width + gap) + width)
        np.testing.assert_array_equal(drawn[:height, columns].ravel(), row)
        np.testing.assert_array_equal(drawn[height + gap :, columns].ravel(), predicted)
    labels = [label.get_text() for label in display.ax_.get_xticklabels()]
    assert labels == [f"{error:.2g}" for error in MODEL.reconstruction_error(X[:3])]


def test_errors_are_those_against_the_images_without_noise():
    noisy = X + np.random.RandomState(0).normal(size=X.shape)
    display = ReconstructionDisplay.from_estimator(MODEL, noisy, X_clean=X)
    expected = np.square(MODEL.predict(noisy[:10]) - X[:10]).mean(axis=1)
    np.testing.assert_allclose(display.errors, expected)


def test_any_transformer_with_a_way_back_will_do():
    frame = pd.DataFrame(X, columns=[f"pixel {n}" for n in range(64)])
    model = make_pipeline(MinMaxScaler(), MLPAutoencoder((8,), max_iter=3, random_state=0))
    for each in (PCA(2), model, model[-1]):
        display = ReconstructionDisplay.from_estimator(each.fit(frame), frame)
        assert display.reconstructions.shape == (10, 64)


def test_an_ax_may_be_given_and_nothing_leaves_the_figure():
    ax = plt.subplots()[1]
    assert ReconstructionDisplay.from_estimator(MODEL, X, ax=ax).ax_ is ax
    display = ReconstructionDisplay.from_estimator(MODEL, X)
    display.figure_.draw_without_rendering()
    box, figure = display.ax_.get_tightbbox(), display.figure_.bbox
    assert min(box.x0, box.y0) >= 0 and box.x1 <= figure.x1 and box.y1 <= figure.y1
    labels = [label.get_window_extent() for label in display.ax_.get_xticklabels()]
    assert all(one.x1 < two.x0 for one, two in pairwise(labels))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"image_shape=\(8, 7\) does not match .* 64"):
        ReconstructionDisplay.from_estimator(MODEL, X, image_shape=(8, 7))
    narrow = MLPAutoencoder((2,), max_iter=1, random_state=0).fit(X[:, :10])
    with pytest.raises(ValueError, match=r"image_shape=\(3, 3\) does not match .* 10"):
        ReconstructionDisplay.from_estimator(narrow, X[:, :10])
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(MLPAutoencoder(), X)
