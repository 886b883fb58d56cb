"""Commands that are killed, and disks that refuse: a few points in the ordinary tests, hundreds in the long ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def ends_well(program: str, folder: Path, *words: str) -> str:
    """Run one of the programs in a process of its own, which forks; what it printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, str(HERE / program), str(folder), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_killed_at_a_few_moments(tmp_path: Path) -> None:
    told = ends_well(
        "kill_points.py", tmp_path, "--points", "6", "--only", "recon_again", "nuclei_again", "convert_raw"
    )
    assert "6 points" in told and " 0 bytes lost, 0 files left over" in told


def test_refused_at_a_few_moments(tmp_path: Path) -> None:
    told = ends_well("disk_faults.py", tmp_path, "--points", "10", "--only", "recon_again", "nuclei_again")
    assert "10 points, 10 survived, 0 bytes lost, 0 files left over" in told


def test_begun_twice_at_once(tmp_path: Path) -> None:
    told = ends_well("two_at_once.py", tmp_path, "--races", "1", "--only", "recon_again")
    assert "2 pairs of processes at once, 2 of them as they should be" in told


@pytest.mark.soak
@pytest.mark.parametrize(
    ("program", "words"),
    [("kill_points.py", ("--points", "280")), ("disk_faults.py", ("--points", "210")), ("two_at_once.py", ())],
)
def test_every_command_at_hundreds_of_moments(tmp_path: Path, program: str, words: tuple[str, ...]) -> None:
    """A folder that the environment names keeps what is done, so that the test can be stopped and gone on with."""
    kept = os.environ.get("DLQSM_FAULTS_FOLDER")
    folder = Path(kept) / program.removesuffix(".py") if kept else tmp_path
    folder.mkdir(parents=True, exist_ok=True)
    print(ends_well(program, folder, *words))
