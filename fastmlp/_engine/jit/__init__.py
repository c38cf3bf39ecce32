"""What numba compiles for, how it compiles device functions, and where kernels are kept."""
