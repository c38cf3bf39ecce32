"""One pool of threads for the whole process, parked in compiled code.

A *launch* runs a kernel on the calling thread, number 0, and on the pool's threads that come in
time. It takes one of the pool's slots, opens the slot's gate and rings the bell. A thread of the
pool that spins on the bell, or is woken by it, looks through the slots and enters an open gate by
one compare-and-swap, which counts it in and gives it its number. When thread 0 is through with the
kernel it closes the gate and waits for those that are inside: for nobody else.

From the opening of the gate to its closing thread 0 is in compiled code. So no exception of Python,
such as a signal handler raises, can interrupt a launch halfway, and no lock, queue or registry of
Python's takes part that an exception could leave behind.
"""

import _thread
import atexit
import ctypes
import os
import time
from types import BuiltinFunctionType

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.simd.memory import I64, Span, view
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import (
    SLOT,
    atomic_add,
    atomic_load,
    atomic_store,
    atomic_swap,
    pause,
)
from fastmlp._engine.threading.parking import sleep_unless_changed, wait, wake_sleepers
from fastmlp._engine.threading.placement import RECORD, after_sleep, before_sleep, place_sleepers

SLOTS = 32  # launches at once that others may join; further ones do without
PLACED_THREADS = 128  # threads that wake where `placement` says; further ones wake anywhere
# Words of the pool. BELL counts openings. SLEEPERS: parked threads. LAUNCHES: going on now.
# STARTED: threads there have ever been. WORKERS: those there are.
BELL, SLEEPERS, LAUNCHES, STOP, STARTED, WORKERS, FIRST_SLOT = (SLOT * n for n in range(7))
FIRST_RECORD = FIRST_SLOT + SLOTS * SLOT
POOL_WORDS = FIRST_RECORD + PLACED_THREADS * RECORD
# Words of a slot. All but GATE are written before the gate opens and not again before it is free.
GATE, KERNEL, JOB, PLACES, LINGER = range(5)

# GATE from its lowest bit on: how many are inside beside thread 0, how many have ever come, whether
# others may enter, whether the slot is taken, and the number of the launch, which wraps around: it
# is only compared for equality.
COUNT_BITS = 15
INSIDE, COME = 1, 1 << COUNT_BITS
COUNT_MASK = COME - 1
OPEN, TAKEN, NUMBER_SHIFT = 1 << 30, 1 << 31, 32
MOST_THREADS = COUNT_MASK  # of a launch

NO_SLOT = -1
LINGER_PAUSES = 10_000  # about 200 us: longer than the Python code between two epochs
STOP_SECONDS = 1.0  # how long an interpreter that exits waits for the threads


@intrinsic
def _call_kernel(typingctx, address, thread, job):
    """Call the compiled function at an address with a thread's number and the address of a job."""

    def codegen(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [I64, byte]).as_pointer()
        function = builder.inttoptr(arguments[0], kind)
        builder.call(function, [arguments[1], builder.inttoptr(arguments[2], byte)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@device
def _take_slot(words):
    """A free slot, which nobody else takes until its gate is zeroed; NO_SLOT if there is none."""
    for slot in range(FIRST_SLOT, FIRST_RECORD, SLOT):
        gate = atomic_load(words, slot + GATE)
        if gate & TAKEN == 0 and atomic_swap(words, slot + GATE, gate, gate | TAKEN):
            return slot
    return NO_SLOT


@device
def _open(words, slot, address, job, threads, linger, wakes):
    """Let up to threads - 1 others into a slot, and ring for them."""
    # Plain stores: nobody reads these words before the gate is open, which the release below makes
    # visible after them, and `_enter` takes them for valid only if the gate is still the same.
    words[slot + KERNEL], words[slot + JOB] = address, job
    words[slot + PLACES], words[slot + LINGER] = threads - 1, linger
    number = (atomic_load(words, slot + GATE) >> NUMBER_SHIFT) + 1
    atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)
    atomic_add(words, BELL, 1)
    # A thread counts itself among the sleepers before it compares the bell for the last time: in
    # the one order of these sequentially consistent steps it is seen here or sees the bell itself.
    if wakes and atomic_add(words, SLEEPERS, 0) > 0:
        records = min(atomic_load(words, STARTED), PLACED_THREADS)
        place_sleepers(words, FIRST_RECORD, FIRST_RECORD + records * RECORD)
        wake_sleepers(words, BELL, threads - 1)


@device
def _close(words, slot):
    """Let nobody in any more, wait until all are out, and free the slot."""
    atomic_add(words, slot + GATE, -OPEN)
    turn = 0
    while atomic_load(words, slot + GATE) & COUNT_MASK:
        wait(turn)
        turn += 1
    number = atomic_load(words, slot + GATE) >> NUMBER_SHIFT
    atomic_store(words, slot + GATE, number << NUMBER_SHIFT)


@kernel(types.int64(*[types.int64] * 6), system.features())
def _launch(pool, address, job, threads, linger, wakes):
    """Run the kernel at an address on this thread and those that come.

    Returns how many launches were going on when this one began, itself included.
    """
    words = view(0, pool, Span(0, POOL_WORDS))
    launches = atomic_add(words, LAUNCHES, 1)
    slot = _take_slot(words) if threads > 1 else NO_SLOT
    if slot != NO_SLOT:
        _open(words, slot, address, job, threads, linger, wakes)
    _call_kernel(address, 0, job)
    if slot != NO_SLOT:
        _close(words, slot)
    atomic_add(words, LAUNCHES, -1)
    return launches


@device
def _enter(words, slot):
    """Enter an open gate: this thread's number in the launch, or 0 if there is no place."""
    while True:
        gate = atomic_load(words, slot + GATE)
        come = gate >> COUNT_BITS & COUNT_MASK
        if gate & OPEN == 0 or come >= words[slot + PLACES]:
            return 0
        if atomic_swap(words, slot + GATE, gate, gate + COME + INSIDE):
            return come + 1


@device
def _help(words):
    """Take part in the launches that are open; how many pauses to wait for the next one."""
    linger = 0
    for slot in range(FIRST_SLOT, FIRST_RECORD, SLOT):
        thread = _enter(words, slot)
        if thread > 0:
            linger = words[slot + LINGER]
            _call_kernel(words[slot + KERNEL], thread, words[slot + JOB])
            atomic_add(words, slot + GATE, -INSIDE)
    return linger


@device
def _sleep(words, number, seen):
    """Park thread `number` of the pool, unless the bell has rung since it was `seen`."""
    if number >= PLACED_THREADS:
        sleep_unless_changed(words, BELL, seen)
        return
    record = FIRST_RECORD + number * RECORD
    before_sleep(words, record)
    sleep_unless_changed(words, BELL, seen)
    after_sleep(words, record)


@kernel(types.void(types.int64), system.features())
def _serve(pool):
    """Life of a thread of the pool: take part in launches, linger, park, until the pool stops."""
    words = view(0, pool, Span(0, POOL_WORDS))
    atomic_add(words, WORKERS, 1)
    number = atomic_add(words, STARTED, 1) - 1
    seen, pauses = atomic_load(words, BELL), _help(words)
    while atomic_load(words, STOP) == 0:
        bell = atomic_load(words, BELL)
        if bell != seen:
            seen, pauses = bell, _help(words)
        elif pauses > 0:
            pause()
            pauses -= 1
        else:
            atomic_add(words, SLEEPERS, 1)
            if atomic_load(words, STOP) == 0:
                _sleep(words, number, seen)
            atomic_add(words, SLEEPERS, -1)
    atomic_add(words, WORKERS, -1)


def _is_real(start_new_thread) -> bool:
    """Whether this starts threads of the system; what gevent puts in its place does not."""
    return isinstance(start_new_thread, BuiltinFunctionType)


class Pool:
    """The threads that take part in launches; daemons, started when first needed.

    Attributes
    ----------
    threads : int
        How many were started.

    Notes
    -----
    Where `threading` is monkey-patched (gevent, eventlet) a new thread would be a greenlet of the
    caller's own thread: none is started then.
    """

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Begin without threads, and without those that there were."""
        self.threads = 0
        self._words = np.zeros(POOL_WORDS, np.int64)
        # Parked threads look at these words until the process is gone: never free them.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._words))
        self._address = self._words.ctypes.data

    def launch(
        self,
        address: int,
        job: int,
        threads: int,
        linger: int = LINGER_PAUSES,
        wakes: bool = True,
    ) -> int:
        """Run a kernel on this thread and on those that come in time; return when all are done.

        Parameters
        ----------
        address : int
            The compiled kernel's.
        job : int
            Address of what it works on, which must stay valid until this returns.
        threads : int
            At most, the caller's included.
        linger : int
            Pauses, of some 20 ns each, for which those that came spin afterwards, to be there at
            once when another launch follows.
        wakes : bool
            Whether to wake parked threads; without it only those that spin take part.

        Returns
        -------
        int
            Launches in the process when this one began, itself included.
        """
        threads = min(threads, MOST_THREADS)
        if threads - 1 > self.threads and wakes:
            self._start(threads - 1)
        return _launch.function(self._address, address, job, threads, linger, wakes)

    def _start(self, threads: int) -> None:
        """Start threads until there are so many, or the system refuses."""
        if not _is_real(_thread.start_new_thread):
            return
        serve = _serve.function
        while self.threads < threads:
            try:
                _thread.start_new_thread(serve, (self._address,))
            except RuntimeError:  # no more to be had: those that there are will do
                return
            self.threads += 1

    def stop(self) -> None:
        """Send all threads away, and give them some time to go."""
        self._words[STOP] = 1
        self.ring()
        end = time.monotonic() + STOP_SECONDS
        while self._words[WORKERS] > 0 and time.monotonic() < end:
            self.ring()
            time.sleep(0.001)

    def ring(self) -> None:
        """Wake all parked threads."""
        _ring.function(self._address)


@kernel(types.void(types.int64), system.features())
def _ring(pool):
    """Ring the bell for everybody."""
    words = view(0, pool, Span(0, POOL_WORDS))
    atomic_add(words, BELL, 1)
    wake_sleepers(words, BELL, COUNT_MASK)


pool = Pool()


def _forget_threads() -> None:
    """Begin anew after a fork: a child has none of its parent's threads."""
    pool.reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@atexit.register
def _stop_threads() -> None:
    """Let no thread be in compiled code when the interpreter frees that."""
    if pool.threads:
        pool.stop()
