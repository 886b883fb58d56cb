"""A study through Dask: the same files as in one process, workers that are killed, and schedulers that cannot be used.

Workers take the stand-in for the registration from a module that Dask loads into them.
"""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest
from cohort_study import Run, quick_words, records, tables
from distributed import CancelledError, LocalCluster
from distributed.comm.core import CommClosedError

from dlqsm.cli import main
from dlqsm.cohort import dask_clusters
from dlqsm.cohort.dask_clusters import SETTINGS, Healer
from dlqsm.cohort.dask_schedule import each_on
from dlqsm.core.checks import InputError

PRELOAD = {"distributed.worker.preload": ["dask_preload"]}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two worker processes of a scheduler that the run did not start."""
    with (
        dask.config.set({**SETTINGS, **PRELOAD}),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        yield cluster


def _logged(out: Path, label: str) -> set[str]:
    """Lines of a log, without the times."""
    text = (out / "logs" / f"{label}.log").read_text()
    return {re.sub(r" *\d[\d:. -]*( s|  )", "", line) for line in text.splitlines()}


def _poisoned(study: Path, folder: Path, **doses: int) -> Path:
    bids = folder / "bids"
    shutil.copytree(study, bids)
    (bids / "poison").mkdir()
    for name, dose in doses.items():
        (bids / "poison" / name.replace("sub", "sub-")).write_text(str(dose))
    return bids


class TestWorkersOfAnAddress:
    def test_they_leave_what_one_process_leaves_and_do_it_once(
        self, study: Path, calm: Path, quick: Path, cluster: LocalCluster, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        words = quick_words(study, out, quick, "--scheduler", cluster.scheduler_address)
        assert main(words) == 0
        assert tables(out) == tables(calm)
        assert {p: key for p, (key, _) in records(out).items()} == {p: key for p, (key, _) in records(calm).items()}
        for label in ("sub-001", "sub-003"):
            assert _logged(out, label) == _logged(calm, label)
        assert not (out / "work").exists()
        before = records(out)
        assert main(words) == 0
        assert records(out) == before

    def test_an_unusable_file_is_not_tried_again(
        self, study: Path, quick: Path, cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        bids, out = _poisoned(study, tmp_path), tmp_path / "out"
        broken = bids / "sourcedata" / "sub-003" / "anat" / "sub-003_acq-PI2_MEGRE.h5"
        os.truncate(broken, broken.stat().st_size // 2)
        words = quick_words(bids, out, quick, "--scheduler", cluster.scheduler_address)
        assert main(words) == 1
        said = capsys.readouterr()
        assert f"dlqsm run: sub-003: PI2: {broken}" in said.err
        assert "dlqsm run: sub-003: sub-003 has no arm that could be mapped" in said.err
        assert "Traceback" not in said.err
        assert re.search(r"sub-001 +[\d. ]+complete", said.out)
        assert (out / "logs" / "sub-003.log").read_text().count("PI2: FAILED") == 1

    def test_they_choose_the_strength_of_a_study_as_one_process_does(
        self, study: Path, cluster: LocalCluster, tmp_path: Path, run: Run
    ) -> None:
        words = ("participant", "--participant-label", "003", "--method", "zero")
        assert run(study, tmp_path / "one", *words) == 0
        assert run(study, tmp_path / "two", *words, "--scheduler", cluster.scheduler_address) == 0
        one, two = ((tmp_path / name / "logs" / "strength.json").read_text() for name in ("one", "two"))
        assert one == two
        assert tables(tmp_path / "one") == tables(tmp_path / "two")

    @pytest.mark.slow
    def test_a_scheduler_that_allows_no_retries_blames_nobody_else(
        self, study: Path, quick: Path, cluster: LocalCluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What waits on a worker that is killed is given up by such a scheduler, with what killed it."""
        bids, out = _poisoned(study, tmp_path, **{"sub001_DL3_recon": 99}), tmp_path / "out"
        cluster.scheduler.allowed_failures = 0
        healer, ended = Healer(cluster, 2), threading.Event()
        watch = threading.Thread(target=lambda: [healer() for _ in iter(lambda: ended.wait(3.0), True)])
        watch.start()
        try:
            assert main(quick_words(bids, out, quick, "--scheduler", cluster.scheduler_address, "--retries", "2")) == 1
        finally:
            ended.set()
            watch.join()
            cluster.scheduler.allowed_failures = SETTINGS["distributed.scheduler.allowed-failures"]
        assert (bids / "poison" / "sub-001_DL3_recon").read_text() == "96"  # three tries
        said = capsys.readouterr().err
        assert "dlqsm run: sub-001: DL3: its process was killed each time" in said
        assert (out / "sub-001.html").is_file()
        assert "sub-003:" not in said
        table = (out / "sub-001" / "sub-001_desc-nuclei_qsmstats.tsv").read_text()
        assert "PI2" in table
        assert "DL3" not in table


def test_processes_of_this_machine_are_tried_again_when_they_are_killed(
    study: Path, calm: Path, quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bids, out = _poisoned(study, tmp_path, sub001_nuclei=1, sub003_nuclei=9), tmp_path / "out"
    with dask.config.set(PRELOAD):
        words = quick_words(bids, out, quick, "--workers", "2")
        words[words.index("--threads") + 1] = "2"  # one each
        assert main([word for word in words if word != "--quiet"]) == 1
    assert (bids / "poison" / "sub-003_nuclei").read_text() == "7"  # two tries, by default
    said = capsys.readouterr()
    assert len(re.findall(r"sub-001 +(?:DL3|PI2) +(?:recon zero|qsm) +\d+\.\d s", said.err)) == 4
    assert "(2 of 2 participants)" in said.err
    assert re.search(r"sub-001 +[\d. ]+complete", said.out)
    assert "1 of 2 participants complete" in said.out
    assert "dlqsm run: sub-003: its process was killed each time" in said.err
    assert "too little memory is the usual cause" in (out / "logs" / "sub-003.log").read_text()
    assert not list(out.rglob("*.running"))
    path = "sub-001/sub-001_desc-nuclei_qsmstats.tsv"
    assert (out / path).read_bytes() == (calm / path).read_bytes()


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing_half_written(study: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main(sys.argv[1:]))"]
    words = [
        "run",
        str(study),
        str(out),
        "participant",
        "--method",
        "zero",
        "--config",
        str(quick),
        "--workers",
        "2",
        "--quiet",
    ]
    process = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not list(out.glob("logs/records/*/*_recon.running")) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.count("dlqsm run: interrupted") == 1
    assert "Traceback" not in said
    left = [path.name for path in out.rglob("*") if path.is_file()]
    assert not [name for name in left if name.startswith((".partial", ".dlqsm")) or name.endswith(".running")]


@pytest.mark.parametrize(
    ("error", "status", "raised"),
    [
        (CommClosedError("in TCP"), "running", InputError),
        (CancelledError("lost"), "connecting", InputError),
        (RuntimeError("Client not running"), "closed", InputError),
        (RuntimeError("a defect"), "running", RuntimeError),
    ],
)
def test_whatever_dask_raises_when_its_scheduler_is_gone_is_one_sentence(
    error: Exception, status: str, raised: type[Exception]
) -> None:
    def submit(*_: object, **__: object) -> None:
        raise error

    client = SimpleNamespace(status=status, submit=submit, cancel=lambda futures: None)
    said = "scheduler went away; start it anew, and run again" if raised is InputError else "a defect"
    with pytest.raises(raised, match=said):
        each_on(client, print, [()])  # type: ignore[arg-type]


def test_workers_that_dask_has_forgotten_are_started_again() -> None:
    """Dask drops a worker from the cluster's list 15 s after it was lost, and starts none in its place."""
    closed, asked = [], []
    nannies = {0: SimpleNamespace(is_alive=lambda: True), 1: SimpleNamespace(is_alive=lambda: False, close="close 1")}
    spec = dict.fromkeys((0, 1, 2))
    cluster = SimpleNamespace(workers=nannies, worker_spec=spec, sync=closed.append, scale=asked.append)
    healer = Healer(cluster, 3)  # type: ignore[arg-type]
    healer()
    assert (closed, asked) == ([], []), "they may be about to start"
    healer()
    assert (closed, asked, list(nannies)) == (["close 1"], [3], [0])


class TestSchedulersThatCannotBeUsed:
    def refusal(self, study: Path, out: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
        capsys.readouterr()
        assert main(["run", str(study), str(out), "participant", *words, "--quiet"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert not out.exists()
        return line

    @pytest.mark.parametrize(
        ("scheduler", "said"),
        [
            ("nowhere", "expected local, an address such as tcp://host:8786, or one of slurm, pbs, sge, lsf"),
            ("tcp://127.0.0.1:1", "no Dask scheduler answers there"),
            ("slurm", "needs --config F.toml with a table [cluster]"),
        ],
    )
    def test_names(
        self,
        study: Path,
        tmp_path: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
        scheduler: str,
        said: str,
    ) -> None:
        monkeypatch.setattr(dask_clusters, "CONNECT_S", 0.5)
        assert said in self.refusal(study, tmp_path / "out", capsys, "--scheduler", scheduler)

    def test_workers(self, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        keywords = {
            "dashboard_address": ":0",
            "processes": False,
            "protocol": "tcp://",
            "silence_logs": logging.CRITICAL,
        }
        out = tmp_path / "out"
        # These workers are threads of this process, where the stand-in would stay.
        with dask.config.set({"distributed.worker.preload": []}):
            with LocalCluster(n_workers=0, **keywords) as nobody:
                words = ("--scheduler", nobody.scheduler_address)
                assert "has no workers" in self.refusal(study, out, capsys, *words)
                assert "--workers is of no use" in self.refusal(study, out, capsys, *words, "--workers", "2")
            with LocalCluster(n_workers=1, threads_per_worker=3, **keywords) as wide:
                said = self.refusal(study, out, capsys, "--scheduler", wide.scheduler_address)
                assert "runs 3 tasks in one process; start workers with --nthreads 1" in said

    def test_a_worker_tells_what_it_lacks(self, tmp_path: Path) -> None:
        code = dask_clusters.code_hash(("",))
        assert dask_clusters.about_worker(str(tmp_path), "cpu", code) == ""
        assert "cannot write to" in dask_clusters.about_worker(str(tmp_path / "absent"), "cpu", code)
        assert "another dlqsm" in dask_clusters.about_worker(str(tmp_path), "cpu", "0" * 64)

    def test_a_queue_without_its_commands(
        self, study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = tmp_path / "c.toml"
        config.write_text('[cluster]\ncores = 8\nmemory = "32 GB"\nwalltime = "08:00:00"\nn_jobs = 4\n')
        monkeypatch.setenv("PATH", str(tmp_path))
        said = self.refusal(study, tmp_path / "out", capsys, "--scheduler", "lsf", "--config", str(config))
        assert "there is no command bsub here" in said
