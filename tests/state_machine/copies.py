"""Copies of an estimator: through files, through memory, in a forked process."""

import copy
import io
import os
import pickle
import select
import signal

import joblib
import pytest

CHILD_SECONDS = 60  # a child that has not answered by then hangs


def through(how, model):
    """A copy of a model that has gone through a file, or through memory."""
    if how == "joblib":
        file = io.BytesIO()
        joblib.dump(model, file)
        file.seek(0)
        return joblib.load(file)
    if how == "skops":
        skops = pytest.importorskip("skops.io")
        data = skops.dumps(model)
        return skops.loads(data, trusted=skops.get_untrusted_types(data=data))
    if how == "deepcopy":
        return copy.deepcopy(model)
    return pickle.loads(pickle.dumps(model))


def answer_of_fork(function):
    """What a function returns in a forked child: bytes."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, function())
        finally:
            os._exit(0)
    os.close(writer)
    try:
        answers, _, _ = select.select([reader], [], [], CHILD_SECONDS)
        if not answers:
            os.kill(child, signal.SIGKILL)
        return os.read(reader, 1 << 12) if answers else b"hangs"
    finally:
        os.close(reader)
        os.waitpid(child, 0)
