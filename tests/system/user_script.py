"""What a user writes: a type checker knows every parameter, attribute and method."""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import (
    CustomActivation,
    CustomLoss,
    MLPAutoencoder,
    MLPClassifier,
    MLPRegressor,
    MLPTransformer,
)
from fastmlp.inspection import hidden_activations, input_gradient


def train_classifier() -> tuple[float, float]:
    """Fit, read parameters and attributes, predict; alpha and the last loss."""
    X, y = load_iris(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    clf = MLPClassifier((20,), "tanh", early_stopping=True, max_iter=500, random_state=0)
    clf.fit(X_train, y_train)
    alpha: float = clf.alpha
    losses: list[float] = clf.loss_curve_
    weights: list[np.ndarray] = clf.coefs_
    probabilities: np.ndarray = clf.predict_proba(X_test)
    assert probabilities.shape == (len(X_test), len(clf.classes_))
    assert len(weights) == clf.n_layers_ - 1 and clf.out_activation_ == "softmax"
    print(clf.score(X_test, y_test), clf.best_validation_score_, clf.n_iter_)
    return alpha, losses[-1]


def train_in_parts() -> MLPClassifier:
    """Train on one part after the other."""
    X, y = load_iris(return_X_y=True)
    clf = MLPClassifier(hidden_layer_sizes=(10,), solver="sgd", random_state=0)
    for start in range(0, len(X), 50):
        clf.partial_fit(X[start : start + 50], y[start : start + 50], classes=np.unique(y))
    return clf


def train_in_a_pipeline() -> np.ndarray:
    """Fit a pipeline and read the fitted step."""
    X, _ = load_iris(return_X_y=True)
    model: Pipeline = make_pipeline(StandardScaler(), MLPRegressor("huber", max_iter=300))
    model.fit(X[:, :3], X[:, 3])
    step: MLPRegressor = model.named_steps["mlpregressor"]
    print(step.loss_, step.huber_delta, step.get_params()["loss"])
    return model.predict(X[:, :3])


def look_at_hidden_layers() -> np.ndarray:
    """Use a hidden layer in a pipeline, and read it from the fitted step."""
    X, y = load_iris(return_X_y=True)
    transformer = MLPTransformer(MLPClassifier((20, 5), max_iter=50), layer=0)
    features: np.ndarray = make_pipeline(StandardScaler(), transformer).fit(X, y).transform(X)
    clf: MLPClassifier = transformer.estimator_
    last: np.ndarray = hidden_activations(clf, X)
    gradient: np.ndarray = input_gradient(clf, X, output=0)
    assert last.shape == (len(X), 5) and gradient.shape == X.shape
    return features


def reconstruct() -> float:
    """Compress samples, reconstruct them, and look at the error."""
    X, _ = load_iris(return_X_y=True)
    model = MLPAutoencoder((8, 2, 8), "tanh", noise=0.1, max_iter=50).fit(X).partial_fit(X)
    codes: np.ndarray = model.transform(X)
    back: np.ndarray = model.inverse_transform(codes)
    errors: np.ndarray = model.reconstruction_error(X)
    assert codes.shape == (len(X), 2) and back.shape == X.shape and errors.shape == (len(X),)
    return model.score(X)


def cube(z: float) -> float:
    """An activation."""
    return z * z * z


def cube_derivative(z: float) -> float:
    """Its derivative."""
    return 3 * z * z


def half_square(y: float, a: float) -> float:
    """A loss."""
    return 0.5 * (a - y) ** 2


def error(y: float, a: float) -> float:
    """Its derivative by a."""
    return a - y


def train_with_own_functions() -> float:
    """Use an activation and a loss of one's own."""
    X, y = load_iris(return_X_y=True)
    activation = CustomActivation(cube, cube_derivative)
    values, derivatives = activation.evaluate(X)
    assert values.shape == derivatives.shape == X.shape
    model = MLPRegressor(CustomLoss(half_square, error), (8, 4), [activation, "relu"], max_iter=50)
    return float(model.fit(X / 8, y).score(X / 8, y))


if __name__ == "__main__":
    print(train_classifier(), train_in_parts().t_, train_in_a_pipeline().shape)
    print(look_at_hidden_layers().shape, reconstruct(), train_with_own_functions())
