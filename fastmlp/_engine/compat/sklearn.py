"""scikit-learn's function that asks OpenMP, used only where scikit-learn is loaded."""

import functools
import sys


@functools.cache
def openmp_counter():
    """The function by which scikit-learn counts OpenMP's threads, or None."""
    helpers = sys.modules.get("sklearn.utils._openmp_helpers")
    try:
        return (
            helpers._openmp_effective_n_threads if helpers._openmp_parallelism_enabled() else None
        )
    except AttributeError:  # not loaded, or of another version
        return None
