"""The built-in atlas: the virtual head's own nuclei."""

import numpy as np
import pytest
import torch

from dlqsm.acquisition.tissue import TISSUES
from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.nuclei.transforms import positions
from dlqsm.pipeline.atlases import find_atlas, with_susceptibility


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return find_atlas("virtual")


def test_it_is_made_once(atlas: Atlas) -> None:
    assert find_atlas("virtual") is atlas


def test_labels_are_shares_of_a_voxel_inside_the_brain(atlas: Atlas) -> None:
    total = atlas.probabilities.sum(0)
    assert float(total.max()) <= 1.0 + 1e-6
    assert not bool((total[~atlas.brain] > 0).any())
    mixed = (atlas.probabilities > 0) & (atlas.probabilities < 1)
    assert int(mixed.sum()) > 1000


def test_sizes_and_sides_are_those_of_the_nuclei(atlas: Atlas) -> None:
    volumes = atlas.probabilities.sum((1, 2, 3))
    by_name = {name: float(volume) for name, volume in zip(atlas.names.values(), volumes, strict=True)}
    # Volumes in CIT168 (mm3, label table of the atlas, probability above 0.25) are larger by their rim.
    for roi, low, high in (("Pu", 5000, 8000), ("Ca", 5000, 8000), ("GPe", 900, 1400), ("RN", 300, 600)):
        assert low < by_name[(roi, "left")] < high
    x = positions(atlas.grid)[..., 0]
    for (roi, side), share in zip(atlas.names.values(), atlas.probabilities, strict=True):
        mean_x = float((share * x).sum() / share.sum())
        assert (mean_x < 0) == (side == "left"), roi


def test_left_and_right_mirror_each_other(atlas: Atlas) -> None:
    volumes = atlas.probabilities.sum((1, 2, 3))
    assert torch.allclose(volumes[:7], volumes[7:], rtol=1e-3)


def test_susceptibility_is_that_of_the_tissue(atlas: Atlas) -> None:
    assert atlas.chi_ppm is not None
    for (roi, _), share in zip(atlas.names.values(), atlas.probabilities, strict=True):
        core = share > 0.999
        assert float(atlas.chi_ppm[core].mean()) == pytest.approx(TISSUES[roi].chi_ppb / 1e3, abs=1e-4)
    # Averages over cells reach a little over the edge of the brain, which is drawn at voxel centres.
    assert float(atlas.chi_ppm[~atlas.brain].abs().max()) < 0.02


def test_white_matter_is_brighter_than_grey_in_the_template(atlas: Atlas) -> None:
    index = list(atlas.names.values()).index(("Ca", "left"))
    caudate = float(atlas.template[atlas.probabilities[index] > 0.99].mean())
    assert caudate < 0.85 * float(np.percentile(atlas.template[atlas.brain].numpy(), 90))


def test_synthetic_susceptibility_says_what_it_is(atlas: Atlas) -> None:
    made = with_susceptibility(atlas)
    assert made.chi_ppm is not None
    assert "synthetic" in made.source["susceptibility"]
    values = [TISSUES[roi].chi_ppb / 1e3 for roi, _ in label_table().values()]
    expected = float((atlas.probabilities.sum((1, 2, 3)) * torch.tensor(values)).sum())
    assert float(made.chi_ppm.sum()) == pytest.approx(expected, rel=1e-4)
    assert set(NUCLEI) == {roi for roi, _ in made.names.values()}
