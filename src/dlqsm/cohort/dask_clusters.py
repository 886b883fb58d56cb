"""Where the tasks of a study run: processes of this machine, the workers of a scheduler, or jobs of a queue."""

from __future__ import annotations

import importlib
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import dask
import torch
from distributed import Client, LocalCluster
from distributed.deploy.spec import SpecCluster

import dlqsm
from dlqsm.cohort.dask_schedule import dask_scheduler
from dlqsm.cohort.schedule import Scheduler
from dlqsm.config import ClusterConfig
from dlqsm.core.checks import InputError
from dlqsm.io.source_code import code_hash

LOCAL: Final = "local"
QUEUES: Final = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "sge": "SGECluster", "lsf": "LSFCluster"}
"""Queue to the class of dask-jobqueue that submits to it."""
SUBMIT: Final = {"slurm": "sbatch", "pbs": "qsub", "sge": "qsub", "lsf": "bsub"}
THREAD_VARIABLES: Final = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
SETTINGS: Final = {
    # `attempts` counts what a stage itself has lost; Dask blames all that waits on a worker, and comes second.
    "distributed.scheduler.allowed-failures": 20,
    # Registration keeps Python's lock for minutes, in which a worker cannot say that it lives.
    "distributed.scheduler.worker-ttl": None,
    # What PyTorch keeps for reuse looks like memory in need; a worker that pauses for it would never go on.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
CONNECT_S: Final = 10.0
_PATIENCE_S: Final = 120.0
_PER_WORKER: Final = 2
"""Participants under way: the next ones stand ready while the last stages of others run on one worker alone."""


def thread_environment(threads: int) -> dict[str, str]:
    """Environment of a worker: NumPy's products keep to one thread, as in ``dlqsm`` itself."""
    return dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"OPENBLAS_NUM_THREADS": "1"}


def require_known(scheduler: str) -> None:
    """Raise `InputError` unless a scheduler is local, an address or a queue."""
    if scheduler != LOCAL and scheduler not in QUEUES and not re.fullmatch(r"(tcp|tls|ucx)://\S+:\d+", scheduler):
        raise InputError(
            f"--scheduler {scheduler}: expected {LOCAL}, an address such as tcp://host:8786, or one of "
            f"{', '.join(QUEUES)}"
        )


@contextmanager
def local_workers(n_workers: int, threads: int) -> Iterator[Scheduler]:
    """Give processes of this machine, each with so many threads; they end with the block, and with this process."""
    environment = thread_environment(threads)
    with dask.config.set(SETTINGS), _quiet_logs():
        cluster = LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",  # an address without a host would mean all of them
            env=environment,
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster, set_as_default=False) as client:
            heal = Healer(cluster, n_workers)
            yield dask_scheduler(client, at_once=_PER_WORKER * n_workers, patience_s=_PATIENCE_S, heal=heal)


@dataclass(slots=True)
class Healer:
    """Replaces worker processes that stay gone: Dask does not, where one is killed in its first moments."""

    cluster: LocalCluster
    n_workers: int
    gone_before: set[Any] = field(default_factory=set)

    def __call__(self) -> None:
        """Replace those that were gone at the call before, and are still."""
        nannies = self.cluster.workers  # without those that Dask has forgotten, some seconds after they were lost
        names = self.cluster.worker_spec
        gone = {name for name in names if name not in nannies or not nannies[name].is_alive()}
        lost = gone & self.gone_before
        for name in lost & set(nannies):
            self.cluster.sync(nannies.pop(name).close)
        if lost:
            self.cluster.scale(self.n_workers)  # opens what is in the cluster's specification, and missing
        self.gone_before = gone - self.gone_before


@contextmanager
def workers_at(address: str, out: Path, device: str) -> Iterator[Scheduler]:
    """Give the workers of a scheduler that somebody else has started, once they are seen to be fit for the work.

    Raises
    ------
    InputError
        If the scheduler cannot be reached, has no workers, or one of them lacks dlqsm, the folder or the device.
    """
    with _quiet_logs():
        try:
            client = Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"--scheduler {address}: no Dask scheduler answers there ({_first_line(error)}); start one with dask "
                "scheduler, and workers with dask worker ADDRESS --nthreads 1"
            ) from None
        with client:
            n_workers = _require_fit(client, address, out, device)
            yield dask_scheduler(client, at_once=_PER_WORKER * n_workers, patience_s=_PATIENCE_S)


@contextmanager
def jobs_of(queue: str, config: ClusterConfig, *, n_jobs: int, processes: int, out: Path) -> Iterator[Scheduler]:
    """Give workers in jobs of a queue; a job that is lost is submitted again, and all end with the block.

    Raises
    ------
    InputError
        If dask-jobqueue or the queue's commands are missing.
    """
    if shutil.which(SUBMIT[queue]) is None:
        raise InputError(
            f"--scheduler {queue}: there is no command {SUBMIT[queue]} here; run dlqsm where jobs are submitted"
        )
    with dask.config.set(SETTINGS), _quiet_logs():
        cluster = queue_cluster(queue, config, processes=processes, out=out)
        with cluster, Client(cluster, set_as_default=False) as client:
            # With both bounds alike the jobs are constant, but those that end too early are replaced.
            cluster.adapt(minimum_jobs=n_jobs, maximum_jobs=n_jobs)
            yield dask_scheduler(client, at_once=_PER_WORKER * n_jobs * processes, patience_s=None)


def queue_cluster(queue: str, config: ClusterConfig, *, processes: int, out: Path) -> SpecCluster:
    """The cluster of dask-jobqueue for a queue, with no job submitted yet.

    Raises
    ------
    InputError
        If dask-jobqueue is missing, or refuses the configuration.
    """
    try:
        jobqueue = importlib.import_module("dask_jobqueue")
    except ImportError:
        raise InputError(
            f"--scheduler {queue}: needs dask-jobqueue, which is not installed; pip install dask-jobqueue"
        ) from None
    logs = out / "logs" / "jobs"
    logs.mkdir(parents=True, exist_ok=True)
    keywords = _job_keywords(queue, config, processes, logs)
    try:
        return getattr(jobqueue, QUEUES[queue])(**keywords)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"--scheduler {queue}: [cluster] is refused: {_first_line(error)}") from None


def _job_keywords(queue: str, config: ClusterConfig, processes: int, logs: Path) -> dict[str, Any]:
    """The configuration by the names of dask-jobqueue."""
    threads = max(1, config.cores // processes)
    exports = [f"export {name}={value}" for name, value in thread_environment(threads).items()]
    exports += [f"export {_variable(name)}={value}" for name, value in SETTINGS.items() if ".worker." in name]
    # The queue gives the job its cores; Dask would take a process's share of them for tasks to run at once in it.
    workers = {"worker_extra_args": ["--nthreads", "1"]}
    whose = {} if config.account is None else {"account" if queue in ("slurm", "pbs") else "project": config.account}
    return {
        "cores": config.cores,
        "memory": config.memory,
        "walltime": config.walltime,
        "processes": processes,
        "queue": config.queue,
        "interface": config.interface,
        "python": sys.executable,
        "job_extra_directives": list(config.extra_directives),
        "job_script_prologue": [*config.prologue, *exports],
        "log_directory": str(logs),
        "job_name": "dlqsm",
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        **workers,
        **whose,
    }


def _variable(setting: str) -> str:
    """The environment variable that Dask reads a setting from."""
    return "DASK_" + setting.upper().replace(".", "__").replace("-", "_")


def _require_fit(client: Client, address: str, out: Path, device: str) -> int:
    """Number of workers, after each has told that it can do the work."""
    info = client.scheduler_info(n_workers=-1)["workers"]
    if not info:
        raise InputError(f"--scheduler {address}: has no workers; start them with dask worker {address} --nthreads 1")
    wide = [name for name, about in info.items() if about["nthreads"] != 1]
    if wide:
        raise InputError(
            f"--scheduler {address}: worker {wide[0]} runs {info[wide[0]]['nthreads']} tasks in one process; start "
            "workers with --nthreads 1, and give their processor threads with --threads"
        )
    try:
        told = client.run(about_worker, str(out), device, code_hash(("",)))
    except Exception as error:
        raise InputError(
            f"--scheduler {address}: its workers cannot run dlqsm ({_first_line(error)}); install the same dlqsm there"
        ) from None
    for name, problem in told.items():
        if problem:
            raise InputError(f"--scheduler {address}: worker {name} {problem}")
    return len(info)


def about_worker(out: str, device: str, code: str) -> str:
    """What makes the process that calls this unfit for the work of a run; empty where nothing does."""
    if code_hash(("",)) != code:
        return f"has another dlqsm ({dlqsm.__version__}, or a state of it) than the one that calls it; install the same"
    if not (Path(out).is_dir() and os.access(out, os.W_OK)):
        return f"cannot write to {out}; workers need the same file system"
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "has no CUDA device, which --device cuda asks for"
    return ""


@contextmanager
def _quiet_logs() -> Iterator[None]:
    """Dask's own remarks are for those who debug it: failures are told by the outcome of each participant."""
    # Dask gives some loggers below these a level of their own.
    names = {"distributed", "tornado", "asyncio"}
    below = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in names]
    loggers = [logging.getLogger(name) for name in {*names, *below}]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
