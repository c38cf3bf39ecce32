"""What a process pays before its first fit is done."""

import os
import statistics
import subprocess
import sys
import tempfile

PROCESSES = 3

TWO_FITS = """
import time, warnings
warnings.simplefilter("ignore")
import numpy as np
from fastmlp import MLPClassifier
X, y = np.eye(20, dtype=np.float32), np.arange(20) % 2
moments = [time.perf_counter()]
for _ in range(2):
    MLPClassifier(max_iter=1).fit(X, y)
    moments.append(time.perf_counter())
first, second = np.diff(moments)
print(first - second)
"""


def first_fit_over_second(cache_folder: str) -> float:
    """Seconds by which a new process's first fit is longer than its second."""
    done = subprocess.run(
        [sys.executable, "-c", TWO_FITS],
        env={**os.environ, "NUMBA_CACHE_DIR": cache_folder},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


class Startup:
    """Times of whole processes."""

    timeout = 300
    number = 1
    repeat = 5

    def timeraw_import_numba_and_sklearn(self):
        return "import numba, sklearn.neural_network"

    timeraw_import_numba_and_sklearn.pretty_name = "Start-up: import numba and scikit-learn's MLP"

    def timeraw_import_fastmlp(self):
        return "import fastmlp"

    timeraw_import_fastmlp.pretty_name = "Start-up: import fastmlp"


class FirstFit:
    """What the first fit costs over the second one: compiling, or loading what was compiled."""

    timeout = 300
    params = (["cold", "warm"],)
    param_names = ("cache",)

    def setup(self, cache):
        self.folders = [tempfile.TemporaryDirectory() for _ in range(PROCESSES)]
        if cache == "warm":
            self.folders = self.folders[:1] * PROCESSES
            first_fit_over_second(self.folders[0].name)

    def track_over_second_fit(self, cache):
        return statistics.median(first_fit_over_second(folder.name) for folder in self.folders)

    def teardown(self, cache):
        for folder in self.folders:
            folder.cleanup()

    track_over_second_fit.unit = "seconds"
    track_over_second_fit.pretty_name = "Start-up: first fit over the second"
