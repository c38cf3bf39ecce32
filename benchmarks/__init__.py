"""The asv suite, and scripts to run by hand: ``python -m benchmarks.NAME`` in the checkout.

The scripts are peers, scaling, roofline, fashion_mnist and robustness.
"""

import os

# Overrides of OpenBLAS's own choice of kernels would slow NumPy and whatever stands on it. They
# are cleared here, before NumPy is loaded, for this process and for those that it starts.
for _override in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_override, None)
