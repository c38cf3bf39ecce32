"""Pictures of networks, in scikit-learn's display protocol; they need matplotlib."""

from fastmlp.displays.activations import ActivationDisplay
from fastmlp.displays.diagram import NetworkDisplay
from fastmlp.displays.loss_curve import LossCurveDisplay
from fastmlp.displays.weights import WeightsDisplay

__all__ = ["ActivationDisplay", "LossCurveDisplay", "NetworkDisplay", "WeightsDisplay"]
