"""NetworkDisplay: the diagram of layers and connections."""

from itertools import pairwise, product

import numpy as np

from fastmlp._estimator.architecture import Architecture
from fastmlp.displays.panels import panels

COLUMN_WIDTH, HEIGHT = 1.5, 4.2  # inches of a layer in a new figure
LEAST_WIDTH = 4.0
UNIT_SIZE = 0.6  # diameter of a unit, in distances of two neighbours
MOST_DIAMETER = 30.0  # points
MARGIN = 0.8  # from the outermost units' centres to what is above and below, likewise
DOTS = "⋮"
POINTS_PER_INCH = 72
LETTER_WIDTH, LINE_HEIGHT = 0.65, 1.3  # of the font size
MOST_FONT_SIZE = 10.0  # points


class NetworkDisplay:
    """Layers, their sizes, activations and numbers of parameters, as every textbook draws them.

    Parameters
    ----------
    architecture : fastmlp._estimator.architecture.Architecture
    name : str, default=None
        Stands in the title, before the number of parameters.

    Attributes
    ----------
    units_ : matplotlib PathCollection
        The circles.
    connections_ : matplotlib LineCollection
    texts_ : list of matplotlib Text
        What stands beneath each layer.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

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
        """Draw the network of a fitted estimator, fastmlp's or scikit-learn's.

        Parameters
        ----------
        estimator : MLPClassifier or MLPRegressor
        name : str, default=None
            For the title; None takes the estimator's class.
        ax, **kwargs
            As for `plot`.

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
            None makes a new figure.
        max_units : int, default=7
            Circles in a layer, at most; dots stand for the others.

        Returns
        -------
        NetworkDisplay
            This one, with its attributes set.

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
        """What is written beneath each layer."""
        architecture, texts = self.architecture, []
        for n, (name, units) in enumerate(
            zip(architecture.names, architecture.layer_sizes, strict=True)
        ):
            lines = [name, _count(units, "unit" if n else "feature")]
            if n:
                lines.append(architecture.activations[n - 1])
                lines.append(_count(architecture.parameters[n], "parameter"))
            texts.append("\n".join(lines))
        return texts

    def _fit_texts(self, top: float) -> float:
        """Write beneath the layers as large as fits; the diameter in points left for a unit."""
        ax, descriptions = self.ax_, self._descriptions()
        self.figure_.draw_without_rendering()  # until then, a layout may change the axes' size
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
    """The size in points at which `text` is about `width` points wide."""
    return width / (LETTER_WIDTH * len(text))


def _heights(units: int, max_units: int) -> np.ndarray:
    """Where the circles of a layer stand; in the middle a place for dots if some are left out."""
    if units <= max_units:
        return np.arange(units) - (units - 1) / 2
    half = np.arange(1, max(1, max_units // 2) + 1)
    return np.concatenate([-half[::-1], half])
