"""`dlqsm qsm-ci`: each stage gives its artefact in ppm, spans equal their stages and the chain of `dlqsm qsm`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.cli import main
from dlqsm.cohort.chain_input import read_images
from dlqsm.config import QsmConfig
from dlqsm.core.scan import Grid
from dlqsm.io.images import PhaseOptions
from dlqsm.io.nifti import read_image, read_volume, write_volume
from dlqsm.io.qsm_ci import STAGES
from dlqsm.io.scan_json import ScanFile
from dlqsm.pipeline import map_susceptibility
from dlqsm.pipeline.stages import local_field, susceptibility, total_field, weighted

Refused = Callable[..., str]
TIMES_S = (0.0033, 0.0064, 0.0095, 0.0126)
PARAMS = {"TE": list(TIMES_S), "B0": 3.0, "B0_dir": [0.0, 0.0, 1.0], "voxel_size": [1.6, 1.6, 2.0]}


def run(folder: Path, out: Path, stage: str, *more: object) -> Path:
    """Run a stage; l1 with a strength that is given, since to choose one takes seven solutions."""
    if "--config" not in more:
        config = out.with_name("strength.toml")
        config.write_text('[inversion]\nmethod = "l1"\nstrength = 3e-4\n')
        more = (*more, "--config", config)
    words = ["qsm-ci", folder, out, "--stage", stage, "--quiet", *more]
    assert main([str(word) for word in words]) == 0
    return out / f"{STAGES[stage][1]}.nii.gz"


def inputs(phantom: Path, folder: Path, **more: Path) -> Path:
    """A folder as the benchmark mounts it; the mask is a voxel smaller than the ball, as brain masks are."""
    folder.mkdir(exist_ok=True)
    for name in ("phase", "magnitude"):
        shutil.copy(phantom / f"{name}.nii.gz", folder)
    mask, grid = read_volume(phantom / "mask.nii.gz")
    padded = torch.nn.functional.max_pool3d(-mask[None], 3, stride=1, padding=1)[0]
    write_volume(folder / "mask.nii.gz", padded < 0, grid)
    for name, path in more.items():
        shutil.copy(path, folder / f"{name}.nii.gz")
    (folder / "params.json").write_text(json.dumps(PARAMS))
    return folder


@pytest.fixture(scope="module")
def chained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the three stages make, each from the one before."""
    root, made = tmp_path_factory.mktemp("qsm-ci"), {}
    folder = inputs(phantom, root / "input")
    for stage in ("field-mapping", "bfr", "dipole"):
        path = run(folder, root / stage, stage)
        made[stage] = shutil.copy(path, folder / path.name)
    return {**made, "input": folder}


def truth(phantom: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Total field, local field and susceptibility [ppm], and the ball."""
    field, chi, ball = (read_volume(phantom / f"{n}.nii.gz")[0].numpy() for n in ("field", "chi", "mask"))
    y_mm = (np.arange(field.shape[1]) - field.shape[1] // 2)[None, :, None] * 1.6
    return field + 0.3 * y_mm / 30, field, chi, ball > 0


def test_fields_and_susceptibility_are_in_ppm(phantom: Path, chained: dict[str, Path]) -> None:
    total_ppm, local_ppm, chi_ppm, _ = truth(phantom)
    for stage, expected, limit in (
        ("field-mapping", total_ppm, 0.03),
        ("bfr", local_ppm, 0.3),
        ("dipole", chi_ppm, 0.12),
    ):
        values = read_volume(chained[stage])[0].numpy()
        inside = values != 0
        assert inside.sum() > 2000
        got, want = values[inside] - values[inside].mean(), expected[inside] - expected[inside].mean()
        assert np.linalg.norm(got - want) < limit * np.linalg.norm(want), stage
        assert np.polyfit(want, got, 1)[0] == pytest.approx(1.0, abs=0.06), stage


def test_single_stages_take_the_true_artefacts(phantom: Path, tmp_path: Path) -> None:
    folder = inputs(phantom, tmp_path / "input", localfield=phantom / "field.nii.gz")
    chi = read_volume(run(folder, tmp_path / "out", "dipole"))[0].numpy()
    labels = read_volume(phantom / "labels.nii.gz")[0].numpy()
    spheres = [chi[labels == n].mean() - chi[(labels == 0) & (chi != 0)].mean() for n in (1, 2)]
    assert spheres == pytest.approx([0.12, 0.08], abs=0.02)
    assert abs(chi[chi != 0].mean()) < 1e-6


@pytest.mark.parametrize(("span", "last"), [("unwrap+bfr", "bfr"), ("bfr+dipole", "dipole"), ("end-to-end", "dipole")])
def test_a_span_without_weights_equals_its_stages(
    chained: dict[str, Path], tmp_path: Path, span: str, last: str
) -> None:
    whole = read_volume(run(chained["input"], tmp_path / "plain", span, "--unweighted"))[0]
    steps = read_volume(chained[last])[0]
    assert torch.equal(whole != 0, steps != 0)
    assert float((whole - steps).abs().max()) < 1e-4 * float(steps.abs().max())
    weighted = read_volume(run(chained["input"], tmp_path / "weighted", span))[0]
    assert float((weighted - steps).abs().max()) > 1e-3 * float(steps.abs().max())


def test_stages_joined_are_the_chain(chained: dict[str, Path]) -> None:
    folder = chained["input"]
    told = ScanFile(folder, TIMES_S, 3.0, (0.0, 0.0, 1.0), None, {})
    source, _ = read_images([folder / "magnitude.nii.gz"], [folder / "phase.nii.gz"], told, PhaseOptions(unit="rad"))
    mask = read_volume(folder / "mask.nii.gz")[0] > 0
    config, usable, scan = QsmConfig(), source.usable, source.scan
    maps = map_susceptibility(source.sums, scan, config, external_mask=mask, usable=usable)
    total = total_field(source.sums, mask, scan, config, usable=usable)
    local = local_field(total, scan, config)
    assert torch.equal(total.mask, maps.mask)
    assert torch.equal(local.mask, maps.eroded_mask)
    assert torch.allclose(local.field_ppm * scan.hz_per_ppm, maps.local_field_hz, atol=1e-6)
    assert torch.equal(susceptibility(local, scan, config), maps.chi_ppm)


def test_the_total_field_has_no_holes(phantom: Path, chained: dict[str, Path], tmp_path: Path) -> None:
    """Voxels without trustworthy phase, here a dark rim, have the turns of those around; the chain leaves them out."""
    folder = Path(shutil.copytree(chained["input"], tmp_path / "input"))
    image = read_image(folder / "magnitude.nii.gz")
    dark = image.values.copy()
    dark[10:19, 23:, 8:17] *= 1e-3
    write_volume(folder / "magnitude.nii.gz", torch.from_numpy(dark), image.grid)
    values = read_volume(run(folder, tmp_path / "out", "field-mapping"))[0].numpy()
    mask = read_volume(folder / "mask.nii.gz")[0].numpy() > 0
    total_ppm, *_ = truth(phantom)
    assert (values[mask] != 0).all() and not values[~mask].any()
    error = (values - total_ppm)[mask] - np.median((values - total_ppm)[mask])
    turn_ppm = 1 / (TIMES_S[1] - TIMES_S[0]) / 127.7
    assert np.abs(error).max() < 0.1 * turn_ppm
    told = ScanFile(folder, TIMES_S, 3.0, (0.0, 0.0, 1.0), None, {})
    source, _ = read_images([folder / "magnitude.nii.gz"], [folder / "phase.nii.gz"], told, PhaseOptions(unit="rad"))
    field = total_field(source.sums, torch.from_numpy(mask), source.scan, QsmConfig())
    assert (torch.from_numpy(mask) & ~field.mask)[10:19, 23:, 8:17].sum() > 50
    assert np.array_equal(field.alone().mask.numpy(), mask)


def test_magnitudes_tell_the_noise_that_images_tell(chained: dict[str, Path]) -> None:
    folder = chained["input"]
    told = ScanFile(folder, TIMES_S, 3.0, (0.0, 0.0, 1.0), None, {})
    source, series = read_images(
        [folder / "magnitude.nii.gz"], [folder / "phase.nii.gz"], told, PhaseOptions(unit="rad")
    )
    mask = read_volume(folder / "mask.nii.gz")[0] > 0
    total = total_field(source.sums, mask, source.scan, QsmConfig())
    field = weighted(total.alone(), series.magnitude[:, 0], source.scan, QsmConfig())
    assert field.noise_ppm is not None and total.noise_ppm is not None
    assert torch.allclose(field.noise_ppm[total.mask], total.noise_ppm[total.mask], rtol=0.02)
    assert torch.allclose(field.magnitude, total.magnitude, rtol=1e-4)


def test_one_echo_in_three_axes(phantom: Path, tmp_path: Path) -> None:
    folder = inputs(phantom, tmp_path / "input")
    for name in ("phase", "magnitude"):
        image = read_image(folder / f"{name}.nii.gz")
        write_volume(folder / f"{name}.nii.gz", torch.from_numpy(image.values[..., 1].copy()), image.grid)
    (folder / "params.json").write_text(json.dumps({**PARAMS, "TE": TIMES_S[1]}))
    total_ppm, *_ = truth(phantom)
    values = read_volume(run(folder, tmp_path / "out", "field-mapping"))[0].numpy()
    shutil.copy(tmp_path / "out" / "totalfield.nii.gz", folder)
    chi = read_volume(run(folder, tmp_path / "chi", "bfr+dipole"))[0].numpy()
    labels = read_volume(phantom / "labels.nii.gz")[0].numpy()
    assert chi[labels == 1].mean() - chi[(labels == 0) & (chi != 0)].mean() == pytest.approx(0.12, abs=0.04)
    inside = values != 0
    assert np.std((values - total_ppm)[inside]) < 0.1 * np.std(total_ppm[inside])


def test_the_brain_is_the_bright_ball(phantom: Path, tmp_path: Path) -> None:
    folder = inputs(phantom, tmp_path / "input")
    made = read_volume(run(folder, tmp_path / "out", "brain-extraction"))[0] > 0
    ball = torch.from_numpy(truth(phantom)[3])
    assert 2 * float((made & ball).sum()) / float(made.sum() + ball.sum()) > 0.9


def test_methods_come_from_the_configuration_and_the_benchmark(
    chained: dict[str, Path], tmp_path: Path, refused: Refused
) -> None:
    folder = Path(shutil.copytree(chained["input"], tmp_path / "input"))
    (tmp_path / "c.toml").write_text('[inversion]\nmethod = "tkd"\n')
    by_option = read_volume(run(folder, tmp_path / "a", "dipole", "--config", tmp_path / "c.toml"))[0]
    (folder / "config.json").write_text('{"inversion": "tkd"}')
    by_benchmark = read_volume(run(folder, tmp_path / "b", "dipole"))[0]
    assert torch.equal(by_option, by_benchmark)
    assert not torch.equal(by_option, read_volume(chained["dipole"])[0])
    for content, says in (('{"inversion": "x"}', "unknown inversion"), ('{"threshold": 0.2}', "threshold: 0.2")):
        (folder / "config.json").write_text(content)
        assert says in refused("qsm-ci", folder, tmp_path / "o", "--stage", "dipole")


def test_what_qsm_ci_refuses(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "out"
    folder = inputs(phantom, tmp_path / "input", localfield=phantom / "field.nii.gz")
    said = refused("qsm-ci", folder, out, "--stage", "bfr")
    assert "lacks totalfield.nii.gz; the stage bfr reads totalfield.nii.gz, mask.nii.gz, params.json" in said
    assert "choose from" in refused("qsm-ci", folder, out, "--stage", "all")
    for change, says in (
        ({"TE": None}, "TE to be echo times in seconds; got None"),
        ({"TE": [3.3, 6.4, 9.5, 12.6]}, "not milliseconds"),
        ({"B0": "3"}, "B0 to be the field in tesla"),
        ({"B0_dir": [0, 0, 0]}, "direction"),
        ({"B0_dir": [0, 1]}, "three numbers"),
        ({"voxel_size": [1, 1, 1]}, "1 x 1 x 1 mm; expected 1.6 x 1.6 x 2 mm"),
    ):
        (folder / "params.json").write_text(json.dumps({**PARAMS, **change}))
        assert says in refused("qsm-ci", folder, out, "--stage", "dipole")
    (folder / "params.json").write_text(json.dumps({**PARAMS, "TE": [0.003, 0.006]}))
    assert "4 echoes, but 2 echo times" in refused("qsm-ci", folder, out, "--stage", "field-mapping")
    assert "4 echoes; params.json tells 2" in refused("qsm-ci", folder, out, "--stage", "brain-extraction")
    (folder / "params.json").write_text(json.dumps(PARAMS))
    grid = Grid((28, 30, 24), (1.6, 1.6, 2.0))
    write_volume(folder / "localfield.nii.gz", torch.zeros(grid.shape), grid)
    assert "zero or not finite" in refused("qsm-ci", folder, out, "--stage", "dipole")
    write_volume(folder / "localfield.nii.gz", torch.ones(8, 8, 8), Grid((8, 8, 8), (1.6, 1.6, 2.0)))
    assert "(8, 8, 8)" in refused("qsm-ci", folder, out, "--stage", "dipole")
    assert not out.exists()
