"""Transforms against ANTs and algebra, rigid motion of the virtual head, labels on coarse grids."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import ants
import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from dlqsm.acquisition.head import Pose, draw_participants, make_head, tissue_maps
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy
from dlqsm.nuclei import registration
from dlqsm.nuclei.placement import local_correlation
from dlqsm.nuclei.registration import (
    Channels,
    motion_of,
    read_linear,
    read_warp,
    rigid,
    to_ants,
    write_linear,
    write_warp,
)
from dlqsm.nuclei.transfer import coverage, labels_of, transfer_labels
from dlqsm.nuclei.transforms import Linear, Warp, isotropic_grid, move, positions, resample, slice_grid

OBLIQUE = Rotation.from_euler("xyz", [10, -15, 25], degrees=True).as_matrix()
FLIPPED = Rotation.from_euler("xyz", [-5, 12, 3], degrees=True).as_matrix() @ np.diag([-1.0, 1.0, 1.0])


def _affine() -> Linear:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [4, 3, -6], degrees=True).as_matrix() @ np.diag([1.1, 0.95, 1.0])
    matrix[:3, 3] = (2.0, -3.0, 4.0)
    return Linear(matrix)


def _smooth(shape: tuple[int, ...], seed: int, width: float) -> torch.Tensor:
    noise = np.random.default_rng(seed).standard_normal(shape)
    found = ndimage.gaussian_filter(noise, width)
    return torch.from_numpy((found / found.std()).astype(np.float32))


def _warp() -> Warp:
    grid = Grid.centred((20, 20, 20), (6.0, 6.0, 6.0), Rotation.from_euler("xyz", [3, 2, 0], degrees=True).as_matrix())
    return Warp(torch.stack([2.0 * _smooth(grid.shape, seed, 2.0) for seed in range(3)]), grid)


class TestTransforms:
    def test_an_affine_and_its_inverse_undo_each_other(self) -> None:
        points = 80.0 * (torch.rand(50, 3, generator=torch.Generator().manual_seed(0)) - 0.5)
        there = move(points, (_affine(), _affine().inverse))
        assert float((there - points).abs().max()) < 1e-4

    @pytest.mark.parametrize("rotation", [np.eye(3), OBLIQUE, FLIPPED], ids=["straight", "oblique", "flipped"])
    def test_a_blob_lands_where_the_affine_puts_it(self, rotation: np.ndarray) -> None:
        source = Grid.centred((41, 40, 24), (1.5, 1.6, 3.0), rotation)
        target = Grid.centred((44, 40, 40), (1.4, 1.7, 1.5), OBLIQUE.T)
        place = torch.tensor([6.0, -4.0, 5.0])
        blob = torch.exp(-(positions(source) - place).square().sum(-1) / (2 * 6.0**2))
        for chain, expected in (
            ((_affine(),), _affine().inverse.move(place[None])[0]),
            ((_affine().inverse,), _affine().move(place[None])[0]),
        ):
            moved = resample(blob[None], source, target, chain)[0]
            centre = (positions(target) * moved[..., None]).sum((0, 1, 2)) / moved.sum()
            assert float((centre - expected).norm()) < 0.15

    def test_resampling_is_that_of_ants(self, tmp_path: Path) -> None:
        source = Grid.centred((40, 44, 20), (1.6, 1.5, 4.0), OBLIQUE)
        target = Grid.centred((24, 40, 28), (1.6, 1.2, 2.0), FLIPPED)
        volume, chain = _smooth(source.shape, 7, 2.0), (_warp(), _affine())
        write_warp(tmp_path / "w.nii.gz", _warp())
        write_linear(tmp_path / "a.mat", _affine())
        files = [str(tmp_path / "w.nii.gz"), str(tmp_path / "a.mat")]
        theirs = ants.apply_transforms(to_ants(torch.zeros(target.shape), target), to_ants(volume, source), files)
        ours = resample(volume[None], source, target, chain)[0]
        # ANTs is zero at once beyond the outermost centres; ours fades out within a voxel.
        both = torch.from_numpy(ndimage.binary_erosion(theirs.numpy() != 0, iterations=2))
        assert int(both.sum()) > 5000
        assert float((ours - torch.from_numpy(theirs.numpy()))[both].abs().max()) < 1e-3

    def test_files_keep_transforms(self, tmp_path: Path) -> None:
        write_linear(tmp_path / "a.mat", _affine())
        write_warp(tmp_path / "w.nii.gz", _warp())
        assert np.abs(read_linear(tmp_path / "a.mat").matrix - _affine().matrix).max() < 1e-6
        again = read_warp(tmp_path / "w.nii.gz")
        assert torch.equal(again.displacement_mm, _warp().displacement_mm)
        assert np.abs(again.grid.affine - _warp().grid.affine).max() < 1e-4

    def test_a_piece_of_a_grid_stays_where_it_is(self) -> None:
        grid = Grid.centred((20, 22, 24), (1.0, 2.0, 3.0), OBLIQUE)
        part = slice_grid(grid, (slice(3, 9), slice(2, 20), slice(5, 6)))
        assert part.shape == (6, 18, 1)
        assert torch.allclose(positions(part)[0, 0, 0], positions(grid)[3, 2, 5], atol=1e-4)


class TestLabels:
    def _atlas(self, edge_mm: float = 1.0) -> Atlas:
        """Half space x < 0.25 mm is Pu left, its other side Pu right; the rest is empty."""
        grid = isotropic_grid(torch.tensor([[-20.0, -20, -20], [20, 20, 20]]), edge_mm, 0.0)
        left = (0.5 + 0.25 - positions(grid)[..., 0]).clamp(0, 1)
        shares = torch.zeros((14, *grid.shape))
        shares[0], shares[7] = left, 1 - left
        return Atlas("halves", left, True, shares, label_table(), grid, torch.ones(grid.shape, dtype=torch.bool))

    def test_a_thick_voxel_gets_the_share_that_it_holds(self) -> None:
        atlas, grid = self._atlas(), Grid((4, 5, 5), (4.0, 2.0, 2.0), origin_mm=(-7.0, -4.0, -4.0))
        shares = transfer_labels(atlas, (), grid, positions(grid).reshape(-1, 3))
        # Voxels along x: -9..-5, -5..-1, -1..3, 3..7 mm; the border lies at 0.25 mm.
        expected = torch.tensor([1.0, 1.0, 1.25 / 4.0, 0.0])
        assert float((shares[0, :, 2, 2] - expected).abs().max()) < 0.05

    def test_labels_are_decided_by_half_and_by_the_largest(self) -> None:
        shares = torch.zeros((14, 4, 1, 1))
        shares[0, :, 0, 0] = torch.tensor([0.5, 0.49, 0.5, 0.3])
        shares[2, :, 0, 0] = torch.tensor([0.2, 0.30, 0.6, 0.7])
        assert labels_of(shares, label_table()).flatten().tolist() == [1, 0, 3, 3]

    def test_coverage_is_the_share_inside(self) -> None:
        atlas = self._atlas()
        grid = Grid((41, 41, 21), (1.0, 1.0, 1.0), origin_mm=(-20.0, -20.0, 0.0))
        valid = positions(grid)[..., 1] > 0
        seen, inside = coverage(atlas.probabilities, atlas.grid, valid, grid, ())
        assert float(seen[0]) == pytest.approx(21 / 41, abs=0.01)
        assert float(inside[0]) == pytest.approx(21 / 41 * 20 / 41, abs=0.01)
        assert float(seen[3]) == 0.0


class TestScore:
    def test_correlation_is_one_for_inverted_contrast_and_small_for_noise(self) -> None:
        a, b = _smooth((30, 30, 30), 1, 2.0), _smooth((30, 30, 30), 2, 0.5)
        inside = torch.ones(a.shape, dtype=torch.bool)
        assert local_correlation(a, 3.0 - 2.0 * a, inside) > 0.999
        assert local_correlation(a, b, inside) < 0.15


@pytest.fixture(scope="module")
def poses() -> tuple[Grid, Grid, dict[str, torch.Tensor], Linear]:
    """One virtual head in two poses, on two grids, as T2*-weighted magnitude; and the motion between them."""
    head = make_head(load_anatomy(), draw_participants(2, 31)[1])
    fixed = Grid.centred((72, 88, 44), (2.5, 2.5, 4.0), np.eye(3))
    moving = Grid.centred((72, 88, 44), (2.5, 2.5, 4.0), Rotation.from_euler("x", 12, degrees=True).as_matrix())
    pose = Pose((2.0, -1.5, 2.5), (3.0, -2.0, 1.5))
    images = {}
    for name, grid, its_pose, seed in (("fixed", fixed, Pose(), 1), ("moving", moving, pose, 2)):
        maps = tissue_maps(head, grid, its_pose)
        signal = maps.proton_density * torch.exp(-0.01 * maps.r2star_hz)
        noise = 0.01 * torch.randn(grid.shape, generator=torch.Generator().manual_seed(seed))
        images[name], images[f"{name} brain"] = (signal + noise).abs(), maps.brain
    return fixed, moving, images, Linear(pose.matrix)


class TestRigid:
    def test_a_known_motion_of_the_virtual_head_is_found(
        self, poses: tuple[Grid, Grid, dict[str, torch.Tensor], Linear], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fixed, moving, images, truth = poses
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        brain = images["fixed brain"]
        found = rigid(images["fixed"] * brain, fixed, images["moving"], moving, mask=brain)
        left = Linear(truth.inverse.matrix @ found.matrix)
        angle, shift = motion_of(left, positions(fixed)[brain].double().mean(0).numpy())
        assert angle < 0.15
        assert shift < 0.2
        assert not list(tmp_path.iterdir()), "temporary files are left"

    def test_a_failure_of_ants_is_one_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("Registration failed with error code 1")

        monkeypatch.setattr(registration.ants, "registration", fail)
        grid = Grid((8, 8, 8), (1.0, 1.0, 1.0))
        nothing = Channels(torch.zeros((1, 8, 8, 8)), grid)
        with pytest.raises(InputError, match="could not be registered"):
            registration.register(nothing, nothing, registration.RIGID)


COUNT_THREADS = """
import os, numpy as np, torch
from dlqsm.core.scan import Grid
from dlqsm.nuclei.registration import rigid, to_ants
grid = Grid.centred((24, 24, 24), (2.0, 2.0, 2.0), np.eye(3))
x = torch.arange(24.0)
image = torch.exp(-((x[:, None, None] - 11) ** 2 + (x[None, :, None] - 12) ** 2 + (x - 10) ** 2) / 30)
{first}
rigid(image, grid, image.roll(1, 0), grid)
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted by Linux's /proc")
def test_an_image_before_the_first_registration_leaves_it_on_one_thread():
    """ITK settles its threads at its first image, as one of a stored transform; on several no run repeats another."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ITK_")}
    found = [
        subprocess.run(
            [sys.executable, "-c", COUNT_THREADS.format(first=first)],
            env=outside, capture_output=True, text=True, check=True,
        ).stdout.split()[-1]
        for first in ("", "to_ants(image, grid)")
    ]  # fmt: skip
    assert found[0] == found[1]
