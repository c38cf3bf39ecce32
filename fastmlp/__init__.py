"""Multilayer perceptrons for CPUs, compatible with scikit-learn."""

from fastmlp.estimators import MLPClassifier, MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
__version__ = "0.1.0"
