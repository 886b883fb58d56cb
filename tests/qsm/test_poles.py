"""Poles are counted where the phase turns round a loop, and nowhere else."""

import math

import pytest
import torch

from dlqsm.qsm.poles import poles_of_echoes

SHAPE = (17, 15, 9)
X, Y, Z = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 + 0.5 for n in SHAPE), indexing="ij")
ALL = torch.ones(SHAPE, dtype=torch.bool)


def counts(*phases, mask=ALL):
    return poles_of_echoes(torch.stack(phases)).counts(mask)


def test_a_smooth_phase_has_none_however_often_it_wraps():
    steep = 2.5 * X - 1.2 * Y + 0.2 * Z**2
    found = counts(torch.angle(torch.polar(torch.ones(SHAPE), steep)), steep)
    assert found["n_poles"] == [0, 0]


@pytest.mark.parametrize(("plane", "phase", "length"), [
    ("xy", torch.atan2(Y, X), SHAPE[2]), ("xz", torch.atan2(Z, X), SHAPE[1]), ("yz", torch.atan2(Z, Y), SHAPE[0])
])  # fmt: skip
def test_a_line_of_poles_crosses_each_slice_once(plane, phase, length):
    found = counts(phase)
    assert found[plane] == [length]
    assert found["n_poles"] == [length]


def test_a_ring_is_found_in_every_plane_that_it_crosses():
    radius = torch.sqrt(X**2 + Y**2)
    ring = torch.atan2(Z, radius - 4.2)
    found = counts(ring)
    assert found["xy"] == [0]
    assert found["xz"][0] > 0 and found["yz"][0] > 0


def test_only_loops_inside_the_mask_count():
    phase = torch.atan2(Y, X)
    left = ALL.clone()
    left[8:] = False
    assert counts(phase, mask=left)["n_poles"] == [0]
    upper = ALL.clone()
    upper[..., :4] = False
    assert counts(phase, mask=upper)["n_poles"] == [5]


def test_loops_are_counted_as_they_are():
    nx, ny, nz = SHAPE
    expected = (nx - 1) * (ny - 1) * nz + (nx - 1) * ny * (nz - 1) + nx * (ny - 1) * (nz - 1)
    assert counts(torch.zeros(SHAPE))["n_loops"] == expected


def test_coils_summed_with_opposite_phases_have_poles_and_their_products_have_none():
    """Two coils whose sensitivities cancel along a line, as a plain sum of uncombined images makes them."""
    one, other = torch.polar(1.5 + X / 10, 0.15 * Y), torch.polar(1.5 - X / 10, math.pi - 0.15 * Y)
    echoes = [c * torch.polar(torch.ones(SHAPE), turn * (0.3 * X + 0.1 * Z)) for turn in (1, 2) for c in (one, other)]
    summed = [(echoes[0] + echoes[1]).angle(), (echoes[2] + echoes[3]).angle()]
    product = (echoes[0].conj() * echoes[2] + echoes[1].conj() * echoes[3]).angle()
    assert min(counts(*summed)["n_poles"]) > 0
    assert counts(product)["n_poles"] == [0]
