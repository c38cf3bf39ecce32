"""NetworkDisplay: the diagram of layers and connections."""

from itertools import pairwise, product

import numpy as np

from fastmlp._estimator.architecture import Architecture
from fastmlp.displays.panels import panels

COLUMN_WIDTH, HEIGHT = 1.5, 4.2  # inches per layer in a new figure
LEAST_WIDTH = 4.0
UNIT_SIZE = 0.6  # diameter of a unit, as a share of the distance between neighbours
MOST_DIAMETER = 30.0  # points
MARGIN = 0.8  # above and below the centres of the outermost units, in the same measure
DOTS = "⋮"
POINTS_PER_INCH = 72
LETTER_WIDTH, LINE_HEIGHT = 0.65, 1.3  # as shares of the font size
MOST_FONT_SIZE = 10.0  # points


class NetworkDisplay:
    """A diagram of the layers, with their sizes, activations and parameter counts.

    Dots stand for the circles in the middle of a layer with many units.

    Parameters
    ----------
    architecture : fastmlp._estimator.architecture.Architecture
        The sizes, names and activations of the layers.
    name : str, default=None
        Appears in the title, before the number of parameters.

    Attributes
    ----------
    units_ : matplotlib PathCollection
        The circles.
    connections_ : matplotlib LineCollection
    texts_ : list of matplotlib Text
        The text below each layer.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    See Also
    --------
    WeightsDisplay : The weights of the layers.
    LossCurveDisplay : The loss of each epoch.

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from fastmlp.displays import NetworkDisplay
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = MLPRegressor(hidden_layer_sizes=(20, 5), solver="lbfgs", random_state=0)
    >>> display = NetworkDisplay.from_estimator(model.fit(X, y))
    >>> display.ax_.get_title()
    'MLPRegressor: 331 parameters'
    >>> print(display.texts_[1].get_text())
    hidden 1
    20 units
    relu
    220 parameters
    """

    def __init__(self, *, architecture, name=None):
        self.architecture = architecture
        self.name = name

    @classmethod
    def from_estimator(cls, estimator, *, ax=None, name=None, **kwargs) -> "NetworkDisplay":
        """Draw the network of a fitted estimator of fastmlp or scikit-learn.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
            A fitted one.
        ax : matplotlib Axes, default=None
            As in `plot`.
        name : str, default=None
            For the title; None uses the name of the estimator's class.
        **kwargs
            As in `plot`.

        Returns
        -------
        NetworkDisplay

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        """
        name = type(estimator).__name__ if name is None else name
        return cls(architecture=Architecture.of(estimator), name=name).plot(ax, **kwargs)

    def plot(self, ax=None, *, max_units=7) -> "NetworkDisplay":
        """Draw the network.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            None creates a new figure.
        max_units : int, default=7
            The most circles drawn for a layer; dots replace the others.

        Returns
        -------
        NetworkDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        sizes, parameters = self.architecture.layer_sizes, self.architecture.parameters
        size = max(LEAST_WIDTH, COLUMN_WIDTH * len(sizes)), HEIGHT
        self.ax_ = ax = panels(caller, ax, 1, 1, size)[0]
        from matplotlib.collections import LineCollection  # `panels` has checked for it

        self.figure_ = ax.figure
        columns = [_heights(units, max_units) for units in sizes]
        places = [[(n, y) for y in column] for n, column in enumerate(columns)]
        lines = [line for left, right in pairwise(places) for line in product(left, right)]
        self.connections_ = LineCollection(lines, colors="0.75", linewidths=0.5)
        ax.add_collection(self.connections_)
        ax.set_title(
            f"{'' if self.name is None else f'{self.name}: '}{sum(parameters):,} parameters"
        )
        ax.set_axis_off()
        diameter = self._fit_texts(max(map(max, columns)))
        circles = np.concatenate(places)
        style = {"s": diameter**2, "facecolor": "white", "edgecolor": "black", "zorder": 2}
        self.units_ = ax.scatter(*circles.T, **style)
        for layer, (column, units) in enumerate(zip(columns, sizes, strict=True)):
            if len(column) < units:
                ax.text(layer, 0, DOTS, ha="center", va="center")
        return self

    def _descriptions(self) -> list[str]:
        """The text below each layer."""
        architecture, texts = self.architecture, []
        for n, (name, units) in enumerate(
            zip(architecture.names, architecture.layer_sizes, strict=True)
        ):
            lines = [name, _count(units, "unit" if n else "feature")]
            if n:
                lines.append(str(architecture.activations[n - 1]))
                lines.append(_count(architecture.parameters[n], "parameter"))
            texts.append("\n".join(lines))
        return texts

    def _fit_texts(self, top: float) -> float:
        """Write the texts as large as they fit; return the diameter left for a unit, in points."""
        ax, descriptions = self.ax_, self._descriptions()
        self.figure_.draw_without_rendering()  # a layout may change the size of the axes only here
        extent = ax.get_window_extent()
        width, height = np.array(extent.size) / self.figure_.dpi * POINTS_PER_INCH
        ax.title.set_fontsize(min(ax.title.get_fontsize(), _font_size(ax.get_title(), width)))
        widest = max("\n".join(descriptions).split("\n"), key=len)
        font_size = min(MOST_FONT_SIZE, _font_size(widest, width / len(descriptions)))
        text_height = LINE_HEIGHT * font_size * (1 + max(text.count("\n") for text in descriptions))
        pitch = max(1.0, height - text_height) / (2 * (top + MARGIN))
        bottom = -top - MARGIN
        style = {"ha": "center", "va": "top", "fontsize": font_size}
        self.texts_ = [ax.text(n, bottom, text, **style) for n, text in enumerate(descriptions)]
        ax.set(
            xlim=(-0.5, len(descriptions) - 0.5),
            ylim=(bottom - text_height / pitch, top + MARGIN),
        )
        return UNIT_SIZE * min(pitch, width / len(descriptions), MOST_DIAMETER / UNIT_SIZE)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _font_size(text: str, width: float) -> float:
    """The font size in points at which `text` is about `width` points wide."""
    return width / (LETTER_WIDTH * len(text))


def _heights(units: int, max_units: int) -> np.ndarray:
    """The heights of a layer's circles, with a gap in the middle for dots if some are omitted."""
    if units <= max_units:
        return np.arange(units) - (units - 1) / 2
    half = np.arange(1, max(1, max_units // 2) + 1)
    return np.concatenate([-half[::-1], half])
