"""input_gradient: how the outputs change with each feature."""

import numpy as np

from fastmlp._estimator.outputs import output_gradients


def input_gradient(
    model, X, output: int | None = None, *, pre_activation: bool = False
) -> np.ndarray:
    """Compute the gradients of the outputs by the inputs.

    They are derivatives of predictions at each sample, found by back-propagation: of a classifier's
    probabilities, or of a regressor's values.

    Parameters
    ----------
    model : MLPClassifier or MLPRegressor
        A fitted estimator of fastmlp or scikit-learn. For a pipeline, pass the fitted step and
        what the steps before it make of X; the gradients are by its features then.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Converted to the type of `coefs_`.
    output : int, default=None
        The output to differentiate, counted as the indices of a sequence; None means all. A
        classifier has one for each class, in the order of `classes_`, but only one for two classes:
        the probability of ``classes_[1]``.
    pre_activation : bool, default=False
        Whether to differentiate z, the outputs before their activation, instead of the outputs:
        logits instead of probabilities, or the logarithm of the predictions of loss 'poisson'.
        Logits keep their gradients where probabilities are so close to 0 or 1 that theirs vanish.

    Returns
    -------
    ndarray of shape (n_samples, n_features) or (n_samples, n_outputs, n_features)
        In the type of `coefs_`; of three dimensions if `output` is None and there are several
        outputs. The bytes of a row do not depend on the other rows or on `n_jobs`.

    Raises
    ------
    NotFittedError
        If the model is not fitted.
    TypeError
        If the model is not a multilayer perceptron, or `output` not an integer.
    ValueError
        If X is not valid, or if there is no such output.

    See Also
    --------
    fastmlp.displays.SensitivityDisplay : The mean absolute gradient of each feature, as a picture.
    sklearn.inspection.permutation_importance : What the score loses without a feature.

    Notes
    -----
    At the kink of 'relu' and 'leaky_relu', z = 0, the derivative is that from the left. The
    gradients of all outputs take about as long as one prediction for each output and one more.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.inspection import input_gradient
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((8,), "tanh", max_iter=50, random_state=0).fit(X, y)
    >>> gradients = input_gradient(model, X)
    >>> gradients.shape, input_gradient(model, X, output=2).shape
    ((150, 3, 4), (150, 4))
    >>> bool(np.abs(gradients.sum(axis=1)).max() < 1e-9)  # probabilities sum to 1
    True
    """
    gradients = output_gradients(model, X, output, pre_activation)
    return gradients[:, 0] if gradients.shape[1] == 1 else gradients
