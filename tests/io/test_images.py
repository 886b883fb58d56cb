"""Echo images: units decided from headers, shapes and times checked, real data of two vendors' conventions."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.images import EchoSeries, read_echo_series
from dlqsm.io.nifti import Image, read_image, read_volume, write_volume
from dlqsm.io.phase_unit import phase_in_radian

SHAPE = (6, 7, 5)


def _save(
    path: Path, values: np.ndarray, sidecar: dict[str, Any] | None = None, affine: np.ndarray | None = None
) -> Path:
    nib.Nifti1Image(values.astype(np.float32), np.eye(4) if affine is None else affine).to_filename(path)
    if sidecar is not None:
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def _pair(folder: Path, n: int = 2, scale: float = 1.0, **sidecar: Any) -> tuple[list[Path], list[Path]]:
    rng = np.random.default_rng(1)
    magnitude, phase = [], []
    for echo in range(n):
        told = {"EchoTime": 0.003 * (echo + 1), "MagneticFieldStrength": 3, **sidecar}
        magnitude.append(_save(folder / f"m{echo}.nii.gz", rng.random(SHAPE), told))
        phase.append(_save(folder / f"p{echo}.nii.gz", scale * rng.uniform(-math.pi, math.pi, SHAPE), told))
    return magnitude, phase


def _read(magnitude: list[Path], phase: list[Path], **options: Any) -> EchoSeries:
    given = {"phase_unit": None, "echo_times_s": None, "field_strength_t": None, "b0_direction": None, **options}
    return read_echo_series(magnitude, phase, **given)


def test_sidecars_tell_everything(tmp_path: Path) -> None:
    series = _read(*_pair(tmp_path, Units="rad"))
    assert series.phase_rad.shape == (2, 1, *SHAPE)
    assert series.scan.echo_times_s == (0.003, 0.006)
    assert series.scan.field_strength_t == 3
    assert "sidecar's Units" in series.decisions["phase_unit"]
    assert series.n_not_finite == 0


def test_the_resonance_frequency_is_believed_where_the_nominal_field_disagrees(tmp_path: Path) -> None:
    """A scanner called 3 T that runs at 123.26 MHz has 2.895 T: 3.5 % of every susceptibility."""
    series = _read(*_pair(tmp_path, Units="rad", ImagingFrequency=123.26))
    assert series.scan.field_strength_t == pytest.approx(123.26e6 / 42.577478461e6)
    assert "the frequency is believed" in series.decisions["field_strength"]
    agreeing = _read(*_pair(tmp_path, Units="rad", ImagingFrequency=127.75))
    assert agreeing.scan.field_strength_t == 3
    given = _read(*_pair(tmp_path, Units="rad", ImagingFrequency=123.26), field_strength_t=2.9)
    assert given.scan.field_strength_t == 2.9


def test_files_are_sorted_by_their_echo_time(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, Units="rad")
    series, swapped = _read(magnitude, phase), _read(magnitude[::-1], phase[::-1])
    assert np.array_equal(series.phase_rad, swapped.phase_rad)
    assert np.array_equal(series.magnitude, swapped.magnitude)


@pytest.mark.parametrize(("off_s", "is_same"), [(1e-6, True), (-4e-6, True), (6e-6, False), (1e-4, False)])
@pytest.mark.parametrize("listed", [True, False])
def test_echo_times_of_magnitude_and_phase_may_be_rounded_differently(
    tmp_path: Path, off_s: float, is_same: bool, listed: bool
) -> None:
    magnitude, phase = _pair(tmp_path, Units="rad")
    if listed:
        told = {"EchoTime": [0.003, 0.006], "MagneticFieldStrength": 3, "Units": "rad"}
        values = np.random.default_rng(2).uniform(0.1, 3, (*SHAPE, 2))
        magnitude, phase = ([_save(tmp_path / f"{part}.nii.gz", values, told)] for part in "mp")
    sidecar = magnitude[-1].with_name(magnitude[-1].name.replace(".nii.gz", ".json"))
    sidecar.write_text(json.dumps({"EchoTime": [0.003, 0.006 + off_s] if listed else 0.006 + off_s}))
    if is_same:
        assert _read(magnitude, phase).scan.echo_times_s == (0.003, 0.006)
        return
    with pytest.raises(InputError, match=r"as .* at the same place has"):
        _read(magnitude, phase)


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("rad", 1.0), ("mrad", 1000.0), ("siemens", 4096 / math.pi), ("range:-0.5:0.5", 0.5 / math.pi)],
)
def test_the_option_scales_to_radian(tmp_path: Path, unit: str, scale: float) -> None:
    magnitude, phase = _pair(tmp_path, scale=scale)
    expected = read_image(phase[1]).values / scale
    series = _read(magnitude, phase, phase_unit=unit)
    assert np.allclose(series.phase_rad[1, 0], expected, atol=1e-5)


def test_phase_without_a_unit_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"p0\.nii\.gz: neither the header nor a sidecar .* give --phase-unit rad"):
        _read(*_pair(tmp_path))


@pytest.mark.parametrize("vendor", ["Siemens", "GE", "Philips"])
def test_a_vendor_name_alone_settles_nothing(tmp_path: Path, vendor: str) -> None:
    with pytest.raises(InputError, match="give --phase-unit"):
        _read(*_pair(tmp_path, Manufacturer=vendor))


def test_siemens_scaling_is_recognised_from_slope_and_intercept(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, Manufacturer="Siemens", Units="arbitrary")
    stored = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 4096
    for path in phase:
        image = nib.Nifti1Image(stored.astype(np.int16), np.eye(4))
        image.header.set_slope_inter(2, -4096)
        image.to_filename(path)
    with warnings.catch_warnings():
        series = _read(magnitude, phase)
    assert "siemens" in series.decisions["phase_unit"]
    assert np.allclose(series.phase_rad[0, 0], (2 * stored - 4096) * math.pi / 4096, atol=1e-5)


def test_a_unit_that_the_values_contradict_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="would span"):
        _read(*_pair(tmp_path, scale=1000.0), phase_unit="rad")
    with pytest.raises(InputError, match="would span"):
        _read(*_pair(tmp_path, scale=1e-3), phase_unit="rad")
    with pytest.raises(InputError, match="unknown phase unit"):
        _read(*_pair(tmp_path), phase_unit="degree")
    with pytest.raises(InputError, match="unknown phase unit"):
        _read(*_pair(tmp_path), phase_unit="range:1:0")


@pytest.mark.parametrize(
    ("unit", "values", "is_right"),
    [
        ("siemens", "raw", False), ("siemens", "scaled", True), ("siemens", "beyond", False),
        ("siemens", "small", True), ("range:0:4096", "raw", True), ("range:0:4095", "raw", True),
        ("range:0:4095", "scaled", False), ("range:-4096:4094", "scaled", True), ("range:0:3000", "raw", False),
    ],
)  # fmt: skip
def test_a_unit_that_would_halve_or_double_the_susceptibility_is_refused(
    unit: str, values: str, is_right: bool
) -> None:
    """Siemens stores 0 to 4095 and has a slope of 2 and an intercept of -4096 in the header."""
    stored = np.arange(4096, dtype=np.float32).reshape(16, 16, 16)
    of = {"raw": stored, "scaled": 2 * stored - 4096, "beyond": 4 * stored - 8192, "small": stored / 4}[values]
    image = Image(of, Grid((16, 16, 16), (1.0, 1.0, 1.0)), 1.0, 0.0, Path("p.nii"))
    if is_right:
        phase_in_radian(image, {}, unit, {})
        return
    with pytest.raises(InputError, match=r"p\.nii: the phase spans .* range:0:4096 for 0 to 4095"):
        phase_in_radian(image, {}, unit, {})


def test_masked_phase_without_negative_values_is_siemens_by_its_header() -> None:
    stored = np.linspace(2048, 3600, 512, dtype=np.float32).reshape(8, 8, 8)
    image = Image(2 * stored - 4096, Grid((8, 8, 8), (1.0, 1.0, 1.0)), 2.0, -4096.0, Path("p.nii"))
    phase_rad = phase_in_radian(image, {"Manufacturer": "Siemens"}, "siemens", {})
    assert float(phase_rad.max()) == pytest.approx(3104 * math.pi / 4096)


def test_constant_phase_is_refused(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, scale=0.0, Units="rad")
    with pytest.raises(InputError, match="0 in every voxel"):
        _read(magnitude, phase)


def test_nan_voxels_are_counted_and_zeroed(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, Units="rad")
    values = read_image(phase[1]).values
    values[2, 3, 1] = np.nan
    values[0, 0, 0] = np.inf
    _save(phase[1], values)
    series = _read(magnitude, phase)
    assert series.n_not_finite == 2
    assert bool(series.not_finite[2, 3, 1])
    assert bool(series.phase_rad.isfinite().all())


def test_wrong_counts_shapes_grids_and_times(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, 3, Units="rad")
    with pytest.raises(InputError, match="2 echoes x 1 coils; expected 3 x 1"):
        _read(magnitude[:2], phase)
    with pytest.raises(InputError, match="3 echoes, but 2 echo times"):
        _read(magnitude, phase, echo_times_s=(0.003, 0.006))
    with pytest.raises(InputError, match="ascend"):
        _read(magnitude, phase, echo_times_s=(0.006, 0.003, 0.009))
    with pytest.raises(InputError, match="milliseconds"):
        _read(magnitude, phase, echo_times_s=(3.3, 6.4, 9.5))
    _save(magnitude[1], np.ones((6, 7, 4)))
    with pytest.raises(InputError, match=r"shape \(6, 7, 4\)"):
        _read(magnitude, phase)
    _save(magnitude[1], np.ones(SHAPE), affine=np.diag([1, 1, 1.1, 1]))
    with pytest.raises(InputError, match="mm away"):
        _read(magnitude, phase)


def test_missing_echo_times_and_field_strength(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    magnitude = _save(tmp_path / "m.nii.gz", rng.random((*SHAPE, 2)))
    phase = _save(tmp_path / "p.nii.gz", rng.uniform(-3, 3, (*SHAPE, 2)), {"Units": "rad"})
    with pytest.raises(InputError, match="give --echo-times in seconds"):
        _read([magnitude], [phase])
    series = _read([magnitude], [phase], echo_times_s=(0.003, 0.006))
    assert series.scan.field_strength_t is None
    with pytest.raises(InputError, match="--field-strength"):
        _ = series.scan.hz_per_ppm


def test_a_fifth_axis_is_coils_and_files_per_echo_may_hold_coils(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(-3, 3, (*SHAPE, 2, 4))
    whole = _save(tmp_path / "p.nii.gz", values, {"Units": "rad", "EchoTime": [0.003, 0.006]})
    series = _read([_save(tmp_path / "m.nii.gz", np.abs(values))], [whole])
    assert series.phase_rad.shape == (2, 4, *SHAPE)
    assert np.allclose(series.phase_rad[1, 3], values[..., 1, 3], atol=1e-6)
    wrong = _save(tmp_path / "q.nii.gz", values[..., 0], {"Units": "rad", "EchoTime": 0.003})
    with pytest.raises(InputError, match="one file per echo"):
        _read([wrong, wrong], [wrong, wrong], echo_times_s=(0.003, 0.006))


def test_one_magnitude_of_another_echo_time_is_found(tmp_path: Path) -> None:
    magnitude, phase = _pair(tmp_path, Units="rad")
    with pytest.raises(InputError, match=r"its EchoTime is 0\.006 s; expected 0\.003 s"):
        _read(magnitude[::-1], phase)


def test_damaged_files(tmp_path: Path) -> None:
    whole = _save(tmp_path / "a.nii.gz", np.random.default_rng(0).random((20, 20, 20)))
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    text = tmp_path / "text.nii"
    text.write_text("hello")
    for path in (cut, text, tmp_path / "absent.nii"):
        with pytest.raises(InputError, match=path.name):
            read_volume(path)
    with pytest.raises(InputError, match="one 3-D volume"):
        read_volume(_save(tmp_path / "four.nii.gz", np.ones((*SHAPE, 2))))


def test_philips_phase_is_radian_by_its_rescale(shared_data: Path) -> None:
    folder = shared_data / "philips_dual_echo" / "nifti"
    phase = sorted(folder.glob("*_ph.nii.gz"))
    series = _read([Path(str(p).replace("_ph", "")) for p in phase], phase)
    assert series.decisions["phase_unit"].startswith("rad, from the Philips rescale")
    assert series.scan.echo_times_s == (0.0023, 0.0046)
    assert series.scan.b0_direction[2] == pytest.approx(math.cos(math.radians(3.49)), abs=1e-3)
    assert float(series.phase_rad.abs().max()) == pytest.approx(math.pi, abs=2e-3)


def test_romeo_phase_without_header_is_refused_then_scaled(shared_data: Path) -> None:
    folder = shared_data / "romeo_three_echo"
    files = ([folder / "Mag.nii.gz"], [folder / "Phase.nii.gz"])
    with pytest.raises(InputError, match="give --phase-unit"):
        _read(*files, echo_times_s=(0.004, 0.008, 0.012))
    series = _read(*files, echo_times_s=(0.004, 0.008, 0.012), phase_unit="range:-0.003674:0.003674")
    assert float(series.phase_rad.abs().max()) == pytest.approx(math.pi, rel=1e-3)


def test_nan_of_real_phase_are_counted(shared_data: Path, tmp_path: Path) -> None:
    phase = shared_data / "romeo_three_echo" / "phase_with_nan.nii.gz"
    image, magnitude = read_image(phase), tmp_path / "magnitude.nii.gz"
    write_volume(magnitude, torch.from_numpy(image.values).abs(), image.grid)
    series = _read([magnitude], [phase], echo_times_s=(0.004, 0.008), phase_unit="rad")
    assert series.n_not_finite == 640
