"""ActivationDisplay: hidden activations and their derivatives."""

import numpy as np

from fastmlp._engine.kernels import activations
from fastmlp._engine.kernels.custom_activation import CustomActivation
from fastmlp.displays.panels import panels

PANEL_SIZE = (3.0, 2.6)  # inches
MOST_COLUMNS = 4
POINTS = 401  # odd, so that zero, where relu has its kink, is one of them
HALF_RANGE = 4.0  # every activation is almost straight beyond


class ActivationDisplay:
    """Each activation f(z) with its derivative f'(z), as the engine computes them.

    Each activation has a panel of its own. The derivative is dashed.

    Parameters
    ----------
    z : ndarray of shape (n_points,)
        The points at which the activations are evaluated.
    values, derivatives : dict of str to ndarray of shape (n_points,)
        The numbers f(z) and f'(z), keyed by the name of the activation.

    Attributes
    ----------
    lines_ : list of tuples of two matplotlib Line2D
        f and f' in each panel.
    axes_ : ndarray of matplotlib Axes of shape (n_activations,)
    figure_ : matplotlib Figure

    See Also
    --------
    LossCurveDisplay : The loss of each epoch.
    NetworkDisplay : A diagram of the layers.

    Examples
    --------
    >>> from fastmlp.displays import ActivationDisplay
    >>> display = ActivationDisplay.from_names(["tanh", "relu"])
    >>> [ax.get_title() for ax in display.axes_]
    ['tanh', 'relu']
    >>> print(display.derivatives["tanh"].max())
    1.0
    """

    def __init__(self, *, z, values, derivatives):
        self.z = z
        self.values = values
        self.derivatives = derivatives

    @classmethod
    def from_names(cls, names=None, *, half_range=HALF_RANGE, ax=None) -> "ActivationDisplay":
        """Draw the named activations.

        Parameters
        ----------
        names : list of str or CustomActivation, default=None
            Values of the estimators' parameter `activation`; None draws all that have a name.
        half_range : float, default=4.0
            The curves run from z = -half_range to z = half_range.
        ax : matplotlib Axes or array of Axes, default=None
            As in `plot`.

        Returns
        -------
        ActivationDisplay

        Raises
        ------
        ValueError
            If a name is not the name of an activation.
        """
        names = list(activations.CODES) if names is None else list(names)
        unknown = [
            name
            for name in names
            if name not in activations.CODES and not isinstance(name, CustomActivation)
        ]
        if unknown:
            raise ValueError(f"unknown activations {unknown}; use any of {list(activations.CODES)}")
        z = np.linspace(-half_range, half_range, POINTS)
        values, derivatives = {}, {}
        for name in names:
            f, df = z.copy(), np.empty_like(z)
            activations.activate_with_derivative(activations.code_of(name, np.float64), f, df)
            values[str(name)], derivatives[str(name)] = f, df
        return cls(z=z, values=values, derivatives=derivatives).plot(ax)

    def plot(self, ax=None) -> "ActivationDisplay":
        """Draw one panel for each activation.

        Parameters
        ----------
        ax : matplotlib Axes or array of Axes, default=None
            A single Axes is divided into panels; an array must have one Axes per panel. None
            creates a new figure.

        Returns
        -------
        ActivationDisplay
            The display itself, with its attributes set.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        caller = f"{type(self).__name__}.plot"
        self.axes_ = panels(caller, ax, len(self.values), MOST_COLUMNS, PANEL_SIZE)
        self.figure_ = self.axes_[0].figure
        self.lines_ = []
        for panel, name in zip(self.axes_, self.values, strict=True):
            panel.axhline(0, color="0.8", linewidth=0.8, zorder=0)
            f = panel.plot(self.z, self.values[name], color="black", label="f(z)")[0]
            df = panel.plot(self.z, self.derivatives[name], color="0.45", linestyle="--")[0]
            df.set_label("f'(z)")
            self.lines_.append((f, df))
            panel.set(title=name, xlabel="z", ylabel="f(z), f'(z)")
        self.axes_[0].legend(loc="upper left")
        return self
