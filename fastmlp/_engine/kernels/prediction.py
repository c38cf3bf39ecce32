"""The prediction kernel: the forward pass over all rows of X. Oracle: `naive.Mlp.predict`.

Plain accesses are safe: each thread has its own rows of the workspace and its own tails, and writes
only the packed weights and the outputs of items that it has claimed. No thread reads packed weights
before the phase that writes them is over.
"""

from numba import types

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.jit.target import TAIL_HEIGHT
from fastmlp._engine.kernels.extras import extra
from fastmlp._engine.kernels.forward import forward, layer_at, row_span
from fastmlp._engine.kernels.operands import pack_weights, pairs_of
from fastmlp._engine.kernels.sparse import has_valid_columns, sum_of_values
from fastmlp._engine.kernels.update import transpose_tail_rows
from fastmlp._engine.records import job_pointer
from fastmlp._engine.simd.denormals import flush_denormals, restore_denormals
from fastmlp._engine.simd.memory import Span, dereference, element, load, view
from fastmlp._engine.simd.reductions import sum_unaligned
from fastmlp._engine.simd.vectors import tallest
from fastmlp._engine.threading.work_stealing import Phase, complete, next_items, work_span

PACKING_GRAIN = 16  # pairs of rows: some microseconds of work


@device
def _transpose_tails(pairs, job, thread):
    """Transpose the tails: the weights may have changed since the last prediction.

    A first layer has none for sparse X. Those of pairs are packed with the weights.

    Returns the address of this thread's copy, or 0 if there are too few rows for it to pay off.
    """
    if pairs is not None:
        return job.forward.tails
    if job.layout.tails == 0 or job.inputs.samples < TAIL_HEIGHT:
        return 0
    tails = element(job.zero, job.forward.tails, thread * job.layout.tails)
    for index in range(1 if job.inputs.is_sparse else 0, job.layout.layers):
        layer = layer_at(job.tables.layers, index)
        if layer.tail_stride > 0:
            transpose_tail_rows(job, layer, tails, 0, layer.n_in)
    return tails


@device
def _note_invalid_rows(job):
    """Tell the caller to check X. Plain store: it comes later, and all threads store the same."""
    job.totals.may_be_invalid = 1


@device
def _check_dense_rows(job, first, last):
    """Note rows `first` to `last` of the workspace whose inputs have a sum that is not finite."""
    layer = layer_at(job.tables.layers, 0)
    for m in range(first, last):
        row = load(0, job.tables.rows, layer.input_rows + m)
        total = sum_unaligned(job.zero, row, layer.n_in)
        if total - total != 0:
            _note_invalid_rows(job)


@device
def _check_sparse_rows(job, sample, end):
    """As `_check_dense_rows`; returns whether the columns of samples `sample` to `end` are valid.

    Other columns must not be used: they lead to memory outside of W.
    """
    layer = layer_at(job.tables.layers, 0)
    for row in range(sample, end):
        if not has_valid_columns(job, layer, row):
            _note_invalid_rows(job)
            return False
        total = sum_of_values(job, row)
        if total - total != 0:
            _note_invalid_rows(job)
    return True


@device
def _copy_outputs(job, sample, first, last):
    """outputs[sample:] (rows, n_out) = activations of rows `first` to `last`, without padding."""
    layer = layer_at(job.tables.layers, job.layout.layers - 1)
    for m in range(first, last):
        at = (sample + m - first) * layer.n_out
        outputs = view(job.zero, job.forward.outputs, Span(at, layer.n_out))
        activations = view(job.zero, job.forward.activations, row_span(layer, m, m + 1))
        for j in range(layer.n_out):
            outputs[j] = activations[j]


@device
def _predict_rows(job, tails, sample, first, last):
    """Predict the samples from `sample` on, in rows `first` to `last` of the workspace."""
    is_sparse = job.inputs.is_sparse
    if is_sparse:
        is_valid = extra(job, _check_sparse_rows, (job, sample, sample + last - first))
        if not is_valid:
            return
    forward(job, tails, sample - first, first, last, None)
    if not is_sparse:  # the forward pass has brought the rows into cache
        _check_dense_rows(job, first, last)
    _copy_outputs(job, sample, first, last)


@device
def _pack_all_weights(pairs, job, work, thread):
    """First phase: pack the weights, which may have changed since the last prediction.

    An item is a pair of rows of a W (n_in, n_out). Returns the number of items; 0 without pairs.
    """
    if pairs is None:
        return 0
    items, threads = 0, job.layout.threads
    for index in range(job.layout.layers):
        items += (layer_at(job.tables.layers, index).n_in + 1) // 2
    phase = Phase(0, items, items, threads, 0, PACKING_GRAIN)
    item, end = next_items(work, thread, phase)
    while item != end:
        first = 0
        for index in range(job.layout.layers):
            layer = layer_at(job.tables.layers, index)
            count = (layer.n_in + 1) // 2
            begin, stop = max(item - first, 0), min(end - first, count)
            if begin < stop:
                pack_weights(pairs, job, layer, 2 * begin, 2 * stop)
            first += count
        complete(work, end - item)
        item, end = next_items(work, thread, phase)
    return items


@device
def _take_part(job, thread):
    """Write the network's outputs (samples, n_out); an item is up to item_rows rows of X."""
    threads, samples = job.layout.threads, job.inputs.samples
    # Each thread uses its own rows of the workspace, enough for the largest item.
    item_rows = job.layout.block_rows // threads
    first = thread * item_rows
    if threads > 1:  # at least two items per thread, so that late threads find work
        fair = samples // (2 * threads)
        item_rows = min(item_rows, max(fair // tallest(), 1) * tallest())
    tails = _transpose_tails(pairs_of(job), job, thread)
    items = (samples + item_rows - 1) // item_rows
    work = view(0, job.tables.work, work_span(threads))
    packed = _pack_all_weights(pairs_of(job), job, work, thread)
    phase = Phase(1, items, packed + items, threads, 0, 1)
    item, end = next_items(work, thread, phase)
    while item != end:
        for sample in range(item * item_rows, min(end * item_rows, samples), item_rows):
            last = first + min(item_rows, samples - sample)
            _predict_rows(job, tails, sample, first, last)
        complete(work, end - item)
        item, end = next_items(work, thread, phase)


@device
def _predict(pairs, job, thread):
    """`_take_part`, with denormal numbers flushed to zero for pairs, as their dot products do."""
    if pairs is None:
        _take_part(job, thread)
    else:
        before = flush_denormals()
        _take_part(job, thread)
        restore_denormals(before)


@kernel(lambda real: types.void(types.int64, job_pointer(real)))
def predict(thread, pointer):
    """Write the network's outputs; see `_take_part`.

    Parameters
    ----------
    thread : int
        This thread's number in the launch.
    pointer : pointer to a record of `records.job_dtype`
    """
    job = dereference(pointer)
    _predict(pairs_of(job), job, thread)
