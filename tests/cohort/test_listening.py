"""Processes that a run starts on this machine are reached from this machine alone: what they take is run."""

import psutil

from dlqsm.cohort.dask_clusters import local_workers


def test_workers_of_this_machine_listen_to_it_alone() -> None:
    with local_workers(1, 1):
        mine = psutil.Process()
        family = [mine, *mine.children(recursive=True)]
        ports = [connection for process in family for connection in process.net_connections("inet")]
        listening = {connection.laddr.ip for connection in ports if connection.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
