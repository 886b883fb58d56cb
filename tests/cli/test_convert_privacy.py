"""Nothing that names somebody gets from DICOM or Siemens raw data into what is written or told, unless asked for."""

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from canaries import NAME_TAGS, SERIES_UID, leaks, plant_in_dicom, word_of
from dlqsm.cli import main
from made_dicom import MadeSeries, both, write_classic, write_enhanced
from made_twix import all_lines, point_readouts, write_made_twix


@pytest.mark.parametrize("write", [write_classic, write_enhanced], ids=["classic", "enhanced"])
def test_nothing_of_a_dicom_header_identifies(write, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "in", MadeSeries(parts=both(), vendor="Philips"))
    words = plant_in_dicom(tmp_path / "in")
    assert leaks(words, tmp_path / "in"), "nothing was planted"
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert leaks(words, tmp_path / "out", told="".join(capfd.readouterr())) == []


def test_sentences_of_refusals_do_not_identify(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Magnitude alone, an echo that is missing, another person, a header that ends early."""
    refused = {
        "magnitude": {"M": both()["M"]},
        "echo": {"M": both()["M"], "P": both()["P"][:2]},
    }
    words: list[str] = []
    for name, parts in refused.items():
        write_classic(tmp_path / name, MadeSeries(parts=parts))
        words = plant_in_dicom(tmp_path / name)
    write_classic(tmp_path / "people" / "a", MadeSeries(parts=both()))
    words += plant_in_dicom(tmp_path / "people")
    write_classic(tmp_path / "people" / "b", MadeSeries(7, parts=both(), patient=f"{word_of('PatientName')}er^Of"))
    shutil.copytree(tmp_path / "magnitude", tmp_path / "short")
    for path in (tmp_path / "short").iterdir():
        path.write_bytes(path.read_bytes()[:400])
    for name in (*refused, "people", "short"):
        assert main(["convert", str(tmp_path / name), str(tmp_path / f"{name}_out")]) == 2
        told = "".join(capfd.readouterr())
        assert leaks(words, told=told) == []
        assert not (tmp_path / f"{name}_out").exists()


def test_an_export_carries_the_person_into_dicom_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Who gives a DICOM reference asks for its patient; the screen is told nothing of it all the same."""
    write_classic(tmp_path / "in", MadeSeries(parts=both()))
    words = plant_in_dicom(tmp_path / "in")
    assert main(["convert", str(tmp_path / "in"), str(tmp_path / "out"), "--quiet"]) == 0
    chi = tmp_path / "out" / "sub-01" / "anat" / "sub-01_echo-1_part-mag_MEGRE.nii.gz"
    chi.with_name("sub-01_echo-1_part-mag_MEGRE.json").write_text('{"Units": "ppm"}')
    _scaled(chi)
    capfd.readouterr()
    assert main(["export", str(chi), str(tmp_path / "in"), str(tmp_path / "dicom")]) == 0
    assert leaks(words, told="".join(capfd.readouterr())) == []
    found = {line.split(": ")[1] for line in leaks(words, tmp_path / "dicom")}
    assert word_of("PatientName") in found
    # What is copied is what places the series: neither private tags nor physicians beside the referring one.
    # The protocol is copied as the scanner has it, with the physician who is planted in its name.
    copied = ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName")
    others = {word_of(tag) for tag in NAME_TAGS if tag not in copied}
    assert not found & {*others, word_of("private"), word_of("nested private"), word_of("PatientAddress")}
    assert SERIES_UID in found  # references to the images of each slice


def _scaled(path: Path) -> None:
    image = nib.load(path)
    values = np.asarray(image.dataobj, dtype=np.float32)
    nib.Nifti1Image(values / 1e4, image.affine).to_filename(path)


def test_nothing_of_siemens_raw_data_identifies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_made_twix(tmp_path / "meas.dat", all_lines(point_readouts((2.0, 1.0, 3.0))))
    words = ["Doe", "Jane"]
    assert b"Doe^Jane" in path.read_bytes()
    assert main(["convert", str(path), str(tmp_path / "out" / "raw.h5")]) == 0
    assert main(["convert", str(path), str(tmp_path / "bids"), "--participant-label", "1"]) == 0
    assert leaks(words, tmp_path / "out", tmp_path / "bids", told="".join(capfd.readouterr())) == []
