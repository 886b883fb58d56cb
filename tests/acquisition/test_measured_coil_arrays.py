"""Coils whose sensitivities were measured in one plane."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dlqsm.acquisition.coils import helmet, sensitivities_at, sensitivity_map
from dlqsm.acquisition.measured_coils import HALF_WIDTHS_MM, measured_coils
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.coil_maps import read_coil_maps


def ellipse(ny=60, nz=44):
    y, z = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nz), indexing="ij")
    return y, z, (y / 0.8) ** 2 + (z / 0.8) ** 2 < 1


def loops():
    """Maps of a helmet's plane, measured inside an ellipse that fills its rectangle of the field of view."""
    coils = helmet(6, np.random.default_rng(1))
    y, z, inside = ellipse()
    positions = np.stack([0 * y, y / 0.8 * HALF_WIDTHS_MM[0], z / 0.8 * HALF_WIDTHS_MM[1]], -1).reshape(-1, 3)
    values = sensitivities_at(coils, torch.from_numpy(positions)).numpy().reshape(6, *y.shape)
    return coils, values * inside


def test_inside_the_measured_plane_they_are_what_was_measured():
    coils, maps = loops()
    rng = np.random.default_rng(2)
    angle, radius = rng.uniform(0, 2 * np.pi, 200), 0.85 * np.sqrt(rng.uniform(0, 1, 200))
    where = [
        rng.uniform(-60, 60, 200),
        *(r * HALF_WIDTHS_MM[k] for k, r in enumerate((radius * np.cos(angle), radius * np.sin(angle)))),
    ]
    positions = torch.from_numpy(np.stack(where, -1))
    flat = positions.clone()
    flat[:, 0] = 0.0
    found, expected = sensitivities_at(measured_coils(maps), positions), sensitivities_at(coils, flat)

    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())


def test_beyond_it_they_go_on_without_a_step():
    _, maps = loops()
    coils = measured_coils(maps)
    z_mm = torch.linspace(-1.3 * HALF_WIDTHS_MM[1], 1.3 * HALF_WIDTHS_MM[1], 400, dtype=torch.float64)
    line = sensitivities_at(coils, torch.stack([0 * z_mm, 0 * z_mm, z_mm], -1))

    assert bool(torch.isfinite(torch.view_as_real(line)).all())
    assert float(line.diff(dim=1).abs().max()) < 0.1 * float(line.abs().max())
    assert float(torch.linalg.vector_norm(line, dim=0).min()) > 0


def test_turns_are_eight_different_arrays():
    _, maps = loops()
    grid = Grid.centred((4, 20, 16), (30.0, 9.0, 9.0), np.eye(3))
    first = torch.stack([sensitivity_map(measured_coils(maps, turn), 2, grid) for turn in range(8)])

    assert first.shape == (8, 4, 20, 16)
    assert all(float((first[a] - first[b]).abs().max()) > 0.01 for a in range(8) for b in range(a))
    assert torch.equal(first[0], sensitivity_map(measured_coils(maps, 8), 2, grid))


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.zeros((4, 20, 20), np.complex64), "must cover at least 5%"),
        (np.ones((4, 20, 20)), "finite complex numbers"),
        (np.ones((1, 20, 20), complex), "two coils or more"),
        (np.full((4, 20, 20), np.nan + 0j), "finite complex numbers"),
    ],
)
def test_unusable_maps_are_refused(maps, message):
    with pytest.raises(InputError, match=message):
        measured_coils(maps)


def test_files_are_read_or_refused_with_their_name(tmp_path: Path):
    _, maps = loops()
    np.save(tmp_path / "maps.npy", maps)
    assert np.array_equal(read_coil_maps(tmp_path / "maps.npy"), maps)
    np.save(tmp_path / "real.npy", maps.real)
    (tmp_path / "broken.mat").write_bytes(b"MATLAB 5.0")
    for name, message in (("real.npy", "must be complex"), ("broken.mat", "cannot be read so"), ("no.npy", "no file")):
        with pytest.raises(InputError, match=message) as caught:
            read_coil_maps(tmp_path / name)
        assert name in str(caught.value)


def test_the_measured_head_coil_serves_as_an_array(shared_data: Path):
    maps = read_coil_maps(shared_data / "emory_coil_maps_16ch" / "sensitivity_map_2d.mat")
    coils = measured_coils(maps)
    grid = Grid.centred((4, 20, 16), (30.0, 9.0, 9.0), np.eye(3))

    assert coils.n_coils == 16
    together = torch.stack([sensitivity_map(coils, k, grid) for k in range(16)]).abs().square().sum(0).sqrt()
    assert float(together.min()) > 0.2 * float(together.max())
