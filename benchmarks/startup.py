"""What a process pays before its first fit is done."""

FIRST_FIT = """
import warnings
warnings.simplefilter("ignore")
import numpy as np
from fastmlp import MLPClassifier
X = np.eye(20, dtype=np.float32)
MLPClassifier(max_iter=1).fit(X, np.arange(20) % 2)
"""


class Startup:
    """Times of whole processes."""

    timeout = 300
    number = 1
    repeat = 5

    def timeraw_import_numba_and_sklearn(self):
        return "import numba, sklearn.neural_network"

    def timeraw_import_fastmlp(self):
        return "import fastmlp"

    def timeraw_first_fit_from_the_cache(self):
        return FIRST_FIT

    def timeraw_first_fit_that_compiles(self):
        return (
            "import os, tempfile\n"
            "folder = tempfile.TemporaryDirectory()\n"
            "os.environ['NUMBA_CACHE_DIR'] = folder.name\n" + FIRST_FIT
        )

    timeraw_first_fit_that_compiles.repeat = 2
