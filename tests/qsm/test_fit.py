"""The nonlinear fit to lag sums: what a fit to the echoes finds, without the echoes."""

import math

import pytest
import torch

from dlqsm.core.lags import LagSums, lag_sums
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.field import FIELD_ESTIMATORS
from dlqsm.qsm.fit import fit, fit_in_torch, fit_on_cpu
from dlqsm.qsm.mdi import mdi, wrap

ECHO_TIMES_S = tuple(3.3e-3 + 3.1e-3 * k for k in range(8))
SPACING_S = 3.1e-3
SCAN = Scan(Grid((16, 15, 12), (1.0, 1.0, 2.0)), ECHO_TIMES_S, 3.0)
ONE = torch.ones((), dtype=torch.float64)


def echoes(generator, snr=math.inf, t2star_s=0.026, n_coils=1, n_echoes=8, dtype=torch.float64):
    """Images of coils of random phase with noise of unit SD a component, and the phase of an echo spacing [rad]."""
    shape = SCAN.grid.shape
    slope = (torch.rand(shape, generator=generator, dtype=dtype) - 0.5) * 6.0
    coils = torch.polar(
        torch.full((n_coils, *shape), n_coils**-0.5, dtype=dtype),
        2 * math.pi * torch.rand((n_coils, *shape), generator=generator, dtype=dtype),
    )
    times = torch.tensor(ECHO_TIMES_S[:n_echoes], dtype=dtype)[:, None, None, None, None]
    signal = torch.polar(torch.exp(-times / t2star_s).expand(-1, 1, *shape), slope * times / SPACING_S) * coils
    if math.isinf(snr):
        return signal, slope
    noise = torch.randn((2, *signal.shape), generator=generator, dtype=dtype)
    return snr * signal + torch.complex(noise[0], noise[1]), slope


def bound_rad(snr, t2star_s):
    """Cramer-Rao bound on the phase of an echo spacing, the phase at time zero unknown."""
    weights = [(snr * math.exp(-t / t2star_s)) ** 2 for t in ECHO_TIMES_S]
    centre = sum(w * e for e, w in enumerate(weights)) / sum(weights)
    return sum(w * (e - centre) ** 2 for e, w in enumerate(weights)) ** -0.5


def objective(lags, phase):
    """Sum_m |R_m| / m Re(R_m exp(-i m theta))."""
    terms = [r.abs() / m * (r * torch.polar(torch.ones_like(phase), -m * phase)).real for m, r in enumerate(lags, 1)]
    return torch.stack(terms).sum(0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_without_noise_the_phase_is_exact(generator, dtype, tolerance):
    images, slope = echoes(generator, n_coils=3, dtype=dtype)
    estimate = fit(lag_sums(images, None), SCAN)
    assert estimate.wrapped_phase_rad.dtype == dtype
    assert wrap(estimate.wrapped_phase_rad - slope).abs().max() < tolerance


@pytest.mark.parametrize("t2star_s", [0.012, 0.03, math.inf])
def test_it_is_the_fit_to_the_echoes_to_first_order(generator, t2star_s):
    """Weighted line through the phases of the echoes, weights |S|^2: the same errors, whatever the decay."""
    images, slope = echoes(generator, snr=1e4, t2star_s=t2star_s)
    found = wrap(fit(lag_sums(images, ONE), SCAN).wrapped_phase_rad - slope)
    times = torch.tensor(ECHO_TIMES_S, dtype=torch.float64)[:, None, None, None] / SPACING_S
    error = torch.angle(images[:, 0] * torch.polar(torch.ones_like(times), -slope * times))
    common = torch.angle(torch.polar(torch.ones_like(error), error).mean(0))
    error, weight = wrap(error - common), torch.exp(-2 * times * SPACING_S / t2star_s)
    centred = weight * (times - (weight * times).sum(0) / weight.sum(0))
    line = (centred * error).sum(0) / (centred * times).sum(0)
    assert (found - line).std() < 0.02 * line.std()


def test_it_stays_at_the_bound_where_fast_decay_costs_mdi_a_tenth(generator):
    images, slope = echoes(generator, snr=50.0, t2star_s=0.012)
    sums, bound = lag_sums(images, ONE), bound_rad(50.0, 0.012)
    assert wrap(fit(sums, SCAN).wrapped_phase_rad - slope).std() < 1.04 * bound
    assert wrap(mdi(sums, SCAN).wrapped_phase_rad - slope).std() > 1.08 * bound


def test_the_end_is_a_maximum_above_the_start(generator):
    images, _ = echoes(generator, snr=10.0, n_coils=4)
    sums = lag_sums(images, ONE)
    end, start = (method(sums, SCAN).wrapped_phase_rad for method in (fit, mdi))
    top = objective(sums.lags, end)
    assert (top >= objective(sums.lags, start) * (1 - 1e-12)).all()
    for step in (-1e-3, 1e-3):
        assert (top > objective(sums.lags, end + step)).all()


def test_of_two_echoes_it_is_mdi(generator):
    images, _ = echoes(generator, snr=20.0, n_coils=4, n_echoes=2)
    scan, sums = Scan(SCAN.grid, ECHO_TIMES_S[:2], 3.0), lag_sums(images, ONE)
    torch.testing.assert_close(fit(sums, scan).wrapped_phase_rad, mdi(sums, scan).wrapped_phase_rad)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_fused_pass_and_torch_are_one_fit(generator, dtype, tolerance, n_threads):
    images, _ = echoes(generator, snr=30.0, n_coils=5, dtype=dtype)
    images[0, 0, 3, 4, 5] = float("nan")
    images[:, :, 6] = 0
    sums, before = lag_sums(images, None), torch.get_num_threads()
    start = mdi(sums, SCAN).wrapped_phase_rad
    torch.set_num_threads(n_threads)
    try:
        one, other = (way(sums.lags, start, 20, 1e-6) for way in (fit_on_cpu, fit_in_torch))
    finally:
        torch.set_num_threads(before)
    assert one.dtype == other.dtype == dtype
    assert wrap(one - other).abs().max() < tolerance
    assert one[6].abs().max() == other[6].abs().max() == one[3, 4, 5] == other[3, 4, 5] == 0
    assert torch.equal(start, mdi(sums, SCAN).wrapped_phase_rad)


def test_noise_and_coherence_are_those_of_mdi_and_units_do_not_matter(generator):
    images, _ = echoes(generator, snr=20.0, n_coils=3)
    sums = lag_sums(images, ONE)
    one, other = fit(sums, SCAN), mdi(sums, SCAN)
    assert torch.equal(one.noise_hz, other.noise_hz)
    assert torch.equal(one.coherence, other.coherence)
    large = fit(LagSums(1e12 * sums.lags, 1e12 * sums.power, 1e6 * ONE, 3), SCAN)
    torch.testing.assert_close(one.wrapped_phase_rad, large.wrapped_phase_rad)


def test_every_option_matters(generator):
    images, _ = echoes(generator, snr=4.0, t2star_s=0.012, n_coils=2)
    sums = lag_sums(images, ONE)
    default = fit(sums, SCAN).wrapped_phase_rad
    for option in ({"max_iterations": 1}, {"tolerance_rad": 0.1}, {"lag_snr": 0.0}):
        assert not torch.equal(fit(sums, SCAN, **option).wrapped_phase_rad, default), option


def test_the_table_names_it():
    assert FIELD_ESTIMATORS["fit"] is fit
