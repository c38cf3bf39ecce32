"""Benchmarks to run by hand: `python -m benchmarks.scripts.NAME` in the checkout."""

import benchmarks.suite  # noqa: F401 - clears overrides of OpenBLAS before NumPy is loaded
