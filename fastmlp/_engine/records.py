"""Records that describe a network and its training to the kernels, as data: nothing recompiles.

A kernel gets the address of one `job`. Each record inside it says who writes it. Addresses and
their strides count bytes; other offsets and strides count elements of the array they refer to.
"""

from typing import NamedTuple

import numpy as np
from numba import types

from fastmlp._engine.jit.target import CACHE_LINE
from fastmlp._engine.simd.memory import record_type

PAIR = np.uint32  # two bfloat16, see `simd.bfloat16`

# One record per layer.
LAYER = np.dtype(
    [
        ("n_in", np.int64),
        ("n_out", np.int64),
        ("stride", np.int64),  # n_out, padded to whole vectors: a row of outputs or deltas
        ("row_stride", np.int64),  # a row of W: stride, or n_out if W is compact or in a file
        ("weights", np.int64),  # in parameters: W (n_in, row_stride)
        ("bias", np.int64),  # in parameters: b (stride)
        ("transposed", np.int64),  # in transposed: W^T (stride, transposed_stride)
        ("transposed_stride", np.int64),  # n_in, padded: the stride of the previous layer
        ("outputs", np.int64),  # in activations and deltas: (block_rows, stride)
        ("input_rows", np.int64),  # in rows: addresses of this layer's input rows
        ("delta_rows", np.int64),  # in rows: addresses of this layer's delta rows
        ("gradient_rows", np.int64),  # in rows: addresses of what dW sums over, input rows or pairs
        ("activation", np.int64),  # code of a hidden layer's f
        ("stores_derivative", np.int64),  # whether training writes f'(z) into derivatives
        ("tail", np.int64),  # in tails: the tail's transpose (tail, tail_stride)
        ("tail_stride", np.int64),  # n_in, padded; 0 without a tail
        ("back_tail", np.int64),  # first input of the tail of delta W^T; -1 without one
        ("column_height", np.int64),  # of the tiles of columns of dW; 0 without them
        ("split_k_at", np.int64),  # first input of the second sum of z; 0 without split-K
        ("dropout", np.float64),  # probability of dropping a unit of a hidden layer
        # With pairs of bfloat16 only, see `kernels.operands`:
        ("pair_rows", np.int64),  # in rows: addresses of this layer's input rows as bfloat16
        ("weight_pairs", np.int64),  # in weight_pairs: pairs of rows of W (n_in / 2, stride)
        ("transposed_pairs", np.int64),  # in transposed_pairs: (stride / 2, transposed_stride)
        ("stacked", np.int64),  # in stacked_deltas: pairs of rows of delta (block_rows / 2, stride)
    ],
    align=True,
)

# A panel: some rows of one layer's W, or its bias as a single row.
PANEL = np.dtype(
    [("layer", np.int64), ("first", np.int64), ("rows", np.int64), ("is_bias", np.int64)],
    align=True,
)

# Written by `sgd.Descent`. A prediction has only `output`, from its workspace.
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
    ("quantiles", np.int64),  # address of one for each output, float64
]

# Written once by the workspace: sizes, and offsets in the table of rows.
LAYOUT = [
    ("threads", np.int64),
    ("block_rows", np.int64),  # rows that pass through the layers together
    ("item_rows", np.int64),  # of an item of phase ROWS: 1, 2 with pairs of bfloat16, or a chunk's
    ("chunk_rows", np.int64),  # rows of a chunk, see `kernels.columns`; 0 without them
    ("strip_rows", np.int64),  # rows of a strip of a chunk
    ("layers", np.int64),  # number of layers
    ("panels", np.int64),  # number of panels
    ("trained_panels", np.int64),  # those of layers that are not frozen, which come first
    ("first_trained", np.int64),  # the lowest layer that is not frozen: delta stops there
    ("panel_rows", np.int64),  # rows of W in the first layer's panels, except the last
    ("scratch", np.int64),  # elements of scratch per thread
    ("overlap", np.int64),  # those of them before a panel's first row
    ("tails", np.int64),  # elements of all transposed tails; predictions have a copy per thread
    ("split_k_rows", np.int64),  # in rows: addresses of the rows of X, for the second sum of z
    ("next_rows", np.int64),  # in rows: addresses of the next block's or strip's rows of X
    ("ones_rows", np.int64),  # in rows: addresses of a bias's input, which is always 1
]

# Written by the workspace for each fit or prediction: the samples. Addresses, or 0 if not given:
# dense X, or the values, columns (int32) and row starts (int64) of sparse X; the order of the
# samples (int64; default: as in X); targets (samples, target_columns); weights (default: 1).
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

# Written by `sgd.Descent` between launches: where in the epoch the next one begins.
CURSOR = [
    ("first", np.int64),  # sample
    ("step", np.int64),  # updates done so far
    ("blocks", np.int64),  # most row blocks of a launch
    ("refreshes", np.int64),  # whether the weights were changed from outside
]

# Written by the kernels during a launch, and set before it by its caller, who reads them after it.
TOTALS = [
    ("first", np.int64),
    ("step", np.int64),
    ("loss", np.float64),  # sum over the epoch's rows so far
    ("squared_norm", np.float64),  # |W|^2 before the batch's update
    ("may_be_invalid", np.int64),  # whether a prediction found a row of X that must be checked
]

# Addresses of tables: LAYER records, PANEL records, each thread's range of all panels and of those
# that are trained, row addresses, and the words of `threading.work_stealing`.
TABLES = [
    (name, np.int64) for name in ("layers", "panels", "ranges", "trained_ranges", "rows", "work")
]

# Addresses of buffers. Forward pass:
FORWARD = [
    ("parameters", np.int64),
    ("tails", np.int64),  # transposed tails of W
    ("activations", np.int64),
    ("split_k_partial", np.int64),  # like the first layer's activations: the second sum of z
    ("outputs", np.int64),  # predictions (samples, n_out)
    ("weight_pairs", np.int64),  # W as pairs of bfloat16
]
# Backward pass:
BACKWARD = [
    ("transposed", np.int64),
    ("deltas", np.int64),  # like activations
    ("derivatives", np.int64),  # like activations: f'(z) of layers that store it
    ("zeros", np.int64),  # as long as the widest row, and as a panel of a sparse first layer
    ("row_losses", np.int64),  # (block_rows), float64
    ("transposed_pairs", np.int64),  # W^T as pairs of bfloat16
    ("stacked_deltas", np.int64),  # deltas as pairs of bfloat16, of two rows each
]
# Update; from norms on, float64:
UPDATE = [
    ("first_moment", np.int64),
    ("second_moment", np.int64),
    ("gradient", np.int64),  # like parameters; for batches of several blocks, sparse X, clipping
    ("touched", np.int64),  # int64 for each panel of a sparse first layer: has it a gradient?
    ("chunks", np.int64),  # of each chunk of a block, the first layer's full panels of dW^T
    ("scratch", np.int64),
    ("norms", np.int64),  # squared norm of each panel's weights
    ("gradient_norms", np.int64),  # squared norm of each panel's gradient, for max_grad_norm
    ("step_sizes", np.int64),  # eta of each batch of the epoch
    ("decays", np.int64),  # weight decay's factor of the weights in each batch
]


class Bfloat16:
    """A working type: float32, but products multiply pairs of bfloat16."""


class Plain(NamedTuple):
    """A working type whose kernels are plain ones, see `kernels.extras`."""

    whole: type


# The type of the field `extras` of the job and its hyperparameters tells whole kernels from plain
# ones. Nobody reads its value.
HAS_EXTRAS, HAS_NONE = np.uint8, np.int8


def job_dtype(working_type: type | Plain) -> np.dtype:
    """The record that a kernel works on, with the same layout for a whole kernel and a plain one.

    `working_type` is float32, float64 or Bfloat16, or one of these as `Plain`.
    """
    extras = HAS_NONE if isinstance(working_type, Plain) else HAS_EXTRAS
    whole = working_type.whole if isinstance(working_type, Plain) else working_type
    real = np.float32 if whole is Bfloat16 else whole
    parts = {
        "hyperparameters": [*HYPERPARAMETERS, ("alpha", real), ("extras", extras)],
        "layout": LAYOUT,
        "inputs": INPUTS,
        "cursor": CURSOR,
        "tables": TABLES,
        "forward": FORWARD,
        "backward": BACKWARD,
        "update": UPDATE,
    }
    fields = [(name, np.dtype(part, align=True)) for name, part in parts.items()]
    fields.append(("zero", real))  # gives the kernels the type of all numbers
    # And this, the type of what the products multiply.
    fields.append(("operand", PAIR if whole is Bfloat16 else real))
    # Like the hyperparameters, so that functions of either can tell.
    fields.append(("extras", extras))
    # The totals change while all threads read the fields above: keep them on other cache lines.
    fields.append(("apart", np.uint8, 2 * CACHE_LINE))
    fields.append(("totals", np.dtype(TOTALS, align=True)))
    return np.dtype(fields, align=True)


def job_pointer(working_type: type | Plain) -> types.CPointer:
    """Numba's type for a pointer to `job_dtype`."""
    return types.CPointer(record_type(job_dtype(working_type)))
