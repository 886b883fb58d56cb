"""LBV and its multigrid: algebra of the cycle, agreement with a direct solution, the same few cycles at any size."""

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from dlqsm.core.checks import ConvergenceWarning, InputError
from dlqsm.core.differences import laplacian
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.background import lbv, multigrid
from dlqsm.qsm.background.multigrid import _interpolated, _restricted, levels, v_cycle

EDGES = (0.8, 0.8, 2.0)
SHAPE = (38, 33, 14)


def coordinates(shape, edges=EDGES):
    axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * v for n, v in zip(shape, edges, strict=True)]
    return torch.meshgrid(*axes, indexing="ij")


def bumpy(shape, edges=EDGES):
    """An ellipsoid that touches the faces, with a hole and a notch."""
    x, y, z = (2 * c / (n * v) for c, n, v in zip(coordinates(shape, edges), shape, edges, strict=True))
    mask = x**2 + y**2 + z**2 < 1.02
    return mask & ((x - 0.3) ** 2 + y**2 + z**2 > 0.02) & ~((x.abs() < 0.15) & (y > 0.5))


MASK = bumpy(SHAPE)
SCAN = Scan(Grid(SHAPE, EDGES))


def hierarchy(shape=SHAPE, edges=EDGES):
    interior = bumpy(shape, edges)
    for axis in range(3):
        interior &= interior.roll(1, axis) & interior.roll(-1, axis)
        interior[(slice(None),) * axis + ([0, -1],)] = False
    return levels(interior, edges, torch.zeros(1, dtype=torch.float64))


def test_laplacian_in_the_flat_array_is_the_seven_point_one(generator):
    grid = hierarchy()[0]
    u = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
    assert torch.allclose(grid.laplacian(u), -laplacian(u, EDGES) * grid.interior)


@pytest.mark.parametrize("shape", [(8, 9, 7), (9, 8, 8)])
def test_restriction_is_half_the_transpose_of_interpolation(shape, generator):
    axes = (0, 2)
    fine = torch.randn(shape, dtype=torch.float64, generator=generator)
    coarse = torch.randn(_restricted(fine, axes).shape, dtype=torch.float64, generator=generator)
    upwards, downwards = (
        (_interpolated(coarse, axes, fine.shape) * fine).sum(),
        (coarse * _restricted(fine, axes)).sum(),
    )
    assert torch.allclose(upwards, 4.0 * downwards)


def test_short_edges_are_coarsened_first():
    grids = hierarchy()
    edges = [tuple(c**-0.5 for c in grid.couplings) for grid in grids]
    assert edges[0] == pytest.approx(EDGES)
    assert edges[1] == pytest.approx((1.6, 1.6, 2.0))
    assert edges[2] == pytest.approx((3.2, 3.2, 4.0))
    assert [grid.coarsened for grid in grids] == [(0, 1), (0, 1, 2), (0, 1, 2), ()]


def test_a_cycle_is_symmetric_and_positive(generator):
    grids = hierarchy()
    u, v = torch.randn(2, *SHAPE, dtype=torch.float64, generator=generator) * grids[0].interior
    assert torch.allclose((v_cycle(grids, u) * v).sum(), (u * v_cycle(grids, v)).sum())
    assert float((v_cycle(grids, u) * u).sum()) > 0.0
    assert not v_cycle(grids, u)[grids[0].interior == 0].any()


def test_field_is_that_of_a_direct_solution(generator):
    field = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
    local, interior, convergence = lbv(field, MASK, SCAN, rim_mm=0.0, tolerance=1e-9)
    index = np.full(SHAPE, -1)
    index[interior.numpy()] = np.arange(int(interior.sum()))
    matrix = scipy.sparse.lil_matrix((int(interior.sum()),) * 2)
    for place in np.argwhere(interior.numpy()):
        row = index[tuple(place)]
        matrix[row, row] = 2 * sum(v**-2 for v in EDGES)
        for axis, v in enumerate(EDGES):
            for step in (-1, 1):
                there = place.copy()
                there[axis] += step
                assert MASK[tuple(there)]
                if index[tuple(there)] >= 0:
                    matrix[row, index[tuple(there)]] = -(v**-2)
    right_side = -laplacian(field, EDGES)[interior]
    direct = scipy.sparse.linalg.spsolve(matrix.tocsc(), right_side.numpy())
    assert convergence.converged
    assert torch.allclose(local[interior], torch.from_numpy(direct), atol=1e-7)


def test_harmonic_cubics_vanish_to_rounding():
    x, y, z = coordinates(SHAPE)
    for field in (x**3 - 3 * x * z**2, x * y * z, 2.0 + x - 3 * z, x * 0 + 7.0):
        local, _, _ = lbv(field, MASK, SCAN, rim_mm=0.0, tolerance=1e-9)
        assert float(local.abs().max()) < 1e-9 * float(field.abs().max())


def test_cycles_do_not_grow_with_the_grid(generator):
    counts = []
    for shape in ((24, 24, 10), (48, 48, 20), (96, 96, 40)):
        field = torch.randn(shape, generator=generator)
        counts.append(lbv(field, bumpy(shape), Scan(Grid(shape, EDGES)), tolerance=1e-5)[2].n_iterations)
    assert max(counts) <= 7


@pytest.mark.parametrize("edges", [(1.0, 1.0, 1.0), (2.0, 0.8, 0.8), (0.5, 1.0, 3.0)])
def test_cycles_bear_any_voxel(edges, generator):
    field = torch.randn(40, 36, 28, generator=generator)
    _, _, convergence = lbv(field, bumpy(field.shape, edges), Scan(Grid((40, 36, 28), edges)), rim_mm=0.0)
    assert convergence.converged
    assert convergence.n_iterations <= 8


def test_semicoarsening_saves_cycles(monkeypatch, generator):
    field = torch.randn(64, 64, 26, generator=generator)
    mask, scan = bumpy(field.shape), Scan(Grid((64, 64, 26), EDGES))
    few = lbv(field, mask, scan)[2].n_iterations
    monkeypatch.setattr(multigrid, "SEMICOARSENING_RATIO", 100.0)
    assert lbv(field, mask, scan)[2].n_iterations > 1.4 * few


def test_pieces_are_solved_apart_and_b0_does_not_matter(generator):
    field = torch.randn(SHAPE, dtype=torch.float64, generator=generator)
    left, right = MASK.clone(), MASK.clone()
    left[18:], right[:21] = False, False
    options = {"rim_mm": 0.0, "tolerance": 1e-10}
    both = lbv(field, left | right, SCAN, **options)[0]
    turned = Scan(SCAN.grid, b0_direction=(1.0, 0.0, 0.0))
    assert torch.equal(both, lbv(field, left | right, turned, **options)[0])
    apart = lbv(field, left, SCAN, **options)[0] + lbv(field, right, SCAN, **options)[0]
    assert torch.allclose(both, apart, atol=1e-8)


def test_valid_are_voxels_below_the_rim_with_all_neighbours():
    """A box that fills the array: one layer is the boundary, and a rim of one voxel takes another."""
    grid = Grid((9, 8, 7), (1.0, 1.0, 1.0))
    full = torch.ones(grid.shape, dtype=torch.bool)
    for rim, margin in ((0.0, 1), (1.0, 2), (2.0, 3)):
        _, interior, _ = lbv(torch.zeros(grid.shape), full, Scan(grid), rim_mm=rim)
        expected = torch.zeros_like(full)
        expected[margin:-margin, margin:-margin, margin:-margin] = True
        assert torch.equal(interior, expected)


def test_a_single_interior_voxel_is_its_value_less_the_mean_around_it():
    grid = Grid((3, 3, 3), (1.0, 1.0, 1.0))
    field = torch.arange(27, dtype=torch.float64).reshape(3, 3, 3) ** 2
    local, interior, _ = lbv(field, torch.ones(grid.shape, dtype=torch.bool), Scan(grid), rim_mm=0.0, tolerance=1e-12)
    around = (field[0, 1, 1] + field[2, 1, 1] + field[1, 0, 1] + field[1, 2, 1] + field[1, 1, 0] + field[1, 1, 2]) / 6
    assert int(interior.sum()) == 1
    assert float(local[1, 1, 1]) == pytest.approx(float(field[1, 1, 1] - around))


def test_what_it_cannot_do_is_said_in_one_sentence(generator):
    field = torch.randn(SHAPE, generator=generator)
    with pytest.warns(ConvergenceWarning, match="after 1 cycles.*raise max_cycles"):
        assert not lbv(field, MASK, SCAN, tolerance=1e-6, max_cycles=1)[2].converged
    with pytest.raises(InputError, match=r"inside a rim of 30\.0 mm"):
        lbv(field, MASK, SCAN, rim_mm=30.0)
    with pytest.raises(InputError, match="rim_mm must be zero or more; got -1"):
        lbv(field, MASK, SCAN, rim_mm=-1.0)
    with pytest.raises(InputError, match="not finite"):
        lbv(torch.full(SHAPE, torch.nan), MASK, SCAN)
