"""The asv suite. Scripts to run by hand stand beside it: fashion_mnist.py, robustness.py."""
