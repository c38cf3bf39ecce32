"""Inside a launch: who takes part in it, and the sharing of its work.

The work of a launch is a sequence of phases, and a phase is a number of items, each thread's own
share of which is fixed. A thread takes items from its own share and, when that is empty and the
others are not through soon, from another's; a phase is over when all of its items are done, whoever
did them. So within a launch no thread is waited for unless it holds items: one that the system
keeps from running, or that wakes late, costs the others its work and no more. At the end of a
launch thread 0 waits for those who joined it.
"""

import ctypes
import os

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastmlp._engine.jit.device import device
from fastmlp._engine.jit.target import CACHE_LINE, is_x86

# Slots of the int64 array `sync`, each on cache lines of its own (cores fetch lines in pairs).
SLOT = 2 * CACHE_LINE // 8
# GATE: number of the launch, whether it is open, how many threads are inside beside thread 0.
# DONE: items done, counted upward for ever. BEGIN: how many they were before this launch.
# From THREADS on, two slots a thread: its queue, and the last launch it joined.
GATE, DONE, BEGIN, STOP, THREADS = 0, SLOT, 2 * SLOT, 3 * SLOT, 4 * SLOT
QUEUE, SERVED, THREAD_SLOTS = 0, SLOT, 2 * SLOT

NUMBER = 32  # bits from which on GATE counts launches, and a queue names its phase
OPEN = 1 << 31  # the bit of GATE below: others may join
LOW = OPEN - 1

# A pause is some 20 ns: spin for about 20 us, longer than threads drift apart in a step; then
# give the core away, and when that goes on (more threads than cores) sleep.
SPINS = 1000
YIELDS = 200
NAP_MICROSECONDS = 50
PATIENCE = 50  # pauses, about 1 us: what a thread that is through waits before it helps out
LAUNCH_SPINS = 10_000  # about 200 us: longer than the Python code between two epochs


def _register_symbols() -> None:
    """Give the compiled code the operating system's yield and sleep under names of our own."""
    if os.name == "nt":
        library = ctypes.windll.kernel32
        functions = {"fastmlp_yield": library.SwitchToThread, "fastmlp_sleep": library.Sleep}
    else:
        library = ctypes.CDLL(None)
        functions = {"fastmlp_yield": library.sched_yield, "fastmlp_sleep": library.usleep}
    for name, function in functions.items():
        llvm.add_symbol(name, ctypes.cast(function, ctypes.c_void_p).value)


_register_symbols()
_yield_core = types.ExternalFunction("fastmlp_yield", types.int32())
_sleep = types.ExternalFunction("fastmlp_sleep", types.int32(types.uint32))
NAP = 1 if os.name == "nt" else NAP_MICROSECONDS  # Windows counts milliseconds


def _element(context, builder, array, arguments):
    data = context.make_array(array)(context, builder, arguments[0]).data
    return builder.gep(data, [arguments[1]])


@intrinsic
def _atomic_add(typingctx, array, index, value):
    """array[index] += value as one step; returns the sum."""

    def codegen(context, builder, signature, arguments):
        at = _element(context, builder, array, arguments)
        return builder.add(builder.atomic_rmw("add", at, arguments[2], "seq_cst"), arguments[2])

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def _atomic_swap(typingctx, array, index, expected, value):
    """array[index] = value if it is `expected`, as one step; returns whether it was."""

    def codegen(context, builder, signature, arguments):
        at = _element(context, builder, array, arguments)
        result = builder.cmpxchg(at, arguments[2], arguments[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


@intrinsic
def _atomic_load(typingctx, array, index):
    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_element(context, builder, array, arguments), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def _atomic_store(typingctx, array, index, value):
    def codegen(context, builder, signature, arguments):
        at = _element(context, builder, array, arguments)
        builder.store_atomic(arguments[2], at, "release", 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def _pause(typingctx):
    """Tell the core that this is a spin loop."""

    def codegen(context, builder, signature, arguments):
        triple, void = builder.module.triple, ir.VoidType()
        if is_x86(triple):
            kind, arguments, name = ir.FunctionType(void, []), [], "llvm.x86.sse2.pause"
        elif triple.startswith(("aarch64", "arm64")):
            code = ir.IntType(32)  # hint 1 is the instruction YIELD
            kind, arguments = ir.FunctionType(void, [code]), [ir.Constant(code, 1)]
            name = "llvm.aarch64.hint"
        else:
            return context.get_dummy_value()
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)
        return context.get_dummy_value()

    return types.void(), codegen


@device
def _wait(turn):
    """Wait a little; longer the more turns have passed."""
    if turn < SPINS:
        _pause()
    elif turn < SPINS + YIELDS:
        _yield_core()
    else:
        _sleep(NAP)


@device
def join(sync, thread):
    """Open a launch (thread 0) or join one that is open. False if none came in time."""
    if thread == 0:
        launch = (_atomic_load(sync, GATE) >> NUMBER) + 1
        _atomic_store(sync, GATE, launch << NUMBER | OPEN)
        return True
    mine = THREADS + thread * THREAD_SLOTS + SERVED
    for _ in range(LAUNCH_SPINS):
        gate = _atomic_load(sync, GATE)
        is_new = gate >> NUMBER > sync[mine] and gate & OPEN != 0
        if is_new and _atomic_swap(sync, GATE, gate, gate + 1):
            sync[mine] = gate >> NUMBER
            return True
        if _atomic_load(sync, STOP):
            return False
        _pause()
    return False


@device
def leave(sync, thread):
    """End a launch: thread 0 stays until all others have left, and makes ready for the next."""
    if thread != 0:
        _atomic_add(sync, GATE, -1)
        return
    _atomic_add(sync, GATE, -OPEN)
    turn = 0
    while _atomic_load(sync, GATE) & LOW and not _atomic_load(sync, STOP):
        _wait(turn)
        turn += 1
    sync[BEGIN] = _atomic_load(sync, DONE)
    for queue in range(THREADS + QUEUE, sync.size, THREAD_SLOTS):
        sync[queue] = 0


@device
def done_before(sync):
    """How many items were done before this launch, whose phases count from 0."""
    return sync[BEGIN]


@device
def _bound(shares, items, threads, thread):
    """Where a thread's share begins: as `shares` says, or evenly where that is empty."""
    return shares[thread] if shares.size else items * thread // threads


@device
def _claim(sync, owner, threads, phase, shares, items, least):
    """Take half of what is left of a thread's share, in multiples of `least`; all where little is.

    Returns the first item and the end, equal if nothing is left.
    """
    start = _bound(shares, items, threads, owner)
    size = _bound(shares, items, threads, owner + 1) - start
    queue = THREADS + owner * THREAD_SLOTS + QUEUE
    while True:
        seen = _atomic_load(sync, queue)
        taken = seen & LOW if seen >> NUMBER == phase else 0
        if seen >> NUMBER > phase or taken >= size:
            return 0, 0
        left = size - taken
        count = left
        if left >= 3 * least:
            count = (left // 2 + least - 1) // least * least
        if _atomic_swap(sync, queue, seen, phase << NUMBER | taken + count):
            return start + taken, start + taken + count


@device
def next_items(sync, thread, threads, phase, goal, shares, items, least, held):
    """The next items of a phase for a thread; none when the phase is over or the team stopped.

    They come from the own share first. When that is empty the thread waits a little, as each look
    into another's queue delays that one, and then helps out.

    Parameters
    ----------
    sync : int64 array
    thread, threads : int
    phase : int
        Counts up from one phase to the next.
    goal : int
        How many items are done in all when the phase is over, see `done_before`.
    shares : int64 array of threads + 1 elements, or empty
        Thread t's share is the items shares[t] to shares[t + 1]; where empty, an even one.
    items : int
        How many the phase has.
    least : int
        Counts are multiples of it, but for a share's last, which are up to three times as many.
    held : int
        As returned by the phase's last call; 0 at first. Items taken are not counted as done
        before the own share is, since the count goes from core to core.

    Returns
    -------
    first, end : int
        The items taken; equal when there is none.
    held : int
        How many this thread has taken that are not counted yet.
    """
    if threads == 1:
        least = items
    first, end = _claim(sync, thread, threads, phase, shares, items, least)
    if first == end:
        if complete(sync, held) >= goal or _are_done_soon(sync, goal):
            return 0, 0, 0
        held = 0
        for turn in range(1, threads):
            owner = (thread + turn) % threads
            first, end = _claim(sync, owner, threads, phase, shares, items, least)
            if first != end:
                break
        if first == end:
            await_done(sync, goal)
    return first, end, held + end - first


@device
def _are_done_soon(sync, goal):
    """Whether `goal` items are done within a short time."""
    for _ in range(PATIENCE):
        if is_done(sync, goal):
            return True
        _pause()
    return False


@device
def complete(sync, count):
    """Say that `count` items are done; returns how many are in all."""
    return _atomic_add(sync, DONE, count)


@device
def is_done(sync, goal):
    """Whether `goal` items are done in all."""
    return _atomic_load(sync, DONE) >= goal


@device
def await_done(sync, goal):
    """Wait until `goal` items are done in all. False if the team was stopped meanwhile."""
    turn = 0
    while not is_done(sync, goal):
        if _atomic_load(sync, STOP):
            return False
        _wait(turn)
        turn += 1
    return True


def new_sync(threads: int) -> np.ndarray:
    """What a team of `threads` shares, before the first launch."""
    return np.zeros(THREADS + threads * THREAD_SLOTS, dtype=np.int64)
