"""Multilayer perceptrons for CPUs, compatible with scikit-learn."""

from fastmlp.estimators import MLPClassifier

__all__ = ["MLPClassifier"]
__version__ = "0.1.0"
