"""Skull, scalp, air spaces and the corrected template: places and signs."""

import numpy as np
import pytest
import torch

from dlqsm.acquisition.fractions import corrected_fractions, sharpened_fractions
from dlqsm.acquisition.painting import classify
from dlqsm.acquisition.surroundings import CHANNELS, SURROUNDINGS_GRID, brain_hull, make_surroundings
from dlqsm.acquisition.tissue import TISSUE_NUMBERS
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.checks import InputError
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy

NAMES = {number: name for name, number in TISSUE_NUMBERS.items()}


@pytest.fixture(scope="module")
def anatomy():
    return load_anatomy()


@pytest.fixture(scope="module")
def surroundings(anatomy):
    return make_surroundings(anatomy)


@pytest.mark.parametrize(
    ("place", "tissue"),
    [
        ((0, -20, 20), "CSF"), ((0, -20, 200), "air"), ((5, 19, -40), "air"), ((29, 47, -68), "air"),
        ((-29, 47, -68), "air"), ((33, 68, -38), "eye"), ((0, -4, -105), "air"), ((80, -24, -46), "air"),
        ((0, 6, -240), "air"), ((40, -40, -120), "muscle"), ((0, -25, -200), "bone"), ((60, 58, -46), "air"),
    ],
)  # fmt: skip
def test_places(surroundings, place, tissue):
    found = classify(surroundings.sample(torch.tensor([place], dtype=torch.float32)))
    assert NAMES[int(found)] == tissue


def test_going_outwards_one_meets_brain_bone_scalp_and_air(surroundings):
    z = torch.arange(60.0, 130.0, 0.5)
    line = torch.stack([torch.full_like(z, 20.0), torch.full_like(z, -30.0), z], dim=-1)
    tissues = [NAMES[int(number)] for number in torch.unique_consecutive(classify(surroundings.sample(line)))]
    assert tissues == ["CSF", "bone", "muscle", "fat", "air"] or tissues == ["CSF", "bone", "fat", "air"]
    bone = (classify(surroundings.sample(line)) == TISSUE_NUMBERS["bone"]).sum() * 0.5
    assert 4.0 < bone < 9.0


def test_larger_sinuses_hold_more_air_and_never_touch_the_brain(anatomy, surroundings):
    large = make_surroundings(anatomy, sinus_size_mm=2.0)
    air, hull = CHANNELS.index("air"), CHANNELS.index("hull")
    assert (large.channels[air] < 0).sum() > 1.2 * (surroundings.channels[air] < 0).sum()
    assert large.channels[hull][large.channels[air] < 0].min() > 2.5


def test_hull_holds_the_brain_and_closes_its_fissures(anatomy):
    hull = brain_hull(anatomy, SURROUNDINGS_GRID)
    inside = Grid(SURROUNDINGS_GRID.shape, SURROUNDINGS_GRID.voxel_size_mm).voxel_volume_mm3 * (hull < 0).sum()
    brain = (anatomy.t1 > 0).sum()
    assert brain < inside < 1.25 * brain


def test_background_field_is_strongest_above_the_sphenoid_sinus_and_mild_elsewhere(surroundings):
    grid = Grid((56, 72, 84), (4.0, 4.0, 4.0), origin_mm=(-110.0, -150.0, -200.0))
    index = torch.stack(torch.meshgrid(*map(torch.arange, grid.shape), indexing="ij"), dim=-1).float()
    distances = surroundings.sample(index * 4.0 + torch.tensor(grid.origin_mm))
    tissue = classify(distances)
    chi = torch.where(tissue == TISSUE_NUMBERS["bone"], -2.0, 0.0) - 9.4 * (tissue != TISSUE_NUMBERS["air"])
    field = susceptibility_to_field(chi, grid, (0.0, 0.0, 1.0), padding_mm=120.0)
    brain = distances[0] < -2.0
    position = (index[brain] * 4.0 + torch.tensor(grid.origin_mm)) / 80.0
    x, y, z = position.unbind(-1)
    shims = torch.stack([torch.ones_like(x), x, y, z, x * y, x * z, y * z, x**2 - z**2, y**2 - z**2], dim=-1)
    rest = field[brain] - shims @ torch.linalg.lstsq(shims, field[brain, None]).solution[:, 0]
    place = position[rest.argmax()] * 80.0
    assert place[2] < -15
    assert abs(place[0]) < 25
    assert 0.5 < rest.max() < 5.0
    assert (rest.abs() < 1.0).float().mean() > 0.98


def test_correction_only_turns_grey_into_white_and_csf(anatomy):
    gm, wm = corrected_fractions(anatomy)
    assert (gm <= anatomy.gm + 1e-6).all()
    assert (wm >= anatomy.wm - 1e-6).all()
    assert ((gm + wm) <= anatomy.gm + anatomy.wm + 1e-5).all()
    pons, cortex = (98, 134 - 28, 72 - 35), (slice(40, 60), slice(100, 140), slice(110, 130))
    assert gm[pons] < 0.05 < 0.3 < anatomy.gm[pons]
    assert np.array_equal(gm[cortex], anatomy.gm[cortex])


def test_sharpened_fractions_add_up_and_keep_their_order():
    fractions = torch.tensor([[0.6, 1.0, 0.2, 0.0], [0.3, 0.0, 0.2, 0.0]])
    shares = sharpened_fractions(fractions)
    assert torch.allclose(shares.sum(0), torch.ones(4))
    assert shares.argmax(0).tolist() == [0, 0, 2, 2]
    assert shares[0, 0] > 0.6


def test_anatomy_refuses_arrays_of_another_shape():
    grid, volume = Grid((4, 4, 4), (1.0, 1.0, 1.0)), np.zeros((4, 4, 4), dtype=np.float32)
    with pytest.raises(InputError, match=r"wm has shape \(4, 4, 3\)"):
        Anatomy(volume, volume, volume[..., :3], grid)
