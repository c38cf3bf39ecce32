"""Predictions: throughput of many rows, latency of one."""

from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier

from .common import Benchmark, make_data

NETWORKS = {
    "784-100-10": (784, (100,), 10),
    "54-256-128-7": (54, (256, 128), 7),
    "784-512-512-10": (784, (512, 512), 10),
}
LIBRARIES = {"fastmlp": MLPClassifier, "scikit-learn": SklearnMLPClassifier}


class Inference(Benchmark):
    """predict_proba in float32."""

    params = (list(NETWORKS), [1, 32, 20_000], list(LIBRARIES))
    param_names = ("network", "rows", "library")
    number = 0  # short calls: let asv choose how many

    def setup(self, network, rows, library):
        features, hidden, classes = NETWORKS[network]
        X, y = make_data(max(rows, 200), features, classes, "float32")
        model = LIBRARIES[library](hidden, max_iter=1, random_state=0)
        self.model = self.quietly(model.fit, X[:200], y[:200])
        self.X = X[:rows]
        self.model.predict_proba(self.X)

    def time_predict_proba(self, network, rows, library):
        self.model.predict_proba(self.X)
