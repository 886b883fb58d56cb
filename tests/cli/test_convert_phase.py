"""Units, signs and complex images of each maker, as `dlqsm convert` reads them, and a real scan."""

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from converted import as_read, convert, image, is_valid, sidecar
from dlqsm.cli import main
from made_dicom import (
    MadeSeries,
    both,
    real_and_imaginary,
    stored_complex,
    stored_phase,
    write_classic,
)


def test_the_option_settles_a_unit_that_headers_leave_open(tmp_path: Path, refused: Callable[..., str]) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both(), vendor="GE MEDICAL SYSTEMS"))
    said = refused("convert", tmp_path / "in", tmp_path / "out")
    assert "series 5 'gre_qsm': neither the header nor a sidecar says in what unit" in said and "--phase-unit" in said
    convert(tmp_path / "in", tmp_path / "out", "--phase-unit", "range:0:4096")
    expected = stored_phase()[0] * (2 * np.pi / 4096) - np.pi
    assert np.abs(image(tmp_path / "out", 1, "phase").get_fdata() - as_read(expected)).max() < 1e-5


@pytest.mark.parametrize("kind", ["dicom_classic", "dicom_enhanced"])
def test_a_real_scan_equals_the_stored_images(shared_data: Path, tmp_path: Path, kind: str) -> None:
    source = shared_data / "philips_dual_echo"
    convert(source / kind, tmp_path / "out")
    for echo in (1, 2):
        for part, ending in (("mag", ""), ("phase", "_ph")):
            stored = nib.load(source / "nifti" / f"2001_WIP_fcMRI_Field_Mapping_cl_e{echo}{ending}.nii.gz")
            own, expected = image(tmp_path / "out", echo, part), stored.get_fdata()
            tolerance = 1e-4 if part == "phase" else 1e-6 * expected.max()
            assert np.abs(own.get_fdata() - expected).max() < tolerance
            assert np.allclose(own.affine, stored.affine, atol=1e-3)
    text = "".join(p.read_text() for p in (tmp_path / "out").rglob("*.*") if p.suffix in (".json", ".tsv"))
    for secret in ("d2n_Philips", "45053", "19800501", "662491096", "MR61"):
        assert secret.lower() not in text.lower()
    is_valid(tmp_path / "out")


def test_the_sign_is_turned_on_request_and_filtered_phase_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    convert(tmp_path / "in", tmp_path / "as_stored")
    convert(tmp_path / "in", tmp_path / "turned", "--invert-phase")
    stored, turned = (image(tmp_path / name, 1, "phase").get_fdata() for name in ("as_stored", "turned"))
    assert np.array_equal(turned, -stored)
    anat = "sub-01/anat/sub-01_echo-1_part-phase_MEGRE.json"
    assert "--invert-phase" in sidecar(tmp_path / "turned" / anat)["PhaseSign"]
    assert "PhaseSign" not in sidecar(tmp_path / "as_stored" / anat)
    write_classic(tmp_path / "swi", MadeSeries(7, "Pha_Images", parts=both()))
    sentence = refused("convert", tmp_path / "swi", tmp_path / "out")
    assert "series 7 'Pha_Images'" in sentence and "high-pass filtered" in sentence
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "swi", tmp_path / "out", "--accept-phase", "filtered")


def complex_image(root: Path, echo: int) -> np.ndarray:
    return image(root, echo, "mag").get_fdata() * np.exp(1j * image(root, echo, "phase").get_fdata())


@pytest.mark.parametrize("alternating", [False, True])
@pytest.mark.parametrize("in_one_series", [False, True])
def test_real_and_imaginary_images_of_ge_become_magnitude_and_phase(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], alternating: bool, in_one_series: bool
) -> None:
    parts = real_and_imaginary(stored_complex(alternating=alternating))
    for number, some in enumerate([parts] if in_one_series else [{name: v} for name, v in parts.items()], 5):
        write_classic(tmp_path / "in", MadeSeries(number, "multi-echo", some, vendor="GE"))
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "rad, the angle of real and imaginary images" in said
    assert ("alternates from slice to slice, as GE stores it" if alternating else "does not alternate") in said
    for echo in (1, 2, 3):
        found, expected = complex_image(tmp_path / "out", echo), as_read(stored_complex()[echo - 1])
        turned = found * (1 if abs(found[0, 0, 0] - expected[0, 0, 0]) < 500 else -1)
        assert np.abs(turned - expected).max() < 2.0
    is_valid(tmp_path / "out")


def test_complex_images_that_can_not_be_used(tmp_path: Path, refused: Callable[..., str]) -> None:
    parts = real_and_imaginary(stored_complex())
    write_classic(tmp_path / "real", MadeSeries(parts={"R": parts["R"]}, vendor="GE"))
    assert "found only real images" in refused("convert", tmp_path / "real", tmp_path / "out")
    write_classic(tmp_path / "short", MadeSeries(parts={"R": parts["R"], "I": parts["I"][:2]}, vendor="GE"))
    assert "no imaginary image" in refused("convert", tmp_path / "short", tmp_path / "out")
    write_classic(tmp_path / "both", MadeSeries(parts=parts, vendor="GE"))
    sentence = refused("convert", tmp_path / "both", tmp_path / "out", "--phase-unit", "rad")
    assert "leave out --phase-unit" in sentence
    assert not (tmp_path / "out").exists()


def test_phase_of_uih_needs_its_unit_named(tmp_path: Path, refused: Callable[..., str]) -> None:
    """No rule is known for this vendor: nothing is guessed from 0 to 4095."""
    write_classic(tmp_path / "in", MadeSeries(parts=both(), vendor="UIH"))
    assert "give --phase-unit" in refused("convert", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "in", tmp_path / "out", "--phase-unit", "range:0:4096")
    expected = (stored_phase()[0] / 4096 - 0.5) * 2 * np.pi
    assert np.abs(image(tmp_path / "out", 1, "phase").get_fdata() - as_read(expected)).max() < 1e-5
