"""Times that a service cares about: too many threads, Ctrl-C, denormal numbers.

python -m benchmarks.scripts.robustness
"""

import signal
import statistics
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from fastmlp import MLPClassifier

ROUNDS = 5
FITS = 8


def make(rows: int, features: int) -> tuple[np.ndarray, np.ndarray]:
    random_state = np.random.RandomState(0)
    return random_state.rand(rows, features).astype(np.float32), np.arange(rows) % 10


def seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def oversubscription() -> str:
    """Eight fits of two threads each at once, against the same of one thread, two at a time."""
    X, y = make(6000, 784)

    def fit(n_jobs: int) -> None:
        MLPClassifier((100,), max_iter=4, random_state=0, n_jobs=n_jobs).fit(X, y)

    def all_fits(workers: int, n_jobs: int) -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(fit, [n_jobs] * FITS))

    times = [
        (seconds(lambda: all_fits(FITS, 2)), seconds(lambda: all_fits(2, 1))) for _ in range(ROUNDS)
    ]
    crowded, orderly = (statistics.median(column) for column in zip(*times, strict=True))
    return (
        f"{FITS} fits x 2 threads at once: {crowded:.2f} s; two at a time x 1 thread: "
        f"{orderly:.2f} s; ratio {crowded / orderly:.2f}"
    )


def interrupt_delay() -> str:
    """From SIGINT to the return of fit, in the middle of an epoch of 100,000 x 784."""
    X, y = make(100_000, 784)
    delays = []
    for _ in range(ROUNDS):
        sent = []

        def send(sent=sent) -> None:
            time.sleep(0.5)
            sent.append(time.perf_counter())
            signal.raise_signal(signal.SIGINT)

        thread = threading.Thread(target=send)
        thread.start()
        MLPClassifier((500,), max_iter=1000, random_state=0).fit(X, y)
        delays.append(time.perf_counter() - sent[0])
        thread.join()
    return f"Ctrl-C ends a fit within {max(delays) * 1e3:.0f} ms (largest of {ROUNDS})"


def denormals() -> str:
    """Epochs whose inputs, and so gradients and moments, are denormal, against ordinary ones."""
    ordinary, y = make(6000, 784)
    tiny = (ordinary * np.float32(1e-40)).astype(np.float32)

    def fit(X: np.ndarray) -> None:
        MLPClassifier((100,), max_iter=4, random_state=0).fit(X, y)

    times = [(seconds(lambda: fit(tiny)), seconds(lambda: fit(ordinary))) for _ in range(ROUNDS)]
    slow, usual = (statistics.median(column) for column in zip(*times, strict=True))
    return f"denormal inputs: {slow / usual:.2f} times the usual epoch"


def main() -> None:
    warnings.simplefilter("ignore")
    MLPClassifier((5,), max_iter=1).fit(*make(400, 784))  # compile before the clock runs
    for measure in (oversubscription, interrupt_delay, denormals):
        print(f"{measure.__name__:18s}{measure()}", flush=True)


if __name__ == "__main__":
    main()
