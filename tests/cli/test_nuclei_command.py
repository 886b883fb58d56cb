"""``dlqsm nuclei`` with an atlas and with labels: files whole, values of the phantom, refusals of one sentence."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from dlqsm.cli import main
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import write_volume
from dlqsm.io.tables import read_label_names

_SPEC = importlib.util.spec_from_file_location("phantom_brain", Path(__file__).parents[1] / "nuclei" / "phantom.py")
assert _SPEC is not None
assert _SPEC.loader is not None
phantom_brain = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(phantom_brain)
STRETCH = np.diag([0.95, 1.04, 0.97, 1.0])
GRID = Grid.centred((54, 64, 34), (1.6, 1.6, 2.4), np.eye(3))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's maps as ``dlqsm qsm`` writes them, and its atlas as a folder of four files."""
    folder = tmp_path_factory.mktemp("nuclei")
    made = phantom_brain.scanned(GRID, STRETCH)
    echoes = torch.stack([made["magnitude"].abs() * decay for decay in (1.0, 0.7)], -1)
    volumes = {"Chimap": made["chi"] + 0.02, "magnitude": echoes, "mask": made["brain"]}
    for name, values in (volumes | {"mask_desc-eroded": made["brain"]}).items():
        write_volume(folder / f"{name}.nii.gz", values, GRID)
    atlas = phantom_brain.phantom_atlas()
    (folder / "atlas").mkdir()
    labels = torch.where(atlas.probabilities.amax(0) >= 0.5, atlas.probabilities.argmax(0) + 1, 0).to(torch.uint8)
    write_volume(folder / "atlas" / "tpl-p_dseg.nii.gz", labels, atlas.grid)
    write_volume(folder / "atlas" / "tpl-p_desc-brain_T1w.nii.gz", atlas.template * atlas.brain, atlas.grid)
    shares = np.moveaxis(atlas.probabilities.numpy(), 0, -1)
    nib.Nifti1Image(shares, atlas.grid.affine).to_filename(folder / "atlas" / "tpl-p_probseg.nii.gz")
    rows = [f"{number}\t{roi}\t{side}" for number, (roi, side) in label_table().items()]
    (folder / "atlas" / "tpl-p_dseg.tsv").write_text("index\tabbreviation\themisphere\n" + "\n".join(rows) + "\n")
    return folder


def _words(files: Path, out: Path, *more: str) -> list[str]:
    names = ["--participant", "sub-01", "--arm", "PI2", "--magnitude", str(files / "magnitude.nii.gz")]
    return ["nuclei", str(files / "Chimap.nii.gz"), str(out), *names, "--atlas", str(files / "atlas"), "--quiet", *more]


def test_atlas_to_table_labels_picture_and_record(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "n.tsv"
    assert main(_words(files, out)) == 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "n.tsv", "n.json", "n_dseg.nii.gz", "n_dseg.tsv", "n.png", "n_transforms",
    }  # fmt: skip
    table = pd.read_csv(out, sep="\t")
    assert len(table) == 21
    both = table[table["side"] == "both"].set_index("roi")
    made = phantom_brain.scanned(GRID, STRETCH)
    for index, roi in enumerate(NUCLEI):
        true = (made["shares"][index] >= 0.5) | (made["shares"][index + 7] >= 0.5)
        # The map keeps its own reference: 20 ppb above the phantom's.
        expected = 1e3 * float(made["chi"][true].mean()) + 20
        assert both.loc[roi, "mean_ppb"] == pytest.approx(expected, abs=18), roi
    assert read_label_names(tmp_path / "n_dseg.tsv") == label_table()
    labels = np.asarray(nib.load(tmp_path / "n_dseg.nii.gz").dataobj)
    assert labels.shape == GRID.shape
    assert (tmp_path / "n.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "n.json").read_text())["Registration"]
    assert told["placement"]["channels"] == "magnitude+chi"
    assert told["coverage"]["Pu_left"]["valid"] > 0.95
    assert "synthetic" in told["placement"]["atlas"]["susceptibility"]

    weighted = tmp_path / "w.tsv"
    (tmp_path / "n_transforms").rename(tmp_path / "w_transforms")
    assert main(_words(files, weighted, "--weighting", "probability")) == 0
    told = json.loads((tmp_path / "w.json").read_text())
    assert told["Registration"]["placement"]["transform"].endswith("reused")
    assert "weighted by the probability" in told["Weighting"]
    means = pd.read_csv(weighted, sep="\t")["mean_ppb"]
    assert not np.allclose(means, table["mean_ppb"])
    # Its own labels, given as a file, tell the same values.
    again = tmp_path / "again.tsv"
    names = ["--participant", "sub-01", "--arm", "PI2", "--quiet"]
    given = ["--labels", str(tmp_path / "n_dseg.nii.gz"), "--names", str(tmp_path / "n_dseg.tsv")]
    assert main(["nuclei", str(files / "Chimap.nii.gz"), str(again), *names, *given]) == 0
    assert np.allclose(pd.read_csv(again, sep="\t")["mean_ppb"], table["mean_ppb"], equal_nan=True)


def test_the_spread_over_reruns_is_that_of_other_seeds(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in _words(files, tmp_path / "n.tsv", "--reruns", "1") if word != "--quiet"]
    assert main(words) == 0
    told = capsys.readouterr().err
    assert "by magnitude+chi: local correlation 0." in told
    assert "coverage by the valid mask: at least" in told
    assert main(_words(files, tmp_path / "other.tsv", "--seed", "1")) == 0
    table, other = (pd.read_csv(tmp_path / f"{name}.tsv", sep="\t") for name in ("n", "other"))
    assert "rerun_sd_ppb" not in other
    expected = (table["mean_ppb"] - other["mean_ppb"]).abs() / np.sqrt(2)
    # Tables hold three to five digits.
    assert np.allclose(table["rerun_sd_ppb"], expected, atol=0.01)
    assert 0 < expected.max() < 10
    assert f"spread over 2 registrations: at most {table['rerun_sd_ppb'].max():.2f} ppb" in told


class TestRefused:
    def test_sources_of_labels_are_not_mixed(self, files: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        words = _words(files, tmp_path / "n.tsv")
        given = ("--labels", files / "mask.nii.gz", "--names", files / "atlas" / "tpl-p_dseg.tsv")
        assert "--magnitude does not go with --labels" in refused(*words, *given)
        bare = ["nuclei", files / "Chimap.nii.gz", tmp_path / "n.tsv", "--participant", "a", "--arm", "b"]
        assert "no labels: give --magnitude" in refused(*bare)
        assert "give both" in refused(*bare, "--labels", files / "mask.nii.gz")
        assert "--reruns must be at least 1; got 0" in refused(*words, "--reruns", "0")

    def test_an_incomplete_atlas_leaves_nothing_behind(
        self, files: Path, tmp_path: Path, refused: Callable[..., str]
    ) -> None:
        words = _words(files, tmp_path / "n.tsv")
        words[words.index("--atlas") + 1] = str(tmp_path)
        assert "expected one file whose name ends with _dseg.nii.gz" in refused(*words)
        words[words.index("--atlas") + 1] = "cit169"
        assert "neither virtual nor cit168" in refused(*words)
        assert not list(tmp_path.iterdir())

    def test_a_magnitude_of_another_grid(self, files: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        words = _words(files, tmp_path / "n.tsv")
        words[words.index("--magnitude") + 1] = str(files / "atlas" / "tpl-p_desc-brain_T1w.nii.gz")
        assert "expected (54, 64, 34)" in refused(*words)

    def test_a_finished_table_is_not_replaced(self, files: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
        (tmp_path / "n_dseg.nii.gz").touch()
        assert "give --overwrite" in refused(*_words(files, tmp_path / "n.tsv"))


@pytest.mark.slow
def test_labels_lie_on_the_nuclei_of_a_real_head(shared_data: Path, tmp_path: Path) -> None:
    """CIT168 on the 3 mm head: iron-rich nuclei stand out, each side, in their order."""
    source = shared_data / "philips_dual_echo" / "nifti"
    stem = "2001_WIP_fcMRI_Field_Mapping_cl"
    magnitude = [str(source / f"{stem}_e{echo}.nii.gz") for echo in (1, 2)]
    phase = [str(source / f"{stem}_e{echo}_ph.nii.gz") for echo in (1, 2)]
    assert main(["qsm", str(tmp_path / "qsm"), "--magnitude", *magnitude, "--phase", *phase, "--quiet"]) == 0
    out = tmp_path / "n.tsv"
    words = ["nuclei", str(tmp_path / "qsm" / "Chimap.nii.gz"), str(out), "--participant", "sub-01", "--arm", "A"]
    atlas = str(shared_data / "atlas_cit168")
    assert main([*words, "--magnitude", magnitude[0], "--atlas", atlas, "--quiet"]) == 0
    table = pd.read_csv(out, sep="\t").set_index(["roi", "side"])
    for side in ("left", "right"):
        value = table["mean_ppb"].xs(side, level="side")
        assert value["GPe"] > value["Pu"] > value["Ca"] > 40.0
        assert value["RN"] > 80.0
        assert value["SNr"] > 80.0
    volume = table["volume_mm3"]
    assert 5000 < volume[("Pu", "both")] < 13000
