"""The compilation target, device functions, kernels, and the cache of compiled kernels."""
