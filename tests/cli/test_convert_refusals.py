"""What `dlqsm convert` cannot use is refused in one sentence, and nothing is written."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from converted import T1W
from dlqsm.io import dicom_volumes
from made_dicom import (
    SECRETS,
    SHAPE,
    MadeSeries,
    both,
    stored_magnitude,
    write_classic,
    write_enhanced,
)


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
