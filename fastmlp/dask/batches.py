"""A replica's batches: as many in an epoch as one machine makes, of its share of the rows."""

from typing import NamedTuple


class BatchRun(NamedTuple):
    """Batches of the same size that follow each other; the last may be smaller.

    Attributes
    ----------
    rows : int
        Rows of all of them.
    batch_size : int
    """

    rows: int
    batch_size: int

    @property
    def n_batches(self) -> int:
        """The number of batches."""
        return -(-self.rows // self.batch_size)


def divide_rows(rows: int, n_samples: int, batch_size: int) -> list[BatchRun]:
    """Divide a replica's rows into its batches of an epoch.

    Parameters
    ----------
    rows : int
        The replica's rows, at least one.
    n_samples : int
        The rows of all replicas.
    batch_size : int
        The rows of a batch over all replicas, at most n_samples.

    Returns
    -------
    list of BatchRun
        In all as many batches as one machine makes of n_samples rows, but no more than `rows`. A
        batch has the replica's share of the batch size, rounded up, and what is left over is the
        last one, as on one machine. If that gives too few batches, their sizes differ by one at
        most, the larger ones first.

    Examples
    --------
    >>> from fastmlp.dask.batches import divide_rows
    >>> divide_rows(1000, 1000, 300)
    [BatchRun(rows=1000, batch_size=300)]
    >>> divide_rows(250, 1000, 300)
    [BatchRun(rows=250, batch_size=75)]
    >>> divide_rows(250, 1000, 10)
    [BatchRun(rows=150, batch_size=3), BatchRun(rows=100, batch_size=2)]
    """
    n_batches = min(BatchRun(n_samples, batch_size).n_batches, rows)
    share = BatchRun(rows, -(-rows * batch_size // n_samples))
    if share.n_batches == n_batches:
        return [share]
    size, n_larger = divmod(rows, n_batches)
    larger = n_larger * (size + 1)
    runs = BatchRun(larger, size + 1), BatchRun(rows - larger, size)
    return [run for run in runs if run.rows]
