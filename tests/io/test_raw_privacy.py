"""Raw data of somebody: nothing of whom, when and where gets into images, records or raw data, unless asked for."""

import json
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from raw_fixtures import small_raw, written

from canaries import leaks, plant_in_image, plant_in_raw, word_of
from dlqsm.cli import main
from dlqsm.core.checks import InputError
from dlqsm.io.raw import read_raw
from dlqsm.io.raw_identity import read_identity, tells_identity

FULL = np.argwhere(np.ones((14, 9), dtype=bool)).astype(np.int32)
HALF = ("--acceleration", "1.5", "--calibration", "9", "9")


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, list[str]]:
    """Fully sampled raw data of somebody, and the words that tell of whom."""
    raw = small_raw()
    rng = np.random.default_rng(3)
    n = len(FULL)
    samples = (rng.standard_normal((n, 2, 3, 20)) + 1j * rng.standard_normal((n, 2, 3, 20))).astype(np.complex64)
    full = small_raw(lines=FULL, calibration=np.ones(n, dtype=bool))
    source = written(tmp_path, type(raw)(full.header, samples))
    folder = tmp_path / word_of("folder") / "in"
    folder.mkdir(parents=True)
    words = plant_in_raw(source, folder / "scan.h5")
    assert {line.rpartition(": ")[2] for line in leaks(words, folder)} == set(words)
    return folder / "scan.h5", words


def test_a_reconstruction_tells_nothing(planted, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, words = planted
    assert main(["recon", str(path), str(tmp_path / "out"), "--method", "zero"]) == 0
    assert leaks([*words, word_of("folder")], tmp_path / "out", told="".join(capfd.readouterr())) == []


def test_raw_data_are_passed_on_without_it(planted, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, words = planted
    assert main(["undersample", str(path), str(tmp_path / "half.h5"), *HALF]) == 0
    assert main(["convert", str(path), str(tmp_path / "again.h5")]) == 0
    told = "".join(capfd.readouterr())
    assert leaks([*words, word_of("folder")], tmp_path / "half.h5", tmp_path / "again.h5", told=told) == []
    assert tells_identity(path)
    assert not tells_identity(tmp_path / "half.h5") and not tells_identity(tmp_path / "again.h5")


def test_it_is_kept_where_asked_for(planted, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, words = planted
    assert main(["undersample", str(path), str(tmp_path / "half.h5"), *HALF, "--keep-identity"]) == 0
    assert leaks(words, told="".join(capfd.readouterr())) == []
    one, other = (read_identity(place) for place in (path, tmp_path / "half.h5"))
    assert one.subjectInformation.patientName == word_of("xml patientName")
    for part in ("subjectInformation", "studyInformation", "measurementInformation"):
        assert getattr(one, part) == getattr(other, part)
    assert read_raw(tmp_path / "half.h5").header.grid.shape == read_raw(path).header.grid.shape


class TestDataset:
    @pytest.fixture
    def dataset(self, planted, tmp_path: Path) -> tuple[Path, list[str]]:
        path, words = planted
        root = tmp_path / "bids"
        for folder in (root / "sourcedata" / "sub-1" / "anat", root / "sub-1" / "anat"):
            folder.mkdir(parents=True)
        path.rename(root / "sourcedata" / "sub-1" / "anat" / "sub-1_acq-FULL_MEGRE.h5")
        t1w = root / "sub-1" / "anat" / "sub-1_T1w.nii.gz"
        nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([2.0, 2, 2, 1])).to_filename(t1w)
        words += plant_in_image(t1w)
        (root / "dataset_description.json").write_text(json.dumps({"Name": "one", "BIDSVersion": "1.10.0"}))
        person = word_of("birth")
        (root / "participants.tsv").write_text(f"participant_id\tage\tborn\tsex\nsub-1\t40\t{person}\tF\n")
        (root / "participants.json").write_text(json.dumps({"age": {"Units": "year"}, "born": {"Description": person}}))
        return root, [*words, person]

    def test_a_new_dataset_is_without_it(self, dataset, tmp_path: Path) -> None:
        root, words = dataset
        assert main(["undersample", str(root), str(tmp_path / "new"), *HALF, "--quiet"]) == 0
        assert leaks(words, tmp_path / "new") == []
        assert (tmp_path / "new" / "participants.tsv").read_text() == "participant_id\tage\tsex\nsub-1\t40\tF\n"
        images = [nib.load(top / "sub-1" / "anat" / "sub-1_T1w.nii.gz") for top in (root, tmp_path / "new")]
        assert np.array_equal(*(image.get_fdata() for image in images))
        assert np.array_equal(*(image.affine for image in images))
        scans = [top / "sourcedata" / "sub-1" / "anat" / "sub-1_acq-FULL_MEGRE.h5" for top in (root, tmp_path / "new")]
        one, other = (read_raw(scan) for scan in scans)
        assert np.array_equal(one.readouts(0, 20), other.readouts(0, 20))
        assert np.allclose(one.header.grid.affine, other.header.grid.affine, atol=1e-4)

    def test_a_new_dataset_is_with_it_where_asked_for(self, dataset, tmp_path: Path) -> None:
        root, words = dataset
        assert main(["undersample", str(root), str(tmp_path / "new"), *HALF, "--quiet", "--keep-identity"]) == 0
        found = {line.rpartition(": ")[2] for line in leaks(words, tmp_path / "new")}
        assert found == set(words)


def test_data_of_dlqsm_are_linked_and_take_no_room(tmp_path: Path) -> None:
    assert not tells_identity(written(tmp_path))


@pytest.mark.parametrize("declaration", ['<!ENTITY x SYSTEM "file:///etc/hostname">', '<!ENTITY a "aaaaaaaaaa">'])
def test_entities_of_a_header_are_not_resolved(declaration: str, tmp_path: Path) -> None:
    source, target = written(tmp_path), tmp_path / "declared.h5"
    with h5py.File(source) as old, h5py.File(target, "w") as new:
        old.copy("dataset", new)
        text = new["dataset/xml"][0].decode().partition("?>")[2]
        del new["dataset/xml"]
        text = f'<?xml version="1.0"?><!DOCTYPE ismrmrdHeader [{declaration}]>{text}'
        new["dataset"].create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = text.encode()
    with pytest.raises(InputError, match="declares a document type"):
        read_raw(target)


def test_a_birth_date_that_is_none_is_not_repeated(planted, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, words = planted
    with h5py.File(path, "r+") as file:
        text = file["dataset/xml"][0].decode().replace("1917-02-05", word_of("no date"))
        del file["dataset/xml"]
        file["dataset"].create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = text.encode()
    assert main(["recon", str(path), str(tmp_path / "out"), "--method", "zero", "--quiet"]) == 0
    main(["undersample", str(path), str(tmp_path / "half.h5"), *HALF, "--keep-identity", "--quiet"])
    assert leaks([*words, word_of("no date")], told="".join(capfd.readouterr())) == []
