"""Who does the work of ``dlqsm run``: this process, processes of this machine, or workers of a Dask scheduler."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from dlqsm.cli.arguments import add_memory_argument, path, positive, seed, spelled
from dlqsm.cli.console import Talk, start
from dlqsm.cli.memory import state_memory
from dlqsm.cohort.attempts import remove_markers
from dlqsm.cohort.dask_clusters import LOCAL, QUEUES, jobs_of, local_workers, require_known, workers_at
from dlqsm.cohort.needs import UNKNOWN_BYTES, bytes_of_text, stage_bytes
from dlqsm.cohort.participant import RECORDS
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.schedule import IN_THIS_PROCESS, Scheduler
from dlqsm.config import ClusterConfig, read_cluster_config
from dlqsm.core.checks import InputError
from dlqsm.core.memory import MB, in_words
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.memory import free_bytes
from dlqsm.io.outputs import remove_partial_files


def not_below_zero(text: str) -> int:
    """A whole number, zero or above."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or above; got {text}")
    return value


def add_machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments on where the work is done."""
    how = parser.add_argument_group("how it runs")
    how.add_argument(
        "--scheduler", default=LOCAL, metavar=f"{LOCAL}|ADDRESS|{'|'.join(QUEUES)}",
        help="this machine; a Dask scheduler, as tcp://host:8786; or jobs of a queue, described by the table [cluster] "
        "of --config (default: local)",
    )  # fmt: skip
    how.add_argument(
        "--workers", type=positive(int), metavar="N",
        help="stages side by side, in processes that share the threads; 1 works in this process (default: as many as "
        "the threads and the memory allow)",
    )  # fmt: skip
    how.add_argument(
        "--retries", type=not_below_zero, default=1, metavar="N",
        help="how often a stage is tried again whose process was killed (default: 1)",
    )  # fmt: skip
    how.add_argument(
        *spelled("-w", "--work", "--work-dir"), type=path, metavar="DIR",
        help="files between the stages, in a folder of the run's own in DIR, on a disk that all workers share, outside "
        "BIDS (default: OUT/work)",
    )  # fmt: skip
    how.add_argument(
        *spelled("--keep-work"), action="store_true", help="keep these files of participants that are complete"
    )
    how.add_argument(
        *spelled("--seed", "--random-seed"), type=seed, default=0, help="of noise replica and registration (default: 0)"
    )
    how.add_argument(*spelled("--nthreads", "--nprocs", "--n-cpus"), dest="threads", type=positive(int), metavar="N",
                     help="as --threads: processor threads of all stages together")  # fmt: skip
    how.add_argument(
        *spelled("--omp-nthreads"), type=positive(int), metavar="N", help="threads of one stage, at most (default: all)"
    )
    add_memory_argument(how)
    how.add_argument(
        *spelled("--low-mem"), action="store_true",
        help="take less memory and more time: one stage after another, raw data in slabs of a quarter of the size",
    )  # fmt: skip
    how.add_argument(
        *spelled("--stop-on-first-crash"), action="store_true",
        help="begin no stage once one has failed (default: go on with other arms and participants)",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Workers:
    """Who does the work.

    Parameters
    ----------
    scheduler
        ``local``, an address, or a queue.
    n_workers
        Stages side by side; what the scheduler has, for an address.
    threads
        Of one stage; what its process finds where None.
    cluster, processes
        Jobs of a queue, and stages side by side in each.
    """

    scheduler: str
    n_workers: int
    threads: int | None
    cluster: ClusterConfig | None = None
    processes: int = 1


def start_for(arguments: argparse.Namespace) -> tuple[Talk, torch.device]:
    """Settle threads and device as `console.start` does; for other machines the device is as asked for."""
    require_known(arguments.scheduler)
    if arguments.scheduler == LOCAL:
        return start(arguments)
    talk, _ = start(argparse.Namespace(**{**vars(arguments), "device": "cpu"}))
    return talk, torch.device("cuda" if arguments.device == "cuda" else "cpu")


def choose_workers(
    arguments: argparse.Namespace, people: Sequence[ParticipantSource], plan: Plan, talk: Talk
) -> Workers:
    """Settle how many stages run side by side, and with how many threads each; say what was not asked for.

    Raises
    ------
    InputError
        If the configuration of a queue is missing or wrong, or ``--workers`` is given for an address.
    """
    _require_of_use(arguments)
    if arguments.scheduler in QUEUES:
        return _jobs(arguments, people, plan, talk)
    if arguments.scheduler != LOCAL:
        return Workers(arguments.scheduler, 0, arguments.threads)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads, each = arguments.threads or usable, arguments.omp_nthreads
    wanted = 1 if arguments.low_mem else arguments.workers
    need = stage_bytes(people, plan)
    if wanted is None and plan.device != "cpu":
        _state(need, 1, arguments, talk)
        return Workers(LOCAL, 1, _at_most(arguments.threads, each))  # stages would share one GPU's memory
    n_workers = min(wanted or max(1, threads // (each or 1)), _n_arms(people))
    if n_workers > 1 and (wanted is None or arguments.mem is not None):
        n_workers = _as_memory_allows(n_workers, threads, need, arguments.mem, talk)
    _state(need, n_workers, arguments, talk)
    share = arguments.threads if n_workers == 1 else max(1, threads // n_workers)
    return Workers(LOCAL, n_workers, _at_most(share, each))


def _require_of_use(arguments: argparse.Namespace) -> None:
    """Raise `InputError` for an option that the scheduler could not follow."""
    if arguments.scheduler != LOCAL and arguments.mem is not None:
        raise InputError(
            f"--mem is for this machine; the jobs of --scheduler {arguments.scheduler} have the memory that they were "
            "given: leave it out"
        )
    if arguments.scheduler not in (LOCAL, *QUEUES) and arguments.workers is not None:
        raise InputError(f"--workers is of no use for the scheduler {arguments.scheduler}, which has workers")
    if arguments.scheduler != LOCAL and arguments.omp_nthreads is not None:
        raise InputError(f"--omp-nthreads is for this machine; give --threads for a stage on {arguments.scheduler}")
    if arguments.low_mem and arguments.workers not in (None, 1):
        raise InputError(f"--low-mem works on one stage after another; got --workers {arguments.workers}")


def _at_most(threads: int | None, each: int | None) -> int | None:
    """Threads of a stage, within what one may have."""
    return min(threads, each) if threads is not None and each is not None else threads or each


def _as_memory_allows(n_workers: int, threads: int, need: int, granted_mb: float | None, talk: Talk) -> int:
    """As many of the stages side by side as fit into the memory; says how this was found."""
    free, words = free_bytes(), "are free"
    if granted_mb is not None and granted_mb * MB < free:
        free, words = int(granted_mb * MB), "are granted by --mem"
    n_workers = max(1, min(n_workers, free // need))
    talk.say(
        f"workers: {n_workers}, of {threads} threads; a stage is estimated to take {in_words(need)}, "
        f"{in_words(free)} {words}"
    )
    return n_workers


def _state(need: int, n_workers: int, arguments: argparse.Namespace, talk: Talk) -> None:
    """Tell what the stages side by side take; where no scan could be read, its own stage tells what is wrong."""
    if need == UNKNOWN_BYTES:
        return
    thinner = "" if arguments.low_mem else ", or --low-mem for thinner slabs of raw data"
    state_memory(arguments, talk, n_workers * need, f"give more with --mem{thinner}")


def _jobs(arguments: argparse.Namespace, people: Sequence[ParticipantSource], plan: Plan, talk: Talk) -> Workers:
    queue = arguments.scheduler
    if arguments.config is None:
        raise InputError(f"--scheduler {queue}: needs --config F.toml with a table [cluster]")
    cluster = read_cluster_config(arguments.config)
    need = stage_bytes(people, plan)
    fitting = max(1, min(cluster.cores, bytes_of_text(cluster.memory) // need))
    processes = min(cluster.processes or fitting, _n_arms(people))
    n_jobs = min(cluster.n_jobs, -(-min(arguments.workers or 10**9, _n_arms(people)) // processes))
    threads = arguments.threads or max(1, cluster.cores // processes)
    talk.say(
        f"workers: {n_jobs} jobs of {queue}, {processes} stages side by side in each, {threads} threads a stage; "
        f"a stage is estimated to take {in_words(need)}"
    )
    return Workers(queue, n_jobs * processes, threads, cluster, processes)


@contextmanager
def open_scheduler(workers: Workers, plan: Plan) -> Iterator[Scheduler]:
    """Give who runs the work; processes that were started for it end with the block, and leave nothing half written.

    Raises
    ------
    InputError
        If the scheduler cannot be used, before anything is computed.
    """
    if workers.scheduler == LOCAL and workers.n_workers == 1:
        yield IN_THIS_PROCESS
    elif workers.scheduler not in (LOCAL, *QUEUES):
        with workers_at(workers.scheduler, plan.out, plan.device) as scheduler:
            yield scheduler
    else:
        try:
            with _own(workers, plan) as scheduler:
                yield scheduler
        finally:
            remove_partial_files(plan.out)
            remove_markers(plan.out / RECORDS)


@contextmanager
def _own(workers: Workers, plan: Plan) -> Iterator[Scheduler]:
    if workers.cluster is None:
        with local_workers(workers.n_workers, workers.threads or 1) as scheduler:
            yield scheduler
        return
    n_jobs = workers.n_workers // workers.processes
    jobs = jobs_of(workers.scheduler, workers.cluster, n_jobs=n_jobs, processes=workers.processes, out=plan.out)
    with jobs as scheduler:
        yield scheduler


def _n_arms(people: Sequence[ParticipantSource]) -> int:
    return max(1, sum(len(person.arms) for person in people))
