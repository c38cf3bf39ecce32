"""How the time of an epoch grows over three decades of rows, and of multiply-adds per row."""

from .common import Benchmark, Network, Workload
from .training import epoch_clock, medians

BATCH_ROWS = 100
FEATURES, CLASSES = 54, 10
ROWS = 2000
UNITS = 100


class Rows(Benchmark):
    """A network of 54-100-10 and more and more rows."""

    params = ([100, 1000, 10_000, 100_000],)
    param_names = ("rows",)

    def setup(self, rows):
        workload = Workload(Network(FEATURES, (UNITS,), CLASSES), rows, BATCH_ROWS)
        self.clock = epoch_clock(workload, "float32")

    def track_time_per_epoch(self, rows):
        return medians(self.clock)[0]

    track_time_per_epoch.unit = "seconds"
    track_time_per_epoch.pretty_name = "Growth: time per epoch by rows"


class MultiplyAdds(Benchmark):
    """2000 rows and more and more hidden units, of 64 multiply-adds a row each way."""

    params = ([10, 100, 1000, 10_000],)
    param_names = ("hidden units",)

    def setup(self, units):
        workload = Workload(Network(FEATURES, (units,), CLASSES), ROWS, BATCH_ROWS)
        self.clock = epoch_clock(workload, "float32")

    def track_time_per_epoch(self, units):
        return medians(self.clock)[0]

    track_time_per_epoch.unit = "seconds"
    track_time_per_epoch.pretty_name = "Growth: time per epoch by hidden units"
