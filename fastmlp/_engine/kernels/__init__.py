"""The kernels: each equation of back-propagation in one place."""
