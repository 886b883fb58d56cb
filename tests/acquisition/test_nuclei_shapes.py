"""Shapes of the nuclei: volumes, places and forms of anatomy, and overlap with the real atlas."""

import nibabel
import numpy as np
import pytest
import torch

from dlqsm.acquisition.nuclei_shapes import STRUCTURES, ventricle_share
from dlqsm.acquisition.sweeps import Sweep
from dlqsm.core.labels import NUCLEI
from dlqsm.core.scan import Grid

SHAPES = {s.tissue: s for s in STRUCTURES if s.tissue in (*NUCLEI, "thalamus", "dentate")}

# Volume of one side [mm3] in MNI space, which is about a third larger than life (scale 0.91 cubed is 0.75).
VOLUME_MM3 = {
    "Pu": (5500, 8500), "Ca": (5000, 7800), "GPe": (1000, 1900), "GPi": (450, 850), "RN": (300, 550),
    "SNc": (130, 350), "SNr": (300, 650), "thalamus": (6000, 9500), "dentate": (400, 1400),
}  # fmt: skip
DICE = {"Pu": 0.83, "Ca": 0.85, "GPe": 0.80, "GPi": 0.85, "RN": 0.90, "SNc": 0.74, "SNr": 0.78}


def lattice(lower, upper, step=0.5):
    axes = [torch.arange(a, b, step) for a, b in zip(lower, upper, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)


def inside(name, side=1.0, step=0.5):
    """Points of a structure on a lattice, painted alone."""
    structure = SHAPES[name]
    points = lattice(*structure.box(side), step)
    return points[structure.level(points, side) > 0]


def test_a_sweep_with_equal_sections_is_a_cylinder():
    rod = Sweep("height", ((0.0, 3.0, 4.0, 2.0, 2.0, 0.0, 0.0), (10.0, 3.0, 4.0, 2.0, 2.0, 0.0, 0.0)))
    points = lattice((-2.0, -2.0, -2.0), (8.0, 9.0, 12.0), 0.1)
    x, y, z = points.unbind(-1)
    expected = (torch.hypot(x - 3, y - 4) < 2) & (z > 0) & (z < 10)
    assert ((rod.level(x, y, z) > 0) != expected).float().mean() < 3e-3


def test_an_arc_with_equal_sections_is_a_torus_across_the_cut_of_the_angle():
    ring = Sweep("arc", ((100.0, 5.0, 20.0, 3.0, 3.0, 0.0, 0.0), (300.0, 5.0, 20.0, 3.0, 3.0, 0.0, 0.0)), (1.0, 2.0))
    angle = torch.deg2rad(torch.tensor([90.0, 120.0, 179.0, 181.0, 250.0, 310.0]))
    x, y, z = torch.full((6,), 5.0), 1 + 20 * torch.cos(angle), 2 + 20 * torch.sin(angle)
    assert (ring.level(x, y, z) > 0).tolist() == [False, True, True, True, True, False]
    assert torch.allclose(ring.level(x, y, z)[1:5], torch.tensor(3.0), atol=1e-3)


def test_half_axes_of_zero_close_an_end_and_bend_makes_a_crescent():
    bean = Sweep("height", ((0, 0, 0, 0, 0, 0, 0.1), (5, 0, 0, 6, 2, 0, 0.1), (10, 0, 0, 0, 0, 0, 0.1)))
    at = torch.tensor([[0.0, 0.0, 0.01], [0.0, 0.0, 5.0], [4.0, 1.6, 5.0], [4.0, -1.6, 5.0], [-4.0, 1.6, 5.0]])
    levels = bean.level(*at.unbind(-1))
    assert levels[0] < 0.2
    assert (levels > 0).tolist()[1:] == [True, True, False, True]


@pytest.mark.parametrize("name", VOLUME_MM3)
def test_volume(name):
    low, high = VOLUME_MM3[name]
    assert low < len(inside(name)) * 0.125 < high


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.tissue)
def test_box_holds_the_whole_shape(structure):
    for side in structure.sides:
        lower, upper = structure.box(side)
        wide = lattice([a - 8 for a in lower], [b + 8 for b in upper], 1.0)
        found = wide[structure.level(wide, side) > 0]
        assert len(found)
        assert (found >= torch.tensor(lower)).all()
        assert (found <= torch.tensor(upper)).all()


def test_sides_are_mirror_images():
    for name in SHAPES:
        left, right = inside(name, -1.0).mean(0), inside(name, 1.0).mean(0)
        assert left[0] < 0 < right[0]
        assert torch.allclose(left * torch.tensor([-1.0, 1.0, 1.0]), right, atol=0.3)


def test_caudate_is_an_arch_with_a_thick_head_and_a_thin_tail():
    points = inside("Ca")
    head, top, tail = (points[mask] for mask in (points[:, 1] > 8, points[:, 2] > 20, points[:, 1] < -25))
    assert len(head) > 5 * len(tail) > 0
    # Head and tail both lie below the body.
    assert head[:, 2].mean() < top[:, 2].mean()
    assert tail[:, 2].mean() < top[:, 2].mean()
    hollow = torch.tensor([[15.0, -10.0, 5.0]])
    assert SHAPES["Ca"].level(hollow, 1.0) < 0


def test_order_from_lateral_to_medial_and_places_of_the_nigra():
    centre = {name: inside(name).mean(0) for name in SHAPES}
    assert centre["Pu"][0] > centre["GPe"][0] > centre["GPi"][0] > centre["SNr"][0] > centre["RN"][0]
    # Pars compacta dorso-medial of pars reticulata, both ventro-lateral of the red nucleus.
    assert centre["SNc"][0] < centre["SNr"][0]
    assert centre["SNc"][1] < centre["SNr"][1]
    assert centre["SNr"][2] < centre["RN"][2]
    assert centre["dentate"][2] < -30


def test_red_nucleus_is_round_and_nigra_is_flat():
    spread = {name: np.linalg.eigvalsh(np.cov(inside(name, step=0.4).T.numpy())) ** 0.5 for name in ("RN", "SNc")}
    assert spread["RN"][2] / spread["RN"][0] < 1.8
    assert spread["SNc"][2] / spread["SNc"][0] > 3


def test_ventricle_share_has_the_volume_of_ventricles():
    grid = Grid((61, 61, 81), (2.0, 2.0, 1.0), origin_mm=(-60.0, -80.0, -60.0))
    share = ventricle_share(grid)
    assert share.min() == 0
    assert share.max() == 1
    assert 12e3 < share.sum() * grid.voxel_volume_mm3 < 35e3


def test_nuclei_overlap_the_atlas(shared_data):
    folder = shared_data / "atlas_cit168"
    image = nibabel.load(folder / "tpl-MNI152NLin2009cAsym_res-01_atlas-CIT168_dseg.nii.gz")
    atlas = np.asarray(image.dataobj)
    numbers = {}
    for line in (folder / "tpl-MNI152NLin2009cAsym_res-01_atlas-CIT168_dseg.tsv").read_text().splitlines()[1:]:
        number, _, nucleus, side = line.split("\t")[:4]
        numbers[nucleus, side] = int(number)
    atlas = atlas[40:125, 60:160, 50:120]
    index = np.stack(np.meshgrid(*map(np.arange, atlas.shape), indexing="ij"), axis=-1) + np.array([40, 60, 50])
    position = torch.from_numpy(index @ image.affine[:3, :3].T + image.affine[:3, 3]).float()
    for nucleus, bound in DICE.items():
        for side, sign in (("left", -1.0), ("right", 1.0)):
            real = torch.from_numpy(atlas == numbers[nucleus, side])
            made = SHAPES[nucleus].level(position, sign) > 0
            dice = 2 * (real & made).sum() / (real.sum() + made.sum())
            assert dice > bound, (nucleus, side, float(dice))
