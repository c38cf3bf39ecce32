"""The cluster that the tests of Dask use."""

import pytest


@pytest.fixture(scope="module")
def client():
    """Two workers, each a process with one thread."""
    distributed = pytest.importorskip("distributed", reason="needs the extra dask")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client
