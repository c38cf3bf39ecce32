"""The asv suite: kernels, training, inference, start-up, growth."""

import os

# Overrides of OpenBLAS's own choice of kernels would slow down NumPy and all that uses it. They
# are cleared here, before NumPy is loaded, for this process and for its children.
for _override in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_override, None)
