"""Input that is written anew while a run or a command works on it, and clocks that jump: never a mix of two."""

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import standin
from cohort_study import tables
from tiny_images import describe_scans, raw_scan, signal, write_scan

from dlqsm.cli import main
from dlqsm.cli import recon as recon_command
from dlqsm.cohort import schedule, stages
from dlqsm.cohort.participant import Task
from dlqsm.cohort.records import Fingerprints
from dlqsm.io.raw import write_raw

RAW = Path("sourcedata") / "sub-01" / "anat" / "sub-01_acq-PI2_MEGRE.h5"
YEAR_2100_S = 4_102_444_800


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """A run of a dataset into a folder of a name, with methods that take no time."""
    standin.put_in_place(monkeypatch.setattr)
    (tmp_path / "quick.toml").write_text('[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n')

    def call(out: str, *more: str) -> int:
        how = ("--config", str(tmp_path / "quick.toml"), "--atlas", "virtual", "--threads", "1", "--workers", "1")
        return main(["run", str(tmp_path / "bids"), str(tmp_path / out), "participant", *how, "--quiet", *more])

    return call


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Raw data of one arm."""
    path = tmp_path / "bids" / RAW
    path.parent.mkdir(parents=True)
    write_raw(path, raw_scan(5))
    describe_scans(tmp_path / "bids", {"sub-01": 60})
    (tmp_path / "bids" / "sub-01").mkdir()
    return path


def maps(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("sub-*/**/*.nii.gz")}


def test_raw_data_that_change_between_two_stages(
    raw: Path,
    run: Callable[..., int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What was reconstructed is of the old data: maps of it must not be kept as those of the new."""
    plain = schedule.run_task

    def changes(task: Task, *given: object) -> object:
        result = plain(task, *given)  # type: ignore[arg-type]
        if task.stage == "recon":
            write_raw(raw, raw_scan(6))
        return result

    with monkeypatch.context() as patch:
        patch.setattr(schedule, "run_task", changes)
        assert run("out", "--method", "zero") == 1
    said = capsys.readouterr().err
    assert f"bids:raw:{RAW.as_posix()}: was changed while the run worked on it; run again, and it is made anew" in said
    assert not list(tmp_path.glob("out/logs/records/sub-01/*_qsm.json"))

    assert run("out", "--method", "zero") == 0
    assert run("fresh", "--method", "zero") == 0
    assert maps(tmp_path / "out") == maps(tmp_path / "fresh")
    assert tables(tmp_path / "out") == tables(tmp_path / "fresh")

    # Clocks that jump are no reason to do anything again: files of 1970 and of 2100, and a clock set back.
    records = sorted((tmp_path / "out" / "logs" / "records").rglob("*_*.json"))
    before = [json.loads(path.read_text())["about"]["run"] for path in records]
    for number, path in enumerate(sorted((tmp_path / "out").rglob("*"))):
        os.utime(path, (number % 2 * YEAR_2100_S,) * 2)
    os.utime(raw, (YEAR_2100_S, YEAR_2100_S))
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert run("out", "--method", "zero") == 0
    assert [json.loads(path.read_text())["about"]["run"] for path in records] == before


def test_images_that_change_while_they_are_mapped(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bids = tmp_path / "bids"
    write_scan(bids, signal(5), sub="01", acq="PI2")
    describe_scans(bids, {"sub-01": 60})
    plain = stages.map_arm

    def changes(*given: object) -> object:
        written = plain(*given)  # type: ignore[arg-type]
        write_scan(bids, signal(6), sub="01", acq="PI2")
        return written

    monkeypatch.setattr(stages, "map_arm", changes)
    assert run("out") == 1
    said = capsys.readouterr().err
    assert "sub-01_acq-PI2_echo-1" in said
    assert "...: was changed while the run worked on it; run again, and it is made anew" in said
    assert not list(tmp_path.glob("out/logs/records/sub-01/*_qsm.json"))


def test_raw_data_that_change_while_they_are_reconstructed(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recon", str(raw), str(tmp_path / "out"), "--method", "zero", "--threads", "1", "--quiet"]
    assert main(words) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    plain = recon_command.reconstruct_raw

    def changes(*given: object, **named: object) -> object:
        images = plain(*given, **named)  # type: ignore[arg-type]
        shutil.copy(raw, tmp_path / "copy.h5")
        (tmp_path / "copy.h5").replace(raw)
        return images

    monkeypatch.setattr(recon_command, "reconstruct_raw", changes)
    assert main([*words, "--overwrite"]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"dlqsm recon: {raw}: was changed while it was read, and nothing was made of it; give the same command again\n"
    )
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


@pytest.mark.parametrize("time_s", [0, YEAR_2100_S])
def test_another_file_of_the_same_size_and_time_is_seen(tmp_path: Path, time_s: int) -> None:
    """Archives set the times of all files alike, and scans of one protocol are of one size."""
    path, store = tmp_path / "raw.h5", tmp_path / "sources.json"
    path.write_text("first")
    os.utime(path, (time_s, time_s))
    first = Fingerprints(store).of(path)
    path.write_text("other")
    os.utime(path, (time_s, time_s))
    assert Fingerprints(store).of(path) != first


def test_the_phase_of_an_echo_that_is_shown_no_more_goes(tmp_path: Path, run: Callable[..., int]) -> None:
    write_scan(tmp_path / "bids", signal(), sub="01", acq="A")
    describe_scans(tmp_path / "bids", {"sub-01": 60})
    (tmp_path / "two.json").write_text('{"megre": {"echo": [1, 2]}}')
    for more, echo in ((("--bids-filter-file", str(tmp_path / "two.json")), 2), ((), 3)):
        assert run("out", *more) == 0
        (arm,) = json.loads((tmp_path / "out" / "sub-01" / "report.json").read_text())["arms"]
        stem = f"sub-01_acq-A_echo-{echo}_part-phase_MEGRE"
        assert arm["files"]["phase"] == f"anat/{stem}.nii.gz"
        left = sorted(path.name for path in (tmp_path / "out" / "sub-01" / "anat").glob("*part-phase*"))
        assert left == [f"{stem}.json", f"{stem}.nii.gz"]
