"""Derivatives have names that BIDS knows, sidecars that it demands, and a description as a dataset."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.io.bids_names import split_name
from dlqsm.io.derivatives import (
    IGNORED,
    KINDS,
    account_path,
    derivative_path,
    describe,
    sidecar_of,
    table_path,
    uri,
    write_derivative,
)
from dlqsm.io.nifti import read_volume
from dlqsm.io.tables import read_label_names, write_label_names

GRID = Grid((4, 5, 6), (1.0, 1.0, 2.0))
ENTITIES = (("acq", "DL3"), ("rec", "cs"))


def _path(kind: str, **more: str) -> str:
    out = Path("/out")
    return derivative_path(out, "sub-01", ENTITIES, kind, **more).relative_to(out).as_posix()


def test_names_are_those_of_the_contract() -> None:
    assert _path("Chimap") == "sub-01/anat/sub-01_acq-DL3_rec-cs_Chimap.nii.gz"
    assert _path("R2starmap") == "sub-01/anat/sub-01_acq-DL3_rec-cs_R2starmap.nii.gz"
    assert _path("mask") == "sub-01/anat/sub-01_acq-DL3_rec-cs_desc-brain_mask.nii.gz"
    assert _path("mask_desc-eroded") == "sub-01/anat/sub-01_acq-DL3_rec-cs_desc-eroded_mask.nii.gz"
    assert _path("fieldmap_desc-total") == "sub-01/fmap/sub-01_acq-DL3_rec-cs_desc-total_fieldmap.nii.gz"
    assert _path("dseg", atlas="virtual") == "sub-01/anat/sub-01_acq-DL3_rec-cs_atlas-virtual_dseg.nii.gz"
    assert _path("phase", echo="3") == "sub-01/anat/sub-01_acq-DL3_rec-cs_echo-3_part-phase_MEGRE.nii.gz"
    assert table_path(Path(), "sub-01", "nuclei").as_posix() == "sub-01/sub-01_desc-nuclei_qsmstats.tsv"
    assert table_path(Path(), "group", "nuclei").as_posix() == "group_desc-nuclei_qsmstats.tsv"


def test_sessions_have_folders_and_images_without_reconstruction_no_rec() -> None:
    path = derivative_path(Path(), "sub-01", (("ses", "a"), ("acq", "X")), "Chimap")
    assert path.as_posix() == "sub-01/ses-a/anat/sub-01_ses-a_acq-X_Chimap.nii.gz"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_name_of_its_own_in_the_order_of_bids(kind: str) -> None:
    split_name(Path(_path(kind)))
    assert sum(_path(kind) == _path(other) for other in KINDS) == 1


def test_an_image_has_the_sidecar_that_bids_demands(tmp_path: Path) -> None:
    path = derivative_path(tmp_path, "sub-01", ENTITIES, "mask")
    write_derivative(path, torch.ones(GRID.shape, dtype=torch.bool), GRID, "mask", {"Sources": ["bids::a"]})
    content = json.loads(sidecar_of(path).read_text())
    assert content["SkullStripped"] is True
    assert content["Type"] == "Brain"
    assert content["Units"] == "1"
    assert content["Sources"] == ["bids::a"]
    assert content["GeneratedBy"][0]["Name"] == "dlqsm"
    assert float(read_volume(path)[0].min()) == 1.0


def test_label_numbers_are_told_beside_the_image(tmp_path: Path) -> None:
    path = write_label_names(tmp_path / "sub-01_atlas-virtual_dseg.tsv", label_table())
    assert read_label_names(path) == label_table()


def test_sources_are_told_by_dataset(tmp_path: Path) -> None:
    out, bids = tmp_path / "bids" / "derivatives" / "dlqsm", tmp_path / "bids"
    assert uri(out / "sub-01" / "a.nii.gz", out, bids) == "bids::sub-01/a.nii.gz"
    assert uri(bids / "sourcedata" / "a.h5", out, bids) == "bids:raw:sourcedata/a.h5"


def test_the_dataset_describes_itself(tmp_path: Path) -> None:
    out, bids = tmp_path / "derivatives" / "dlqsm", tmp_path
    out.mkdir(parents=True)
    describe(out, bids, "study", str(tmp_path / "folders" / "my_atlas"), "cite this")
    content = json.loads((out / "dataset_description.json").read_text())
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Name"] in out.name
    assert content["DatasetLinks"] == {"raw": "../.."}
    assert (out / "atlas-myatlas_description.json").is_file()
    assert (out / "logs" / "CITATION.md").read_text() == "cite this"
    labels = (out / "descriptions.tsv").read_text()
    assert all(kind.extra["desc"] in labels for kind in KINDS.values() if "desc" in kind.extra)
    assert "work" in (out / ".bidsignore").read_text()


def _write_every_kind(out: Path, label: str, entities: tuple[tuple[str, str], ...]) -> None:
    for kind in KINDS:
        more = {"dseg": {"atlas": "virtual"}, "phase": {"echo": "3"}}.get(kind, {})
        path = derivative_path(out, label, entities, kind, **more)
        write_derivative(path, torch.ones(GRID.shape), GRID, kind, {"EchoTime": 0.003, "Sources": ["bids::a"]})
        if kind == "dseg":
            write_label_names(sidecar_of(path).with_suffix(".tsv"), label_table())
    account_path(out, label, entities).write_text("{}")
    table_path(out, label, "nuclei").write_text("participant_id\n")


def test_what_is_made_of_a_session_has_its_folder_and_name() -> None:
    entities = (("ses", "a"), ("acq", "X"))
    label = "sub-01_ses-a"
    assert derivative_path(Path(), label, entities, "R2starmap").as_posix() == (
        "sub-01/ses-a/anat/sub-01_ses-a_acq-X_R2starmap.nii.gz"
    )
    assert account_path(Path(), label, entities).as_posix() == "sub-01/ses-a/anat/sub-01_ses-a_acq-X_qsmaccount.json"
    assert table_path(Path(), label, "nuclei").as_posix() == "sub-01/ses-a/sub-01_ses-a_desc-nuclei_qsmstats.tsv"
    assert table_path(Path(), "group_ses-a", "nuclei").as_posix() == "group_ses-a_desc-nuclei_qsmstats.tsv"


def test_the_validator_of_bids_finds_no_error(tmp_path: Path) -> None:
    """Runs where bids-validator-deno is installed; every kind of file is there once, of a session too."""
    beside = str(Path(sys.executable).parent)
    validator = shutil.which("bids-validator-deno", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    describe(tmp_path, tmp_path / "raw", "study", "virtual")
    of_images = ("sub-02", (("acq", "A"), ("run", "2")))
    for label, entities in (("sub-01", ENTITIES), ("sub-01_ses-a", (("ses", "a"), *ENTITIES)), of_images):
        _write_every_kind(tmp_path, label, entities)
    for name in ("group", "group_ses-a"):
        table_path(tmp_path, name, "nuclei").write_text("participant_id\n")
        (tmp_path / f"{name}.json").write_text("{}")
    loose = ("work/sub-01/DL3/mdi.h5", "logs/sub-01.log", "group/age.svg", "sub-01/xfm/a_0.mat", "sub-01.html")
    of_session = ("group/ses-a/age.svg", "sub-01/ses-a/xfm/a_0.mat", "sub-01_ses-a.html", "group_ses-a.html")
    for name in (*loose, *of_session, "prov/provenance.tsv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    for name in ("sub-01/report.json", "sub-01/ses-a/report.json", "prov/prov-dlqsm_act.json", ".dlqsm.lock"):
        (tmp_path / name).write_text("{}")
    words = [validator, "--json", str(tmp_path)]
    told = subprocess.run(words, capture_output=True, text=True, check=False)
    assert told.stdout.startswith("{"), told.stderr
    found = json.loads(told.stdout)["issues"]["issues"]
    assert [i for i in found if i["severity"] == "error"] == []


def test_what_bids_has_no_name_for_is_ignored() -> None:
    assert {"work", "logs", "**/xfm"} <= set(IGNORED)
