"""`dlqsm convert`: DICOM files become a dataset that `dlqsm run` reads, and that grows."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from converted import T1W, as_read, convert, image, is_valid, sidecar
from dlqsm.cli import main
from dlqsm.io.bids import read_dataset
from dlqsm.io.images import read_echo_series
from made_dicom import (
    COSINES,
    SECRETS,
    SHAPE,
    MadeSeries,
    both,
    stored_magnitude,
    stored_phase,
    write_classic,
    write_enhanced,
)


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
        archive.writestr("__MACOSX/._inner.zip", b"Mac OS X")
    (tmp_path / "in" / "._outer.zip").write_bytes(b"Mac OS X")
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
