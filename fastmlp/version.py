"""The version, for pickles and for `fastmlp.__version__`."""

__version__ = "0.1.0"
