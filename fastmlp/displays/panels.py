"""The axes that displays draw in: a new figure, given axes, or a grid in place of one."""

import math

import numpy as np

PADDING = 0.08  # inches around each panel of a new figure


def pyplot(caller: str):
    """Import matplotlib.pyplot, but only when something is drawn.

    Raises
    ------
    ImportError
        If matplotlib is not installed; the message names `caller`.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        message = f"{caller} requires matplotlib; install it with `pip install fastmlp[plot]`"
        raise ImportError(message) from error
    return plt


def panels(caller: str, ax, count: int, columns: int, size: tuple[float, float]) -> np.ndarray:
    """The axes of `count` panels.

    Parameters
    ----------
    caller : str
        The name in the error if matplotlib is not installed.
    ax : None, Axes or array of Axes
        None creates a new figure. A single Axes is divided into a grid, as scikit-learn's
        PartialDependenceDisplay does. An array must have one Axes per panel.
    count : int
        The number of panels.
    columns : int
        The most panels in a row of a new figure.
    size : tuple of float
        The width and height of a panel in a new figure, in inches.

    Returns
    -------
    ndarray of Axes of shape (count,)

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If `ax` is an array that does not have one Axes per panel.
    """
    plt = pyplot(caller)
    from matplotlib.axes import Axes

    columns = min(count, columns if ax is None else math.ceil(math.sqrt(count)))
    rows = -(-count // columns)
    if ax is None:
        figure_size = size[0] * columns, size[1] * rows
        figure = plt.figure(figsize=figure_size)
        figure.set_layout_engine("constrained", w_pad=PADDING, h_pad=PADDING)
        grid = figure.add_gridspec(rows, columns)
    elif isinstance(ax, Axes):
        if count == 1:
            return np.array([ax])
        figure = ax.figure
        place = ax.get_subplotspec()
        if place is None:
            raise ValueError("ax must stand in a grid of subplots to be divided into panels")
        ax.set_axis_off()
        grid = place.subgridspec(rows, columns, wspace=0.5, hspace=0.6)
    else:
        axes = np.asarray(ax, dtype=object).ravel()
        if axes.size != count:
            raise ValueError(f"ax must hold {count} axes, one per panel; got {axes.size}")
        return axes
    return np.array([figure.add_subplot(grid[n // columns, n % columns]) for n in range(count)])
