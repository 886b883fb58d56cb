"""Atlas folders whole and broken, CIT168 from the shared data, and CIT168 without a network."""

import dataclasses
import inspect
import re
import socket
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from nilearn.datasets import fetch_atlas_pauli_2017
from templateflow.conf.cache import CacheConfig

from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.io import cit168
from dlqsm.io.atlas_files import read_atlas_folder

SHAPE = (16, 14, 12)
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])
AFFINE[:3, 3] = (16.0, -14.0, -15.0)
SHUFFLED = [3, 0, 13, 7, 1, 12, 4, 10, 2, 8, 5, 11, 6, 9]
"""Which label of `label_table` each probability volume holds."""


def _write(folder: Path, name: str, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    nib.Nifti1Image(values, affine).to_filename(folder / f"tpl-x_{name}.nii.gz")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small atlas: each label a block of four voxels, numbered by hundreds, volumes in another order."""
    labels = np.zeros(SHAPE, np.uint8)
    shares = np.zeros((*SHAPE, 14), np.uint8)
    rows = ["index\tname\tabbreviation\themisphere"]
    for place, (number, (roi, side)) in enumerate(label_table().items()):
        block = (slice(1 + place, 2 + place), slice(3, 7), slice(4, 6))
        labels[block] = 100 + number
        shares[(*block, SHUFFLED.index(number - 1))] = 255
        rows.append(f"{100 + number}\t{roi} {side}\t{roi}\t{side}")
    rows.append("7\tother\t\tleft")
    (tmp_path / "tpl-x_dseg.tsv").write_text("\n".join(rows) + "\n")
    _write(tmp_path, "dseg", labels)
    _write(tmp_path, "probseg", shares)
    _write(tmp_path, "desc-brain_T1w", np.pad(np.full((14, 12, 10), 90, np.uint8), 1))
    return tmp_path


class TestFolder:
    def test_volumes_find_their_labels_in_any_order(self, folder: Path) -> None:
        atlas = read_atlas_folder(folder)
        assert atlas.skull_stripped
        assert dict(atlas.names) == label_table()
        assert int(atlas.brain.sum()) == 14 * 12 * 10
        for place in range(14):
            assert float(atlas.probabilities[place, 1 + place, 4, 4]) == 1.0
            assert float(atlas.probabilities[place].sum()) == 8.0
        assert all(len(digest) == 64 for digest in atlas.source.values())

    @pytest.mark.parametrize("name", ["dseg.nii.gz", "dseg.tsv", "probseg.nii.gz", "desc-brain_T1w.nii.gz"])
    def test_a_missing_file_is_named(self, folder: Path, name: str) -> None:
        (folder / f"tpl-x_{name}").unlink()
        ending = name.removeprefix("desc-brain")
        with pytest.raises(InputError, match=f"expected one file whose name ends with _?{ending}; got none"):
            read_atlas_folder(folder)

    def test_two_of_a_kind_are_refused(self, folder: Path) -> None:
        (folder / "other_dseg.tsv").write_text("index\n")
        with pytest.raises(InputError, match=r"got other_dseg\.tsv, tpl-x_dseg\.tsv"):
            read_atlas_folder(folder)

    def test_hidden_files_are_none_of_it(self, folder: Path) -> None:
        (folder / "._tpl-x_dseg.tsv").write_bytes(b"Mac OS X")
        assert dict(read_atlas_folder(folder).names) == label_table()

    def test_another_grid_is_refused(self, folder: Path) -> None:
        moved = AFFINE.copy()
        moved[0, 3] += 2.0
        _write(folder, "dseg", np.zeros(SHAPE, np.uint8), moved)
        with pytest.raises(InputError, match=r"dseg\.nii\.gz: its affine puts voxels up to 2 mm away"):
            read_atlas_folder(folder)
        _write(folder, "dseg", np.zeros((16, 14, 11), np.uint8))
        with pytest.raises(InputError, match=r"has shape \(16, 14, 11\); expected \(16, 14, 12\)"):
            read_atlas_folder(folder)

    def test_a_wrong_number_of_volumes_is_refused(self, folder: Path) -> None:
        _write(folder, "probseg", np.zeros((*SHAPE, 7), np.uint8))
        with pytest.raises(InputError, match="has 7 volumes; expected 14"):
            read_atlas_folder(folder)

    def test_values_that_are_no_probabilities_are_refused(self, folder: Path) -> None:
        _write(folder, "probseg", np.full((*SHAPE, 14), 100, np.uint8))
        with pytest.raises(InputError, match="values reach from 100 to 100; expected probabilities"):
            read_atlas_folder(folder)

    def test_labels_of_other_names_are_refused(self, folder: Path) -> None:
        table = folder / "tpl-x_dseg.tsv"
        table.write_text(table.read_text().replace("\tRN\t", "\tNR\t"))
        with pytest.raises(InputError, match="has no row for RN left, RN right"):
            read_atlas_folder(folder)

    def test_volumes_that_overlap_no_label_are_refused(self, folder: Path) -> None:
        image = nib.load(folder / "tpl-x_probseg.nii.gz")
        _write(folder, "probseg", np.roll(np.asarray(image.dataobj), 5, axis=1))
        with pytest.raises(InputError, match="overlap no nucleus of the label image"):
            read_atlas_folder(folder)


def test_cit168_of_the_shared_data(shared_data: Path) -> None:
    atlas = read_atlas_folder(shared_data / "atlas_cit168")
    volumes = {name: float(p.sum()) for name, p in zip(atlas.names.values(), atlas.probabilities, strict=True)}
    # Sizes in the label table: Pu 7810, RN 452, SNc 189 voxels above 0.25; the sum of probabilities is near them.
    assert 5500 < volumes[("Pu", "left")] < 9000
    assert 250 < volumes[("RN", "right")] < 600
    assert volumes[("SNc", "left")] < volumes[("SNr", "left")]
    assert 1.2e6 < int(atlas.brain.sum()) < 2.2e6


class TestDownload:
    def test_without_a_network_it_is_one_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere(*_: object, **__: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", nowhere)
        with pytest.raises(InputError, match=r"labels could not be downloaded .*needs a network once"):
            cit168.fetch_cit168(tmp_path)

    @pytest.fixture
    def downloaded(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Both downloads replaced by small files: two-sided volumes of 16 structures, as OSF has them."""
        names = [*NUCLEI[::-1], "NAC", "EXA"]
        shares = np.zeros((*SHAPE, len(names)), np.float32)
        for index in range(len(names)):
            shares[2:14, 4 : 5 + index % 3, 5, index] = 0.8
        _write(folder, "maps", shares)
        fetched = SimpleNamespace(maps=str(folder / "tpl-x_maps.nii.gz"), labels=names)
        monkeypatch.setattr(cit168, "fetch_atlas_pauli_2017", lambda **_: fetched)
        template = folder / "tpl-x_desc-brain_T1w.nii.gz"
        monkeypatch.setattr(cit168.templateflow.api, "get", lambda *_, **__: template)
        return folder

    def test_sides_are_split_at_the_midline(self, downloaded: Path) -> None:
        atlas = cit168.fetch_cit168(downloaded)
        index = np.arange(SHAPE[0])
        left = (AFFINE[0, 0] * index + AFFINE[0, 3]) < 0
        for (_, side), share in zip(atlas.names.values(), atlas.probabilities.numpy(), strict=True):
            assert share.max() == pytest.approx(0.8)
            assert not share[~left if side == "left" else left].any()

    def test_a_changed_file_is_refused(self, downloaded: Path) -> None:
        cit168.fetch_cit168(downloaded)
        cit168.fetch_cit168(downloaded)
        _write(downloaded, "desc-brain_T1w", np.zeros(SHAPE, np.uint8))
        with pytest.raises(InputError, match="not the file that was downloaded first"):
            cit168.fetch_cit168(downloaded)

    def test_another_order_of_the_labels_is_refused(self, downloaded: Path) -> None:
        """Which volume is which nucleus stands in a third file, which decides on every value."""
        (downloaded / "labels.txt").write_text("0 Pu\n1 Ca\n")
        atlas = cit168.fetch_cit168(downloaded)
        assert sum("labels.txt" in name for name in atlas.source) == 1
        (downloaded / "labels.txt").write_text("0 Ca\n1 Pu\n")
        with pytest.raises(InputError, match=r"labels\.txt: is not the file that was downloaded first"):
            cit168.fetch_cit168(downloaded)

    def test_all_addresses_are_https(self) -> None:
        addresses = re.findall(r"\w+://[^\s\"']+", inspect.getsource(fetch_atlas_pauli_2017))
        addresses += [str(field.default) for field in dataclasses.fields(CacheConfig) if field.name == "s3_root"]
        assert len(addresses) >= 3
        assert all(address.startswith("https://") for address in addresses)

    def test_an_empty_template_is_refused(self, downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        empty = downloaded / "empty.nii.gz"
        empty.touch()
        monkeypatch.setattr(cit168.templateflow.api, "get", lambda *_, **__: empty)
        with pytest.raises(InputError, match="template could not be downloaded"):
            cit168.fetch_cit168(downloaded)
