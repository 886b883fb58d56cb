"""What scheduling costs, and what a second worker gains.

The graph of a large study with stages that do nothing, through the scheduler and two worker processes of this machine;
and a small virtual study with one and two workers, the threads being split::

    python benchmarks/scheduling.py FOLDER --simulated 100 1000 10000 --participants 4
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from distributed import Client, LocalCluster
from record import Record, peak_mb

from dlqsm.cli.failure import one_sentence
from dlqsm.cohort.dask_schedule import run_on
from dlqsm.cohort.journal import Listener
from dlqsm.cohort.participant import Hooks, Result, Task, tasks_of
from dlqsm.cohort.plan import Plan
from dlqsm.config import QsmConfig
from dlqsm.io.bids_sources import ArmSource, ParticipantSource

REPORT = Path(__file__).parent / "results" / "scheduling.tsv"
COMMAND = (sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main())")
ARMS = ("PI2", "DL3", "DL4", "DL5")
PROTOCOL = """
base = "small"
name = "coarse"
shape = [80, 80, 48]
voxel_size_mm = [2.6, 2.6, 3.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--simulated", type=int, nargs="*", default=[100, 1000, 10000])
    parser.add_argument("--participants", type=int, default=4, help="of the virtual study; 0: none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    record = Record(options.report)
    for n_participants in options.simulated:
        overhead(record, options.folder / "overhead", n_participants)
    if options.participants:
        study(record, options.folder, options.participants, options.threads)
    return 0


def overhead(record: Record, folder: Path, n_participants: int) -> None:
    """Seconds and memory of the graph of a study whose stages do nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    sources = tuple(ArmSource(arm, (("acq", arm),), raw=folder / f"{arm}.h5") for arm in ARMS)
    people = [ParticipantSource(f"sub-{i + 1:05d}", sources) for i in range(n_participants)]
    plan = Plan(folder, folder, folder / "work", None, QsmConfig(), "virtual", "PI2", run="benchmark")
    n_tasks = n_participants * len(tasks_of(people[0], plan))
    keywords = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": ":0"}
    with LocalCluster(**keywords) as cluster, Client(cluster, set_as_default=False) as client:
        client.run(_nothing, None, (), None, None, None, None)
        before, start = peak_mb(), time.perf_counter()
        outcomes = run_on(client, people, plan, Hooks(_page, one_sentence), _silent, _silent, at_once=4, run=_nothing)
        seconds = time.perf_counter() - start
        peak = peak_mb()
    about = {"participants": n_participants, "tasks": n_tasks, "workers": 2}
    record.add("no-op stages", "participants complete", sum(not o.failures for o in outcomes), **about)
    record.add("no-op stages", "wall s", seconds, **about)
    record.add("no-op stages", "ms a task", 1000 * seconds / n_tasks, **about)
    record.add("no-op stages", "scheduler and client, peak MB", peak, **about)
    record.add("no-op stages", "of it since before the graph, MB", peak - before, **about)
    shutil.rmtree(folder)


def study(record: Record, folder: Path, n_participants: int, threads: int) -> None:
    """Wall seconds of a virtual study with one and two workers, and of a second run that finds all done."""
    folder.mkdir(parents=True, exist_ok=True)
    bids, protocol = folder / "bids", folder / "coarse.toml"
    protocol.write_text(PROTOCOL)
    if not (bids / "dataset_description.json").is_file():
        words = ("--participants", n_participants, "--seed", 5, "--protocol", protocol, "--arms", "PI2", "PI2rep")
        _timed("simulate", bids, *words, "--quiet")
    load = os.getloadavg()[0]
    for workers in (1, 2):
        out = folder / f"out{workers}"
        shutil.rmtree(out, ignore_errors=True)
        words = ("run", bids, out, "participant", "--workers", workers, "--threads", threads, "--quiet")
        about = {"participants": n_participants, "workers": workers, "load_before": round(load, 1)}
        record.add("virtual study", "wall s", _timed(*words), **about)
        record.add("virtual study", "wall s of nothing to do", _timed(*words), **about)


def _timed(*words: object) -> float:
    start = time.perf_counter()
    subprocess.run([*COMMAND, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _nothing(
    task: Task, before: Sequence[Result], person: ParticipantSource, plan: Plan, hooks: Hooks, listen: Listener
) -> Result | None:
    return None if task is None else Result(task.stage, task.name, "run")


def _page(folder: Path) -> Path:
    return folder


def _silent(what: object) -> None:
    """Hear nothing."""


if __name__ == "__main__":
    sys.exit(main())
