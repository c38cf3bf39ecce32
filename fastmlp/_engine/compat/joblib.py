"""joblib's context of parallel calls."""

import joblib


def jobs_of_context() -> int | None:
    """The `n_jobs` of `joblib.parallel_config`; None outside of any context."""
    state = getattr(joblib.parallel, "_backend", None)
    if state is not None and not hasattr(state, "config"):
        return None  # to ask in public takes longer
    return joblib.parallel.get_active_backend()[1]
