"""Exceptions of signal handlers, which may come at any line of Python code."""

import gc
import sys

import pytest


class HandlerError(Exception):
    """What the signal handler raises."""


def lines_until(stop, function, *arguments, error=HandlerError, within=""):
    """Call a function and return the number of its lines, in whatever code that is.

    `error` comes at line `stop`; None for never. Lines count in files whose paths have `within`.
    """
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        if within not in frame.f_code.co_filename:
            return None
        if event == "line":
            if lines == stop:
                sys.settrace(None)
                raise error
            lines += 1
        return trace

    before, collects = sys.gettrace(), gc.isenabled()
    gc.disable()  # Python ignores what is raised in a callback of the garbage collector
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()
    return lines


def assert_no_interrupt_is_swallowed(function, *arguments):
    """Call a function once for each of its lines, and interrupt it there."""
    function(*arguments)  # fills caches, so that all calls have as many lines
    lines = lines_until(None, function, *arguments)
    assert lines
    for line in range(lines):
        with pytest.raises(HandlerError):
            lines_until(line, function, *arguments)
