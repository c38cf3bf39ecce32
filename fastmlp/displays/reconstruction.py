"""ReconstructionDisplay: images, and below them what an autoencoder makes of them."""

import math

import numpy as np
from sklearn.utils import check_array

from fastmlp.displays.panels import panels

COLUMN_WIDTH = 0.8  # inches, of an image
SIDE, BELOW = 1.4, 0.7  # inches, of the labels
GAP_SHARE = 10  # the gap between images is at least a pixel, and this part of their side
COLORS = "gray"


class ReconstructionDisplay:
    """Images in the upper row, and below each what the model makes of it.

    Both rows have one scale of colours. The numbers below are the errors: a sample whose error is
    large is unlike those that the model has learned.

    Parameters
    ----------
    images : ndarray of shape (n_images, n_features)
        The samples.
    reconstructions : ndarray of shape (n_images, n_features)
        What is left of them.
    image_shape : tuple of two ints
        The height and width of an image.
    errors : ndarray of shape (n_images,)
        The mean squared error of each reconstruction.

    Attributes
    ----------
    image_ : matplotlib AxesImage
        A mosaic of all images.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    fastmlp.MLPAutoencoder : Learns to reconstruct.
    WeightsDisplay : The weights of the first layer as images.

    Examples
    --------
    >>> from fastmlp import MLPAutoencoder
    >>> from fastmlp.displays import ReconstructionDisplay
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data / 16
    >>> model = MLPAutoencoder((64, 16, 64), max_iter=50, random_state=0).fit(X[:1500])
    >>> display = ReconstructionDisplay.from_estimator(model, X[1500:], image_shape=(8, 8))
    >>> display.reconstructions.shape
    (10, 64)
    """

    def __init__(self, *, images, reconstructions, image_shape, errors):
        self.images = images
        self.reconstructions = reconstructions
        self.image_shape = image_shape
        self.errors = errors

    @classmethod
    def from_estimator(
        cls, estimator, X, *, image_shape=None, max_images=10, X_clean=None, ax=None, **kwargs
    ) -> "ReconstructionDisplay":
        """Draw the first samples and their reconstructions.

        Parameters
        ----------
        estimator : MLPAutoencoder, or any transformer with inverse_transform
            A fitted one, such as a pipeline that ends in an `MLPAutoencoder`, or a PCA.
        X : array-like of shape (n_samples, n_features)
            The images.
        image_shape : tuple of two ints, default=None
            The height and width of an image. None means square images.
        max_images : int, default=10
            The most images drawn: the first ones.
        X_clean : array-like of shape (n_samples, n_features), default=None
            What the reconstructions are compared with in the errors; None means X. For noisy X,
            pass the images without noise.
        ax : matplotlib Axes, default=None
            As in `plot`.
        **kwargs
            As in `plot`.

        Returns
        -------
        ReconstructionDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the number of features is not that of pixels, or not a square without image_shape.
        """
        given = X[:max_images]
        images = check_array(given)
        n_features = images.shape[1]
        if image_shape is None:
            image_shape = (math.isqrt(n_features),) * 2
        if math.prod(image_shape) != n_features:
            raise ValueError(
                f"image_shape={tuple(image_shape)} does not match the number of features, "
                f"{n_features}"
            )
        reconstructions = np.asarray(estimator.inverse_transform(estimator.transform(given)))
        clean = images if X_clean is None else check_array(X_clean[:max_images])
        errors = np.square(reconstructions - clean).mean(axis=1)
        display = cls(
            images=images,
            reconstructions=reconstructions,
            image_shape=tuple(image_shape),
            errors=errors,
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, cmap=COLORS) -> "ReconstructionDisplay":
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None creates a new figure.
        cmap : str or matplotlib Colormap, default='gray'
            The colours, from the least to the largest value of X. Reconstructions beyond have the
            colours of these.

        Returns
        -------
        ReconstructionDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        count, (height, width) = len(self.images), self.image_shape
        gap = max(1, min(height, width) // GAP_SHARE)
        image_height = COLUMN_WIDTH * height / width
        size = COLUMN_WIDTH * count + SIDE, 2 * image_height + BELOW
        self.ax_ = panels(f"{type(self).__name__}.plot", ax, 1, 1, size)[0]
        self.figure_ = self.ax_.figure
        mosaic = np.full((2 * height + gap, count * (width + gap) - gap), np.nan)
        for row, vectors in enumerate((self.images, self.reconstructions)):
            for column, vector in enumerate(vectors):
                top, left = row * (height + gap), column * (width + gap)
                mosaic[top : top + height, left : left + width] = vector.reshape(height, width)
        self.image_ = self.ax_.imshow(
            mosaic,
            cmap=cmap,
            vmin=self.images.min(),
            vmax=self.images.max(),
            interpolation="nearest",
        )
        self.ax_.set(
            xlabel="Mean squared error",
            xticks=np.arange(count) * (width + gap) + (width - 1) / 2,
            xticklabels=[f"{error:.2g}" for error in self.errors],
            yticks=[(height - 1) / 2, height + gap + (height - 1) / 2],
            yticklabels=["X", "Reconstruction"],
        )
        self.ax_.tick_params(length=0)
        for spine in self.ax_.spines.values():
            spine.set_visible(False)
        return self
