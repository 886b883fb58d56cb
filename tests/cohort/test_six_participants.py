"""A study of six through three kill -9: of the scheduler, of a run with its own workers, and of one worker.

What was done is not done again, and the tables are those of a run that nothing disturbed.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from cohort_study import THREADS, Run, copy_participant, records, tables
from distributed import Client

HERE = Path(__file__).parent
LABELS = tuple(f"sub-{number:03d}" for number in range(1, 7))
STAGES_EACH = 6
"""Two arms through two stages, then nuclei and the page."""
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def six(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six participants of the same data, without the T1-weighted image, at which the stand-in does not look."""
    root = tmp_path_factory.mktemp("six") / "bids"
    shutil.copytree(scanned, root)
    shutil.rmtree(root / "sub-001")
    for label in LABELS[1:]:
        for top in (root / "sourcedata", root / "derivatives" / "dlqsm-truth"):
            copy_participant(top, "sub-001", label)
    return root


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker that is started takes the stand-in for the registration."""
    monkeypatch.setenv("DASK_DISTRIBUTED__WORKER__PRELOAD", str(["dask_preload"]))
    monkeypatch.setenv("PYTHONPATH", f"{HERE}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@contextmanager
def process(*words: object, output: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """A process that begins a group, all of which is gone after the block."""
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(command, stdout=output, stderr=output, text=True, start_new_session=True) as started:
        try:
            yield started
        finally:
            kill_group(started)


def kill_group(started: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)


def until(seen: Callable[[], bool], running: subprocess.Popen[str] | None = None) -> None:
    """Wait until something is seen, while a process runs."""
    end = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < end, "it never came"
        if running is not None:
            assert running.poll() is None, running.communicate()
        time.sleep(0.005)


@contextmanager
def workers_of_a_scheduler(folder: Path) -> Iterator[tuple[str, subprocess.Popen[str], list[subprocess.Popen[str]]]]:
    """Address and process of a scheduler, and two workers that nobody replaces."""
    file, silent = folder / "scheduler.json", subprocess.DEVNULL
    file.unlink(missing_ok=True)
    scheduler = ("-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with ExitStack() as stack:
        started = stack.enter_context(process(*scheduler, "--scheduler-file", file, output=silent))
        until(lambda: file.is_file() and file.read_text().rstrip().endswith("}"), started)
        address = json.loads(file.read_text())["address"]
        words = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0", "--local-directory", folder)
        worker = ("-m", "distributed.cli.dask_worker", address, *words)
        workers = [stack.enter_context(process(*worker, output=silent)) for _ in range(2)]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE_S)
        yield address, started, workers


def n_complete(out: Path) -> int:
    """Participants whose last stage is done."""
    return len(list(out.glob("logs/records/*/all_page.json")))


def is_in_a_stage(worker: subprocess.Popen[str]) -> bool:
    """Whether a worker holds the marker of a stage, as it does from the beginning of the stage to its end."""
    return any(file.path.endswith(".running") for file in psutil.Process(worker.pid).open_files())


def finished_stages(out: Path) -> Counter[tuple[str, str]]:
    """How often each stage of each participant was run to its end, by the logs, over all runs."""
    found: Counter[tuple[str, str]] = Counter()
    for log in out.glob("logs/sub-*.log"):
        lines = re.findall(r"  (\S+ +(?:recon|qsm|nuclei|page)\b.*?) +[\d.]+ s$", log.read_text(), re.MULTILINE)
        found.update((log.stem, re.sub(" +", " ", line)) for line in lines)
    return found


def images(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.glob("sub-*/**/*.nii.gz")}


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_killed_three_times_it_ends_as_an_undisturbed_run_does(
    six: Path, quick: Path, run: Run, tmp_path: Path
) -> None:
    calm, out = tmp_path / "calm", tmp_path / "out"
    how = ("participant", "--method", "zero", "--config", quick)
    assert run(six, calm, *how) == 0
    dlqsm = (HERE / "standin.py", "run", six, out, *how, *THREADS, "--quiet")
    kept: list[dict[str, tuple[str, int]]] = []

    with workers_of_a_scheduler(tmp_path) as (address, scheduler, workers):
        with process(*dlqsm, "--scheduler", address) as first:
            until(lambda: n_complete(out) >= 1, first)
            scheduler.kill()
            kept.append(records(out))
            _, said = first.communicate(timeout=PATIENCE_S)
        assert first.returncode == 2, said
        assert said == (
            "dlqsm run: the Dask scheduler went away; start it anew, and run again to go on where it stopped\n"
        )
        for worker in workers:
            worker.wait(PATIENCE_S)  # a worker ends by itself, after the stage that it is at
    assert 1 <= n_complete(out) < len(LABELS)

    with process(*dlqsm, "--workers", "2") as second:
        until(lambda: n_complete(out) >= 3, second)
        kill_group(second)
        second.wait()
        kept.append(records(out))
    assert 3 <= n_complete(out) < len(LABELS)

    with (
        workers_of_a_scheduler(tmp_path) as (address, _, workers),
        process(*dlqsm, "--scheduler", address) as third,
    ):
        until(lambda: n_complete(out) >= 4 and is_in_a_stage(workers[0]), third)
        workers[0].kill()
        kept.append(records(out))
        told, said = third.communicate(timeout=PATIENCE_S)
    assert (third.returncode, said) == (0, "")
    assert "6 of 6 participants complete" in told

    after = records(out)
    assert len(after) == len(LABELS) * STAGES_EACH
    assert 0 < len(kept[0]) < len(kept[1]) < len(kept[2]) < len(after)
    for before in kept:
        assert {path: after[path] for path in before} == before
    logged = finished_stages(out)
    assert set(logged.values()) == {1}
    assert len(logged) >= len(after) - 3  # who is killed may have written a record, and not yet the log
    assert tables(out) == tables(calm)
    assert images(out) == images(calm)
    assert not (out / "work").exists()
    assert not [path for path in out.rglob("*") if path.name.startswith(".partial") or path.suffix == ".running"]
