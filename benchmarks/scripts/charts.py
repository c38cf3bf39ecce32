"""A bar chart per workload: the shortest bar is the fastest library."""

import math

from .libraries import TITLES
from .tables import in_times, in_units

OURS, THEIRS = "#1b7837", "#b8b8b8"
COLUMNS = 3
PANEL_INCHES = (4.6, 1.1)  # width of a panel; height beside its bars
BAR_INCHES = 0.36
DOTS_PER_INCH = 150
LABEL_ROOM = 1.9  # the axis ends this many times the longest bar, so that its label fits


def draw_panel(panel, measured) -> None:
    """Bars of one case, each labelled with its time, its share of the peak, and the ratio."""
    libraries = [name for name in TITLES if name in measured.seconds]
    seconds = [measured.seconds[name] for name in libraries]
    labels = [
        f"{in_units(measured.seconds[n])}, {measured.share(n):.0%} of peak" for n in libraries
    ]
    if "fastmlp" in libraries:
        labels = [
            label if name == "fastmlp" else f"{label}, {in_times(measured.speedup(name))}"
            for label, name in zip(labels, libraries, strict=True)
        ]
    bars = panel.barh(
        [TITLES[name] for name in libraries],
        seconds,
        color=[OURS if name == "fastmlp" else THEIRS for name in libraries],
    )
    panel.bar_label(bars, labels, padding=4, fontsize=9)
    panel.set_title(measured.case.title, loc="left", fontsize=11, fontweight="bold")
    panel.set_xlim(0, LABEL_ROOM * max(seconds))
    panel.invert_yaxis()
    panel.xaxis.set_visible(False)
    panel.spines[:].set_visible(False)
    panel.tick_params(left=False)


def draw(results: list, headline: str):
    """One panel per case: the time of each library, its share of the peak, times fastmlp's time.

    Parameters
    ----------
    results : list of peers.Measured
    headline : str
        The machine and the versions, as a caption.

    Returns
    -------
    matplotlib.figure.Figure
    """
    from matplotlib.figure import Figure  # not needed where no chart is asked for

    columns = min(COLUMNS, len(results))
    rows = math.ceil(len(results) / columns)
    most = max(len(measured.seconds) for measured in results)
    width, height = PANEL_INCHES
    size = columns * width, rows * (height + most * BAR_INCHES)
    figure = Figure(figsize=size, layout="constrained", dpi=DOTS_PER_INCH)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, measured in zip(panels, results, strict=False):
        draw_panel(panel, measured)
    for panel in panels[len(results) :]:
        panel.remove()
    figure.suptitle("Time (shorter is faster), share of the multiply-add peak, times fastmlp's")
    figure.supxlabel(headline, fontsize=8)
    return figure
