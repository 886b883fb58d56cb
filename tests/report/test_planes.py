"""Planes point where their letters say, on every orientation of the array."""

import itertools

import numpy as np
import pytest
import torch

from dlqsm.core.scan import Grid
from dlqsm.report import planes
from dlqsm.report.planes import View, cut, orientation, squared, tilt_deg, view_of

VIEW = View((0.0, 0.0, 0.0), (20.0, 24.0, 16.0), (20.0, 24.0, 16.0))


def marked(grid, position_mm):
    """A volume with one bright voxel at a RAS position."""
    volume = torch.zeros(grid.shape)
    index = np.linalg.solve(grid.affine, np.append(position_mm, 1.0))[:3]
    volume[tuple(np.rint(index).astype(int))] = 1.0
    return volume


def grids():
    """All 48 ways to lay an array along the anatomical axes, voxels of 2 x 2 x 4 mm along them."""
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            rotation = np.zeros((3, 3))
            for array_axis, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
                rotation[axis, array_axis] = sign
            size = [(2.0, 2.0, 4.0)[axis] for axis in axes]
            shape = [(31, 33, 17)[axis] for axis in axes]
            affine = np.eye(4)
            affine[:3, :3] = rotation * size
            affine[:3, 3] = -affine[:3, :3] @ (np.asarray(shape) // 2)
            yield Grid.from_affine(tuple(shape), affine)


def test_patient_left_is_at_the_right_and_superior_is_up_on_every_orientation():
    for grid in grids():
        axial = cut(marked(grid, (-12.0, 16.0, 0.0)), grid, VIEW, "axial")
        row, column = np.argwhere(axial == 1)[0]
        assert column > axial.shape[1] // 2, "left of the participant is at the right of the image"
        assert row < axial.shape[0] // 2, "anterior is up"
        coronal = cut(marked(grid, (-12.0, 0.0, 8.0)), grid, VIEW, "coronal")
        row, column = np.argwhere(coronal == 1)[0]
        assert column > coronal.shape[1] // 2 and row < coronal.shape[0] // 2
        sagittal = cut(marked(grid, (0.0, 16.0, 8.0)), grid, VIEW, "sagittal")
        row, column = np.argwhere(sagittal == 1)[0]
        assert column < sagittal.shape[1] // 2 and row < sagittal.shape[0] // 2, "the face looks left"


def test_a_place_in_the_box_is_where_its_affine_says_on_every_orientation():
    spot = (-12.0, 16.0, 8.0)
    for grid in grids():
        found = np.argwhere(planes.box(marked(grid, spot), grid, VIEW) == 1)
        assert len(found) == 1
        k, row, column = found[0]
        np.testing.assert_allclose(planes.box_affine(grid, VIEW)[:3] @ (column, row, k, 1), spot, atol=1e-9)
        assert np.array_equal(
            planes.box(marked(grid, spot), grid, VIEW)[k], cut(marked(grid, spot), grid, VIEW, "axial", offset_mm=8.0)
        )


def test_all_orientations_show_the_same_picture(generator):
    pictures = []
    values = torch.rand((31, 33, 17), generator=generator)
    for grid in grids():
        found = orientation(grid)
        volume = values.permute(*np.argsort(np.argsort(found.axes)))
        # Array axis found.axes[i] runs along anatomical axis i: undo it, flips included.
        volume = torch.empty(grid.shape)
        view = volume.permute(found.axes)
        view.copy_(values.flip([i for i, sign in enumerate(found.signs) if sign < 0]))
        pictures.append([cut(volume, grid, VIEW, plane) for plane in planes.PLANES])
    for picture in pictures[1:]:
        for one, other in zip(picture, pictures[0], strict=True):
            np.testing.assert_array_equal(one, other)


def test_anisotropic_voxels_keep_their_size():
    grid = Grid.centred((40, 44, 16), (1.6, 1.6, 4.0), np.eye(3))
    assert planes.pixel_size_mm(grid, "axial") == (1.6, 1.6)
    assert planes.pixel_size_mm(grid, "coronal") == (1.6, 4.0)
    assert planes.pixel_size_mm(grid, "sagittal") == (1.6, 4.0)


def test_two_grids_are_cut_at_the_same_place_in_space():
    one = Grid.centred((40, 44, 16), (2.0, 2.0, 4.0), np.eye(3))
    other = Grid((50, 52, 20), (2.0, 2.0, 4.0), one.rotation, (-46.0, -52.0, -40.0))
    spot = (-10.0, 12.0, 8.0)
    view = View(spot, (8.0, 8.0, 8.0), (8.0, 8.0, 8.0))
    for plane in planes.PLANES:
        pictures = [cut(marked(grid, spot), grid, view, plane) for grid in (one, other)]
        np.testing.assert_array_equal(*pictures)
        assert pictures[0].sum() == 1 and pictures[0][tuple(n // 2 for n in pictures[0].shape)] == 1


def test_offset_moves_across_the_plane():
    grid = Grid.centred((40, 44, 16), (2.0, 2.0, 4.0), np.eye(3))
    volume = marked(grid, (0.0, 0.0, 12.0))
    assert cut(volume, grid, VIEW, "axial").sum() == 0
    assert cut(volume, grid, VIEW, "axial", offset_mm=12.0).sum() == 1


def test_outside_the_volume_nothing_is_made_up():
    grid = Grid.centred((8, 8, 4), (2.0, 2.0, 4.0), np.eye(3))
    picture = cut(torch.ones(grid.shape), grid, VIEW, "axial")
    assert np.isnan(picture).any() and np.nansum(picture) == 64
    far = View((500.0, 0.0, 0.0), VIEW.before_mm, VIEW.after_mm)
    assert np.isnan(cut(torch.ones(grid.shape), grid, far, "axial")).all()


def test_view_holds_the_region_and_its_margin():
    grid = Grid.centred((40, 44, 16), (2.0, 2.0, 4.0), np.eye(3))
    region = torch.zeros(grid.shape, dtype=torch.bool)
    region[10:20, 15:30, 4:9] = True
    view = view_of(region, grid, margin_mm=6.0)
    assert view.before_mm[0] + view.after_mm[0] == pytest.approx(9 * 2 + 2 * 6)
    picture = cut(region.float(), grid, view, "axial")
    assert picture.sum() == 10 * 15 and picture.shape == (15 + 6, 10 + 6)
    wide = squared(view)
    assert wide.before_mm[0] + wide.after_mm[0] == pytest.approx(wide.before_mm[1] + wide.after_mm[1])


def test_tilt_is_the_angle_of_the_head_first_axis():
    angle = np.radians(12.0)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    assert tilt_deg(Grid.centred((8, 8, 8), (1.0, 1.0, 2.0), rotation)) == pytest.approx(12.0)
    assert tilt_deg(Grid((8, 8, 8), (1.0, 1.0, 2.0))) == pytest.approx(0.0, abs=1e-6)
