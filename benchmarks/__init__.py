"""The asv suite, `benchmarks.suite`, and what is run by hand, `benchmarks.scripts`."""
