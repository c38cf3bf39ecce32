"""Where threads wake: on other CPUs than that of the thread that wakes them."""

import contextlib
import ctypes
import functools
import os
import threading


@functools.cache
def _cpu_question():
    """The C library's function that tells the CPU, where there is one."""
    return getattr(ctypes.PyDLL(None), "sched_getcpu", None)


def _current_cpu() -> int | None:
    """The CPU this thread runs on, where the system tells and lets threads choose."""
    if not hasattr(os, "sched_setaffinity") or _cpu_question() is None:
        return None
    return _cpu_question()()


def _place(thread: int, cpus: set[int]) -> None:
    """Let a thread, by its native id, run on these CPUs only; 0 is this one."""
    with contextlib.suppress(OSError):  # a sandbox may forbid it, or the thread have ended
        os.sched_setaffinity(thread, cpus)


class Sleepers:
    """Threads that have nothing to do.

    The system may wake one on the CPU of the thread that wakes it, while another CPU is idle, and
    leave it waiting there for many milliseconds, as the waker goes on. So they wake with that CPU
    forbidden, and may go anywhere when they are awake.
    """

    def __init__(self):
        self.forget()

    def forget(self) -> None:
        """Begin anew: after a fork there are none, and nobody to free the lock."""
        self._lock = threading.Lock()
        self._ids = set()

    def add(self, thread: int) -> None:
        """Count a thread, by its native id, among the sleepers."""
        self._ids.add(thread)

    def keep_away(self) -> set[int] | None:
        """Let all wake on other CPUs than this thread's.

        Returns the CPUs of this thread, for `wake`; None where nobody sleeps or the system does
        not tell.
        """
        with self._lock:
            cpu = _current_cpu() if self._ids else None
            if cpu is None:
                return None
            try:
                allowed = os.sched_getaffinity(0)
            except OSError:  # a sandbox may forbid it
                return None
            elsewhere = allowed - {cpu}
            for thread in list(self._ids) if elsewhere else []:
                _place(thread, elsewhere)
            return allowed

    def wake(self, cpus: set[int] | None) -> None:
        """This thread sleeps no more, and may have these CPUs; None leaves them as they are."""
        with self._lock:
            self._ids.discard(threading.get_native_id())
            if cpus is not None:
                _place(0, cpus)
