"""`dlqsm convert`: DICOM and raw data become datasets that `dlqsm run` reads; bad input writes nothing."""

import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from dlqsm.cli import main
from dlqsm.io import dicom_volumes
from dlqsm.io.bids import read_dataset
from dlqsm.io.images import read_echo_series
from dlqsm.io.raw import read_raw
from made_dicom import (
    COSINES,
    SECRETS,
    SHAPE,
    MadeSeries,
    both,
    real_and_imaginary,
    stored_complex,
    stored_magnitude,
    stored_phase,
    write_classic,
    write_enhanced,
)
from made_twix import all_lines, point_readouts, write_made_twix

T1W = MadeSeries(
    2,
    "t1_mprage",
    {"M": stored_magnitude(1, 7)},
    (2.5,),
    more={"InversionTime": 900.0, "ScanningSequence": ["GR", "IR"]},
)


def convert(*words: object) -> None:
    assert main(["convert", *map(str, words), "--quiet"]) == 0


def image(root: Path, echo: int, part: str, stem: str = "sub-01") -> nib.Nifti1Image:
    return nib.load(root / "sub-01" / "anat" / f"{stem}_echo-{echo}_part-{part}_MEGRE.nii.gz")


def sidecar(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def is_valid(root: Path) -> None:
    """The validator of BIDS finds no error; where it is not installed nothing is said."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        return
    told = subprocess.run([validator, "--json", str(root)], capture_output=True, text=True, check=False)
    found = json.loads(told.stdout)["issues"]["issues"]
    assert [issue for issue in found if issue["severity"] == "error"] == []


def as_read(volume: np.ndarray) -> np.ndarray:
    """Stored values ``(x, y, z)`` in the order of NIfTI: dcm2niix lets axes run to the right and to the front."""
    return volume[::-1, ::-1]


def test_classic_files_become_a_valid_dataset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_classic(tmp_path / "in" / "a" / "b", MadeSeries(parts=both()))
    write_classic(tmp_path / "in" / "c", T1W)
    (tmp_path / "in" / "notes.txt").write_text("no image")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    for part in (
        "3 echoes at 4 8 12 ms",
        "phase unit: mrad",
        "B0 direction: (0.0000, 0.14",
        "T1w: series 2",
        "1 files are",
    ):
        assert part in said
    names = sorted(p.name for p in (tmp_path / "out" / "sub-01" / "anat").glob("*.nii.gz"))
    assert len(names) == 7 and "sub-01_T1w.nii.gz" in names
    phase = image(tmp_path / "out", 2, "phase")
    expected = (stored_phase()[1] * (6284 / 4095) - 3142.0) * 1e-3
    assert phase.get_data_dtype() == np.float32
    assert np.abs(phase.get_fdata() - as_read(expected)).max() < 1e-5
    assert np.array_equal(image(tmp_path / "out", 3, "mag").get_fdata(), as_read(stored_magnitude()[2]))
    about = sidecar(tmp_path / "out" / "sub-01" / "anat" / "sub-01_echo-2_part-phase_MEGRE.json")
    assert (about["EchoTime"], about["Units"], about["MagneticFieldStrength"]) == (0.008, "rad", 3)
    assert about["RepetitionTimeExcitation"] == 0.03
    is_valid(tmp_path / "out")


def test_the_affine_is_that_of_the_headers(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    convert(tmp_path / "in", tmp_path / "out")
    affine = image(tmp_path / "out", 1, "phase").affine
    along_x, along_y = np.array(COSINES[:3]), np.array(COSINES[3:])
    corner = np.array([-11.0, -9.0, -8.0]) + 2.0 * (SHAPE[0] - 1) * along_x + 2.0 * (SHAPE[1] - 1) * along_y
    to_ras = np.array([-1, -1, 1])
    assert affine[:3, 3] == pytest.approx(corner * to_ras, abs=1e-3)
    assert affine[:3, 0] == pytest.approx(-2.0 * along_x * to_ras, abs=1e-3)
    assert affine[:3, 1] == pytest.approx(-2.0 * along_y * to_ras, abs=1e-3)


def test_enhanced_and_classic_give_the_same(tmp_path: Path) -> None:
    write_classic(tmp_path / "classic", MadeSeries(parts=both()))
    write_enhanced(tmp_path / "enhanced", MadeSeries(parts=both()))
    for kind in ("classic", "enhanced"):
        convert(tmp_path / kind, tmp_path / f"{kind}_out")
    for echo in (1, 2, 3):
        for part in ("mag", "phase"):
            one, other = (image(tmp_path / f"{kind}_out", echo, part) for kind in ("classic", "enhanced"))
            assert np.allclose(one.get_fdata(), other.get_fdata(), atol=1e-5)
            assert np.allclose(one.affine, other.affine, atol=1e-4)


def test_siemens_series_zipped_within_a_folder(tmp_path: Path) -> None:
    """Magnitude and phase are series of their own; the scaling is Siemens'; one zip lies in another."""
    write_classic(tmp_path / "made", MadeSeries(5, "gre", {"M": stored_magnitude()}, vendor="SIEMENS"))
    write_classic(tmp_path / "made", MadeSeries(6, "gre", {"P": stored_phase()}, vendor="SIEMENS"))
    (tmp_path / "in").mkdir()
    inner = tmp_path / "inner.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for path in (tmp_path / "made").iterdir():
            archive.write(path, f"deep/er/{path.name}")
    with zipfile.ZipFile(tmp_path / "in" / "outer.zip", "w") as archive:
        archive.write(inner, "inner.zip")
    convert(tmp_path / "in", tmp_path / "out")
    expected = (2.0 * stored_phase()[0] - 4096) * np.pi / 4096
    assert np.abs(image(tmp_path / "out", 1, "phase").get_fdata() - as_read(expected)).max() < 1e-5


def test_what_run_reads_is_what_was_written(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    convert(tmp_path / "in", tmp_path / "out", "--acq", "PI2", "--session-label", "ses-1", "--run", "2")
    (person,) = read_dataset(tmp_path / "out").participants
    (arm,) = person.arms
    assert dict(arm.entities) == {"ses": "1", "acq": "PI2", "run": "2"}
    series = read_echo_series(
        arm.magnitude, arm.phase, phase_unit=None, echo_times_s=None, field_strength_t=None, b0_direction=None
    )
    assert series.scan.echo_times_s == (0.004, 0.008, 0.012)
    assert series.decisions["phase_unit"] == "rad, from the sidecar's Units"
    assert series.scan.field_strength_t == 3  # 127.75 MHz is 3.0004 T, the same within a thousandth


def test_nobody_is_named_anywhere(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both(), name="gre of Doe"))
    write_classic(tmp_path / "in", T1W)
    convert(tmp_path / "in", tmp_path / "out")
    for path in (p for p in (tmp_path / "out").rglob("*") if p.is_file()):
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for secret in SECRETS:
            assert secret.lower().encode() not in content.lower(), f"{secret} in {path.name}"
            assert secret.lower() not in str(path.relative_to(tmp_path)).lower()
    about = sidecar(tmp_path / "out" / "sub-01" / "anat" / "sub-01_echo-1_part-mag_MEGRE.json")
    assert "SeriesDescription" not in about
    assert not {"DeviceSerialNumber", "StationName", "InstitutionName", "StudyDescription"} & about.keys()


def test_a_dataset_grows_and_people_keep_their_rows(tmp_path: Path, refused: Callable[..., str]) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    out = tmp_path / "out"
    convert(tmp_path / "in", out)
    assert "say whose scan this is with --participant-label" in refused("convert", tmp_path / "in", out)
    assert "exists already; give --overwrite" in refused("convert", tmp_path / "in", out, "--participant-label", "01")
    people = pd.read_csv(out / "participants.tsv", sep="\t", dtype=str)
    people["group"] = "control"
    people.to_csv(out / "participants.tsv", sep="\t", index=False)
    convert(tmp_path / "in", out, "--participant-label", "sub-02")
    convert(tmp_path / "in", out, "--participant-label", "02", "--acq", "DL3")
    people = pd.read_csv(out / "participants.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert people.values.tolist() == [["sub-01", "41", "F", "control"], ["sub-02", "41", "F", "n/a"]]
    is_valid(out)


def test_overwrite_leaves_no_echo_of_the_old_scan(tmp_path: Path) -> None:
    write_classic(tmp_path / "three", MadeSeries(parts=both()))
    write_classic(tmp_path / "two", MadeSeries(parts=both(2), echo_times_ms=(5.0, 10.0)))
    convert(tmp_path / "three", tmp_path / "out")
    convert(tmp_path / "two", tmp_path / "out", "--participant-label", "01", "--overwrite")
    names = {p.name for p in (tmp_path / "out" / "sub-01" / "anat").iterdir()}
    assert len(names) == 8 and not [name for name in names if "echo-3" in name]


def test_a_choice_among_repeated_scans(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in (5, 8):
        write_classic(tmp_path / "in", MadeSeries(number, parts=both()))
    said = refused("convert", tmp_path / "in", tmp_path / "out")
    assert "several series hold phase images that fit (series 5 'gre_qsm' and series 8 'gre_qsm')" in said
    assert not (tmp_path / "out").exists()
    convert(tmp_path / "in", tmp_path / "out", "--series", "8", "--run", "2")
    assert image(tmp_path / "out", 1, "phase", "sub-01_run-2").shape == SHAPE
    assert "holds no series 7; --series can be of 5, 8" in refused(
        "convert", tmp_path / "in", tmp_path / "other", "--series", "7"
    )


def test_a_two_dimensional_field_map_does_not_compete(tmp_path: Path) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    single = {"P": stored_phase(1, 9)}
    write_classic(tmp_path / "in", MadeSeries(3, "field_map", single, (7.0,), more={"MRAcquisitionType": "2D"}))
    convert(tmp_path / "in", tmp_path / "out")
    assert image(tmp_path / "out", 3, "phase").shape == SHAPE


def test_the_option_settles_a_unit_that_headers_leave_open(tmp_path: Path, refused: Callable[..., str]) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both(), vendor="GE MEDICAL SYSTEMS"))
    said = refused("convert", tmp_path / "in", tmp_path / "out")
    assert "series 5 'gre_qsm': neither the header nor a sidecar says in what unit" in said and "--phase-unit" in said
    convert(tmp_path / "in", tmp_path / "out", "--phase-unit", "range:0:4096")
    expected = stored_phase()[0] * (2 * np.pi / 4096) - np.pi
    assert np.abs(image(tmp_path / "out", 1, "phase").get_fdata() - as_read(expected)).max() < 1e-5


def _only_text(folder: Path) -> None:
    folder.mkdir()
    (folder / "a.txt").write_text("text")


def _no_phase(folder: Path) -> None:
    write_classic(folder, MadeSeries(parts={"M": stored_magnitude()}))


def _echo_without_phase(folder: Path) -> None:
    for path in write_classic(folder, MadeSeries(parts=both()))[-SHAPE[2] :]:
        path.unlink()


def _missing_slice(folder: Path) -> None:
    for path in write_classic(folder, MadeSeries(parts=both()))[2 :: SHAPE[2]]:
        path.unlink()


def _mixed(folder: Path) -> None:
    write_enhanced(folder, MadeSeries(parts=both()), {"M": "MIXED", "P": "MIXED"})


def _one_echo(folder: Path) -> None:
    write_classic(folder, MadeSeries(parts=both(1), echo_times_ms=(8.0,)))


def _two_people(folder: Path) -> None:
    write_classic(folder, MadeSeries(parts=both()))
    write_classic(folder, MadeSeries(6, parts={"M": stored_magnitude()}, patient="Roe^Richard"))


def _two_t1w(folder: Path) -> None:
    write_classic(folder, MadeSeries(parts=both()))
    for number in (2, 3):
        write_classic(folder, MadeSeries(number, T1W.name, T1W.parts, T1W.echo_times_ms, more=T1W.more))


def _echo_planar(folder: Path) -> None:
    write_classic(folder, MadeSeries(parts=both(), more={"ScanningSequence": "EP"}))


def _damaged_zip(folder: Path) -> None:
    folder.mkdir()
    (folder / "scan.zip").write_bytes(b"PK\x03\x04 and then nothing")


def _leaving_zip(folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "scan.zip", "w") as archive:
        archive.writestr("../../elsewhere.dcm", "x")


def _damaged_header(folder: Path) -> None:
    path = write_classic(folder, MadeSeries(parts=both()))[0]
    path.write_bytes(path.read_bytes()[:150])


BAD = {
    "no DICOM": (_only_text, "expected MR images in DICOM form; none of its 1 files is one"),
    "magnitude alone": (_no_phase, "found only magnitude images"),
    "an echo without phase": (_echo_without_phase, "the echo at 12 ms of series 5 'gre_qsm' has no phase image"),
    "missing slice": (_missing_slice, "slices of series 5 'gre_qsm' are missing"),
    "MIXED": (_mixed, "holds MIXED images"),
    "one echo": (_one_echo, "holds one echo; expected two or more"),
    "two people": (_two_people, "is of another patient than"),
    "two T1w": (_two_t1w, "or give --no-t1w"),
    "echo-planar": (_echo_planar, "holds echo-planar series only"),
    "damaged zip": (_damaged_zip, "scan.zip: expected a zip file, but it cannot be read"),
    "zip that leaves": (_leaving_zip, "'../../elsewhere.dcm' leaves it"),
    "damaged header": (_damaged_header, "its DICOM header ends before it tells"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_sentence_and_nothing_is_written(
    tmp_path: Path, refused: Callable[..., str], case: str
) -> None:
    make, sentence = BAD[case]
    make(tmp_path / "in")
    said = refused("convert", tmp_path / "in", tmp_path / "out")
    assert sentence in said
    assert str(tmp_path / "in") in said
    assert not any(secret in said for secret in SECRETS)
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_a_failing_dcm2niix_is_told(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    monkeypatch.setattr(dicom_volumes, "_OPTIONS", (*dicom_volumes._OPTIONS, "-n", "1"))
    assert "dcm2niix" in refused("convert", tmp_path / "in", tmp_path / "out")
    absent = SimpleNamespace(bin=str(tmp_path / "absent"))
    monkeypatch.setattr(dicom_volumes, "dcm2niix", absent)
    assert "dcm2niix cannot be run on series 5 'gre_qsm'" in refused("convert", tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_labels_and_targets_that_cannot_be(tmp_path: Path, refused: Callable[..., str]) -> None:
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    for words, sentence in (
        (("--participant-label", "a_b"), "--participant-label must be letters and digits"),
        (("--acq", "acq-"), "--acq must be letters and digits"),
        (("--run", "0"), "--run must be at least 1"),
    ):
        assert sentence in refused("convert", tmp_path / "in", tmp_path / "out", *words)
    (tmp_path / "file").write_text("x")
    assert "this is a file" in refused("convert", tmp_path / "in", tmp_path / "file")
    (tmp_path / "derived").mkdir()
    (tmp_path / "derived" / "dataset_description.json").write_text('{"DatasetType": "derivative"}')
    assert "is a derivative dataset" in refused("convert", tmp_path / "in", tmp_path / "derived")
    assert "there is no such file or folder" in refused("convert", tmp_path / "absent", tmp_path / "out")


class TestRaw:
    @pytest.fixture
    def twix(self, tmp_path: Path) -> Path:
        noise = np.random.default_rng(0).standard_normal((2, 50)).astype(np.complex64)
        return write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts((4.0, -6.0, 9.0))), noise_before=noise)

    def test_twix_becomes_a_file(self, twix: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        convert(twix, tmp_path / "out" / "raw.h5")
        assert read_raw(tmp_path / "out" / "raw.h5").header.n_echoes == 2
        assert "exists already" in refused("convert", twix, tmp_path / "out" / "raw.h5")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["meas.dat", "out"]

    def test_twix_becomes_a_dataset_that_run_finds(self, twix: Path, tmp_path: Path) -> None:
        convert(twix, tmp_path / "out", "--acq", "DL3", "--participant-label", "07")
        (person,) = read_dataset(tmp_path / "out").participants
        assert (person.label, person.arms[0].name) == ("sub-07", "DL3")
        assert person.arms[0].raw == tmp_path / "out" / "sourcedata/sub-07/anat/sub-07_acq-DL3_MEGRE.h5"
        is_valid(tmp_path / "out")

    def test_ismrmrd_goes_into_a_dataset_without_names(self, twix: Path, tmp_path: Path) -> None:
        convert(twix, tmp_path / "raw.h5")
        convert(tmp_path / "raw.h5", tmp_path / "out")
        (person,) = read_dataset(tmp_path / "out").participants
        one, other = read_raw(tmp_path / "raw.h5"), read_raw(person.arms[0].raw)
        assert np.array_equal(one.readouts(0, 20), other.readouts(0, 20))
        assert np.allclose(one.header.grid.affine, other.header.grid.affine, atol=1e-4)
        assert np.array_equal(one.header.noise, other.header.noise)

    def test_what_recon_cannot_take_is_refused_and_leaves_nothing(
        self, tmp_path: Path, refused: Callable[..., str]
    ) -> None:
        lines = [line for line in all_lines(point_readouts((0, 0, 0))) if line.line % 2 == 0]
        path = write_made_twix(tmp_path / "meas.dat", lines)
        said = refused("convert", path, tmp_path / "new" / "out")
        assert "meas.dat has no calibration region" in said and "dlqsm-convert" not in said
        assert [p.name for p in tmp_path.iterdir()] == ["meas.dat"]

    def test_options_for_images_are_refused(self, twix: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        assert "--series is for DICOM images" in refused("convert", twix, tmp_path / "raw.h5", "--series", "3")


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
