"""Every form that BIDS and its users have for multi-echo images gives one scan's susceptibility."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cohort_study import Run, records
from tiny_images import GRID, N_COILS, coil_images, describe_scans, signal, write_scan

from dlqsm.io.nifti import read_image


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One scan as magnitude and phase, as real and imaginary part (once chopped), of a second run, and of each coil."""
    root = tmp_path_factory.mktemp("forms") / "bids"
    images = signal()
    write_scan(root, images, sub="01", acq="A", run="1")
    write_scan(root, signal(6), sub="01", acq="A", run="2")
    write_scan(root, images, ("real", "imag"), sub="01", acq="complex")
    write_scan(root, images * (-1.0) ** torch.arange(GRID.shape[2]), ("real", "imag"), sub="01", acq="chopped")
    for n, of_coil in enumerate(coil_images(images), start=1):
        write_scan(root, of_coil, coil=n, sub="01", acq="A", rec="uncombined")
    describe_scans(root, {"sub-01": 60})
    return root


@pytest.fixture(scope="module")
def chi(forms: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory, run_once: Run) -> dict[str, np.ndarray]:
    """Arm to its map [ppm], zero outside the mask."""
    out = tmp_path_factory.mktemp("chi") / "out"
    assert run_once(forms, out, "participant", "--config", quick, "--reference", "A_run1") == 0
    names = {
        path.name.removesuffix("_qsm.json"): path for path in map(Path, records(out)) if path.name.endswith("_qsm.json")
    }
    assert sorted(names) == ["A_recuncombined", "A_run1", "A_run2", "chopped", "complex"]
    anat = out / "sub-01" / "anat"
    stems = {
        "A_run1": "acq-A_run-1",
        "A_run2": "acq-A_run-2",
        "complex": "acq-complex",
        "chopped": "acq-chopped",
        "A_recuncombined": "acq-A_rec-uncombined",
    }
    accounts = json.loads((anat / "sub-01_acq-complex_qsmaccount.json").read_text())
    assert accounts["decisions"]["phase_unit"] == "rad, the angle of real and imaginary images"
    assert "slice_sign" not in accounts["decisions"]
    chopped = json.loads((anat / "sub-01_acq-chopped_qsmaccount.json").read_text())
    assert "alternates" in chopped["decisions"]["slice_sign"]
    told = json.loads((anat / "sub-01_acq-A_rec-uncombined_Chimap.json").read_text())
    assert len(told["Sources"]) == N_COILS * 4 * 2
    assert told["Sources"][1] == "bids:raw:sub-01/anat/sub-01_acq-A_rec-uncombined_coil-02_echo-1_part-mag_MEGRE.nii.gz"
    return {name: read_image(anat / f"sub-01_{stem}_Chimap.nii.gz").values for name, stem in stems.items()}


def test_real_and_imaginary_parts_are_the_same_scan(chi: dict[str, np.ndarray]) -> None:
    np.testing.assert_allclose(chi["complex"], chi["A_run1"], atol=1e-4)
    np.testing.assert_allclose(chi["chopped"], chi["complex"], atol=1e-4)


def test_images_of_coils_give_the_map_of_the_combined_ones(chi: dict[str, np.ndarray]) -> None:
    both = (chi["A_run1"] != 0) & (chi["A_recuncombined"] != 0)
    assert both.sum() > 0.9 * (chi["A_run1"] != 0).sum()
    # The coils share the noise of one image, which their own weights move about a little.
    assert np.sqrt(np.mean((chi["A_run1"] - chi["A_recuncombined"])[both] ** 2)) < 0.002
    assert GRID.shape == chi["A_recuncombined"].shape


def test_runs_are_arms_of_their_own(chi: dict[str, np.ndarray]) -> None:
    assert not np.array_equal(chi["A_run1"], chi["A_run2"])
    assert np.corrcoef(chi["A_run1"].ravel(), chi["A_run2"].ravel())[0, 1] > 0.9
