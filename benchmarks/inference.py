"""Predictions: latency of few rows, throughput of many."""

from .common import DTYPES, NETWORKS, PREDICTED_ROWS, Benchmark, make_data
from .libraries import PREDICTORS, prediction_clock
from .roofline import peak_gflops

LIBRARIES = {"fastmlp": "fastmlp", "scikit-learn": "sklearn"}
MANY = max(PREDICTED_ROWS)


class Call(Benchmark):
    """One call of predict_proba in float32, its validation included."""

    params = (list(NETWORKS), sorted(PREDICTED_ROWS), list(LIBRARIES))
    param_names = ("network", "rows", "library")
    number = 0  # short calls: let asv choose how many

    def setup(self, network, rows, library):
        self.predict = PREDICTORS[LIBRARIES[library]](NETWORKS[network], "float32")
        self.X, _ = make_data(rows, NETWORKS[network], "float32")
        self.predict(self.X)

    def time_predict_proba(self, network, rows, library):
        self.predict(self.X)

    time_predict_proba.pretty_name = "Inference: time of a call of predict_proba"


class Throughput(Benchmark):
    """Many rows in one call."""

    params = (list(NETWORKS), DTYPES)
    param_names = ("network", "dtype")

    def setup(self, network, dtype):
        self.clock = prediction_clock("fastmlp", network, MANY, dtype)

    def track_rows_per_second(self, network, dtype):
        return round(MANY / self.clock() / 1e3)

    track_rows_per_second.unit = "thousand rows per second"
    track_rows_per_second.pretty_name = f"Inference: throughput of {MANY:,} rows"

    def track_share_of_peak(self, network, dtype):
        flops = NETWORKS[network].forward_flops(MANY)
        return round(100 * flops / self.clock() / 1e9 / peak_gflops(dtype), 1)

    track_share_of_peak.unit = "% of the peak"
    track_share_of_peak.pretty_name = f"Inference: share of the peak, {MANY:,} rows"
