"""``dlqsm report`` on a folder of derivatives: every page is made again, from what the manifests name."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dlqsm.cli import main
from dlqsm.cli.report import build_group_page, build_page
from dlqsm.cli.report_reading import read_labels, read_registration, read_report
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.io.manifest import (
    ArmFolders,
    GroupManifest,
    Manifest,
    read_group_manifest,
    read_manifest,
    write_group_manifest,
    write_manifest,
)
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import write_table

GRID = Grid.centred((20, 22, 8), (3.0, 3.0, 6.0), np.eye(3))
ARMS = ("DL3", "PI2")
PEOPLE = ("sub-01", "sub-02")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle r="3"/></svg>'


def arm_files(folder: Path, label: str, arm: str, number: int) -> ArmFolders:
    """Derivatives of one arm; labels carry an atlas's own numbers, told by the table beside them."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in GRID.shape), indexing="ij")
    mask = torch.from_numpy(x**2 + y**2 + z**2 < 0.9)
    labels = torch.zeros(GRID.shape)
    labels[6:9, 9:13, 3:6], labels[11:14, 9:13, 3:6] = 42, 7
    stem = f"anat/{label}_acq-{arm}"
    chi = (0.01 * number + 0.1 * (labels > 0)) * mask
    volumes = {
        "Chimap": chi, "Chimap_aligned": chi, "mask": mask.float(), "mask_desc-eroded": mask.float(),
        "mask_desc-common": mask.float(), "magnitude": 100.0 * mask, "phase": 0.5 * mask,
        "fieldmap_desc-total": 4.0 * mask, "fieldmap_desc-local": 1.0 * mask,
    }  # fmt: skip
    files = {key: f"{stem}_{key}.nii.gz" for key in volumes if key != "Chimap_aligned" or arm != "PI2"}
    for key, name in files.items():
        write_volume(folder / name, volumes[key], GRID)
    write_volume(folder / f"{stem}_dseg.nii.gz", labels, GRID)
    (folder / f"{stem}_dseg.tsv").write_text("index\tname\troi\tside\n42\tPu_left\tPu\tleft\n7\tRN_right\tRN\tright\n")
    told = {"EchoTime": [0.004, 0.008, 0.012], "shown_echo": 1, "acceleration": 2.0 + number}
    methods = {"inversion": {"method": "tkd", "parameters": {"threshold": 0.2}}}
    write_json(folder / f"{stem}_qsmaccount.json", {"scan": told, "methods": methods})
    files["summary"] = f"{stem}_qsmaccount.json"
    return ArmFolders(arm, labels=f"{stem}_dseg.nii.gz", files=files)


def nucleus_rows(label: str) -> pd.DataFrame:
    rows = [
        (label, arm, roi, side, 10.0 * i + j, 1.0, 1.0, 9, 9.0)
        for i, arm in enumerate(ARMS)
        for j, roi in enumerate(NUCLEI)
        for side in ("left", "right", "both")
    ]
    columns = ["participant_id", "arm", "roi", "side", "mean_ppb", "sd_ppb", "median_ppb", "n_voxels", "volume_mm3"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture(scope="module")
def derivatives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a run of two participants leaves."""
    out = tmp_path_factory.mktemp("derivatives")
    for label in PEOPLE:
        folder = out / label
        arms = tuple(arm_files(folder, label, arm, i) for i, arm in enumerate(ARMS))
        write_table(folder / "nuclei.tsv", nucleus_rows(label))
        account = {
            "rotation_deg": 1.5,
            "translation_mm": 0.75,
            "local_correlation": {"before": 0.5, "after": 0.875},
            "placement": {"channels": "t1w", "local_correlation": {"before": 0.2, "after": 0.6}},
            "coverage": {
                f"Pu_{side}": {"field_of_view": 1.0, "valid": v} for side, v in (("left", 0.9), ("right", 0.87654))
            },
            "warnings": ["the <b>caudate</b> is cut"],
        }
        write_json(folder / "registration.json", {"DL3": account})
        write_manifest(
            folder, Manifest(label, arms, "nuclei.tsv", None, "PI2", "registration.json", f"../{label}.html")
        )
    values = pd.concat([nucleus_rows(label).assign(age=30.0 + i, sex="F") for i, label in enumerate(PEOPLE)])
    write_table(out / "group_desc-nuclei_qsmstats.tsv", values)
    (out / "group").mkdir()
    (out / "group" / "equivalence.svg").write_text(SVG)
    (out / "group" / "equivalence.png").write_bytes(b"\x89PNG")
    write_group_manifest(
        out,
        GroupManifest(
            "Two people", ARMS, "PI2", 3.0, "group_desc-nuclei_qsmstats.tsv",
            figures=("group/equivalence.png", "group/equivalence.svg"),
            pages={label: f"{label}.html" for label in PEOPLE},
            problems={"sub-03": "has no finished table of nuclei", "settings": "differ"},
        ),
    )  # fmt: skip
    return out


def test_every_page_is_made_again(derivatives: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(derivatives), "--quiet"]) == 0
    names = ["sub-01.html", "sub-02.html", "group.html"]
    assert [Path(line).name for line in capsys.readouterr().out.split()] == names
    first = [(derivatives / name).read_bytes() for name in names]
    assert main(["report", str(derivatives), "--quiet"]) == 0
    assert [(derivatives / name).read_bytes() for name in names] == first, "the same bytes again"
    assert not list(derivatives.glob("sub-*/report.html"))


def test_group_page_names_who_is_missing_and_takes_methods_of_the_participants(derivatives: Path) -> None:
    assert main(["report", str(derivatives), "--quiet"]) == 0
    page = (derivatives / "group.html").read_text()
    assert "2 of 3 participants measured" in page and "age 30–31 years" in page
    assert "has no finished table of nuclei" in page and "settings: differ" in page
    assert "thresholded k-space division (threshold 0.2)" in page
    assert page.count("data:image/svg+xml;base64,") == 1 and "data:image/png" not in page, "each figure once, as SVG"
    assert 'href="sub-02.html"' in page


def picture_of(out: Path, label: str) -> Path:
    return out / label / "figures" / f"{label}_desc-arms_qsmfigure.webp"


def with_similarity(derivatives: Path, out: Path, errors_ppb: dict[str, float]) -> Path:
    """The derivatives with an error of each participant's maps."""
    shutil.copytree(derivatives, out)
    rows = [(label, "DL3", rmse) for label, rmse in errors_ppb.items()]
    write_table(out / "similarity.tsv", pd.DataFrame(rows, columns=["participant_id", "arm", "rmse_ppb"]))
    write_group_manifest(out, replace(read_group_manifest(out), similarity="similarity.tsv"))
    return out


def test_the_participant_in_the_middle_is_shown(derivatives: Path, tmp_path: Path) -> None:
    for i, (errors, shown) in enumerate((({"sub-01": 9.0, "sub-02": 5.0}, "sub-02"), ({"sub-01": 3.0}, "sub-01"))):
        out = with_similarity(derivatives, tmp_path / str(i), errors)
        assert main(["report", str(out), "--quiet"]) == 0
        assert all(picture_of(out, label).is_file() for label in PEOPLE)
        page = (out / "group.html").read_text()
        assert f"{shown} in all arms" in page and page.count("data:image/webp") == 1
        assert "the middle of 2 participants whose maps or picture are kept, by the mean RMSE of its arms" in page
        assert f"{shown}: susceptibility in axial planes" in page


def test_a_picture_is_shown_where_maps_are_gone(derivatives: Path, tmp_path: Path) -> None:
    """A stream keeps pictures of those that were made since it does: of the others there is nothing to show."""
    out = with_similarity(derivatives, tmp_path / "out", {"sub-01": 9.0, "sub-02": 5.0})
    assert main(["report", str(out), "--quiet"]) == 0
    shutil.rmtree(out / "sub-02")
    for folder in ("anat", "report.json"):
        path = out / "sub-01" / folder
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert main(["report", str(out), "--quiet"]) == 0
    page = (out / "group.html").read_text()
    assert "sub-01 in all arms" in page and "chosen by rule" not in page, "there was no choice"
    picture_of(out, "sub-01").unlink()
    assert main(["report", str(out), "--quiet"]) == 0
    assert "of no participant are maps kept" in (out / "group.html").read_text()


def test_maps_that_are_gone_give_way_to_a_picture(derivatives: Path, tmp_path: Path) -> None:
    """The middle one has a manifest, but its maps were removed: the other's picture is shown."""
    out = with_similarity(derivatives, tmp_path / "out", {"sub-01": 9.0, "sub-02": 5.0})
    assert main(["report", str(out), "--quiet"]) == 0
    shutil.rmtree(out / "sub-02" / "figures")
    for path in (out / "sub-02" / "anat").glob("*_Chimap.nii.gz"):
        path.unlink()
    build_group_page(out)
    assert "sub-01 in all arms" in (out / "group.html").read_text()


def test_an_arm_is_read_file_by_file(derivatives: Path) -> None:
    folder = derivatives / "sub-01"
    report = read_report(folder, read_manifest(folder))
    reference, arm = report.arms
    assert (reference.name, arm.name) == ("PI2", "DL3"), "the reference first"
    assert (arm.acceleration, arm.shown_echo_s) == (2.0, 0.008)
    assert reference.aligned_chi_ppm is None and arm.aligned_chi_ppm is not None
    assert arm.common_mask is not None and arm.common_mask.dtype == torch.bool
    assert arm.registration is not None and reference.registration is None
    assert arm.registration.coverage == {"Pu": 0.87654}, "the lower side"
    assert (arm.registration.shift_mm, arm.registration.rotation_deg, arm.registration.score) == (0.75, 1.5, 0.875)
    page = (derivatives / "sub-01.html").read_text()
    assert "0.75 mm, 1.50°" in page and "0.875" in page and "t1w" in page
    assert "87.6 %" in page and "the &lt;b&gt;caudate&lt;/b&gt; is cut" in page


def test_labels_of_the_reference_are_not_drawn_on_an_arm_that_was_resampled(derivatives: Path, tmp_path: Path) -> None:
    """As in the paper, the labels lie in the pose of the reference: on the arm's own map they would be elsewhere."""
    copy = shutil.copytree(derivatives / "sub-01", tmp_path / "sub-01")
    write_json(copy / "registration.json", {"DL3": {"resampled": "to the grid of PI2", "rotation_deg": 1.0}, "PI2": {}})
    reference, arm = read_report(copy, read_manifest(copy)).arms
    assert arm.labels is None and arm.common_mask is None and arm.aligned_chi_ppm is not None
    assert reference.labels is not None and reference.common_mask is not None
    assert "so were the values of their nuclei, as in the paper" in build_page(copy).read_text()


def test_labels_get_the_numbers_of_dlqsm(derivatives: Path) -> None:
    """The table beside the image says that 42 is the left putamen and 7 the right red nucleus."""
    found = read_labels(derivatives / "sub-01" / "anat" / "sub-01_acq-PI2_dseg.nii.gz")
    names = label_table()
    assert {names[int(n)] for n in found.unique() if n > 0} == {("Pu", "left"), ("RN", "right")}
    assert names[int(found[7, 10, 4])] == ("Pu", "left")


def test_the_reference_arm_is_judged_by_its_match_with_the_atlas() -> None:
    found = read_registration({"placement": {"local_correlation": {"after": 0.6}}, "rotation_deg": 0.0})
    assert (found.score, found.score_name) == (0.6, "local correlation with the atlas")


def test_an_empty_account_tells_nothing() -> None:
    found = read_registration({})
    assert (found.shift_mm, found.rotation_deg, found.score, found.coverage, found.warnings) == (None,) * 3 + ({}, ())


def test_what_is_missing_is_refused(derivatives: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "expected a folder written by" in refused("report", tmp_path)
    folder = derivatives / "sub-01"
    content = read_manifest(folder)
    broken = replace(content.arms[0], files={**content.arms[0].files, "Chimap": "anat/nothing.nii.gz"})
    write_manifest(tmp_path, replace(content, arms=(broken,), regions=None, registration=None, page="report.html"))
    assert "nothing.nii.gz" in refused("report", tmp_path)
    (tmp_path / "group.json").write_text('{"dataset": "x"}')
    assert "group.json" in refused("report", tmp_path)
