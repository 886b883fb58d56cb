"""`dlqsm qsm` stops where maps contradict the phase, says so in one sentence, and writes nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.cli import main
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import read_image, read_volume, write_volume
from dlqsm.io.outputs import write_json

Refused = Callable[..., str]
GRID = Grid((52, 52, 34), (2.5, 2.5, 2.5))
TIMES_S = (0.004, 0.008, 0.012)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball of tissue with 45 small places of iron, in a field that a shim left."""
    folder = tmp_path_factory.mktemp("head")
    x, y, z = torch.meshgrid(
        *(v * (torch.arange(n) - n // 2) for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)), indexing="ij"
    )
    ball = (x / 58) ** 2 + (y / 58) ** 2 + (z / 36) ** 2 < 1
    iron = torch.zeros(GRID.shape, dtype=torch.bool)
    for cx, cy, cz in ((a, b, c) for a in (-32, -16, 0, 16, 32) for b in (-24, 0, 24) for c in (-16, 0, 16)):
        iron |= (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < 4.5**2
    field_hz = 127.7 * susceptibility_to_field(0.15 * iron, GRID, GRID.b0_direction()) + 20 * x / 58 - 15 * y * z / 2000
    rate = 20.0 + 30.0 * iron
    generator = torch.Generator().manual_seed(3)
    images = [1000 * ball * torch.polar(torch.exp(-t * rate), 2 * math.pi * t * field_hz) for t in TIMES_S]
    images = [i + 4 * torch.complex(*torch.randn(2, *GRID.shape, generator=generator)) for i in images]
    for name, values in (("magnitude", [i.abs() for i in images]), ("phase", [i.angle() for i in images])):
        write_volume(folder / f"{name}.nii.gz", torch.stack(values, -1), GRID)
    write_volume(folder / "flipped.nii.gz", torch.stack([-i.angle() for i in images], -1), GRID)
    write_volume(folder / "filtered.nii.gz", torch.stack([_homodyne(i) for i in images], -1), GRID)
    write_volume(folder / "mask.nii.gz", ball, GRID)
    about = {"Units": "rad", "EchoTime": list(TIMES_S), "MagneticFieldStrength": 3.0}
    for name in ("phase", "flipped", "filtered"):
        write_json(folder / f"{name}.json", about)
    return folder


def _homodyne(image: torch.Tensor, kernel: int = 32) -> torch.Tensor:
    """Phase divided, slice by slice, by that of the image of the central samples."""
    taken = [torch.fft.fftfreq(n, 1 / n).abs() < kernel / 2 for n in GRID.shape[:2]]
    low = torch.fft.ifft2(torch.fft.fft2(image, dim=(0, 1)) * (taken[0][:, None] & taken[1])[..., None], dim=(0, 1))
    return torch.angle(image * low.conj())


def words(head: Path, out: Path, phase: str, *more: object) -> list[str]:
    given = ["qsm", out, "--magnitude", head / "magnitude.nii.gz", "--phase", head / f"{phase}.nii.gz"]
    given += ["--mask", head / "mask.nii.gz", "--background", "pdf", "--inversion", "tkd", "--quiet", *more]
    return [str(word) for word in given]


def summary(out: Path) -> dict:
    return dict(json.loads((out / "qsm.json").read_text()))


def test_the_right_sign_passes_and_is_on_record(head: Path, tmp_path: Path) -> None:
    assert main(words(head, tmp_path / "o", "phase")) == 0
    told = summary(tmp_path / "o")
    assert told["phase_trust"]["sign"]["verdict"] == "agrees"
    assert told["phase_trust"]["field_spread"]["verdict"] == "whole"
    assert told["phase_trust"]["poles"]["n_poles"] == [0, 0, 0]
    assert told["decisions"]["sign_check"].startswith("nuclei and veins are paramagnetic")
    assert told["figures"]["b0_axis"] < -3.5 and told["figures"]["mask_shift"] == 0.0
    assert told["alarms"] == []


def test_the_wrong_sign_stops_unless_it_is_turned_or_accepted(head: Path, tmp_path: Path, refused: Refused) -> None:
    sentence = refused(*words(head, tmp_path / "o", "flipped"))
    assert "flipped.nii.gz" in sentence and "opposite sign" in sentence and "--invert-phase" in sentence
    assert not (tmp_path / "o").exists()
    assert main(words(head, tmp_path / "turned", "flipped", "--invert-phase")) == 0
    assert main(words(head, tmp_path / "right", "phase")) == 0
    maps = [read_volume(tmp_path / name / "Chimap.nii.gz")[0] for name in ("turned", "right")]
    assert torch.equal(*maps)
    assert "--invert-phase" in summary(tmp_path / "turned")["decisions"]["phase_sign"]
    assert "leave out --invert-phase" in refused(*words(head, tmp_path / "o", "phase", "--invert-phase"))
    assert main(words(head, tmp_path / "accepted", "flipped", "--accept-phase", "sign")) == 0
    told = summary(tmp_path / "accepted")
    assert told["phase_trust"]["sign"]["verdict"] == "contradicts"
    assert told["decisions"]["accepted_sign"].startswith("warning: the phase seems to have the opposite sign")
    chi = read_volume(tmp_path / "accepted" / "Chimap.nii.gz")[0]
    assert float((chi + maps[1]).abs().max()) < 1e-4


def test_filtered_phase_stops_unless_accepted(head: Path, tmp_path: Path, refused: Refused) -> None:
    sentence = refused(*words(head, tmp_path / "o", "filtered"))
    assert "filtered.nii.gz" in sentence and "high-pass filtered" in sentence and "unfiltered phase" in sentence
    assert not (tmp_path / "o").exists()
    assert main(words(head, tmp_path / "o", "filtered", "--accept-phase", "filtered")) == 0
    assert summary(tmp_path / "o")["decisions"]["accepted_filtered"].startswith("warning")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("ImageType", ["ORIGINAL", "PRIMARY", "P", "SWI"]),
        ("SeriesDescription", "Pha_Images"),
        ("SeriesDescription", "FILT_PHA: Ax SWAN"),
        ("ProcessingFunction", "homodyne 64"),
    ],
)
def test_a_header_that_tells_of_a_filter_stops_before_anything_is_computed(
    head: Path, tmp_path: Path, refused: Refused, entry: str, value: object
) -> None:
    image = tmp_path / "phase.nii.gz"
    image.symlink_to(head / "phase.nii.gz")
    write_json(tmp_path / "phase.json", {**json.loads((head / "phase.json").read_text()), entry: value})
    given = words(head, tmp_path / "o", "phase")
    given[given.index(str(head / "phase.nii.gz"))] = str(image)
    sentence = refused(*given)
    assert entry in sentence and "--accept-phase filtered" in sentence
    assert main([*given, "--accept-phase", "filtered"]) == 0
    assert summary(tmp_path / "o")["decisions"]["accepted_header"].startswith("warning")


def test_swi_in_a_name_alone_is_no_proof(head: Path, tmp_path: Path) -> None:
    (tmp_path / "phase.nii.gz").symlink_to(head / "phase.nii.gz")
    about = {
        **json.loads((head / "phase.json").read_text()),
        "SeriesDescription": "SWI_megre",
        "ImageType": ["P", "ND"],
    }
    write_json(tmp_path / "phase.json", about)
    given = words(head, tmp_path / "o", "phase")
    given[given.index(str(head / "phase.nii.gz"))] = str(tmp_path / "phase.nii.gz")
    assert main(given) == 0


def test_a_single_echo_is_not_checked_for_its_sign(head: Path, tmp_path: Path) -> None:
    for name in ("magnitude", "phase"):
        values = read_image(head / f"{name}.nii.gz").values[..., 2]
        write_volume(tmp_path / f"{name}.nii.gz", torch.from_numpy(np.ascontiguousarray(values)), GRID)
    given = ["qsm", tmp_path / "o", "--magnitude", tmp_path / "magnitude.nii.gz", "--phase", tmp_path / "phase.nii.gz"]
    given += ["--mask", head / "mask.nii.gz", "--phase-unit", "rad", "--echo-times", 0.012, "--field-strength", 3]
    assert main([str(w) for w in [*given, "--background", "pdf", "--inversion", "tkd", "--quiet"]]) == 0
    assert summary(tmp_path / "o")["decisions"]["sign_check"].startswith("not made")


def test_single_coils_are_combined_in_phase_on_request(head: Path, tmp_path: Path, refused: Refused) -> None:
    magnitude, phase = (read_image(head / f"{name}.nii.gz").values for name in ("magnitude", "phase"))
    offsets = np.linspace(-1, 1, GRID.shape[0])[:, None, None, None] * np.array([1.5, -2.0, 0.5])
    coil_phase = np.angle(np.exp(1j * (phase[..., None] + offsets[..., None, :] + np.array([0.0, 2.0, 4.0]))))
    for name, values in (("magnitude", np.repeat(magnitude[..., None], 3, -1)), ("phase", coil_phase)):
        write_volume(tmp_path / f"{name}.nii.gz", torch.from_numpy(values.astype(np.float32)), GRID)
    write_json(tmp_path / "phase.json", json.loads((head / "phase.json").read_text()))
    write_volume(tmp_path / "mask.nii.gz", read_volume(head / "mask.nii.gz")[0], GRID)
    maps, told = {}, {}
    for how in ("mdi", "mcpc3ds"):
        assert main(words(tmp_path, tmp_path / how, "phase", "--coil-combination", how)) == 0
        maps[how], told[how] = read_volume(tmp_path / how / "Chimap.nii.gz")[0], summary(tmp_path / how)
        assert told[how]["decisions"]["coil_combination"] == f"3 coils by {how}"
    assert float((maps["mdi"] - maps["mcpc3ds"]).abs().median()) < 1e-3
    assert "all coils" in told["mdi"]["decisions"]["phase_poles"]
    assert told["mcpc3ds"]["phase_trust"]["poles"]["n_poles"] == [0, 0, 0]
    assert "combined images" in refused(*words(head, tmp_path / "o", "phase", "--coil-combination", "mcpc3ds"))
    assert "coil images" in refused("qsm", tmp_path / "o", "--recon", head, "--coil-combination", "mcpc3ds")


def test_real_and_imaginary_images_give_the_maps_of_magnitude_and_phase(
    head: Path, tmp_path: Path, refused: Refused
) -> None:
    magnitude, phase = (read_image(head / f"{name}.nii.gz").values for name in ("magnitude", "phase"))
    sign = np.where(np.arange(GRID.shape[2]) % 2, -1.0, 1.0)[:, None]
    for name, values in (("real", magnitude * np.cos(phase)), ("imag", magnitude * np.sin(phase))):
        write_volume(tmp_path / f"{name}.nii.gz", torch.from_numpy((sign * values).astype(np.float32)), GRID)
    about = {**json.loads((head / "phase.json").read_text()), "Manufacturer": "GE MEDICAL SYSTEMS"}
    write_json(tmp_path / "real.json", about)
    given = ["qsm", tmp_path / "o", "--real", tmp_path / "real.nii.gz", "--imag", tmp_path / "imag.nii.gz", "--mask"]
    given += [head / "mask.nii.gz", "--background", "pdf", "--inversion", "tkd", "--quiet"]
    assert main([str(word) for word in given]) == 0
    assert main(words(head, tmp_path / "polar", "phase")) == 0
    maps = [read_volume(tmp_path / name / "Chimap.nii.gz")[0] for name in ("o", "polar")]
    assert float((maps[0] - maps[1]).abs().max()) < 1e-3
    told = summary(tmp_path / "o")
    assert "as GE stores it" in told["decisions"]["slice_sign"]
    assert told["phase_trust"]["poles"]["n_poles"] == [0, 0, 0]
    assert main(["report", str(tmp_path / "o")]) == 0
    assert "need none" in refused(*given, "--overwrite", "--phase-unit", "rad")
    assert "either --recon DIR, or both" in refused("qsm", tmp_path / "p", "--real", tmp_path / "real.nii.gz")


def test_a_wrong_b0_axis_is_told(head: Path, tmp_path: Path) -> None:
    given = words(head, tmp_path / "o", "phase", "--b0-direction", 0, 1, 0, "--accept-phase", "sign")
    assert main(given) == 0
    told = summary(tmp_path / "o")
    (alarm,) = [alarm for alarm in told["alarms"] if alarm["name"] == "b0_axis"]
    assert alarm["level"] == "flag" and alarm["value"] == told["figures"]["b0_axis"] > alarm["limit"]


def test_echoes_that_changed_places_stop_unless_accepted_and_a_mask_that_lies_off_is_flagged(
    head: Path, tmp_path: Path, refused: Refused
) -> None:
    for name in ("magnitude", "phase"):
        image = read_image(head / f"{name}.nii.gz")
        swapped = torch.from_numpy(image.values[..., [1, 0, 2]].copy())
        write_volume(tmp_path / f"{name}.nii.gz", swapped, image.grid)
    (tmp_path / "phase.json").write_text((head / "phase.json").read_text())
    mask, grid = read_volume(head / "mask.nii.gz")
    write_volume(tmp_path / "mask.nii.gz", torch.roll(mask, 3, 0), grid)
    sentence = refused(*words(tmp_path, tmp_path / "o", "phase"))
    assert "phase.nii.gz" in sentence and "changed places" in sentence and "--accept-alarm echo_order" in sentence
    assert not (tmp_path / "o").exists()
    assert main(words(tmp_path, tmp_path / "o", "phase", "--accept-alarm", "echo_order")) == 0
    alarms = {alarm["name"]: alarm for alarm in summary(tmp_path / "o")["alarms"]}
    assert {"echo_order", "mask_shift"} <= alarms.keys()
    assert alarms["mask_shift"]["value"] == 3.0 and alarms["echo_order"]["text"] in sentence


def test_an_unknown_alarm_and_one_that_only_flags_are_no_option(head: Path, tmp_path: Path, refused: Refused) -> None:
    for name in ("noise", "nothing"):
        assert f"'{name}'" in refused(*words(head, tmp_path / "o", "phase", "--accept-alarm", name))
