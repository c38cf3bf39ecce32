"""hidden_activations: what the hidden layers make of X."""

import numpy as np

from fastmlp._estimator.outputs import hidden_outputs


def hidden_activations(model, X, layer: int = -1) -> np.ndarray:
    """Compute the activations of a hidden layer.

    They are computed as in a prediction, up to the layer: with the same threads, and without
    dropout. The bytes of a row do not depend on the other rows or on `n_jobs`.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        A fitted estimator of fastmlp or scikit-learn. For a pipeline, pass the fitted step and
        what the steps before it make of X.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Converted to the type of `coefs_`.
    layer : int, default=-1
        The hidden layer: 0 is the first one above the input, -1 the last one below the output.

    Returns
    -------
    ndarray of shape (n_samples, n_units)
        The activations a = f(z) of the layer's units, in the type of `coefs_`.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model is not a multilayer perceptron, or `layer` not an integer.
    ValueError
        If X is not valid, or if there is no such hidden layer.

    See Also
    --------
    fastmlp.MLPTransformer : The same as a step of a pipeline.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.inspection import hidden_activations
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((16, 3), "tanh", max_iter=50, random_state=0).fit(X, y)
    >>> hidden_activations(model, X).shape, hidden_activations(model, X, layer=0).shape
    ((150, 3), (150, 16))
    """
    return hidden_outputs(model, X, layer)
