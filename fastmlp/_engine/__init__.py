"""The engine: kernels that train a network and predict with it. It knows nothing of scikit-learn.

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
| `_inference/` | predictions |
| `_engine/inputs` | `X` as the kernels read it: contiguous rows, copied only where necessary |
| `_engine/network` | every weight and bias of a network, in one padded buffer |
| `_engine/workspace` | all other buffers, and how the weights are divided among threads |
| `_engine/records` | the tables that describe a fit to the kernels |
| `_engine/threads` | how many threads a piece of work is worth |
| `_engine/machine` | the processor's name |
| `_engine/kernels/training` | the mini-batch and its phases |
| `_engine/kernels/prediction` | the forward pass over all rows of `X` |
| `_engine/kernels/forward` | layers forward: z = a W + b, a = f(z) |
| `_engine/kernels/products` | the three products of a layer as loops over tiles |
| `_engine/kernels/update` | a panel's gradient, on its way into the update rule |
| `_engine/kernels/prefetch` | cache lines requested before they are needed |
| `_engine/kernels/losses` | output activations, losses and the output delta |
| `_engine/kernels/activations` | hidden activations and their derivatives |
| `_engine/kernels/optimizers` | update rules: Adam, SGD, momentum |
| `_engine/kernels/dropout` | which units dropout silences |
| `_engine/kernels/sparse` | the first layer for sparse `X` |
| `_engine/simd/tile` | the micro-kernel: a tile of a product in registers |
| `_engine/simd/tail` | the same for the last columns, where they would not fill a vector |
| `_engine/simd/vectors` | explicit vectors: loads, stores, shuffles, multiply-adds |
| `_engine/simd/reductions` | sums in a fixed order, and the rows of softmax |
| `_engine/simd/transpose` | a square of elements, transposed in registers |
| `_engine/simd/scalars` | multiply-adds and polynomials that loops vectorize |
| `_engine/simd/elementary` | exp, tanh, log1p and the normal distribution |
| `_engine/simd/memory` | memory by address: elements, views, records, prefetch instructions |
| `_engine/simd/denormals` | flush-to-zero while training |
| `_engine/threading/atomics` | atomic operations, and the pause of a spin loop |
| `_engine/threading/parking` | how a thread waits a little, and sleeps until it is woken |
| `_engine/threading/placement` | on which CPUs woken threads run |
| `_engine/threading/system` | functions of the operating system that compiled code calls |
| `_engine/threading/pool` | the threads, and how a launch reaches them |
| `_engine/threading/work_stealing` | how the threads inside a launch share its work |
| `_engine/jit/target` | instruction sets, vector sizes, tile shapes |
| `_engine/jit/device` | device functions: compiled into the kernels that call them |
| `_engine/jit/kernel` | kernels: compiled C functions, the entry points |
| `_engine/jit/cache` | compiled kernels on disk |

The kernels are compiled once for each dtype. Depth, layer sizes, activations, loss and update rule
are data to them.

## The data's walk

What happens in one call of `fit`, from top to bottom:

1. `_estimator/base`: `fit` makes a draft of the estimator.
2. `_estimator/targets`: `X` and `y` are validated; labels become kernel targets.
3. `_estimator/parameters`, `_estimator/initialization`: settings, layer sizes, initial weights.
4. `_training/solve`: validation data are split off; SGD or L-BFGS takes over.
5. `inputs`: `X` gets contiguous rows of the right dtype, without a copy where possible.
6. `_training/sgd`: `workspace` and `records` are set up.
7. `_training/loop`: shuffle, run an epoch, record the history, validate, call callbacks, maybe
   stop.
8. `threading/pool`: each epoch is one launch or a few; every thread runs `kernels/training`.
9. Phase ROWS: `forward` -> `products` -> `simd/tile`, then `losses`, then back down. Phase WEIGHTS:
   gradient tile -> `update` -> `optimizers`.
10. The draft is committed. `coefs_` and `intercepts_` are views of the network's buffer.

## One mini-batch

Every thread runs the same kernel over a whole launch (SPMD); there is no fork and join for each
layer. A mini-batch is a sequence of phases. Each phase is a number of items, and each thread owns a
range of them. A thread that has finished its range steals items from another.

```text
             thread 0              thread 1              thread 2
          +---------------------+---------------------+---------------------+
 SPLIT_K  | only where the first layer is wide: its z as two sums over the  |
          | halves of its inputs; items are rows of either sum              |
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
 CLIP     | only with max_grad_norm: the update of every panel, with the    |
          | gradient scaled down                                            |
          +---------------------+---------------------+---------------------+
                                  all items done: the next mini-batch
```

ROWS reads all weights and writes only its own rows of activations and deltas. WEIGHTS reads all
activations and deltas and writes only its own panels. No gradient array exists: a tile of dW is
summed in registers over all rows of the batch and goes into the update rule from there.

Three cases do need a gradient buffer. A batch of more than 1,024 rows walks in blocks, and the
buffer sums over them. A sparse first layer scatters its products into it. And with `max_grad_norm`,
WEIGHTS only stores the gradient, because its norm is not known before the phase is over.

SPLIT_K makes two threads read only the half of the first layer's weights that they also write.
Without it, every weight would travel between the two cores in each mini-batch.

## The step in NumPy

What the kernels compute in one mini-batch of a classifier with tanh, softmax, cross-entropy and
Adam. A test runs this code and compares it with the kernels.

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
| batch | the rows of one update: a mini-batch |
| block | the rows that pass through the layers together; a large batch has several |
| cache-line transfer | a line moves from the cache of the core that wrote it to that of another |
| commit | hand a draft's attributes over to the estimator, all at once |
| delta | dL/dz of a layer |
| derivative | f'(z) of an activation, from a = f(z) or stored by the forward pass |
| device function | code that is compiled into the kernels which call it (`@device`) |
| done counter | how many items of a launch are done |
| done target | the done counter at which a phase is over |
| draft | the copy of an estimator that `fit` works on; if `fit` fails, it is dropped |
| gate | the word through which threads enter and leave a launch |
| grain | the smallest number of items a thread takes at once |
| item | the unit of work of a phase: a row of the block, or a panel |
| kernel | a compiled entry point, run by every thread of a launch |
| lane | one element of a vector register |
| launch | one run of a kernel by some threads of the pool |
| layer | a weight matrix with its bias and activation |
| panel | some rows of one weight matrix, or a bias: the item of phase WEIGHTS |
| job | the record that a kernel works on, see `records` |
| park | sleep until another thread rings the bell |
| phase | work whose items may run in any order, and which must all be done before the next phase |
| queue word | how many items of a thread's range are taken, and in which phase |
| range | the items of a phase that a thread owns, and takes first |
| request ownership | write to a cache line early, so that it is there when its update comes |
| split-K | a product as two sums, over two halves of the inputs |
| stride | the distance from one row of a matrix to the next |
| tail | the last columns of a matrix, if they fill a quarter of a vector or less |
| tile | the piece of a product that fits the registers: some rows by some vectors |
| unit | a neuron |
| update rule | the code of an optimizer |
| work stealing | taking items from the range of another thread |

## Threads

One pool serves the whole process. Its threads are daemons that run compiled code and never hold a
Python lock. A thread without work spins on the bell for about 200 us, then parks.

A launch goes like this:

1. Thread 0, which is the caller, takes a free slot out of a fixed number of static ones. It writes
   the kernel's address and its job's address into the slot and opens the gate.
2. It increments the bell and wakes the threads that are parked (futex on Linux, WaitOnAddress on
   Windows, os_sync_wait_on_address on macOS), on other CPUs than its own.
3. Threads that spin or wake up look for an open gate. One compare-and-swap on the gate word counts
   a thread in and gives it its number. Once as many have come as the launch asked for, the gate
   lets nobody in.
4. All of them run the kernel, phase by phase, and steal each other's work.
5. Thread 0 comes to the end, closes the gate, and waits for the threads that are still inside.

So thread 0 waits for nobody who has not joined. A thread that the system does not schedule costs
the others its help, unless it stops while it holds items. A thread that joins late finds finished
phases and catches up at once.

Thread 0 stays in compiled code from opening the gate to closing it. No Python exception, whether
from Ctrl-C or a signal handler, can therefore interrupt a launch half-way. Fits return to Python
often enough, by ending one launch and beginning another, for signals to be handled.

## Memory model

These words are shared and atomic:

| word | writes | reads | what it orders |
|---|---|---|---|
| gate, taking a slot | compare-and-swap, acquire-release | | which launch has the slot |
| gate, opening | store-release | load-acquire | the caller's preparation before the launch |
| gate, entering | compare-and-swap, acquire-release | | who is inside, and with what number |
| gate, leaving, closing | add, sequentially consistent | load-acquire | a launch before the rest |
| bell, sleepers | add, sequentially consistent | load-acquire | opening a launch with parking |
| state of a parked thread | compare-and-swap, store-release | load-acquire | who places it |
| queue word | compare-and-swap, acquire-release | load-acquire | who takes which items |
| done counter | add, sequentially consistent | load-acquire | one phase before the next |

Everything else is plain memory, and these rules make it safe:

**Entering a launch.** Thread 0 fills the slot and every buffer before it opens the gate. A joining
thread's compare-and-swap acquires what the opening released, so it sees them complete. How many
places there are, it has read before; its compare-and-swap fails if the gate has changed since, so
that number is the right one. A slot is reused only after the gate has been closed and the last
thread has left.

**Taking an item.** A queue word is `phase << 32 | taken`. A compare-and-swap raises `taken`, so
every item is taken exactly once, by its owner or by a thief. A word that names an earlier phase
counts as zero items taken: that phase is over. A word that names a later phase tells a late thread
that nothing is left for it.

**From phase to phase.** A thread adds the items it has done to the done counter with release, after
it has written their results. A thread goes on only when it has read, with acquire, a value that is
at least the done target. Atomic additions continue the release sequence of the earlier ones, so
this one read makes the results of *all* threads visible. It is also what keeps a thread from
entering the next phase early. The counter and the phases begin at zero in every launch, and the
counter runs on through its phases.

**Inside a phase.** An item's results go to places that no other item of the phase reads or writes:
rows of activations and deltas in SPLIT_K and ROWS, panels with their moments, transposes and norms
in WEIGHTS and CLIP. What a phase reads, an earlier phase has written. A panel may be updated only
because no ROWS item is left that could still read the old weights.

**Totals.** The squared norm of the weights is computed by the thread that has item 0 of ROWS, and
the loss by the one that has item 0 of WEIGHTS; both sum in a fixed order. Where in the epoch a
block is, every thread works out for itself from the cursor, which nobody writes during a launch.
Where the launch has ended, thread 0 writes to the totals, and the caller copies it to the cursor
before the next launch. Any number of threads may note that a row of `X` is not finite: they all
store the same value, and only the caller reads it, after the launch.

**Requesting ownership.** A thread stores into a cache line the value that it has just loaded from
there. This loses no update, because the line belongs to the panel that the thread itself is about
to update.

**Leaving.** A thread leaves with a release, and thread 0 reads the gate with acquire until no
thread is inside. So the caller sees all results.

**Parking.** A thread reads the bell, then looks for an open gate. Before it parks it counts itself
among the sleepers, and the system lets it sleep only if the bell still has the value that it read.
A launch opens its gate, rings the bell, and then reads the number of sleepers. These steps have one
order that all threads agree on. So either the thread sees the open gate, or it sees that the bell
has changed, or the launch sees the sleeper and wakes it. Wake-ups without a reason do no harm.

**Placement.** Whoever changes the state of a thread's record from *parked*, by a compare-and-swap,
has its affinity to itself until the next state is stored: either a launch that is about to wake the
thread, or the thread itself. The set of CPUs in the record is written by the thread before it
stores *parked*.

## Same bytes for any number of threads

Each element of a product is one chain of fused multiply-adds, in the order of the inputs or of the
rows. Neither the tile it lies in nor the thread that computes it changes that chain. There is no
atomic addition of floats, no parallel reduction, and no fastmath.
"""
