"""The engine: kernels that train a network and predict with it. It does not know scikit-learn.

Read this page before you change the engine. It has a map of the packages, the path of the data
through a fit, a diagram of a mini-batch, the training step in NumPy, a glossary, and the memory
model.

## Map

Imports point downward only; `test_layering.py` makes sure of it.

| package | what it holds |
|---|---|
| `estimators` | the public classes: signatures and docstrings |
| `_estimator/` | `fit` and `predict`: parameters, targets, initial weights, fitted state |
| `_training/` | solvers, the loop over epochs, schedules, validation, callbacks |
| `_inference/` | predictions, and gradients by the inputs |
| `_engine/inputs` | `X` as the kernels read it: contiguous rows, copied only if necessary |
| `_engine/buffers` | memory for the kernels, and where arrays lie in it |
| `_engine/network` | every weight and bias of a network, in one padded buffer |
| `_engine/mapping` | weights in a memory-mapped file: whether they can stay there |
| `_engine/workspace` | all other buffers of a prediction |
| `_engine/training_workspace` | those of a fit, and the division of the weights among threads |
| `_engine/records` | the tables that describe a fit to the kernels |
| `_engine/threads` | how many threads to use |
| `_engine/machine` | the processor's name |
| `_engine/kernels/training` | the mini-batch and its phases |
| `_engine/kernels/prediction` | the forward pass over all rows of `X` |
| `_engine/kernels/forward` | layers forward: z = a W + b, a = f(z) |
| `_engine/kernels/products` | the three products of a layer as loops over tiles |
| `_engine/kernels/columns` | the gradient of a narrow first layer, by chunks in large batches |
| `_engine/kernels/operands` | what they multiply: numbers, or pairs of bfloat16 packed from them |
| `_engine/kernels/update` | from a panel's gradient to its new weights |
| `_engine/kernels/prefetch` | prefetches and ownership requests |
| `_engine/kernels/losses` | output activations, losses and the output delta |
| `_engine/kernels/activations` | hidden activations and their derivatives |
| `_engine/kernels/custom` | functions of the user's own, which the kernels call by address |
| `_engine/kernels/custom_activation` | activations of the user's own |
| `_engine/kernels/custom_loss` | losses of the user's own |
| `_engine/kernels/derivatives` | f'(z) of whole arrays, for gradients by the inputs |
| `_engine/kernels/extras` | what plain kernels lack, because few fits use it |
| `_engine/kernels/optimizers` | update rules: Adam, SGD, momentum |
| `_engine/kernels/dropout` | which units to drop |
| `_engine/kernels/sparse` | the first layer for sparse `X` |
| `_engine/simd/tile` | the micro-kernel: a tile of a product in registers |
| `_engine/simd/bfloat16` | pairs of bfloat16: rounding, packing, dot products |
| `_engine/simd/tail` | the same for a tail of columns |
| `_engine/simd/sparse_rows` | sums of scaled rows, for sparse `X` |
| `_engine/simd/vectors` | explicit vectors: loads, stores, shuffles, multiply-adds |
| `_engine/simd/reductions` | sums in a fixed order, and the rows of softmax |
| `_engine/simd/transpose` | transposition of a square of elements in registers |
| `_engine/simd/scalars` | scalar multiply-adds and polynomials; loops over them vectorize |
| `_engine/simd/elementary` | exp, tanh, log1p and the normal distribution |
| `_engine/simd/memory` | memory by address: elements, views, records, prefetch instructions |
| `_engine/simd/denormals` | flush-to-zero while training |
| `_engine/threading/atomics` | atomic operations, and the pause of a spin loop |
| `_engine/threading/parking` | how threads spin, yield, nap and sleep |
| `_engine/threading/placement` | on which CPUs woken threads run |
| `_engine/threading/system` | functions of the operating system that compiled code calls |
| `_engine/threading/pool` | the threads, and how a launch reaches them |
| `_engine/threading/work_stealing` | how the threads of a launch share its items |
| `_engine/jit/target` | instruction sets, vector sizes, tile shapes |
| `_engine/jit/compiler` | the compiler of device functions |
| `_engine/jit/device` | device functions: compiled into the kernels that call them |
| `_engine/jit/kernel` | kernels: compiled C functions, the entry points |
| `_engine/jit/cache` | compiled kernels on disk |
| `_engine/compat/numba` | inner parts of Numba; without them it compiles more slowly |
| `_engine/compat/joblib` | the number of jobs of the context in joblib |
| `_engine/compat/sklearn` | the number of OpenMP's threads, as scikit-learn counts them |

The kernels are compiled once per working type: float32, float64, or float32 with products of
bfloat16. Depth, layer sizes, activations, loss and update rule are data to them. An activation or a
loss of the user's is a function of its own; its code is its address.

For each working type there is a plain kernel and a whole one. The plain kernel compiles in 0.6 of
the time, because it lacks the code for sparse `X`, dropout, clipping and other extras, see
`kernels/extras`. The workspace launches it wherever it is enough.

## The path of the data

One call of `fit`, from top to bottom:

1. `_estimator/base`: `fit` makes a draft of the estimator.
2. `_estimator/targets`: `X` and `y` are validated; labels become kernel targets.
3. `_estimator/parameters`, `_estimator/initialization`: settings, layer sizes, initial weights.
4. `_training/solve`: validation data are split off; SGD or L-BFGS takes over.
5. `inputs`: `X` gets contiguous rows of the right dtype, without a copy if possible.
6. `_training/sgd`: `workspace` and `records` are set up.
7. `_training/loop`: shuffle, run an epoch, record the history, validate, call callbacks, maybe
   stop.
8. `threading/pool`: each epoch is one launch or a few; every thread runs `kernels/training`.
9. Phase ROWS: `forward` -> `products` -> `simd/tile`, then `losses`, then back down. Phase WEIGHTS:
   gradient tile -> `update` -> `optimizers`.
10. The draft is committed. `coefs_` and `intercepts_` are views of the network's buffer.

`partial_fit` takes a shortcut past steps 2 to 6 where it can: `_estimator/continuation` keeps what
its last call has set up.

## One mini-batch

Every thread runs the same kernel for a whole launch (SPMD), without fork and join per layer. A
mini-batch is a sequence of phases. Each phase has a number of items, and each thread owns a range
of them. A thread that has finished its range steals items from another.

```text
             thread 0              thread 1              thread 2
          +---------------------+---------------------+---------------------+
 REFRESH  | only once per epoch: recompute what is derived from the         |
          | weights; items are panels                                       |
          +---------------------+---------------------+---------------------+
                                  all items done
          +---------------------+---------------------+---------------------+
 SPLIT_K  | only for many inputs: z of the first layer as two sums, each    |
          | over half of the inputs; items are rows of either sum           |
          +---------------------+---------------------+---------------------+
                                  all items done
          +---------------------+---------------------+---------------------+
 ROWS     | rows 0 .. 20        | rows 21 .. 41       | rows 42 .. 63       |
          |   layers forward    |                     |                     |
          |   loss and delta    |   the same          |   the same          |
          |   layers backward   |                     |                     |
          +---------------------+---------------------+---------------------+
                                  all items done
          +---------------------+---------------------+---------------------+
 WEIGHTS  | panels 0 .. 8       | panels 9 .. 17      | panels 18 .. 25     |
          |   dW = a^T delta    |                     |                     |
          |   in registers,     |   the same          |   the same          |
          |   then the update   |                     |                     |
          +---------------------+---------------------+---------------------+
                                  all items done
          +---------------------+---------------------+---------------------+
 CLIP     | only with max_grad_norm: update every panel with the gradient,  |
          | scaled down                                                     |
          +---------------------+---------------------+---------------------+
                                  all items done: the next mini-batch
```

An item of ROWS reads all weights and writes its own rows of activations and deltas. An item of
WEIGHTS reads all activations and deltas and writes its own panel. There is no gradient array: each
tile of dW is summed in registers over all rows of the batch, and the update rule reads the sums of
one panel from a thread's scratch.

In a first layer of at most 12 units, the vectors of a tile run along the inputs instead of the
units, so that no lanes are idle: a tile of columns. It sums the transpose of a panel, element by
element in the same order.

Such a layer's gradient in a large batch is summed by chunks of 256 rows. An item of ROWS is a chunk
then: the thread takes a strip of its rows through the layers and adds their products to the chunk's
sums, while they are in its own cache. WEIGHTS adds up the chunks. So one core reads a row of X,
once from memory; only inputs that fill no panel are read again.

Three cases need a gradient buffer. A batch of more than 1,024 rows has several blocks, so small
that X's rows stay in cache from ROWS to WEIGHTS, and the buffer sums over them. A sparse first
layer scatters its products into it, and marks the panels that it touches: the others have a
gradient of zeros. With `max_grad_norm`, WEIGHTS only stores the gradient, because its norm is not
known before the phase is over.

The panels of frozen layers come after all others, and only REFRESH takes them. ROWS carries delta
down to the lowest layer that is not frozen.

REFRESH makes W^T, the transposed tails and the panels' norms anew, because the weights may have
been changed from outside since the last epoch. Later, each update of a panel refreshes its own.

With products of bfloat16, ROWS packs the rows of a and delta that it computes, and the update of a
panel packs its new weights; see `kernels/operands`. An item of ROWS is then two rows, which are
pairs to the gradient. A prediction has a phase of its own that packs the weights. W^T has no tail,
and there are no tiles of columns and no SPLIT_K.

With SPLIT_K, each of two threads reads only the half of the first layer's weights that it writes.
Without it, every weight would be transferred between two cores in each mini-batch.

## The step in NumPy

The kernels compute this in one mini-batch of a classifier with tanh, softmax, cross-entropy and
Adam. A test compares this code with the kernels.

```python
import numpy as np


def softmax(z):  # kernels/losses
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def forward(X, W, b):  # kernels/forward, kernels/products
    # a[0] = X (rows, n_in); a[l + 1] = f(a[l] W[l] + b[l]) (rows, n_out)
    a = [X]
    for l in range(len(W)):
        z = a[l] @ W[l] + b[l]
        a.append(softmax(z) if l == len(W) - 1 else np.tanh(z))
    return a


def backward(a, y, W):  # kernels/losses, kernels/products
    # delta[l] = dL/dz of layer l (rows, n_out)
    delta = [a[-1] - np.eye(a[-1].shape[1])[y]]
    for l in range(len(W) - 1, 0, -1):
        derivative = 1 - a[l] ** 2  # kernels/activations: of tanh, from its output
        delta.insert(0, (delta[0] @ W[l].T) * derivative)
    return delta


def adam(w, g, m, v, t, rate, beta_1=0.9, beta_2=0.999, epsilon=1e-8):
    # kernels/optimizers
    m[...] = beta_1 * m + (1 - beta_1) * g
    v[...] = beta_2 * v + (1 - beta_2) * g**2
    eta = rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)
    w -= eta * m / (np.sqrt(v) + epsilon)


def train_step(X, y, W, b, moments, t, rate=0.001, alpha=0.0001):
    # kernels/training: update number t = 1, 2, ... in place; the loss before it
    rows = len(X)
    a = forward(X, W, b)  # phase ROWS
    penalty = alpha / 2 * sum((w**2).sum() for w in W)
    loss = (-np.log(a[-1][np.arange(rows), y]).sum() + penalty) / rows
    delta = backward(a, y, W)
    for l in range(len(W)):  # phase WEIGHTS
        dW = (a[l].T @ delta[l] + alpha * W[l]) / rows
        db = delta[l].sum(axis=0) / rows
        adam(W[l], dW, *moments[l], t, rate)
        adam(b[l], db, *moments[len(W) + l], t, rate)
    return loss
```

## Glossary

| word | meaning |
|---|---|
| batch | a mini-batch: the rows of one update |
| block | the rows that pass through the layers together; a large batch has several |
| cache-line transfer | the move of a line from the cache of one core to that of another |
| chunk | rows of a large batch whose share of a narrow layer's gradient is summed apart |
| commit | replace the estimator's attributes with the draft's, atomically |
| compact | of a first layer: its weights have no padding, for wide sparse `X` |
| delta | dL/dz of a layer |
| derivative | f'(z) of an activation, from a = f(z) or stored by the forward pass |
| device function | a function that is compiled into the kernels that call it (`@device`) |
| done counter | how many items of a launch are done |
| done target | the done counter at which a phase is over |
| draft | the copy of an estimator that `fit` works on, discarded if `fit` fails |
| gate | the word through which threads join and leave a launch |
| grain | the smallest number of items that a thread claims at once |
| item | the unit of work of a phase: a row of the block, a chunk, or a panel |
| job | the record that describes a launch's work to its kernel, see `records` |
| kernel | a compiled entry point, run by every thread of a launch |
| lane | one element of a vector register |
| launch | one run of a kernel by some threads of the pool |
| layer | a weight matrix with its bias and activation |
| pack | round to bfloat16, and store as pairs |
| pair | two bfloat16 in 32 bits, neighbours along the inner dimension of a product |
| panel | some rows of one weight matrix, or a bias: the item of phase WEIGHTS |
| park | sleep until another thread rings the bell |
| phase | items that may run in any order, but must all be done before the next phase begins |
| plain kernel | a kernel without extras, which computes the same bytes as the whole one |
| queue word | how many items of a thread's range are claimed, and in which phase |
| range | the items of a phase that a thread owns, and claims first |
| request ownership | store to a cache line early, so that it is exclusive when its update comes |
| split-K | a product as two sums, over two halves of the inputs |
| stride | the distance from one row of a matrix to the next |
| strip | some rows of a chunk, few enough for a core's own cache |
| tail | the last columns of a matrix, if they fill a quarter of a vector or less |
| tile | the part of a product that fits the registers: some rows by some vectors |
| tile of columns | a tile of dW^T: all units of a narrow first layer by some vectors of inputs |
| unit | a neuron |
| update rule | the code of an optimizer |
| work stealing | claiming items from the range of another thread |

## Threads

One pool serves the whole process. Its threads are daemons that run compiled code and never hold a
Python lock. A thread without work spins on the bell for about 200 us, then parks.

A launch goes like this:

1. Thread 0, the caller, takes a free slot (there is a fixed number of them). It writes the
   addresses of the kernel and its job into the slot and opens the gate.
2. It increments the bell and wakes parked threads (futex on Linux, WaitOnAddress on Windows,
   os_sync_wait_on_address on macOS), on CPUs other than its own.
3. Threads that spin or wake up look for an open gate. A compare-and-swap on the gate word counts a
   thread in and gives it its number. No thread can join once the launch has as many as it wants.
4. All of them run the kernel, phase by phase, and steal each other's items.
5. Thread 0 finishes the kernel, closes the gate, and waits for the threads that are still inside.

So thread 0 never waits for a thread that has not joined. A descheduled thread stalls the others
only if it has claimed items, or at the end of the launch if it is still inside. A thread that joins
late walks through the finished phases, which takes it some tens of nanoseconds each.

Thread 0 stays in compiled code while the gate is open. So no Python exception, from Ctrl-C or a
signal handler, can interrupt a launch. Long fits and predictions consist of many launches, and
Python handles signals between them.

## Memory model

These words are shared and atomic:

| word | writes | reads | what it orders |
|---|---|---|---|
| gate, taking a slot | compare-and-swap, acquire-release | | which launch has the slot |
| gate, opening | store-release | load-acquire | the caller's preparation before the launch |
| gate, joining | compare-and-swap, acquire-release | | who is inside, and with what number |
| gate, leaving, closing | add, sequentially consistent | load-acquire | a launch before the rest |
| number of places | store-release | load-acquire | nothing: who has joined reads it again |
| bell | add, sequentially consistent | load-acquire | opening a launch with parking |
| counts of spinning and sleeping threads | add, sequentially consistent | add 0 | the same |
| state of a parked thread | compare-and-swap, store-release | load-acquire | who wakes it |
| queue word | compare-and-swap, acquire-release | load-acquire | who claims which items |
| done counter | add, sequentially consistent | load-acquire | one phase before the next |
| stop | store-release | load-acquire | nothing: the bell does |
| counts of threads | add, sequentially consistent | load-acquire | the end of the pool |

Everything else is plain memory, and the rules below make it safe. Tests translate the functions of
`threading` twice: to Promela, where SPIN searches every order of their steps, and to C++, where
Relacy checks them under the memory model of C11, plain accesses included; see `tests/README.md`. No
rule needs sequential consistency: acquire and release would do.

**Joining a launch.** Thread 0 fills the slot and every buffer before it opens the gate. A joining
thread's compare-and-swap acquires what the opening released, so it sees them complete. The thread
reads the number of places before that, but its compare-and-swap fails if the gate has changed since
then. If the launch's number has wrapped around just then, it does not fail; so the thread reads the
number of places once more, and leaves if it is one too many. A slot is reused only after its gate
has been closed and the last thread has left.

**Claiming an item.** A queue word is `phase << 32 | claimed`. A compare-and-swap raises `claimed`,
so every item is claimed exactly once, by its owner or by a thief. A word with an earlier phase
counts as zero items claimed: that phase is over. A word with a later phase tells a late thread that
nothing is left for it.

**From phase to phase.** A thread first writes the results of its items, then adds their number to
the done counter, which releases them. A thread goes on only when it has read, with acquire, a value
of at least the done target. Atomic additions continue the release sequence of earlier ones, so this
one read makes the results of *all* threads visible. The wait for it, in `next_items`, is all that
keeps a thread from starting the next phase early. The counter and the phases begin at zero in every
launch, and the counter runs on through its phases.

**Inside a phase.** An item writes only where no other item of the phase reads or writes: rows of
activations and deltas in SPLIT_K and ROWS, sums of chunks in ROWS, panels with their moments,
transposes and norms in REFRESH, WEIGHTS and CLIP, and what is packed of them along with them. A
phase reads what earlier phases wrote. Updating a panel is safe because ROWS is over, so no item can
still read the old weights. Two plain reads do race. A tile of columns reads the addresses of the
rows some steps ahead, which may be another chunk's, and prefetches from there, old address or new.
And the last tile of a low last panel overlaps the panel before it and may read gradient sums there
while their thread writes them. What it computes from them goes to the overlap of its scratch, which
nobody reads.

**Totals.** The thread with item 0 of ROWS computes the squared norm of the weights, and the thread
with item 0 of WEIGHTS the loss; both sum in a fixed order. Every thread computes a block's place in
the epoch from the cursor, which does not change during a launch. Thread 0 writes the place where
the launch ended to the totals, and the caller copies it to the cursor before the next launch.
Several threads may report that a row of `X` is not finite: they all store the same value, and only
the caller reads it, after the launch.

**Requesting ownership.** A thread stores to a cache line the value that it has just loaded from
there. This loses no update, because the line belongs to a panel that the thread has claimed.

**Leaving.** A thread leaves with a release, and thread 0 reads the gate with acquire until no
thread is inside. So the caller sees all results.

**Parking.** A thread reads the bell, then looks for an open gate. Before it parks it stores PARKED
as its state and adds 0 to the bell to read it again. If the bell has changed, it goes on. If not, a
later launch's addition to the bell acquires the state, so the launch finds the thread parked and
can wake it. A launch wakes as many parked threads as it has places that spinning threads do not
take. It counts those that spin after it has rung the bell, by adding 0: a thread that stops
spinning later sees the bell, and does not park. Spurious wake-ups do no harm.

**Stopping.** A thread counts as running before it counts as started, and until it ends. `_stop`
reads the counts in the other order, and adds those that have yet to begin. At zero, no thread runs
or is about to.

**Waking.** A compare-and-swap of a thread's state from PARKED gives exclusive access to its record
and its affinity until AWAKE is stored: either to the one launch that wakes it, or to the thread
itself.

## Same bytes for any number of threads

Each element of a product is one chain of fused multiply-adds, in the order of the inputs or rows.
In a tail it may be one chain per lane, and with chunks one per chunk, summed in a fixed order. No
chain depends on the tile or on the thread that computes it. There is no atomic addition of floats,
no parallel reduction, and no fastmath.
"""
