"""For a type checker: what the fit loop drives on one machine and on a cluster."""

from fastmlp._training.loop import EpochRunner
from fastmlp._training.sgd import Descent
from fastmlp.dask.local_sgd import ClusterDescent


def runners(descent: Descent, cluster: ClusterDescent) -> tuple[EpochRunner, EpochRunner]:
    """Both have what `descend` asks for."""
    return descent, cluster
