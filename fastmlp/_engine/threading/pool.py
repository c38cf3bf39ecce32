"""One pool of threads for the whole process, parked in compiled code.

A *launch* runs a kernel on the calling thread, which is thread 0, and on those threads of the pool
that join in time. "Threads" in `fastmlp._engine` explains how threads wake, join and leave, and why
no Python exception can interrupt a launch; "Memory model" explains what orders their accesses.
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

from fastmlp._engine.buffers import aligned_zeros
from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.kernel import kernel
from fastmlp._engine.simd.memory import I64, Span, view
from fastmlp._engine.threading import system
from fastmlp._engine.threading.atomics import (
    LINE_WORDS,
    atomic_add,
    atomic_load,
    atomic_store,
    atomic_swap,
    pause,
)
from fastmlp._engine.threading.parking import wait
from fastmlp._engine.threading.placement import (
    RECORD,
    begin_parking,
    end_parking,
    sleep_while_parked,
    wake,
)

SLOTS = 32  # concurrent launches that other threads can join; further ones use one thread
RECORDS = 1024  # most threads of the pool
# Words of the pool: counts of openings (BELL), of threads that spin, awaiting a launch (SPINNING),
# of parked threads (SLEEPERS), of current launches, of all threads started so far, and of those
# that run (WORKERS); and whether the pool must stop.
BELL, SPINNING, SLEEPERS, LAUNCHES, STOP, STARTED, WORKERS, FIRST_SLOT = (
    LINE_WORDS * n for n in range(8)
)
FIRST_RECORD = FIRST_SLOT + SLOTS * LINE_WORDS
POOL_WORDS = FIRST_RECORD + RECORDS * RECORD
# Words of a slot. KERNEL, JOB and LINGER are plain: they are written only while the gate is closed,
# and read only by threads that are inside.
GATE, KERNEL, JOB, PLACES, LINGER = range(5)

# GATE, from its lowest bit on: threads inside besides thread 0, threads that have joined so far,
# whether others may join, whether the slot is taken, and the launch's number. The number may wrap
# around, because it is only compared for equality.
COUNT_BITS = 15
INSIDE, JOINED = 1, 1 << COUNT_BITS
COUNT_MASK = JOINED - 1
OPEN, TAKEN, NUMBER_SHIFT = 1 << 30, 1 << 31, 32
MOST_THREADS = 1 + RECORDS  # of a launch

NO_SLOT = -1
LINGER_PAUSES = 10_000  # about 200 us: longer than the Python code between two epochs
STOP_SECONDS = 1.0  # how long an exiting interpreter waits for the threads


@intrinsic
def _call_kernel(typingctx, address, thread, job):
    """Call the compiled kernel at an address with a thread's number and a job's address."""

    def codegen(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [I64, byte]).as_pointer()
        function = builder.inttoptr(arguments[0], kind)
        builder.call(function, [arguments[1], builder.inttoptr(arguments[2], byte)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@device
def _take_slot(words):
    """Take a free slot, which `_close` frees again; return NO_SLOT if none is free."""
    for slot in range(FIRST_SLOT, FIRST_RECORD, LINE_WORDS):
        gate = atomic_load(words, slot + GATE)
        if gate & TAKEN == 0 and atomic_swap(words, slot + GATE, gate, gate | TAKEN):
            return slot
    return NO_SLOT


@device
def _open(words, slot, address, job, places, linger):
    """Open a slot's gate for up to `places` threads, and ring the bell."""
    # Plain stores: threads read these words only once they are inside, and the release that opens
    # the gate makes them visible. PLACES is atomic, because `_enter` reads it from outside.
    words[slot + KERNEL], words[slot + JOB], words[slot + LINGER] = address, job, linger
    atomic_store(words, slot + PLACES, places)
    number = (atomic_load(words, slot + GATE) >> NUMBER_SHIFT) + 1
    atomic_store(words, slot + GATE, number << NUMBER_SHIFT | TAKEN | OPEN)
    atomic_add(words, BELL, 1)
    # Those that spin hear the bell by themselves. A thread stops spinning, reads BELL, and parks if
    # that is unchanged. If we count it here, by adding 0, it has acquired our addition to BELL.
    _wake(words, places - atomic_add(words, SPINNING, 0))


@device
def _wake(words, count):
    """Wake up to `count` parked threads."""
    # A thread stores PARKED before it adds 0 to BELL to read it for the last time. If our addition
    # to BELL came first, it sees the change and does not sleep; otherwise we see that it is PARKED.
    if count <= 0 or atomic_add(words, SLEEPERS, 0) == 0:
        return
    end = FIRST_RECORD + atomic_load(words, STARTED) * RECORD
    for record in range(FIRST_RECORD, min(end, POOL_WORDS), RECORD):
        if wake(words, record):
            atomic_add(words, SLEEPERS, -1)
            count -= 1
            if count == 0:
                return


@device
def _close(words, slot):
    """Close the gate, wait until all threads have left, and free the slot."""
    atomic_add(words, slot + GATE, -OPEN)
    turn = 0
    while atomic_load(words, slot + GATE) & COUNT_MASK:
        wait(turn)
        turn += 1
    number = atomic_load(words, slot + GATE) >> NUMBER_SHIFT
    atomic_store(words, slot + GATE, number << NUMBER_SHIFT)


@kernel(types.int64(*[types.int64] * 5), system.features())
def _launch(pool, address, job, threads, linger):
    """Run the kernel at `address` on this thread and on those that join.

    Returns the number of concurrent launches when this one began, itself included.
    """
    words = view(0, pool, Span(0, POOL_WORDS))
    launches = atomic_add(words, LAUNCHES, 1)
    slot = _take_slot(words) if threads > 1 else NO_SLOT
    if slot != NO_SLOT:
        _open(words, slot, address, job, threads - 1, linger)
    _call_kernel(address, 0, job)
    if slot != NO_SLOT:
        _close(words, slot)
    atomic_add(words, LAUNCHES, -1)
    return launches


@device
def _enter(words, slot):
    """Join a launch if its gate is open; return this thread's number in it, or 0."""
    while True:
        gate = atomic_load(words, slot + GATE)
        joined = gate >> COUNT_BITS & COUNT_MASK
        # PLACES may be the next launch's: then the gate has changed, and the swap below fails. If
        # it is too small, that launch's bell makes us look again.
        if gate & OPEN == 0 or joined >= atomic_load(words, slot + PLACES):
            return 0
        if atomic_swap(words, slot + GATE, gate, gate + JOINED + INSIDE):
            # The slot stays as it is now. If the number has wrapped around to the one that we saw,
            # this may be another launch, with fewer places.
            if joined < atomic_load(words, slot + PLACES):
                return joined + 1
            atomic_add(words, slot + GATE, -INSIDE)
            return 0


@device
def _help(words):
    """Join the open launches; return for how many pauses to spin while waiting for the next."""
    linger = 0
    for slot in range(FIRST_SLOT, FIRST_RECORD, LINE_WORDS):
        thread = _enter(words, slot)
        if thread > 0:
            # Plain loads: the slot does not change until this thread has left.
            linger = max(linger, words[slot + LINGER])
            _call_kernel(words[slot + KERNEL], thread, words[slot + JOB])
            atomic_add(words, slot + GATE, -INSIDE)
    return linger


@device
def _spin(words, seen, pauses):
    """Wait for the bell to change from `seen`; returns how many of the pauses are left."""
    atomic_add(words, SPINNING, 1)
    while pauses > 0 and atomic_load(words, BELL) == seen:
        pause()
        pauses -= 1
    atomic_add(words, SPINNING, -1)
    return pauses


@device
def _park(words, record, seen):
    """Sleep until a launch wakes this thread, unless the bell has changed from `seen`."""
    atomic_add(words, SLEEPERS, 1)
    begin_parking(words, record)
    if atomic_add(words, BELL, 0) == seen:
        sleep_while_parked(words, record)
    if end_parking(words, record):
        atomic_add(words, SLEEPERS, -1)


@kernel(types.void(types.int64), system.features())
def _serve(pool):
    """The loop of a pool thread: join launches, spin, park, until the pool stops."""
    words = view(0, pool, Span(0, POOL_WORDS))
    atomic_add(words, WORKERS, 1)  # before STARTED, which `_stop` reads first
    number = atomic_add(words, STARTED, 1) - 1
    if number >= RECORDS:
        atomic_add(words, WORKERS, -1)
        return
    record = FIRST_RECORD + number * RECORD
    seen, pauses = atomic_load(words, BELL), _help(words)
    while atomic_load(words, STOP) == 0:
        bell = atomic_load(words, BELL)
        if bell != seen:
            seen, pauses = bell, max(pauses, _help(words))
        elif pauses > 0:
            pauses = _spin(words, seen, pauses)
        else:
            _park(words, record, seen)
    atomic_add(words, WORKERS, -1)


def _is_real(start_new_thread) -> bool:
    """Whether this is the original function, which starts system threads, and not gevent's."""
    return isinstance(start_new_thread, BuiltinFunctionType)


class Pool:
    """The threads that join launches: daemons, started when first needed.

    Attributes
    ----------
    threads : int
        How many were started.

    Notes
    -----
    If `threading` is monkey-patched (gevent, eventlet), no thread is started: it would be a
    greenlet of the calling thread. A thread inherits the affinity of the thread that starts it.
    Concurrent launches share the threads: there are as many as the largest launch asked for.
    """

    def __init__(self):
        self.reset()

    def reset(self) -> None:
        """Forget all threads."""
        self.threads = 0
        self._words = aligned_zeros(POOL_WORDS, np.int64)
        # Never free these words: parked threads read them until the process ends.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._words))
        self._address = self._words.ctypes.data

    def launch(self, address: int, job: int, threads: int, linger: int = LINGER_PAUSES) -> int:
        """Run a kernel on this thread and on those that join in time; return when all are done.

        Parameters
        ----------
        address : int
            Address of the compiled kernel.
        job : int
            Address of its job, which must stay valid until this returns.
        threads : int
            Maximum number of threads, this one included.
        linger : int
            How many pauses, of about 20 ns, the joined threads then spin, ready for the next
            launch.

        Returns
        -------
        int
            Concurrent launches in this process when this one began, itself included.
        """
        threads = min(threads, MOST_THREADS)
        if threads - 1 > self.threads:
            self._start(threads - 1)
        return _launch.function(self._address, address, job, threads, linger)

    def _start(self, threads: int) -> None:
        """Start threads until there are `threads` of them, or the system refuses."""
        if not _is_real(_thread.start_new_thread):
            return
        serve = _serve.function
        while self.threads < threads:
            self.threads += (
                1  # count it first: an interrupt must not leave a thread that nobody stops
            )
            try:
                _thread.start_new_thread(serve, (self._address,))
            except RuntimeError:  # the system's limit: make do with fewer
                self.threads -= 1
                return

    def stop(self) -> None:
        """Tell all threads to end, and wait for a while until they have."""
        end = time.monotonic() + STOP_SECONDS
        while _stop.function(self._address, self.threads) > 0 and time.monotonic() < end:
            time.sleep(0.001)


@kernel(types.int64(types.int64, types.int64), system.features())
def _stop(pool, threads):
    """Tell all threads to end, and wake those that are parked.

    Returns how many still run, or have yet to begin if `threads` were started.
    """
    words = view(0, pool, Span(0, POOL_WORDS))
    atomic_store(words, STOP, 1)
    atomic_add(words, BELL, 1)
    _wake(words, RECORDS)
    late = max(0, threads - atomic_load(words, STARTED))
    return late + atomic_load(words, WORKERS)


def compile_kernels() -> None:
    """Compile what starts, wakes and ends the threads; without it, the first of them would wait."""
    for each in (_launch, _serve, _stop):
        each.compiled()


pool = Pool()


if hasattr(os, "register_at_fork"):  # a child process has none of its parent's threads
    os.register_at_fork(after_in_child=pool.reset)


@atexit.register
def _stop_threads() -> None:
    """End all threads before the interpreter frees the code that they run."""
    if pool.threads:
        pool.stop()
