"""The virtual head: what follows from the seed, geometry of pose and grid, and values on the grid."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dlqsm.acquisition.deformation import Volumes, invert
from dlqsm.acquisition.head import Participant, Pose, draw_displacement, draw_participants, make_head, tissue_maps
from dlqsm.acquisition.tissue import TISSUE_NUMBERS
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy

UPRIGHT = np.eye(3)
PERSON = Participant("sub-001", 44.0, "female", 11)
# Volume of one side in life [mm3]: wide ranges over published atlases and ages.
VOLUME_MM3 = {
    "Pu": (3500, 7000), "Ca": (2800, 6800), "GPe": (600, 1500), "GPi": (280, 750), "RN": (180, 520),
    "SNc": (70, 350), "SNr": (180, 600),
}  # fmt: skip


@pytest.fixture(scope="module")
def anatomy():
    return load_anatomy()


@pytest.fixture(scope="module")
def head(anatomy):
    return make_head(anatomy, PERSON)


@pytest.fixture(scope="module")
def nuclei_grid():
    return Grid.centred((100, 110, 90), (1.0, 1.0, 1.0), UPRIGHT)


@pytest.fixture(scope="module")
def maps(head, nuclei_grid):
    return tissue_maps(head, nuclei_grid, Pose())


@pytest.fixture(scope="module")
def whole(head):
    return tissue_maps(head, Grid.centred((80, 100, 90), (3.0, 3.0, 3.0), UPRIGHT), Pose())


def centroid(labels, number, grid):
    index = torch.nonzero(labels == number).double().mean(0).numpy()
    return grid.affine[:3, :3] @ index + grid.affine[:3, 3]


def test_population_has_the_stated_ages_and_sexes():
    people = draw_participants(5900, seed=3)
    ages = np.array([p.age_years for p in people])
    assert ages.min() >= 18
    assert ages.max() <= 75
    assert ages.mean() == pytest.approx(44, abs=0.8)
    assert ages.std() == pytest.approx(15, abs=0.5)
    assert sum(p.sex == "male" for p in people) == 2200
    assert people == draw_participants(5900, seed=3)
    assert people[0] != draw_participants(5900, seed=4)[0]
    assert len({p.seed for p in people}) > 5890


def test_unusable_participants_are_refused():
    with pytest.raises(InputError, match="sex"):
        Participant("sub-001", 40.0, "m", 1)
    with pytest.raises(InputError, match="age"):
        Participant("sub-001", -1.0, "male", 1)
    with pytest.raises(InputError, match="1 or more"):
        draw_participants(0, seed=1)


def test_same_participant_same_head_other_seed_other_head(anatomy, head, maps, nuclei_grid):
    again = tissue_maps(make_head(anatomy, PERSON), nuclei_grid, Pose())
    assert torch.equal(again.chi_ppm, maps.chi_ppm)
    assert torch.equal(again.labels, maps.labels)
    other = make_head(anatomy, replace(PERSON, seed=12))
    assert other.scale != head.scale
    assert other.values["RN"] != head.values["RN"]
    assert not torch.equal(tissue_maps(other, nuclei_grid, Pose()).labels, maps.labels)


def smallest_jacobian(displacement: Volumes) -> float:
    """Smallest determinant of the derivative of x + u(x) over the grid; positive means that nothing folds."""
    u = displacement.channels.numpy()
    rows = [np.gradient(part, *displacement.grid.voxel_size_mm) for part in u]
    jacobian = np.moveaxis(np.array(rows), (0, 1), (-2, -1)) + np.eye(3)
    return float(np.linalg.det(jacobian).min())


@pytest.mark.parametrize("age_years", [18.0, 44.0, 75.0])
def test_deformation_does_not_fold_at_any_age(age_years):
    for seed in range(4):
        displacement = draw_displacement(age_years, np.random.default_rng(seed))
        assert smallest_jacobian(displacement) > 0.1
        assert 2.0 < displacement.channels.abs().max() < 12.0


def test_a_map_that_folds_is_seen_as_folding():
    displacement = draw_displacement(44.0, np.random.default_rng(0))
    assert smallest_jacobian(replace(displacement, channels=8 * displacement.channels)) < 0


def test_inverse_deformation_returns(head):
    points = np.random.default_rng(0).uniform((-60, -90, -50), (60, 60, 70), (200, 3))
    found = torch.from_numpy(invert(head.displacement, points)).float()
    there = found + head.displacement.sample(found).T
    assert np.abs(there.numpy() - points).max() < 0.05


def test_ventricles_grow_with_age(anatomy, nuclei_grid):
    volumes = []
    for age in (20.0, 75.0):
        maps = tissue_maps(make_head(anatomy, Participant("sub-001", age, "female", 5)), nuclei_grid, Pose())
        volumes.append(int((maps.tissue_labels == TISSUE_NUMBERS["ventricle"]).sum()))
    assert 1.3 < volumes[1] / volumes[0] < 4.0


def test_volumes_of_the_nuclei(maps):
    for number, (nucleus, _) in label_table().items():
        low, high = VOLUME_MM3[nucleus]
        assert low < int((maps.labels == number).sum()) < high, nucleus


def test_left_is_left(maps, nuclei_grid):
    for number, (_, side) in label_table().items():
        x = centroid(maps.labels, number, nuclei_grid)[0]
        assert x < 0 if side == "left" else x > 0


def test_deep_nuclei_lie_near_the_isocentre(maps, nuclei_grid):
    for number in label_table():
        assert np.linalg.norm(centroid(maps.labels, number, nuclei_grid)) < 45


def test_nuclei_have_the_values_of_the_table(head, maps):
    for number, (nucleus, _) in label_table().items():
        chosen, expected = maps.labels == number, head.values[nucleus]
        for field, value in (
            ("chi_ppm", expected.chi_ppm), ("r2star_hz", expected.r2star_hz), ("t1_s", expected.t1_s),
            ("proton_density", expected.proton_density),
        ):  # fmt: skip
            assert torch.allclose(getattr(maps, field)[chosen], torch.tensor(value), rtol=1e-5), (nucleus, field)


def test_labels_and_tissue_labels_agree(maps):
    for number, (nucleus, _) in label_table().items():
        assert (maps.tissue_labels[maps.labels == number] == TISSUE_NUMBERS[nucleus]).all()
    assert int(torch.isin(maps.tissue_labels, torch.tensor([TISSUE_NUMBERS[n] for n in NUCLEI])).sum()) == int(
        (maps.labels > 0).sum()
    )


def test_translation_moves_the_centroids_exactly(head, maps, nuclei_grid):
    shift = (3.0, -2.0, 4.0)
    moved = tissue_maps(head, nuclei_grid, Pose(translation_mm=shift))
    for number in label_table():
        step = centroid(moved.labels, number, nuclei_grid) - centroid(maps.labels, number, nuclei_grid)
        assert step == pytest.approx(shift, abs=1e-3)


def test_rotation_moves_the_centroids_as_a_rigid_body(head, maps, nuclei_grid):
    pose = Pose(rotation_deg=(4.0, -7.0, 10.0), translation_mm=(1.0, 2.0, -1.0))
    rotation = Rotation.from_rotvec(pose.rotation_deg, degrees=True)
    moved = tissue_maps(head, nuclei_grid, pose)
    for number, (nucleus, _) in label_table().items():
        expected = rotation.apply(centroid(maps.labels, number, nuclei_grid)) + pose.translation_mm
        # What is left is the sampling of a thin plate by 1 mm voxels.
        limit = 0.35 if nucleus.startswith("SN") else 0.15
        assert np.abs(centroid(moved.labels, number, nuclei_grid) - expected).max() < limit, nucleus


def test_an_oblique_grid_samples_the_same_anatomy(head, maps, nuclei_grid):
    rotation = Rotation.from_euler("xyz", (20.0, 5.0, -10.0), degrees=True).as_matrix()
    grid = Grid.centred((120, 130, 60), (0.9, 0.9, 2.0), rotation)
    oblique = tissue_maps(head, grid, Pose())
    for number, (nucleus, _) in label_table().items():
        difference = centroid(oblique.labels, number, grid) - centroid(maps.labels, number, nuclei_grid)
        assert np.abs(difference).max() < (0.6 if nucleus.startswith("SN") else 0.3), nucleus


def test_single_points_agree_with_the_whole_grid(head, maps, nuclei_grid):
    corner = (40, 60, 40)
    origin = nuclei_grid.affine[:3, :3] @ np.array(corner) + nuclei_grid.affine[:3, 3]
    part = Grid((7, 8, 9), (1.0, 1.0, 1.0), origin_mm=tuple(origin))
    box = tuple(slice(a, a + n) for a, n in zip(corner, part.shape, strict=True))
    small = tissue_maps(head, part, Pose())
    assert torch.equal(small.tissue_labels, maps.tissue_labels[box])
    assert torch.allclose(small.chi_ppm, maps.chi_ppm[box], atol=1e-4)


def test_whole_head_has_every_tissue_and_physical_values(whole):
    assert set(whole.tissue_labels.unique().tolist()) >= set(TISSUE_NUMBERS.values()) - {TISSUE_NUMBERS["vein"]}
    assert (whole.r2star_hz > 0).all()
    assert (whole.t1_s > 0).all()
    assert whole.proton_density.min() >= 0
    assert whole.proton_density.max() <= 1
    assert all(
        bool(torch.isfinite(getattr(whole, name)).all()) for name in ("chi_ppm", "r2star_hz", "t1_s", "proton_density")
    )


def test_air_and_bone_have_their_susceptibility_and_corners_are_air(whole):
    air, bone = (whole.tissue_labels == TISSUE_NUMBERS[name] for name in ("air", "bone"))
    assert torch.allclose(whole.chi_ppm[air], torch.tensor(9.4))
    assert torch.allclose(whole.chi_ppm[bone], torch.tensor(-2.0))
    assert air[0, 0, -1]
    assert air[-1, -1, -1]
    assert not (air & whole.brain).any()
    assert not (bone & whole.brain).any()


def test_brain_has_the_volume_of_a_brain_and_lies_in_the_skull(whole):
    assert 1.1e6 < int(whole.brain.sum()) * 27.0 < 1.8e6
    shell = torch.nn.functional.max_pool3d(whole.brain[None].float(), 3, 1, 1)[0].bool() & ~whole.brain
    bone = (whole.tissue_labels == TISSUE_NUMBERS["bone"])[shell].float().mean()
    assert bone > 0.7


def test_the_field_of_view_of_the_small_protocol_holds_the_brain(head):
    inner = tissue_maps(head, Grid.centred((68, 68, 48), (3.0, 3.0, 3.0), UPRIGHT), Pose())
    outer = tissue_maps(head, Grid.centred((90, 90, 80), (3.0, 3.0, 3.0), UPRIGHT), Pose())
    assert int(inner.brain.sum()) > 0.985 * int(outer.brain.sum())


def test_memory_slabs_do_not_change_the_result(head, maps, nuclei_grid, monkeypatch):
    monkeypatch.setattr("dlqsm.acquisition.head.SLAB_VOXELS", 70_000)
    thin = tissue_maps(head, nuclei_grid, Pose())
    assert torch.equal(thin.labels, maps.labels)
    assert torch.equal(thin.tissue_labels, maps.tissue_labels)
    assert torch.allclose(thin.chi_ppm, maps.chi_ppm, atol=1e-5)
