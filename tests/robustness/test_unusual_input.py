"""Input that is unusual and right: it is read, and what comes out is the same as of ordinary input."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from small_inputs import AFFINE, INVERT, LABELS, SHAPE, dataset, echo_images, image, magnitude_of, phase_of, single_step

from dlqsm.cli import main
from dlqsm.io.bids import read_dataset
from dlqsm.io.images import read_echo_series
from dlqsm.io.nifti import read_image

UNICODE = "Größe – 頭部 ñ 🧠"


def _run(command: str, inputs: Path, out: Path) -> int:
    return main([word.replace("IN", str(inputs)).replace("OUT", str(out)) for word in command.split()])


def test_names_of_any_language_work(tmp_path: Path) -> None:
    """And they change nothing."""
    tables = []
    for name in ("plain", UNICODE):
        inputs, out = tmp_path / name, tmp_path / f"{name} out"
        single_step(inputs)
        assert _run(LABELS, inputs, out) == 0
        tables.append(pd.read_csv(tmp_path / f"{name} out.tsv", sep="\t"))
    pd.testing.assert_frame_equal(*tables)
    found = read_dataset(dataset(tmp_path / UNICODE))
    assert [person.label for person in found.participants] == ["sub-01"]


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    image(tmp_path / "real.nii.gz", phase_of(*SHAPE))
    (tmp_path / "link.nii.gz").symlink_to("real.nii.gz")
    np.testing.assert_array_equal(
        read_image(tmp_path / "link.nii.gz").values, read_image(tmp_path / "real.nii.gz").values
    )


def test_compressed_and_plain_are_read_alike(tmp_path: Path) -> None:
    for dtype in (np.float32, np.float64, np.int16):
        values = (100 * phase_of(*SHAPE, 2)).astype(dtype)
        for name in ("a.nii", "a.nii.gz"):
            image(tmp_path / name, values)
        both = [read_image(tmp_path / name) for name in ("a.nii", "a.nii.gz")]
        np.testing.assert_array_equal(both[0].values, values)
        np.testing.assert_array_equal(both[1].values, values)
        assert both[0].grid == both[1].grid


def test_the_header_scaling_is_applied_in_both_forms(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        made = nib.Nifti1Image(np.arange(720, dtype=np.int16).reshape(SHAPE), AFFINE)
        made.header.set_slope_inter(2.0, -4096.0)
        made.to_filename(tmp_path / name)
        read = read_image(tmp_path / name)
        assert (read.slope, read.intercept) == (2.0, -4096.0)
        assert read.values[0, 0, 1] == pytest.approx(-4094.0)


@pytest.mark.parametrize("shear_deg", [0.0, 0.5])
def test_what_rounding_leaves_of_a_right_angle_is_none(tmp_path: Path, shear_deg: float) -> None:
    affine = AFFINE.copy()
    affine[0, 1] = affine[1, 1] * np.tan(np.radians(shear_deg))
    image(tmp_path / "a.nii", phase_of(*SHAPE), affine)
    assert read_image(tmp_path / "a.nii").grid.shear_deg == pytest.approx(shear_deg, abs=1e-4)


def test_an_oblique_grid_is_not_sheared(tmp_path: Path) -> None:
    angle = np.radians(30)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-1.0, 1.0, 3.0])
    image(tmp_path / "a.nii", phase_of(*SHAPE), affine)
    read = read_image(tmp_path / "a.nii")
    assert read.grid.shear_deg < 1e-4
    np.testing.assert_allclose(read.grid.affine, affine, atol=1e-6)


def test_a_mask_of_zeros_is_as_small_as_a_file_gets(tmp_path: Path) -> None:
    """The most that gzip can pack passes the check of sizes."""
    image(tmp_path / "zeros.nii", np.zeros((256, 256, 64), np.uint8))
    (tmp_path / "zeros.nii.gz").write_bytes(gzip.compress((tmp_path / "zeros.nii").read_bytes(), 9))
    assert (tmp_path / "zeros.nii.gz").stat().st_size < 256 * 256 * 64 / 1000
    assert not read_image(tmp_path / "zeros.nii.gz").values.any()


def test_a_result_onto_its_input_is_refused_and_the_input_stays(tmp_path: Path) -> None:
    single_step(tmp_path)
    before = (tmp_path / "field.nii.gz").read_bytes()
    assert main([word.replace("IN", str(tmp_path)) for word in INVERT.replace("OUT", "IN/field").split()]) == 2
    assert (tmp_path / "field.nii.gz").read_bytes() == before


def test_magnitude_below_zero_by_interpolation_passes(tmp_path: Path) -> None:
    echo_images(tmp_path)
    values = magnitude_of(*SHAPE, 3)
    values[0] = -0.05 * values.max()
    image(tmp_path / "magnitude.nii.gz", values)
    told = {"phase_unit": None, "echo_times_s": None, "field_strength_t": None, "b0_direction": None}
    read = read_echo_series([tmp_path / "magnitude.nii.gz"], [tmp_path / "phase.nii.gz"], **told)
    assert float(read.magnitude.min()) < 0
