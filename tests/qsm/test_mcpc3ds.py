"""Coils combined in phase: exact where offsets are smooth, without poles where each coil has some."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import lag_sums_of_polar
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.mcpc3ds import mcpc3ds
from dlqsm.qsm.mdi import mdi, wrap
from dlqsm.qsm.poles import poles_of_echoes

GRID = Grid((30, 28, 20), (2.0, 2.0, 2.0))
TIMES_S = (0.0033, 0.0064, 0.0095, 0.0126)
SCAN = Scan(GRID, TIMES_S, 3.0)
X, Y, Z = torch.meshgrid(*(2.0 * (torch.arange(n) - (n - 1) / 2) for n in GRID.shape), indexing="ij")
HEAD = X**2 + Y**2 + Z**2 < 18**2
INNER = X**2 + Y**2 + Z**2 < 14**2
FIELD_HZ = 150 * torch.exp(-((X - 6) ** 2 + Y**2 + Z**2) / 200) - 3 * X


def coils(n=4):
    """Sensitivities, each zero, and so with a pole, along a line that bends through the head."""
    sensitivity = []
    for c in range(n):
        turn = 2 * math.pi * c / n
        across, along = X + 7 * math.cos(turn), Y + 7 * math.sin(turn) + 0.1 * Z
        sensitivity.append(torch.complex(across, along) / 30 * torch.polar(torch.ones(GRID.shape), 0.02 * X + turn))
    return torch.stack(sensitivity)


def echoes(sensitivity, sd=0.0, seed=2, psi_rad=0.0):
    times = torch.tensor(TIMES_S)[:, None, None, None, None]
    even = torch.tensor([1.0, -1.0] * 2)[:, None, None, None, None]
    image = HEAD * sensitivity * torch.polar(torch.exp(-times / 0.04), 2 * math.pi * FIELD_HZ * times + even * psi_rad)
    noise = torch.randn((2, *image.shape), generator=torch.Generator().manual_seed(seed))
    image = image + sd * torch.complex(noise[0], noise[1])
    return image.abs(), image.angle()


def left_over(phase_rad):
    """Phase of each echo less that of the field, and less its value in the middle."""
    times = torch.tensor(TIMES_S)[:, None, None, None]
    rest = phase_rad[:, 0] - 2 * math.pi * FIELD_HZ * times
    return wrap(rest - rest[:, 15, 14, 10][:, None, None, None])


def test_offsets_that_are_linear_leave_nothing_but_the_field():
    smooth = torch.stack([torch.polar(1.5 + c * X / 60, 0.1 * c * torch.ones(GRID.shape)) for c in range(3)])
    magnitude, phase = mcpc3ds(*echoes(smooth), SCAN)
    assert magnitude.shape == phase.shape == (4, 1, *GRID.shape)
    assert float(left_over(phase)[:, INNER].abs().max()) < 1e-3
    root_sum = echoes(smooth)[0].square().sum(1).sqrt()
    assert torch.allclose(magnitude[:, 0][:, INNER], root_sum[:, INNER], rtol=1e-4)


def test_each_coil_has_poles_and_the_combined_echoes_have_none():
    magnitude, phase = echoes(coils())
    alone = poles_of_echoes(phase[0]).counts(INNER)["n_poles"]
    assert min(alone) > 0
    plain_sum = torch.polar(magnitude, phase).sum(1).angle()
    assert min(poles_of_echoes(plain_sum).counts(INNER)["n_poles"]) > 0
    combined = mcpc3ds(magnitude, phase, SCAN)[1]
    assert poles_of_echoes(combined[:, 0]).counts(INNER)["n_poles"] == [0] * 4
    assert float(left_over(combined)[:, INNER].abs().max()) < 0.1


@pytest.mark.parametrize("sd", [0.0, 0.02])
def test_the_field_is_that_of_mdi(sd):
    magnitude, phase = echoes(coils(), sd)
    fields = []
    for images in ((magnitude, phase), mcpc3ds(magnitude, phase, SCAN)):
        estimate = mdi(lag_sums_of_polar(*images, None), SCAN)
        fields.append(estimate.wrapped_phase_rad)
        noise_rad = float(2 * math.pi * estimate.spacing_s * estimate.noise_hz[INNER].median())
    difference = wrap(fields[0] - fields[1])[INNER]
    assert float(difference.abs().median()) < 1e-4 + 0.5 * noise_rad


def test_what_is_left_of_alternating_readout_does_not_grow_with_the_echo_time():
    """It moves even echoes against odd ones as before, and all of them by one smooth phase."""
    plain, alternating = (mcpc3ds(*echoes(coils(), psi_rad=psi), SCAN)[1] for psi in (0.0, 0.2))
    shift = wrap(alternating - plain)[:, 0][:, INNER].mean(1)
    assert float(shift[0] - shift[1]) == pytest.approx(0.4, abs=1e-2)
    assert float(shift[2] - shift[0]) == pytest.approx(0.0, abs=1e-2)


def test_what_can_not_be_combined_is_refused():
    magnitude, phase = echoes(coils())
    with pytest.raises(InputError, match="two echoes or more"):
        mcpc3ds(magnitude[:1], phase[:1], Scan(GRID, TIMES_S[:1]))
    with pytest.raises(InputError, match="phase has shape"):
        mcpc3ds(magnitude[:3], phase[:3], SCAN)
    with pytest.raises(InputError, match="magnitude has shape"):
        mcpc3ds(magnitude[:, :2], phase, SCAN)
