"""``dlqsm qsm`` on images: what it writes, what overrides what, what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from dlqsm.cli import main
from dlqsm.core.scan import Grid
from dlqsm.io.maps import UNCERTAINTY_UNITS, UNITS
from dlqsm.io.nifti import read_image, read_volume, write_volume
from dlqsm.io.sidecars import inherited_sidecar
from dlqsm.nuclei.regions import COLUMNS
from dlqsm.report.strength_figure import HELD_OUT, SEEN

Refused = Callable[..., str]


def _images(phantom: Path) -> list[object]:
    return ["--magnitude", phantom / "magnitude.nii.gz", "--phase", phantom / "phase.nii.gz"]


@pytest.fixture(scope="module")
def mapped(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("qsm") / "out"
    words = ["qsm", out, *_images(phantom), "--mask", phantom / "mask.nii.gz", "--background", "pdf", "--quiet"]
    assert main([str(w) for w in words]) == 0
    return out


def test_every_map_has_its_unit_beside_it(mapped: Path) -> None:
    for stem, unit in UNITS.items():
        assert (mapped / f"{stem}.nii.gz").is_file()
        assert json.loads((mapped / f"{stem}.json").read_text())["Units"] == unit
    assert not [p for p in mapped.iterdir() if p.name.startswith(".")]


def test_the_sidecar_of_every_map_tells_how_it_was_made(phantom: Path, mapped: Path) -> None:
    told = {stem: json.loads((mapped / f"{stem}.json").read_text()) for stem in UNITS}
    methods = {stem: content["EstimationAlgorithm"]["method"] for stem, content in told.items()}
    assert methods == {**dict.fromkeys(UNITS, "mdi"), "R2starmap": "r2star"}
    assert {stem for stem in told if "BackgroundRemoval" in told[stem]} == {
        "Chimap", "fieldmap_desc-local", "mask_desc-eroded",
    }  # fmt: skip
    assert told["mask"]["Masking"]["source"] == "given"
    n_inside = int((read_volume(mapped / "mask.nii.gz")[0] > 0).sum())
    assert told["mask"]["Masking"]["n_mask"] == told["mask_desc-eroded"]["Masking"]["n_mask"] == n_inside


def test_the_account_names_its_files_as_seen_from_where_it_lies(phantom: Path, mapped: Path) -> None:
    """From there `dlqsm report` finds the images."""
    sources = json.loads((mapped / "qsm.json").read_text())["sources"]
    for told, name in ((*sources["magnitude"], "magnitude"), (*sources["phase"], "phase"), (sources["mask"], "mask")):
        assert (mapped / told).resolve() == (phantom / f"{name}.nii.gz").resolve()


def test_chi_of_the_spheres(phantom: Path, mapped: Path) -> None:
    chi, labels = read_volume(mapped / "Chimap.nii.gz")[0], read_volume(phantom / "labels.nii.gz")[0]
    mask = read_volume(mapped / "mask_desc-eroded.nii.gz")[0] > 0
    outside = float(chi[mask & (labels == 0)].mean())
    assert float(chi[labels == 1].mean()) - outside == pytest.approx(0.12, abs=0.02)
    assert float(chi[labels == 2].mean()) - outside == pytest.approx(0.08, abs=0.02)
    assert abs(float(chi[mask].mean())) < 1e-6
    assert float(chi[~mask].abs().max()) == 0


def test_summary_tells_decisions_seconds_and_convergence(mapped: Path) -> None:
    summary = json.loads((mapped / "qsm.json").read_text())
    assert summary["decisions"]["phase_unit"].startswith("rad, from the sidecar")
    assert set(summary["seconds"]) == {"field", "mask", "unwrap", "background", "inversion", "reference"}
    assert summary["convergence"]["inversion"]["n_iterations"] > 0
    assert 0.0 < summary["streaks"]["cone_power_ratio"] < 10.0 and "no streaks" in summary["streaks"]["meaning"]
    assert summary["methods"]["background"]["method"] == "pdf"
    assert {r["name"] for r in summary["references"]} >= {"brain"}


def test_what_parts_odd_and_even_echoes_is_told_and_taken_out_where_asked_for(
    phantom: Path, mapped: Path, tmp_path: Path, refused: Refused
) -> None:
    phase = read_image(phantom / "phase.nii.gz")
    n = phase.values.shape[0]
    psi = (0.3 + np.linspace(-1.0, 1.0, n))[:, None, None, None] * np.array([1, -1, 1, -1]) / 2
    bad = tmp_path / "phase.nii.gz"
    write_volume(bad, torch.from_numpy(np.angle(np.exp(1j * (phase.values + psi))).astype(np.float32)), phase.grid)
    (tmp_path / "phase.json").write_text(json.dumps(dict(inherited_sidecar(phantom / "phase.nii.gz"))))
    words = ["qsm", tmp_path / "o", "--magnitude", phantom / "magnitude.nii.gz", "--phase", bad]
    words += ["--mask", phantom / "mask.nii.gz", "--inversion", "tkd", "--quiet"]
    told = {}
    for more in ([], ["--bipolar"]):
        assert main([str(w) for w in [*words, *more, "--overwrite"]]) == 0
        summary = json.loads((tmp_path / "o" / "qsm.json").read_text())
        told[len(more)] = read_volume(tmp_path / "o" / "fieldmap_desc-total.nii.gz")[0]
        assert summary["odd_even_phase"]["offset_rad"] == pytest.approx(0.3, abs=0.01)
        assert summary["sources"]["bipolar"] is bool(more)
        assert ("taken out" if more else "left") in summary["decisions"]["odd_even_phase"]
    right, mask = read_volume(mapped / "fieldmap_desc-total.nii.gz")[0], read_volume(mapped / "mask.nii.gz")[0] > 0
    assert float((told[1] - right)[mask].abs().median()) < 0.05 < 1.0 < float((told[0] - right)[mask].abs().median())
    summary = json.loads((mapped / "qsm.json").read_text())
    assert summary["odd_even_phase"]["rms_rad"] < 0.01
    assert "--magnitude and --phase" in refused("qsm", tmp_path / "p", "--recon", mapped, "--bipolar")


def test_the_curve_of_strengths_is_drawn_on_request(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "o"
    words = ["qsm", out, *_images(phantom), "--mask", phantom / "mask.nii.gz", "--background", "pdf", "--quiet"]
    maps = []
    for more in (["--strength-curve"], ["--overwrite"]):
        assert main([str(w) for w in [*words, *more]]) == 0
        maps.append(read_volume(out / "Chimap.nii.gz")[0])
        if more == ["--strength-curve"]:
            table = pd.read_csv(out / "strength_curve.tsv", sep="\t")
            picture = imread(out / "strength_curve.png")
    assert torch.equal(*maps)
    assert not list(out.glob("strength_curve.*"))
    chosen = json.loads((out / "qsm.json").read_text())["convergence"]["inversion"]["chosen"]["strength_ppm"]
    np.testing.assert_allclose(table["factor"], 2.0 ** np.arange(-3, 4))
    np.testing.assert_allclose(table["strength_ppm"], table["factor"] * chosen, rtol=1e-4)
    assert list(table["of_the_map"]) == [0, 0, 0, 1, 0, 0, 0]
    assert picture.shape[1] > 1000
    for colour in (SEEN, HELD_OUT):
        assert (np.abs(picture[..., :3] - to_rgb(colour)).max(-1) < 0.01).sum() > 100
    asked_for = [str(w) for w in [*words, "--strength-curve", "--overwrite"]]
    assert "for l1 only" in refused(*asked_for, "--inversion", "tkd")
    assert main([*asked_for, "--inversion-strength", "3e-4"]) == 0
    assert json.loads((out / "strength_curve.json").read_text())["Strength"] == "given"
    given = pd.read_csv(out / "strength_curve.tsv", sep="\t")
    assert given["strength_ppm"][3] == pytest.approx(3e-4)


def test_holes_of_low_quality_are_filled_unless_kept(phantom: Path, tmp_path: Path) -> None:
    magnitude = read_image(phantom / "magnitude.nii.gz")
    dark = magnitude.values.copy()
    middle = tuple(n // 2 for n in dark.shape[:3])
    hole = tuple(slice(m - 1, m + 2) for m in middle)
    dark[hole] = 0
    write_volume(tmp_path / "magnitude.nii.gz", torch.from_numpy(dark), magnitude.grid)
    words = ["qsm", tmp_path / "o", "--magnitude", tmp_path / "magnitude.nii.gz", "--phase", phantom / "phase.nii.gz"]
    words += ["--mask", phantom / "mask.nii.gz", "--inversion", "tkd", "--quiet", "--overwrite"]
    inside, told = {}, {}
    for more in ([], ["--keep-holes"]):
        assert main([str(w) for w in [*words, *more]]) == 0
        inside[len(more)] = read_volume(tmp_path / "o" / "mask.nii.gz")[0] > 0
        told[len(more)] = json.loads((tmp_path / "o" / "qsm.json").read_text())["mask"]
    assert inside[0][hole].all()
    assert not inside[1][hole].any()
    assert (inside[0] ^ inside[1]).sum() == 27 == told[0]["n_filled"] == told[1]["n_left"]


def test_options_override_sidecars_and_config(phantom: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(
        'reference = "brain"\n[inversion]\nmethod = "tkd"\nthreshold = 0.3\n[background]\nmethod = "pdf"\n'
    )
    scan = tmp_path / "scan.json"
    scan.write_text(json.dumps({"field_strength_t": 7.0, "b0_direction": [0, 1, 0]}))
    words = ["qsm", tmp_path / "o", *_images(phantom), "--mask", phantom / "mask.nii.gz", "--config", config]
    words += ["--scan", scan, "--field-strength", 3, "--inversion-threshold", 0.2, "--quiet"]
    assert main([str(w) for w in words]) == 0
    summary = json.loads((tmp_path / "o" / "qsm.json").read_text())
    assert summary["scan"]["MagneticFieldStrength"] == 3
    assert summary["scan"]["B0_dir"] == [0, 1, 0]
    assert summary["methods"]["inversion"] == {"method": "tkd", "parameters": {"threshold": 0.2}}


def test_single_echo(phantom: Path, tmp_path: Path) -> None:
    for name in ("magnitude", "phase"):
        image = read_image(phantom / f"{name}.nii.gz")
        write_volume(tmp_path / f"{name}.nii.gz", torch.from_numpy(image.values[..., 2].copy()), image.grid)
    words = ["qsm", tmp_path / "o", "--magnitude", tmp_path / "magnitude.nii.gz", "--phase", tmp_path / "phase.nii.gz"]
    words += ["--phase-unit", "rad", "--echo-times", 0.0095, "--field-strength", 3, "--mask", phantom / "mask.nii.gz"]
    assert main([str(w) for w in [*words, "--background", "pdf", "--quiet"]]) == 0
    chi, labels = read_volume(tmp_path / "o" / "Chimap.nii.gz")[0], read_volume(phantom / "labels.nii.gz")[0]
    assert float(chi[labels == 1].mean()) > 0.06
    assert not (tmp_path / "o" / "R2starmap.nii.gz").exists()


def test_csf_is_no_reference_of_a_single_echo(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    for name in ("magnitude", "phase"):
        image = read_image(phantom / f"{name}.nii.gz")
        write_volume(tmp_path / f"{name}.nii.gz", torch.from_numpy(image.values[..., 2].copy()), image.grid)
    words = ["qsm", tmp_path / "o", "--magnitude", tmp_path / "magnitude.nii.gz", "--phase", tmp_path / "phase.nii.gz"]
    words += ["--phase-unit", "rad", "--echo-times", 0.0095, "--field-strength", 3, "--reference", "csf"]
    assert "which one echo does not tell" in refused(*words)


def test_nan_voxels_stay_local(phantom: Path, tmp_path: Path) -> None:
    image = read_image(phantom / "phase.nii.gz")
    values = torch.from_numpy(image.values.copy())
    values[14, 10, 12, 1] = float("nan")
    write_volume(tmp_path / "phase.nii.gz", values, image.grid)
    (tmp_path / "phase.json").write_text(json.dumps(inherited_sidecar(phantom / "phase.nii.gz")))
    words = ["qsm", tmp_path / "o", "--magnitude", phantom / "magnitude.nii.gz", "--phase", tmp_path / "phase.nii.gz"]
    assert main([str(w) for w in [*words, "--mask", phantom / "mask.nii.gz", "--quiet"]]) == 0
    summary = json.loads((tmp_path / "o" / "qsm.json").read_text())
    assert summary["decisions"]["not_finite"].startswith("1 voxels")
    assert bool(torch.isfinite(read_volume(tmp_path / "o" / "Chimap.nii.gz")[0]).all())
    assert not bool(read_volume(tmp_path / "o" / "mask.nii.gz")[0][14, 10, 12])


def test_page_of_one_scan(mapped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(mapped)]) == 0
    page = (mapped / "report.html").read_text()
    assert "data:image/" in page
    assert str(mapped / "report.html") in capsys.readouterr().out


def test_what_qsm_refuses(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    out, images = tmp_path / "o", _images(phantom)
    assert "either --recon DIR, or both" in refused("qsm", out, "--magnitude", phantom / "magnitude.nii.gz")
    assert "4 echoes, but 2 echo times" in refused("qsm", out, *images, "--echo-times", 0.003, 0.006)
    assert "milliseconds" in refused("qsm", out, *images, "--echo-times", 3.3, 6.4, 9.5, 12.6)
    assert "ascend" in refused("qsm", out, *images, "--echo-times", 0.004, 0.003, 0.005, 0.006)
    assert "no such file" in refused("qsm", out, "--recon", tmp_path / "absent")
    assert "unknown unwrap method" in refused("qsm", out, *images, "--unwrap", "magic")
    assert "B0 direction" in refused("qsm", out, *images, "--b0-direction", "nan", 0, 1)
    for text, says in (
        ("[inversion]\nmethd = 1\n", "no option 'methd'"),
        ("[x]\n", "unknown entry 'x'"),
        ("=", "TOML"),
    ):
        (tmp_path / "c.toml").write_text(text)
        assert says in refused("qsm", out, *images, "--config", tmp_path / "c.toml")
    empty = tmp_path / "empty.nii.gz"
    image = read_image(phantom / "mask.nii.gz")
    write_volume(empty, torch.zeros(image.grid.shape), image.grid)
    assert "empty" in refused("qsm", out, *images, "--mask", empty)
    constant = tmp_path / "constant.nii.gz"
    write_volume(constant, torch.full((*image.grid.shape, 4), 0.5), image.grid)
    words = [
        "--magnitude",
        phantom / "magnitude.nii.gz",
        "--phase",
        constant,
        "--echo-times",
        0.003,
        0.006,
        0.009,
        0.012,
    ]
    assert "in every voxel" in refused("qsm", out, *words, "--phase-unit", "rad", "--field-strength", 3)
    words = ["--magnitude", phantom / "magnitude.nii.gz", "--phase", phantom / "phase.nii.gz"]
    (tmp_path / "scan.json").write_text(json.dumps({"shape": [1, 2, 3]}))
    assert "(1, 2, 3)" in refused("qsm", out, *words, "--scan", tmp_path / "scan.json")
    assert not out.exists()


def test_one_slice_is_refused(tmp_path: Path, refused: Refused) -> None:
    grid = Grid((28, 30, 1), (1.6, 1.6, 4.0))
    for name in ("magnitude", "phase"):
        write_volume(tmp_path / f"{name}.nii.gz", torch.rand((*grid.shape, 2)) + 0.5, grid)
    words = ["--phase-unit", "rad", "--echo-times", "0.003", "0.006", "--field-strength", "3"]
    said = refused("qsm", tmp_path / "out", *_images(tmp_path), *words)
    assert "one slice; susceptibility needs a volume" in said


def test_no_field_strength(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    image = read_image(phantom / "phase.nii.gz")
    write_volume(tmp_path / "phase.nii.gz", torch.from_numpy(np.array(image.values)), image.grid)
    words = ["--magnitude", phantom / "magnitude.nii.gz", "--phase", tmp_path / "phase.nii.gz", "--phase-unit", "rad"]
    words += ["--echo-times", 0.0033, 0.0064, 0.0095, 0.0126]
    assert "give --field-strength" in refused("qsm", tmp_path / "o", *words)
    assert not (tmp_path / "o").exists()


def test_uncertainty_goes_from_qsm_to_nuclei(phantom: Path, tmp_path: Path, refused: Refused) -> None:
    out = tmp_path / "o"
    words = ["qsm", out, *_images(phantom), "--mask", phantom / "mask.nii.gz", "--background", "pdf", "--quiet"]
    words += ["--inversion", "tkd", "--uncertainty", 3, "--uncertainty-seed", 5]
    assert main([str(w) for w in words]) == 0
    mask = read_volume(out / "mask_desc-eroded.nii.gz")[0] > 0
    noise = read_volume(out / "Chimap_desc-noise.nii.gz")[0]
    realisations = read_image(out / "Chimap_desc-realisations.nii.gz").values
    assert realisations.shape == (*mask.shape, 3)
    assert float(noise[mask].min()) > 0
    assert not noise[~mask].any()
    assert np.abs(realisations[mask.numpy()].mean(0)).max() < 1e-5
    for stem in UNCERTAINTY_UNITS:
        told = json.loads((out / f"{stem}.json").read_text())
        assert (told["Units"], told["Realisations"], told["Seed"], told["Pooled"]) == ("ppm", 3, 5, True)

    labels = ["--labels", phantom / "labels.nii.gz", "--names", phantom / "names.tsv"]
    nuclei = ["nuclei", out / "Chimap.nii.gz", tmp_path / "n.tsv", "--participant", "p", "--arm", "a", *labels]
    nuclei += ["--uncertainty", out / "Chimap_desc-realisations.nii.gz", "--quiet"]
    assert main([str(w) for w in nuclei]) == 0
    table = pd.read_csv(tmp_path / "n.tsv", sep="\t")
    assert list(table.columns) == [*COLUMNS, "noise_sd_ppb"]
    assert table["noise_sd_ppb"].between(0.01, 1e3 * float(noise.max())).all()
    assert "noise_sd_ppb" in json.loads((tmp_path / "n.json").read_text())["columns"]
    flat = [*nuclei[:-2], out / "Chimap.nii.gz", "--overwrite"]
    assert "4-D" in refused(*flat)
    assert "two realisations" in refused(*[w if w != 3 else 1 for w in words], "--overwrite")


def test_realisations_have_the_reference_of_the_map(phantom: Path, tmp_path: Path) -> None:
    out, region = tmp_path / "o", read_volume(phantom / "labels.nii.gz")[0] == 1
    write_volume(tmp_path / "region.nii.gz", region, read_volume(phantom / "labels.nii.gz")[1])
    words = ["qsm", out, *_images(phantom), "--mask", phantom / "mask.nii.gz", "--background", "pdf", "--quiet"]
    words += ["--inversion", "tkd", "--uncertainty", 2, "--reference", tmp_path / "region.nii.gz"]
    assert main([str(w) for w in words]) == 0
    values = read_image(out / "Chimap_desc-realisations.nii.gz").values
    mask = read_volume(out / "mask_desc-eroded.nii.gz")[0] > 0
    assert np.abs(values[region.numpy()].mean(0)).max() < 1e-5
    assert np.abs(values[mask.numpy()].mean(0)).max() > 1e-4
    again = [w for w in words if w not in ("--uncertainty", 2)]
    assert main([str(w) for w in [*again, "--overwrite"]]) == 0
    assert not list(out.glob("Chimap_desc-*"))
