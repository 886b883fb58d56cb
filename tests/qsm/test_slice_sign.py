"""Slices of alternating sign: found where they are certain, taken out, and not seen in what is smooth or noise."""

import math

import pytest
import torch

from dlqsm.qsm.slice_sign import slice_sign, without_alternation

SHAPE = (12, 10, 9)
Z = torch.arange(SHAPE[2], dtype=torch.float32).expand(SHAPE)
X = torch.linspace(-3, 3, SHAPE[0])[:, None, None].expand(SHAPE)
ONES = torch.ones(SHAPE)


def alternating(phase):
    return torch.polar(ONES, phase) * (1 - 2 * (Z.long() % 2))


@pytest.mark.parametrize("per_slice_rad", [0.0, 0.4, -0.5])
def test_alternating_slices_are_found_and_come_back(per_slice_rad):
    smooth = X + per_slice_rad * Z
    assert not slice_sign(ONES, smooth).alternates
    stored = alternating(smooth).angle()
    assert slice_sign(ONES, stored).alternates
    mended = without_alternation(stored)
    assert torch.allclose(torch.cos(mended - smooth), ONES, atol=1e-5)
    assert float(mended.abs().max()) <= math.pi + 1e-5
    assert not slice_sign(ONES, mended).alternates


def test_coherence_is_the_cosine_of_the_turn():
    found = slice_sign(ONES, 0.5 * Z)
    assert (found.neighbour, found.next_but_one) == (pytest.approx(math.cos(0.5)), pytest.approx(math.cos(1.0)))


def test_noise_and_a_steep_slope_are_not_taken_for_it():
    noise = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) * 2 * math.pi
    for phase in (noise, 1.6 * Z, 2.4 * Z):
        assert not slice_sign(ONES, phase).alternates


def test_a_single_slice_tells_nothing():
    found = slice_sign(ONES[..., :1], X[..., :1])
    assert (found.neighbour, found.alternates) == (0.0, False)


def test_what_is_said_depends_on_the_vendor():
    stored = slice_sign(ONES, alternating(X).angle())
    assert "as GE stores it" in stored.words("GE")
    assert "PHILIPS, not GE" in stored.words("PHILIPS")
    smooth = slice_sign(ONES, X)
    assert smooth.words("SIEMENS") is None
    assert "does not alternate" in smooth.words("GE")
    assert "unclear" in slice_sign(ONES, 1.6 * Z).words("GE")
