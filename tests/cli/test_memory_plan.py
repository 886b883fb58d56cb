"""Every command tells its memory before it starts, keeps to --mem, and refuses with the number before it writes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dlqsm.cli import main
from dlqsm.cli import memory as stated
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import read_volume, write_volume

Refused = Callable[..., str]
PLANNED = re.compile(r"Memory: about ([\d.]+) (MB|GB) planned, [\d.]+ (MB|GB) free")
CHILD = """
import sys
from dlqsm.cli import main
code = main()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


def _words(phantom: Path, out: Path) -> dict[str, list[object]]:
    mask = ["--mask", phantom / "mask.nii.gz"]
    images = ["--magnitude", phantom / "magnitude.nii.gz", "--phase", phantom / "phase.nii.gz"]
    labels = ["--labels", phantom / "labels.nii.gz", "--names", phantom / "names.tsv"]
    local = [phantom / "field.nii.gz", out, *mask, "--unit", "ppm"]
    return {
        "qsm": ["qsm", out, *images, *mask],
        "unwrap": ["unwrap", phantom / "phase.nii.gz", out, *mask],
        "background": ["background", *local, "--mask-out", out.with_name("valid.nii.gz")],
        "invert": ["invert", *local],
        "nuclei": ["nuclei", phantom / "chi.nii.gz", out, "--participant", "1", "--arm", "A", *labels],
        "compare": ["compare", phantom / "chi.nii.gz", phantom / "field.nii.gz", "--json", out],
        "simulate": ["simulate", out, "--participants", 1],
        "demo": ["demo", out],
    }


@pytest.mark.parametrize("command", ["qsm", "unwrap", "background", "invert", "nuclei", "compare", "simulate", "demo"])
def test_too_little_is_refused_with_both_numbers_and_nothing_is_written(
    phantom: Path, tmp_path: Path, refused: Refused, command: str
) -> None:
    words = _words(phantom, tmp_path / "out.nii.gz")[command]
    sentence = refused(*words, "--mem", 100)
    assert re.search(r"needs about \d{3,} MB, --mem grants 100 MB; give more with --mem", sentence)
    assert not list(tmp_path.iterdir())


def test_the_plan_is_told_first_and_not_by_a_quiet_command(
    phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(word) for word in _words(phantom, tmp_path / "figures.json")["compare"]]
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*words, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert len(PLANNED.findall(said.err)) == 1 and "Memory" not in said.out


def test_less_free_than_planned_is_a_warning_and_less_in_all_is_refused(
    phantom: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [str(word) for word in _words(phantom, tmp_path / "figures.json")["compare"]]
    monkeypatch.setattr(stated, "free_bytes", lambda: 50 * 10**6)
    assert main(words) == 0
    assert "warning: 50 MB are free and about" in capsys.readouterr().err
    monkeypatch.setattr(stated, "total_bytes", lambda: 50 * 10**6)
    assert "has 50 MB in all" in refused(*words, "--overwrite")


@pytest.mark.parametrize(
    "shape", [(128, 128, 96), pytest.param((224, 224, 128), marks=pytest.mark.soak)], ids=["small", "large"]
)
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a process")
def test_a_command_takes_what_it_planned_within_15_percent(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """An inversion of 1.6 and of 6.4 million voxels, where images take as much as libraries do."""
    x, y, z = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    inside = (x / 0.66) ** 2 + (y / 0.72) ** 2 + (z / 0.7) ** 2 < 1
    grid = Grid(shape, (1.0, 1.0, 1.2))
    write_volume(tmp_path / "mask.nii", inside, grid)
    write_volume(tmp_path / "field.nii", 0.01 * x * inside, grid)
    words = ["invert", tmp_path / "field.nii", tmp_path / "chi.nii", "--mask", tmp_path / "mask.nii", "--unit", "ppm"]
    words += ["--method", "tkd", "--threads", 1]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *map(str, words)], capture_output=True, text=True, check=True, env=os.environ
    )
    value, unit, _ = PLANNED.search(done.stderr).groups()  # type: ignore[union-attr]
    planned_mb = float(value) * {"MB": 1, "GB": 1000}[unit]
    measured_mb = int(done.stdout.split()[-1]) * 1024 / 1e6
    assert 0.85 <= measured_mb / planned_mb <= 1.15
    assert bool(read_volume(tmp_path / "chi.nii")[0].any())
