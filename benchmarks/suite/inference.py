"""Predictions: latency of few rows, throughput of many."""

from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier

from fastmlp import MLPClassifier

from .common import (
    DTYPES,
    NETWORKS,
    PREDICTED_ROWS,
    Benchmark,
    fitted,
    make_data,
    repeated,
    seconds_each,
)
from .peak import peak_gflops

LIBRARIES = {"fastmlp": MLPClassifier, "scikit-learn": SklearnMLPClassifier}
MANY = max(PREDICTED_ROWS)


class Call(Benchmark):
    """One call of predict_proba in float32, its validation included."""

    params = (list(NETWORKS), sorted(PREDICTED_ROWS), list(LIBRARIES))
    param_names = ("network", "rows", "library")
    number = 0  # short calls: let asv choose how many

    def setup(self, network, rows, library):
        self.model = fitted(LIBRARIES[library], NETWORKS[network], "float32")
        self.X, _ = make_data(rows, NETWORKS[network], "float32")
        self.model.predict_proba(self.X)

    def time_predict_proba(self, network, rows, library):
        self.model.predict_proba(self.X)

    time_predict_proba.pretty_name = "Inference: time of a call of predict_proba"


class Throughput(Benchmark):
    """Many rows in one call."""

    params = (list(NETWORKS), DTYPES)
    param_names = ("network", "dtype")

    def setup(self, network, dtype):
        model = fitted(MLPClassifier, NETWORKS[network], dtype)
        X, _ = make_data(MANY, NETWORKS[network], dtype)
        self.clock = seconds_each(repeated(lambda: model.predict_proba(X)))

    def track_rows_per_second(self, network, dtype):
        return round(MANY / self.clock() / 1e3)

    track_rows_per_second.unit = "thousand rows per second"
    track_rows_per_second.pretty_name = f"Inference: throughput of {MANY:,} rows"

    def track_share_of_peak(self, network, dtype):
        flops = NETWORKS[network].forward_flops(MANY)
        return round(100 * flops / self.clock() / 1e9 / peak_gflops(dtype), 1)

    track_share_of_peak.unit = "% of the peak"
    track_share_of_peak.pretty_name = f"Inference: share of the peak, {MANY:,} rows"
