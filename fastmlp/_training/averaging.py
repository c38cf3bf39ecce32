"""WeightAverage: an exponential moving average of the weights, beside those that are trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastmlp._engine.network import Network


class WeightAverage:
    """An average of a network's parameters over the ends of epochs.

    average <- share * average + (1 - share) * parameters, beginning with the first epoch's. An
    interrupt at any moment leaves the average whole.

    Parameters
    ----------
    network : Network
        Trained meanwhile, in place.
    share : float
        What the average keeps of itself at each epoch; 0 for no average.
    """

    def __init__(self, network: Network, share: float):
        self._network, self._share = network, share
        self._average: np.ndarray | None = None

    def take_in(self) -> None:
        """Take in the parameters after an epoch."""
        if self._share == 0:
            return
        parameters = self._network.parameters
        if self._average is None:
            self._average = parameters.copy()
            return
        with np.errstate(invalid="ignore", over="ignore"):  # of a training that diverges
            change = (1 - self._share) * (parameters - self._average)
            self._average = self._average + change

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the average instead of its parameters for a while."""
        if self._average is None:
            yield
            return
        trained = self._network.parameters.copy()
        self._network.parameters[:] = self._average
        try:
            yield
        finally:
            self._network.parameters[:] = trained

    def keep(self) -> None:
        """Let the network have the average for good, if there is one."""
        if self._average is not None:
            self._network.parameters[:] = self._average
