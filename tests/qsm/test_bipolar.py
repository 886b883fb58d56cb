"""Phase between odd and even echoes: found without unwrapping, taken out, and absent where there is none."""

import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import lag_sums_of_polar
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.bipolar import odd_even_correction, odd_even_phase
from dlqsm.qsm.mdi import mdi, wrap

GRID = Grid((32, 30, 20), (1.0, 1.0, 2.0))
TIMES_S = tuple(3.3e-3 + 3.1e-3 * e for e in range(8))
SCAN = Scan(GRID, TIMES_S, 3.0)
X, Y, Z = torch.meshgrid(*(torch.linspace(-1, 1, n, dtype=torch.float64) for n in GRID.shape), indexing="ij")
HEAD = X**2 + Y**2 + Z**2 < 0.9


def echoes(psi=0.0, sd=0.02, n_coils=3, n_echoes=8, seed=5, dtype=torch.float64):
    """Magnitude and phase of a head in air with a bent field, coil phases, and phase psi of even over odd echoes."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.tensor(TIMES_S[:n_echoes], dtype=torch.float64)[:, None, None, None, None]
    sign = torch.tensor([(-1.0) ** e for e in range(n_echoes)], dtype=torch.float64)[:, None, None, None, None]
    coils = torch.stack([torch.polar(1.5 + c * X, 2.0 * c + Y * c) for c in range(n_coils)]) / n_coils
    field_hz = 90 * torch.exp(-3 * ((X - 0.3) ** 2 + Y**2 + Z**2)) - 60 * X * Y
    signal = HEAD * coils * torch.polar(torch.exp(-t / 0.04), 2 * math.pi * field_hz * t + 0.5 * sign * psi)
    noise = torch.randn((2, *signal.shape), generator=generator, dtype=torch.float64) * sd
    image = signal + torch.complex(noise[0], noise[1])
    return image.abs().to(dtype), image.angle().to(dtype)


def field_hz(magnitude, phase, scan=SCAN):
    estimate = mdi(lag_sums_of_polar(magnitude, phase, None), scan)
    return estimate.wrapped_phase_rad / (2 * math.pi * estimate.spacing_s)


def distance_hz(one, other):
    turn = 1.0 / 3.1e-3
    difference = (one - other)[HEAD]
    return difference - turn * torch.round(difference / turn)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("coefficients", [(0.4, 0.0, 0.0, 0.0), (-1.2, 2.5, 0.0, 0.0), (0.1, -5.0, 0.4, 0.8)])
def test_a_linear_phase_is_found_exactly_without_noise(coefficients, dtype, tolerance):
    a, b, c, d = coefficients
    magnitude, phase = echoes(a + b * X + c * Y + d * Z, sd=0.0, dtype=dtype)
    found = odd_even_phase(magnitude, phase, SCAN)
    assert found.offset_rad == pytest.approx(a, abs=tolerance)
    per_voxel = [2 * s / (n - 1) for s, n in zip((b, c, d), GRID.shape, strict=True)]
    assert found.gradient_rad_per_voxel == pytest.approx(per_voxel, abs=tolerance)


def test_the_field_is_restored_and_would_be_wrong_without():
    """The noise turns with the signal, so that the two fields have the same."""
    psi = 0.5 + 2.0 * X - 0.3 * Y
    magnitude, right = echoes()
    phase = wrap(right + torch.tensor([1.0, -1.0] * 4)[:, None, None, None, None] * psi / 2)
    truth = field_hz(magnitude, right)
    corrected, found = odd_even_correction(magnitude, phase, SCAN)
    assert distance_hz(field_hz(magnitude, phase), truth).abs().max() > 5.0
    assert distance_hz(field_hz(magnitude, corrected), truth).abs().max() < 0.05
    weight = magnitude.square().sum((0, 1))[HEAD]
    rms = ((psi[HEAD] ** 2 * weight).sum() / weight.sum()).sqrt()
    assert found.rms_rad == pytest.approx(float(rms), rel=0.05)


@pytest.mark.parametrize("n_echoes", [3, 4, 5, 8])
def test_echoes_of_one_polarity_stay_as_they_are_to_far_below_the_noise(n_echoes):
    magnitude, phase = echoes(n_echoes=n_echoes, sd=0.05)
    scan = Scan(GRID, TIMES_S[:n_echoes], 3.0)
    corrected, found = odd_even_correction(magnitude, phase, scan)
    assert found.rms_rad < 0.01
    noise_hz = mdi(lag_sums_of_polar(magnitude, phase, None), scan).noise_hz[HEAD].median()
    assert (
        distance_hz(field_hz(magnitude, corrected, scan), field_hz(magnitude, phase, scan)).abs().max() < noise_hz / 5
    )


def test_half_a_turn_of_offset_counts_as_none():
    """It moves the field everywhere by half of what an echo spacing can hold, which is background."""
    magnitude, phase = echoes(0.3 + math.pi, sd=0.0)
    assert odd_even_phase(magnitude, phase, SCAN).offset_rad == pytest.approx(0.3)


def test_measured_again_after_the_correction_nothing_is_left():
    magnitude, phase = echoes(0.7 - 1.5 * Z)
    corrected, _ = odd_even_correction(magnitude, phase, SCAN)
    assert odd_even_phase(magnitude, wrap(corrected), SCAN).rms_rad < 1e-6


def test_images_without_signal_give_nothing():
    nothing = torch.zeros((8, 1, *GRID.shape))
    assert odd_even_phase(nothing, nothing, SCAN).as_dict() == {
        "offset_rad": 0.0,
        "gradient_rad_per_voxel": [0.0, 0.0, 0.0],
        "rms_rad": 0.0,
    }


def test_a_single_slice():
    magnitude, phase = (v[..., 10:11] for v in echoes(0.3 + X, sd=0.0))
    found = odd_even_phase(magnitude, phase, Scan(Grid((32, 30, 1), (1.0, 1.0, 2.0)), TIMES_S, 3.0))
    assert found.offset_rad == pytest.approx(0.3)
    assert found.gradient_rad_per_voxel == pytest.approx((2 / 31, 0.0, 0.0), abs=1e-9)


def test_what_cannot_be_used_is_refused():
    magnitude, phase = echoes(n_coils=1)
    with pytest.raises(InputError, match="three echoes on; got 2"):
        odd_even_phase(magnitude[:2], phase[:2], Scan(GRID, TIMES_S[:2]))
    with pytest.raises(InputError, match="evenly spaced"):
        odd_even_phase(magnitude[:3], phase[:3], Scan(GRID, (3e-3, 6e-3, 12e-3)))
    with pytest.raises(InputError, match="phase has shape"):
        odd_even_phase(magnitude, phase[:7], SCAN)
    with pytest.raises(InputError, match="magnitude has shape"):
        odd_even_phase(magnitude[:7], phase, SCAN)
