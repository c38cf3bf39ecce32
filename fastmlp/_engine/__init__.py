"""The fused kernels: tiles, layers, epochs and threads. Knows nothing of scikit-learn."""
