"""The whole line by commands, on a coarse protocol: dataset, raw data, images, maps, nuclei, page."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from dlqsm.cli import demo, main
from dlqsm.core.arm_names import named_acceleration
from dlqsm.io.bids import read_dataset
from dlqsm.io.nifti import read_image, read_volume
from dlqsm.io.raw import read_raw

Refused = Callable[..., str]
PROTOCOL = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""
LABEL, ARM = "sub-001", "FULL"


def _run(*words: object) -> None:
    assert main([str(word) for word in (*words, "--quiet")]) == 0


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "coarse.toml").write_text(PROTOCOL)
    words = ["simulate", folder / "bids", "--participants", 1, "--seed", 3, "--protocol", folder / "coarse.toml"]
    _run(*words, "--arms", ARM, "DL3")
    return folder / "bids"


@pytest.fixture(scope="module")
def raw(dataset: Path) -> Path:
    return dataset / "sourcedata" / LABEL / "anat" / f"{LABEL}_acq-{ARM}_MEGRE.h5"


@pytest.fixture(scope="module")
def mapped(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("line")
    _run("undersample", raw, folder / "af2.h5", "--acceleration", 2, "--calibration", 12, 12)
    _run("recon", folder / "af2.h5", folder / "recon", "--method", "sense", "--virtual-coils", 4)
    _run("recon", folder / "af2.h5", folder / "coils", "--method", "zero", "--uncombined")
    _run("qsm", folder / "qsm", "--recon", folder / "recon", "--background", "pdf")
    return folder


def test_the_dataset_has_the_names_of_the_contract(dataset: Path) -> None:
    truth = dataset / "derivatives" / "dlqsm-truth"
    for arm in (ARM, "DL3"):
        assert (dataset / "sourcedata" / LABEL / "anat" / f"{LABEL}_acq-{arm}_MEGRE.h5").is_file()
        for suffix in ("Chimap", "R2starmap", "dseg", "mask"):
            assert (truth / LABEL / "anat" / f"{LABEL}_acq-{arm}_{suffix}.nii.gz").is_file()
        for kind in ("total", "local"):
            assert (truth / LABEL / "fmap" / f"{LABEL}_acq-{arm}_desc-{kind}_fieldmap.nii.gz").is_file()
    people = pd.read_csv(dataset / "participants.tsv", sep="\t")
    assert list(people.columns) == ["participant_id", "age", "sex"]
    assert json.loads((truth / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert set(pd.read_csv(truth / "dseg.tsv", sep="\t")["roi"]) == {"Pu", "Ca", "GPe", "GPi", "RN", "SNc", "SNr"}
    assert read_volume(dataset / LABEL / "anat" / f"{LABEL}_T1w.nii.gz")[1].voxel_size_mm == pytest.approx((1, 1, 1))


def test_truth_is_on_the_grid_of_its_scan(dataset: Path, raw: Path) -> None:
    chi, grid = read_volume(
        dataset / "derivatives" / "dlqsm-truth" / LABEL / "anat" / f"{LABEL}_acq-{ARM}_Chimap.nii.gz"
    )
    assert grid.shape == read_raw(raw).header.grid.shape == tuple(chi.shape)
    assert np.allclose(grid.affine, read_raw(raw).header.grid.affine, atol=1e-3)


def test_undersampling_keeps_the_exact_number_of_lines(mapped: Path) -> None:
    header = read_raw(mapped / "af2.h5").header
    assert len(header.lines) == round(52 * 36 / 2)
    assert header.calibration.any()


def test_recon_writes_what_the_contract_names(mapped: Path) -> None:
    folder = mapped / "recon"
    assert read_image(folder / "phase.nii.gz").values.shape == (52, 52, 36, 4)
    assert read_image(mapped / "coils" / "phase_uncombined.nii.gz").values.shape == (52, 52, 36, 4, 4)
    scan = json.loads((folder / "scan.json").read_text())
    assert scan["echo_times_s"] == pytest.approx([0.0033, 0.0064, 0.0095, 0.0126])
    assert scan["acceleration"] == pytest.approx(2, rel=1e-3)
    with h5py.File(folder / "mdi.h5") as file:
        assert file["lags"].shape == (3, 52, 52, 36)


def test_the_field_of_the_line_is_the_true_field(dataset: Path, mapped: Path) -> None:
    name = f"{LABEL}_acq-{ARM}_desc-total_fieldmap.nii.gz"
    truth = read_volume(dataset / "derivatives" / "dlqsm-truth" / LABEL / "fmap" / name)[0]
    total = read_volume(mapped / "qsm" / "fieldmap_desc-total.nii.gz")[0]
    mask = read_volume(mapped / "qsm" / "mask_desc-eroded.nii.gz")[0] > 0
    error = (total - truth)[mask]
    assert float((error - error.median()).abs().median()) < 2.0
    assert float(np.corrcoef(total[mask], truth[mask])[0, 1]) > 0.9


def test_options_override_the_reconstruction_and_are_told(
    mapped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], refused: Refused
) -> None:
    quick = ("--recon", mapped / "recon", "--background", "vsharp", "--inversion", "tkd")
    words = ["qsm", tmp_path / "turned", *quick, "--b0-direction", 1, 0, 0, "--field-strength", 2.9]
    assert main([str(word) for word in words]) == 0
    told = json.loads((tmp_path / "turned" / "qsm.json").read_text())["decisions"]
    assert told["b0_direction"].startswith("(1.0000, 0.0000, 0.0000)") and told["b0_direction"].endswith("the options")
    assert told["field_strength"] == "2.9 T, from the options" and told["echo_times"].endswith("from scan.json")
    assert "b0 direction: (1.0000, 0.0000, 0.0000)" in capsys.readouterr().err
    assert "--phase-unit is for images" in refused("qsm", tmp_path / "no", *quick, "--phase-unit", "rad")


def test_nuclei_and_page_follow(dataset: Path, mapped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = dataset / "derivatives" / "dlqsm-truth"
    labels = truth / LABEL / "anat" / f"{LABEL}_acq-{ARM}_dseg.nii.gz"
    words = ["nuclei", mapped / "qsm" / "Chimap.nii.gz", mapped / "n.tsv", "--participant", LABEL, "--arm", "AF2"]
    _run(*words, "--labels", labels, "--names", truth / "dseg.tsv")
    table = pd.read_csv(mapped / "n.tsv", sep="\t")
    assert len(table) == 21
    values = table[table["side"] == "both"].set_index("roi")["mean_ppb"]
    assert values["GPe"] > values["Pu"]
    assert "brain" in json.dumps(json.loads((mapped / "n.json").read_text())["Reference"])
    _run("report", mapped / "qsm")
    page = (mapped / "qsm" / "report.html").read_text()
    assert "Magnitude" in page
    assert page.count("data:image/") > 8


def test_the_same_seed_makes_the_same_data(dataset: Path, raw: Path, tmp_path: Path) -> None:
    toml = dataset.parent / "coarse.toml"
    _run("simulate", tmp_path / "again", "--participants", 1, "--seed", 3, "--protocol", toml, "--arms", ARM)
    again = read_raw(tmp_path / "again" / "sourcedata" / LABEL / "anat" / raw.name)
    assert np.array_equal(again.readouts(0, 50), read_raw(raw).readouts(0, 50))


def test_a_dataset_is_undersampled_by_several_factors_and_seeds(dataset: Path, raw: Path, tmp_path: Path) -> None:
    _run("undersample", dataset, tmp_path / "af", "--acceleration", 2, 2.5, "--seed", 0, 7, "--calibration", 12, 12)
    found = read_dataset(tmp_path / "af")
    (person,) = found.participants
    assert found.is_virtual
    assert person.t1w is not None
    assert {arm.name for arm in person.arms} == {
        "FULL", *(f"FULL_recAF{factor}s{seed}" for factor in ("2", "2p5") for seed in (0, 7))
    }  # fmt: skip
    full = read_raw(raw)
    lines = {}
    for arm in person.arms:
        assert arm.raw is not None
        kept = read_raw(arm.raw)
        lines[arm.name] = {tuple(line) for line in kept.header.lines.tolist()}
        factor = named_acceleration(arm.name)
        assert factor is not None
        assert len(lines[arm.name]) == round(52 * 36 / factor)
        first = tuple(kept.header.lines[0])
        place = full.header.lines.tolist().index(list(first))
        assert np.array_equal(kept.readouts(0, 1), full.readouts(place, place + 1))
    assert lines["FULL_recAF2s0"] != lines["FULL_recAF2s7"]


def test_sampling_writes_mask_order_and_picture(tmp_path: Path, refused: Refused) -> None:
    words = ["sampling", tmp_path / "m", "--shape", 64, 40, "--acceleration", 4, "--seed", 2]
    _run(*words)
    mask = np.load(tmp_path / "m.npy")
    assert mask.dtype == bool
    assert mask.shape == (64, 40)
    assert mask.sum() == round(64 * 40 / 4)
    order = np.loadtxt(tmp_path / "m.txt", dtype=int)
    assert mask[tuple(order.T)].all()
    assert len(np.unique(order, axis=0)) == mask.sum()
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert "--overwrite" in refused(*words)
    assert "1 or more" in refused("sampling", tmp_path / "q", "--shape", 64, 40, "--acceleration", 0.5)
    assert "unknown sampling" in refused(
        "sampling", tmp_path / "q", "--shape", 8, 8, "--acceleration", 2, "--kind", "x"
    )
    assert not list(tmp_path.glob("q*"))


def test_what_the_raw_line_refuses(dataset: Path, raw: Path, mapped: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "o"
    assert "unknown protocol" in refused("simulate", out, "--participants", 1, "--protocol", "huge")
    assert "DL99" in refused("simulate", out, "--participants", 1, "--arms", "DL99")
    (tmp_path / "p.toml").write_text("shap = [1, 2, 3]")
    assert "shap" in refused("simulate", out, "--participants", 1, "--protocol", tmp_path / "p.toml")
    assert "already holds" in refused("simulate", dataset, "--participants", 1)
    assert "give a larger one" in refused("undersample", mapped / "af2.h5", out, "--acceleration", 1.5)
    assert "leave --kind out" in refused(
        "undersample", mapped / "af2.h5", out, "--acceleration", 4, "--kind", "uniform"
    )
    assert "several are for a BIDS dataset" in refused("undersample", raw, out, "--acceleration", 2, 3)
    assert "is the dataset itself" in refused("undersample", dataset, dataset, "--acceleration", 2)
    assert "no such file" in refused("recon", tmp_path / "x.h5", out)
    (tmp_path / "text.h5").write_text("hello")
    assert "text.h5" in refused("recon", tmp_path / "text.h5", out)
    assert "unknown reconstruction method" in refused("recon", raw, out, "--method", "magic")
    assert "--method zero" in refused("recon", raw, out, "--uncombined")
    assert "already holds" in refused("recon", raw, mapped / "recon")
    assert "expected a folder written by" in refused("report", tmp_path)
    assert not out.exists()


def test_the_demo_prints_nuclei_by_arms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo's own path on the coarse protocol and two arms; its full size is what ``make demo`` runs."""
    toml = tmp_path / "coarse.toml"
    toml.write_text(PROTOCOL)
    monkeypatch.setattr(demo, "ARMS", ("PI2", "DL3"))
    monkeypatch.setattr(demo, "PROTOCOL", str(toml))
    _run("demo", tmp_path / "out")
    said = capsys.readouterr().out
    rows = [line.split()[0] for line in said.splitlines() if line and line.split()[0] in ("Pu", "Ca", "GPe", "GPi")]
    assert rows == ["Pu", "Ca", "GPe", "GPi"]
    table = pd.read_csv(tmp_path / "out" / "nuclei.tsv", sep="\t")
    assert set(table["arm"]) == {"PI2", "DL3"}
    assert {"mean_ppb", "truth_ppb"} <= set(table.columns)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "DL3" in page
    _run("report", tmp_path / "out")
