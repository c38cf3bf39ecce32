"""WeightsDisplay: weights as images or heat maps."""

import math

import numpy as np

from fastmlp._estimator.architecture import Architecture
from fastmlp.displays.panels import panels

IMAGES_SIZE = (7.0, 6.0)  # inches
PANEL_SIZE = (3.6, 3.2)
MOST_COLUMNS = 4
LEAST_SIDE = 5  # fewer than 25 features are rarely the pixels of an image
MOST_NAMES = 20  # feature names that fit beside a panel
COLORS = "gray"  # lightness alone carries the value, so nothing is lost in print


class WeightsDisplay:
    """The weights of a network: one image per first-layer unit, or one heat map per layer.

    Dark is negative, light positive, and mid-grey zero.

    Parameters
    ----------
    coefs : list of ndarray of shape (n_in, n_out)
        The weights of each layer.
    names : list of str
        The names of the layers, including input and output.
    image_shape : tuple of two ints, default=None
        The height and width of the image formed by the weights of a hidden unit. None draws heat
        maps.
    feature_names : array-like of str, default=None
        Shown beside the first heat map if there are at most 20.

    Attributes
    ----------
    images_ : list of matplotlib AxesImage
        A single mosaic of all units, or one heat map per layer.
    axes_ : ndarray of matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    NetworkDisplay : A diagram of the layers.
    LossCurveDisplay : The loss of each epoch.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.displays import WeightsDisplay
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((16,), tol=0.05, random_state=0).fit(X, y)
    >>> WeightsDisplay.from_estimator(model).image_shape
    (8, 8)
    >>> display = WeightsDisplay.from_estimator(model, image_shape=None)
    >>> [ax.get_title() for ax in display.axes_]
    ['input to hidden', 'hidden to output']
    """

    def __init__(self, *, coefs, names, image_shape=None, feature_names=None):
        self.coefs = coefs
        self.names = names
        self.image_shape = image_shape
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator, *, image_shape="auto", ax=None, **kwargs
    ) -> "WeightsDisplay":
        """Draw the weights of a fitted estimator of fastmlp or scikit-learn.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted one.
        image_shape : tuple of two ints, 'auto' or None, default='auto'
            The height and width of the images of first-layer weights. 'auto' draws square images
            if the number of features is a square, 5 x 5 or larger. Otherwise, and for None, there
            is one heat map per layer.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.
        **kwargs
            As in `plot`.

        Returns
        -------
        WeightsDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the number of pixels in image_shape is not the number of features.
        """
        architecture = Architecture.of(estimator)
        n_features = architecture.layer_sizes[0]
        if isinstance(image_shape, str):
            side = math.isqrt(n_features)
            image_shape = (side, side) if side >= LEAST_SIDE and side**2 == n_features else None
        elif image_shape is not None and math.prod(image_shape) != n_features:
            raise ValueError(
                f"image_shape={image_shape} does not match the number of features, {n_features}"
            )
        display = cls(
            coefs=estimator.coefs_,
            names=architecture.names,
            image_shape=image_shape,
            feature_names=getattr(estimator, "feature_names_in_", None),
        )
        return display.plot(ax, **kwargs)

    def plot(self, ax=None, *, max_units=100, cmap=COLORS) -> "WeightsDisplay":
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            A single Axes is divided if there are several heat maps; an array must have one Axes
            per heat map. None creates a new figure.
        max_units : int, default=100
            The most images drawn: those of the first units.
        cmap : str or matplotlib Colormap, default='gray'
            The colours of the weights, from the most negative to the most positive.

        Returns
        -------
        WeightsDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        if self.image_shape is not None:
            self.axes_ = panels(caller, ax, 1, 1, IMAGES_SIZE)
            self.images_ = [self._draw_images(self.axes_[0], self.image_shape, max_units, cmap)]
        else:
            self.axes_ = panels(caller, ax, len(self.coefs), MOST_COLUMNS, PANEL_SIZE)
            self.images_ = [
                self._draw_layer(panel, layer, cmap) for layer, panel in enumerate(self.axes_)
            ]
        self.figure_ = self.axes_[0].figure
        for panel, image in zip(self.axes_, self.images_, strict=True):
            self.figure_.colorbar(image, ax=panel, label="Weight")
        return self

    def _draw_images(self, ax, image_shape, max_units, cmap):
        """Draw all units in one mosaic; a unit's number is the sum of its row and column labels."""
        n_units = self.coefs[0].shape[1]
        shown = self.coefs[0][:, :max_units].T
        height, width = image_shape
        columns = min(len(shown), math.ceil(math.sqrt(len(shown) * height / width)))
        rows = -(-len(shown) // columns)
        gap = max(1, min(height, width) // 10)
        mosaic = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), np.nan)
        for number, weights in enumerate(shown):
            top, left = np.array(divmod(number, columns)) * (height + gap, width + gap)
            mosaic[top : top + height, left : left + width] = weights.reshape(height, width)
        image = _draw(ax, mosaic, cmap)
        ax.set(
            title=f"First-layer weights of {len(shown)} of {n_units} units",
            xlabel=f"Unit of layer {self.names[1]!r}, counted from the row's first",
            ylabel="First unit of the row",
            xticks=np.arange(columns) * (width + gap) + (width - 1) / 2,
            xticklabels=np.arange(columns),
            yticks=np.arange(rows) * (height + gap) + (height - 1) / 2,
            yticklabels=np.arange(rows) * columns,
        )
        return image

    def _draw_layer(self, ax, layer, cmap):
        below, above = self.names[layer : layer + 2]
        image = _draw(ax, self.coefs[layer], cmap)
        ax.set_aspect("auto")
        ax.set(
            title=f"{below} to {above}",
            xlabel=f"Unit of layer {above!r}",
            ylabel="Feature" if layer == 0 else f"Unit of layer {below!r}",
        )
        for axis in (ax.xaxis, ax.yaxis):
            axis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        if layer == 0 and self.feature_names is not None and len(self.feature_names) <= MOST_NAMES:
            ax.set_yticks(np.arange(len(self.feature_names)), self.feature_names)
        return image


def _draw(ax, weights, cmap):
    """Draw every weight, without interpolation, with zero in the middle of the scale."""
    limit = float(np.nanmax(np.abs(weights))) or 1.0
    return ax.imshow(weights, cmap=cmap, vmin=-limit, vmax=limit, interpolation="nearest")
