"""The tables that describe a network and a fit to the kernels: data, so that nothing recompiles."""

from collections import namedtuple

import numpy as np

from fastmlp._engine.jit.target import CACHE_LINE

# One record per weight layer. Offsets count elements of the buffer named.
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
        (
            "stores_derivative",
            np.int64,
        ),  # whether training writes f'(z) into derivatives, to multiply by it
        ("tail", np.int64),  # in tails: W^T (tail, tail_stride) of the last columns
        ("tail_stride", np.int64),  # n_in, padded; 0 where there is no tail
        ("back_tail", np.int64),  # input with which the tail of delta W^T begins; -1 for none
        ("split_k_at", np.int64),  # input with which the second sum of z begins; 0 for one sum
        ("dropout", np.float64),  # rate at which training silences a hidden layer's units
    ],
    align=True,
)

# A fixed piece of one layer's gradient and update: some rows of W, or the bias as a row of its own.
PANEL = np.dtype(
    [("layer", np.int64), ("first", np.int64), ("rows", np.int64), ("is_bias", np.int64)],
    align=True,
)


def plan_dtype(real: type) -> np.dtype:
    """Record of one fit: its sizes, codes and rates. `real` is np.float32 or np.float64."""
    integers = (
        "threads",
        "samples",
        "first",  # sample at which the next launch begins
        "blocks",  # how many row blocks a launch may take
        "batch_size",
        "block_rows",  # rows that pass through the layers together; a larger batch takes several
        "is_sparse",
        "inputs",  # address of X, unless sparse
        "exceeds_cache",  # whether X is dense and larger than a core's own cache
        "input_stride",  # bytes
        "outputs",  # address of a prediction's
        "target_columns",
        "output",  # code of the last layer's activation
        "loss_function",
        "update_rule",
        "split_k_rows",  # in rows: those of X again, for the inputs from split_k_at on
        "ahead_rows",  # in rows: addresses of the next block's rows of X
        "ones_rows",  # in rows: addresses of the input of a bias, which is always one
        "scratch",  # elements of scratch of one thread
        "tails",  # elements of W^T of all tails: a prediction has one for each thread
        "overlap",  # of them, elements before a panel's first row
        "step",  # updates done so far
        "may_be_nonfinite",  # a prediction has met a row of X whose sum is not finite
        "seed",  # of dropout
    )
    doubles = (
        "momentum",
        "beta_1",
        "beta_2",
        "power_1",  # beta_1 to the power of the next update's number; a launch carries it on
        "power_2",
        "epsilon",
        "max_grad_norm",  # 0 for no limit
        "label_smoothing",
        "huber_delta",
    )
    reals = ("alpha",)
    # Written while all threads read what stands above, and so on other cache lines.
    changing = (
        "loss",  # summed over the epoch's rows so far
        "squared_norm",  # of the weights at the beginning of the batch
    )
    fields = [(name, np.int64) for name in integers]
    fields += [(name, np.float64) for name in doubles]
    fields += [(name, real) for name in reals]
    fields += [("apart", np.uint8, 2 * CACHE_LINE)]
    fields += [(name, np.float64) for name in changing]
    return np.dtype(fields, align=True)


# What a prediction reads of X beside its address: order (samples) of int64, empty for all as they
# come; values, columns (int32) and row_starts (int64) of a sparse X, empty for a dense one. Kept
# short, as each array costs a call from Python some 0.1 us.
Inputs = namedtuple("Inputs", "order values columns row_starts")

# For training also flat targets (samples * target_columns) and weights (samples) in the working
# type; empty weights mean one each.
Samples = namedtuple("Samples", [*Inputs._fields, "targets", "weights"])

# Flat arrays of the working type that the way forward needs.
ForwardBuffers = namedtuple(
    "ForwardBuffers",
    [
        "parameters",
        "tails",  # W^T of the layers' tails
        "activations",
        "split_k_partial",  # like the first layer's activations, where z is two sums; else empty
    ],
)

# And what training needs besides; those from row_losses on are float64.
Buffers = namedtuple(
    "Buffers",
    [
        *ForwardBuffers._fields,
        "transposed",
        "first_moment",
        "second_moment",
        "gradient",  # like parameters; for batches of several row blocks, sparse X and clipping
        "derivatives",  # like activations: f'(z) of the layers that keep it; else empty
        "deltas",
        "scratch",
        "zeros",
        "row_losses",  # of the block's rows
        "norms",  # squared norm of the weights of each panel
        "gradient_norms",  # and of its gradient, where that is limited
        "rates",  # learning rate of each batch of the epoch
        "decays",  # factor by which weight decay shrinks the weights in each batch of the epoch
    ],
)

# A row block of a batch, as all threads work it out for themselves: samples `start` to `stop` of
# the epoch, of a batch of batch_rows, after `step` updates; scale is one over the batch's weight
# sum, eta the size of its step, decay the factor by which weights shrink.
Block = namedtuple("Block", "start stop rows is_first is_last batch_rows step scale eta decay")
