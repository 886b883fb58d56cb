"""The command line as a whole: overview, exit codes, speed of the help, single steps, bad input."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import dlqsm
from dlqsm.cli import COMMANDS, main
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import read_image, read_volume, write_volume
from dlqsm.qsm.inversion import INVERSIONS

ECHO_TIMES_S = (0.0033, 0.0064, 0.0095, 0.0126)
Refused = Callable[..., str]


def test_the_overview_loads_nothing_heavy() -> None:
    code = "import sys; from dlqsm.cli import main; main(['--help']); print({'torch', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "set()"
    assert all(command in run.stdout for command in COMMANDS)


def test_version_and_unknown_words(capsys: pytest.CaptureFixture[str], refused: Refused) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(
        rf"dlqsm {re.escape(dlqsm.__version__)} \(commit (unknown|[0-9a-f]{{12}}(, with changes)?)\)",
        capsys.readouterr().out.strip(),
    )
    assert main([]) == 2
    assert "unknown command 'qms'" in refused("qms")
    assert "--treshold" in refused("invert", "a", "b", "--unit", "ppm", "--mask", "m", "--treshold", "0.1")


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    for option in ("--device", "--threads", "--quiet", "--overwrite", "--debug"):
        assert option in said


def test_invert_keeps_a_region_uniform(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    words = ["invert", phantom / "field.nii.gz", tmp_path / "chi.nii.gz", "--unit", "ppm", "--strength", 1e-4]
    words += ["--mask", phantom / "mask.nii.gz", "--quiet", "--overwrite"]
    region, spreads = read_volume(phantom / "labels.nii.gz")[0] == 1, []
    write_volume(tmp_path / "csf.nii.gz", region, read_volume(phantom / "labels.nii.gz")[1])
    for more in ((), ("--csf-strength", 10, "--csf", tmp_path / "csf.nii.gz")):
        assert main([str(w) for w in (*words, *more)]) == 0
        spreads.append(float(read_volume(tmp_path / "chi.nii.gz")[0][region].std()))
    assert spreads[1] < 0.2 * spreads[0]
    assert "--csf FILE" in refused(*words, "--csf-strength", 10)
    assert "give both or neither" in refused(*words, "--csf", tmp_path / "csf.nii.gz")
    tkd = ("--method", "tkd", "--csf", tmp_path / "csf.nii.gz")
    assert "give both or neither" in refused(*words[:5], *words[7:], *tkd)


def test_invert_options_are_those_of_the_method(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    base = [
        "invert",
        phantom / "field.nii.gz",
        tmp_path / "chi.nii.gz",
        "--unit",
        "ppm",
        "--mask",
        phantom / "mask.nii.gz",
    ]
    assert "--threshold" in refused(*base, "--method", "l1", "--threshold", "0.2")
    assert main([str(w) for w in [*base, "--method", "tkd", "--threshold", "0.2", "--quiet"]]) == 0
    written = json.loads((tmp_path / "chi.json").read_text())
    assert written["Units"] == "ppm"
    assert written["Parameters"]["threshold"] == 0.2
    assert "--overwrite" in refused(*base, "--method", "tkd")


@pytest.mark.parametrize("method", INVERSIONS)
def test_every_inversion_is_a_method_of_the_command(method: str, phantom: Path, tmp_path: Path) -> None:
    words = ["invert", phantom / "field.nii.gz", tmp_path / "chi.nii.gz", "--unit", "ppm", "--field-strength", 3.0]
    assert main([str(w) for w in [*words, "--mask", phantom / "mask.nii.gz", "--method", method, "--quiet"]]) == 0
    assert json.loads((tmp_path / "chi.json").read_text())["Method"] == method
    assert bool(read_volume(tmp_path / "chi.nii.gz")[0].any())


def test_units_of_the_field_give_one_map(phantom: Path, tmp_path: Path) -> None:
    field, grid = read_volume(phantom / "field.nii.gz")
    strength, time = 3.0, 0.0126
    per_ppm = {"ppm": 1.0, "hz": 127.732435383, "rad": 2 * np.pi * 127.732435383 * time}
    maps = []
    for unit, scale in per_ppm.items():
        write_volume(tmp_path / f"{unit}.nii.gz", field * scale, grid)
        words = ["invert", tmp_path / f"{unit}.nii.gz", tmp_path / f"chi_{unit}.nii.gz", "--unit", unit]
        words += ["--mask", phantom / "mask.nii.gz", "--method", "tkd", "--quiet"]
        words += ["--field-strength", strength, "--echo-time", time]
        assert main([str(w) for w in words]) == 0
        maps.append(read_volume(tmp_path / f"chi_{unit}.nii.gz")[0])
    assert torch.allclose(maps[0], maps[1], atol=1e-6)
    assert torch.allclose(maps[0], maps[2], atol=1e-6)


def test_a_field_in_hz_without_strength_is_refused(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    base = ["invert", phantom / "field.nii.gz", tmp_path / "chi.nii.gz", "--mask", phantom / "mask.nii.gz"]
    assert "--field-strength" in refused(*base, "--unit", "hz")
    assert "--echo-time" in refused(*base, "--unit", "rad", "--field-strength", 3)
    assert not list(tmp_path.iterdir())


def test_unwrap_changes_by_whole_turns(phantom: Path, tmp_path: Path) -> None:
    out = tmp_path / "u.nii.gz"
    words = ["unwrap", phantom / "phase.nii.gz", out, "--mask", phantom / "mask.nii.gz"]
    assert main([str(w) for w in [*words, "--magnitude", phantom / "magnitude.nii.gz", "--quiet"]]) == 0
    mask = read_volume(phantom / "mask.nii.gz")[0] > 0
    turns = (read_image(out).values - read_image(phantom / "phase.nii.gz").values)[mask.numpy()] / (2 * np.pi)
    assert np.abs(turns - turns.round()).max() < 1e-5
    assert read_image(out).values.shape == (*mask.shape, 4)


def test_unwrap_along_echo_times_changes_by_whole_turns(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    out, base = tmp_path / "u.nii.gz", ["--mask", phantom / "mask.nii.gz", "--quiet", "--echo-times"]
    words = ["unwrap", phantom / "phase.nii.gz", out, *base]
    assert "3 echo times" in refused(*words, 0.003, 0.006, 0.009)
    assert "milliseconds" in refused(*words, 3, 6, 9, 12)
    assert not list(tmp_path.iterdir())
    assert main([str(w) for w in [*words, *ECHO_TIMES_S]]) == 0
    mask = read_volume(phantom / "mask.nii.gz")[0] > 0
    turns = (read_image(out).values - read_image(phantom / "phase.nii.gz").values)[mask.numpy()] / (2 * np.pi)
    assert np.abs(turns - turns.round()).max() < 1e-5
    alone = tmp_path / "alone.nii.gz"
    words = ["unwrap", phantom / "phase.nii.gz", alone, "--mask", phantom / "mask.nii.gz", "--quiet"]
    assert main([str(w) for w in words]) == 0
    difference = (read_image(out).values - read_image(alone).values)[mask.numpy()] / (2 * np.pi)
    assert np.abs(difference - np.median(difference, axis=0)).max() < 1e-3
    assert json.loads((tmp_path / "u.json").read_text())["EchoTimes"] == list(ECHO_TIMES_S)


def test_unwrap_tells_that_a_laplacian_is_not_exact(phantom: Path, tmp_path: Path, capsys) -> None:
    words = ["unwrap", phantom / "phase.nii.gz", tmp_path / "u.nii.gz", "--mask", phantom / "mask.nii.gz"]
    assert main([str(w) for w in [*words, "--method", "laplacian"]]) == 0
    printed = capsys.readouterr()
    assert (printed.out + printed.err).count("not exact") == 4


@pytest.mark.parametrize("method", ["vsharp", "lbv", "resharp"])
def test_background_writes_the_field_its_mask_and_a_record(phantom: Path, tmp_path: Path, method: str) -> None:
    words = ["background", phantom / "field.nii.gz", tmp_path / "l.nii.gz", "--mask", phantom / "mask.nii.gz"]
    words += ["--mask-out", tmp_path / "m.nii.gz", "--unit", "ppm", "--method", method, "--quiet"]
    assert main([str(w) for w in words]) == 0
    valid = read_volume(tmp_path / "m.nii.gz")[0] > 0
    mask = read_volume(phantom / "mask.nii.gz")[0] > 0
    assert 0 < valid.sum() < mask.sum()
    assert json.loads((tmp_path / "l.json").read_text())["Units"] == "ppm"


def test_nuclei_and_compare(phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["nuclei", phantom / "chi.nii.gz", tmp_path / "t.tsv", "--participant", "sub-1", "--arm", "PI2"]
    words += ["--labels", phantom / "labels.nii.gz", "--names", phantom / "names.tsv"]
    assert main([str(w) for w in words]) == 0
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t").set_index("side")
    assert table.loc["left", "mean_ppb"] == pytest.approx(120, abs=1e-3)
    assert table.loc["right", "mean_ppb"] == pytest.approx(80, abs=1e-3)
    assert json.loads((tmp_path / "t.json").read_text())["columns"]["mean_ppb"].endswith("[ppb]")
    words = ["compare", phantom / "chi.nii.gz", phantom / "chi.nii.gz", "--mask", phantom / "mask.nii.gz"]
    assert main([str(w) for w in [*words, "--json", tmp_path / "same.json"]]) == 0
    assert json.loads((tmp_path / "same.json").read_text())["psnr_db"] is None
    noisy, grid = read_volume(phantom / "chi.nii.gz")
    write_volume(tmp_path / "n.nii.gz", noisy + 0.01 * torch.randn(noisy.shape, generator=torch.Generator()), grid)
    words[1] = tmp_path / "n.nii.gz"
    assert main([str(w) for w in [*words, "--json", tmp_path / "c.json"]]) == 0
    figures = json.loads((tmp_path / "c.json").read_text())
    assert figures["rmse_ppb"] == pytest.approx(10, rel=0.05)
    assert "rmse_ppb" in capsys.readouterr().out


def test_label_voxels_outside_the_valid_mask_are_not_measured(phantom: Path, tmp_path: Path) -> None:
    chi, grid = read_volume(phantom / "chi.nii.gz")
    labels = read_volume(phantom / "labels.nii.gz")[0]
    valid = torch.ones(grid.shape, dtype=torch.bool)
    valid[:, : grid.shape[1] // 2] = False
    write_volume(tmp_path / "Chimap.nii.gz", chi * valid, grid)
    write_volume(tmp_path / "mask_desc-eroded.nii.gz", valid, grid)
    words = ["nuclei", tmp_path / "Chimap.nii.gz", tmp_path / "t.tsv", "--participant", "sub-1", "--arm", "PI2"]
    words += ["--labels", phantom / "labels.nii.gz", "--names", phantom / "names.tsv", "--quiet"]
    assert main([str(w) for w in words]) == 0
    table = pd.read_csv(tmp_path / "t.tsv", sep="\t").set_index("side")
    assert table.loc["left", "mean_ppb"] == pytest.approx(120, abs=1e-3)
    assert table.loc["left", "n_voxels"] == int(((labels == 1) & valid).sum())
    about = json.loads((tmp_path / "t.json").read_text())
    assert about["LabelVoxelsOutsideMask"] == int(((labels != 0) & ~valid).sum()) > 0


def test_bad_input_of_single_steps(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    field, mask = phantom / "field.nii.gz", phantom / "mask.nii.gz"
    out = ["--quiet", "--method", "tkd", "--unit", "ppm"]
    empty, small = tmp_path / "empty.nii.gz", tmp_path / "small.nii.gz"
    _, grid = read_volume(field)
    write_volume(empty, torch.zeros(grid.shape), grid)
    write_volume(small, torch.ones(8, 8, 8), Grid((8, 8, 8), (1, 1, 1)))
    target = tmp_path / "out.nii.gz"
    assert "zero in every voxel" in refused("invert", field, target, "--mask", empty, *out)
    assert "(8, 8, 8)" in refused("invert", field, target, "--mask", small, *out)
    assert "no such file" in refused("invert", tmp_path / "x.nii", target, "--mask", mask, *out)
    assert "magic" in refused("invert", field, target, "--mask", mask, "--method", "magic", "--unit", "ppm")
    assert "3.14" in refused("unwrap", phantom / "magnitude.nii.gz", target, "--mask", mask)
    assert (
        "device" in refused("invert", field, target, "--mask", mask, *out, "--device", "cuda")
        or torch.cuda.is_available()
    )
    assert "--threads" in refused("invert", field, target, "--mask", mask, *out, "--threads", 0)
    assert not target.exists()
