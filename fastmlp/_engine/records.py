"""Records that describe a network and its training to the kernels: data, so nothing recompiles.

A kernel gets the address of one `job`. Each record inside has one writer. Fields that hold an
address count bytes; all other offsets and strides count elements of the array they refer to.
"""

import numpy as np
from numba import types
from numba.np.numpy_support import from_dtype

from fastmlp._engine.jit.target import CACHE_LINE

# One record per weight layer.
LAYER = np.dtype(
    [
        ("n_in", np.int64),
        ("n_out", np.int64),
        ("stride", np.int64),  # n_out, padded to whole vectors: a row of W, of outputs, of deltas
        ("weights", np.int64),  # in parameters: W (n_in, stride)
        ("bias", np.int64),  # in parameters: b (stride)
        ("transposed", np.int64),  # in transposed: W^T (stride, transposed_stride)
        ("transposed_stride", np.int64),  # n_in, padded: the stride of the layer before
        ("outputs", np.int64),  # in activations and in deltas: (block_rows, stride)
        ("input_rows", np.int64),  # in rows: addresses of this layer's input rows
        ("delta_rows", np.int64),  # in rows: addresses of this layer's delta rows
        ("activation", np.int64),  # code of a hidden layer's f
        ("stores_derivative", np.int64),  # whether training writes f'(z) into derivatives
        ("tail", np.int64),  # in tails: W^T (tail, tail_stride) of the last columns
        ("tail_stride", np.int64),  # n_in, padded; 0 where there is no tail
        ("back_tail", np.int64),  # input with which the tail of delta W^T begins; -1 for none
        ("split_k_at", np.int64),  # input with which the second sum of z begins; 0 for one sum
        ("dropout", np.float64),  # rate at which training silences a hidden layer's units
    ],
    align=True,
)

# A piece of one layer's gradient and update: some rows of W, or the bias as a row of its own.
PANEL = np.dtype(
    [("layer", np.int64), ("first", np.int64), ("rows", np.int64), ("is_bias", np.int64)],
    align=True,
)

# Written by the loop that trains: what it was asked for.
HYPERPARAMETERS = [
    ("batch_size", np.int64),
    ("output", np.int64),  # code of the last layer's activation
    ("loss_function", np.int64),
    ("update_rule", np.int64),
    ("seed", np.int64),  # of dropout
    ("momentum", np.float64),
    ("beta_1", np.float64),
    ("beta_2", np.float64),
    ("epsilon", np.float64),
    ("max_grad_norm", np.float64),  # 0 for no limit
    ("label_smoothing", np.float64),
    ("huber_delta", np.float64),
]

# Written by the workspace, once: sizes, and where in the table of rows each kind of them begins.
LAYOUT = [
    ("threads", np.int64),
    ("block_rows", np.int64),  # rows that pass through the layers together
    ("layers", np.int64),  # how many
    ("panels", np.int64),  # how many
    ("scratch", np.int64),  # elements of scratch of one thread
    ("overlap", np.int64),  # of them, elements before a panel's first row
    ("tails", np.int64),  # elements of W^T of all tails: a prediction has one for each thread
    ("split_k_rows", np.int64),  # in rows: addresses of the rows of X, for the second sum of z
    ("next_rows", np.int64),  # in rows: addresses of the next block's rows of X
    ("ones_rows", np.int64),  # in rows: addresses of the input of a bias, which is always one
]

# Written by the workspace, for each fit or prediction: the samples. Addresses, 0 for what is not
# given: X, or if it is sparse its values, columns (int32) and row starts (int64); the order of the
# samples (int64), as they come by default; flat targets; weights, which are one by default.
INPUTS = [
    ("samples", np.int64),
    ("is_sparse", np.int64),
    ("exceeds_cache", np.int64),  # whether X is dense and larger than a core's own cache
    ("x", np.int64),
    ("x_stride", np.int64),  # bytes
    ("values", np.int64),
    ("columns", np.int64),
    ("row_starts", np.int64),
    ("order", np.int64),
    ("targets", np.int64),
    ("target_columns", np.int64),
    ("weights", np.int64),
]

# Written by the loop, between launches: where in the epoch the next one begins.
CURSOR = [
    ("first", np.int64),  # sample
    ("step", np.int64),  # updates done so far
    ("blocks", np.int64),  # how many row blocks a launch may take
]

# Written by the kernels. What a launch has reached is read when it is over.
TOTALS = [
    ("first", np.int64),
    ("step", np.int64),
    ("loss", np.float64),  # summed over the epoch's rows so far
    ("squared_norm", np.float64),  # of the weights at the beginning of the batch
    ("may_be_nonfinite", np.int64),  # a prediction has met a row of X whose sum is not finite
]

# Addresses of tables: of LAYER, of PANEL, the panels of each thread, row addresses, and what
# `threading.work_stealing` counts in.
TABLES = [(name, np.int64) for name in ("layers", "panels", "ranges", "rows", "work")]

# Addresses of buffers. The way forward:
FORWARD = [
    ("parameters", np.int64),
    ("tails", np.int64),  # W^T of the layers' tails
    ("activations", np.int64),
    ("split_k_partial", np.int64),  # like the first layer's activations, where z is two sums
    ("outputs", np.int64),  # of a prediction: (samples, n_out)
]
# the way back:
BACKWARD = [
    ("transposed", np.int64),
    ("deltas", np.int64),  # like activations
    ("derivatives", np.int64),  # like activations: f'(z) of the layers that store it
    ("zeros", np.int64),  # a row
    ("row_losses", np.int64),  # float64, of the block's rows
]
# and the update. Those from norms on are float64.
UPDATE = [
    ("first_moment", np.int64),
    ("second_moment", np.int64),
    ("gradient", np.int64),  # like parameters; for batches of several blocks, sparse X, clipping
    ("scratch", np.int64),
    ("norms", np.int64),  # squared norm of the weights of each panel
    ("gradient_norms", np.int64),  # and of its gradient, where that is limited
    ("step_sizes", np.int64),  # eta of each batch of the epoch
    ("decays", np.int64),  # factor by which weight decay shrinks the weights in each batch
]


def job_dtype(real: type) -> np.dtype:
    """The record that a kernel works on. `real` is np.float32 or np.float64."""
    parts = {
        "hyperparameters": [*HYPERPARAMETERS, ("alpha", real)],
        "layout": LAYOUT,
        "inputs": INPUTS,
        "cursor": CURSOR,
        "tables": TABLES,
        "forward": FORWARD,
        "backward": BACKWARD,
        "update": UPDATE,
    }
    fields = [(name, np.dtype(part, align=True)) for name, part in parts.items()]
    fields.append(("zero", real))  # from which the kernels take their working type
    # Written while all threads read what stands above, and so on other cache lines.
    fields.append(("apart", np.uint8, 2 * CACHE_LINE))
    fields.append(("totals", np.dtype(TOTALS, align=True)))
    return np.dtype(fields, align=True)


def job_pointer(real: type) -> types.CPointer:
    """numba's type of a pointer to the record that a kernel works on."""
    return types.CPointer(from_dtype(job_dtype(real)))
