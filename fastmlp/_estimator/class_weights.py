"""The parameter class_weight: a weight for each sample, by its label or labels."""

from typing import Any

import numpy as np
from sklearn.utils import compute_class_weight, compute_sample_weight


def weights_of_samples(class_weight: Any, classes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weight of each sample.

    Parameters
    ----------
    class_weight : 'balanced', dict or list of dict
        A list has a dict for each column of a multilabel y.
    classes : ndarray of shape (n_classes,)
        All classes: a batch of partial_fit may lack some.
    y : ndarray of shape (n_samples,) or (n_samples, n_columns)

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If the weights do not fit the classes or the columns.
    """
    if isinstance(class_weight, list):
        return _weights_by_column(class_weight, y)
    if isinstance(class_weight, dict) and y.ndim == 1:
        weights = compute_class_weight(class_weight, classes=classes, y=y)
        return weights[np.searchsorted(classes, y)]
    return compute_sample_weight(class_weight, y)


def _weights_by_column(class_weight: list, y: np.ndarray) -> np.ndarray:
    """The product of the columns' weights, for each sample."""
    if not (y.ndim == 2 and all(isinstance(each, dict) for each in class_weight)):
        raise ValueError("a class_weight list needs one dict per column of a multilabel y")
    if len(class_weight) != y.shape[1]:
        raise ValueError(
            f"the number of elements of class_weight must be {y.shape[1]}, as of y's columns"
        )
    product = np.ones(y.shape[0])
    for column, weights in zip(y.T, class_weight, strict=True):
        of_no, of_yes = compute_class_weight(weights, classes=np.arange(2), y=column)
        product *= np.where(column == 0, of_no, of_yes)
    return product
