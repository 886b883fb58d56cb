import math

import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums, lag_sums, lag_sums_in_torch, lag_sums_of_polar, lag_sums_on_cpu
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.field import FIELD_ESTIMATORS
from dlqsm.qsm.mdi import (
    FieldEstimate,
    largest_noise_hz,
    maps_in_torch,
    maps_on_cpu,
    mdi,
    single_echo,
    wrap,
)

ECHO_TIMES_S = tuple(3.3e-3 + 3.1e-3 * k for k in range(8))
SHAPE = (16, 15, 12)


def scan_of(shape: tuple[int, int, int] = SHAPE, echo_times_s: tuple[float, ...] = ECHO_TIMES_S) -> Scan:
    return Scan(Grid(shape, (1.0, 1.0, 2.0)), echo_times_s, 3.0)


def coil_images(
    generator: torch.Generator, echo_times_s=ECHO_TIMES_S, n_coils=6, snr=math.inf, t2star_s=0.05, dtype=torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of random coils with random phases, noise of unit SD a component, and the field [Hz] within one wrap."""
    field_hz = (torch.rand(SHAPE, generator=generator, dtype=dtype) - 0.5) * 0.98 / (echo_times_s[1] - echo_times_s[0])
    parts = torch.randn((2, n_coils, *SHAPE), generator=generator, dtype=dtype)
    coils = torch.complex(parts[0], parts[1])
    coils = coils / (coils.abs() ** 2).sum(0).sqrt()
    times = torch.tensor(echo_times_s, dtype=dtype)[:, None, None, None, None]
    phasor = torch.polar(torch.ones_like(times * field_hz), 2 * math.pi * field_hz * times)
    images = coils * torch.exp(-times / t2star_s) * phasor
    if math.isinf(snr):
        return images, field_hz
    noise = torch.randn((2, *images.shape), generator=generator, dtype=dtype)
    return snr * images + torch.complex(noise[0], noise[1]), field_hz


def field_error_hz(estimate: FieldEstimate, field_hz: torch.Tensor) -> torch.Tensor:
    turn = 2 * math.pi * estimate.spacing_s
    return wrap(estimate.wrapped_phase_rad - turn * field_hz) / turn


def cramer_rao_hz(snr: float, t2star_s: float) -> float:
    """Bound on the SD of the frequency of S exp(i (phi_0 + 2 pi f TE) - TE / T2*) with phi_0 unknown."""
    weights = [(snr * math.exp(-t / t2star_s)) ** 2 for t in ECHO_TIMES_S]
    centre = sum(w * t for w, t in zip(weights, ECHO_TIMES_S, strict=True)) / sum(weights)
    return 1 / (2 * math.pi * math.sqrt(sum(w * (t - centre) ** 2 for w, t in zip(weights, ECHO_TIMES_S, strict=True))))


@pytest.mark.parametrize("refine", [True, False])
@pytest.mark.parametrize(("dtype", "tolerance_hz"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_coil_phases_cancel_without_noise(generator, refine, dtype, tolerance_hz):
    images, field_hz = coil_images(generator, dtype=dtype)
    estimate = mdi(lag_sums(images, None), scan_of(), refine=refine)
    assert estimate.wrapped_phase_rad.dtype == dtype
    assert field_error_hz(estimate, field_hz).abs().max() < tolerance_hz
    assert (1 - estimate.coherence).abs().max() < 1e-5


@pytest.mark.parametrize("n_coils", [1, 32])
@pytest.mark.parametrize("snr", [20.0, 30.0, 100.0])
@pytest.mark.parametrize("t2star_s", [0.05, 0.026])
def test_within_ten_percent_of_the_cramer_rao_bound_and_unbiased(generator, n_coils, snr, t2star_s):
    images, field_hz = coil_images(generator, n_coils=n_coils, snr=snr, t2star_s=t2star_s)
    sums = lag_sums(images, torch.ones((), dtype=torch.float64))
    bound = cramer_rao_hz(snr, t2star_s)
    plain = field_error_hz(mdi(sums, scan_of(), refine=False), field_hz)
    for method in FIELD_ESTIMATORS.values():
        estimate = method(sums, scan_of())
        error = field_error_hz(estimate, field_hz)
        # 2880 voxels know the SD to 1.3 percent.
        assert 0.97 * bound < error.std() < 1.10 * bound
        assert abs(error.mean()) < 4 * error.std() / error.numel() ** 0.5
        assert abs(estimate.noise_hz.mean() / bound - 1) < 0.03
        assert plain.std() > 1.2 * error.std()


def test_weak_lags_are_left_out(generator):
    images, _ = coil_images(generator, snr=8.0, t2star_s=0.01)
    sums = lag_sums(images, torch.ones((), dtype=torch.float64))
    all_lags, strong_lags = (mdi(sums, scan_of(), lag_snr=s).wrapped_phase_rad for s in (0.0, 4.0))
    assert (all_lags - strong_lags).abs().max() > 1e-3


def test_the_result_does_not_depend_on_the_unit_of_the_images(generator):
    images, _ = coil_images(generator, snr=30.0)
    one = mdi(lag_sums(images, torch.ones((), dtype=torch.float64)), scan_of())
    other = mdi(lag_sums(1e6 * images, 1e6 * torch.ones((), dtype=torch.float64)), scan_of())
    torch.testing.assert_close(one.wrapped_phase_rad, other.wrapped_phase_rad)
    torch.testing.assert_close(one.noise_hz, other.noise_hz)


def test_two_echoes(generator):
    images, field_hz = coil_images(generator, ECHO_TIMES_S[:2], snr=100.0)
    scan = scan_of(echo_times_s=ECHO_TIMES_S[:2])
    estimate = mdi(lag_sums(images, torch.ones((), dtype=torch.float64)), scan)
    # Two echoes of like size: SD = sqrt(1/a^2 + 1/b^2) / (2 pi dTE).
    amplitudes = [100.0 * math.exp(-t / 0.05) for t in ECHO_TIMES_S[:2]]
    expected = math.sqrt(sum(a**-2 for a in amplitudes)) / (2 * math.pi * 3.1e-3)
    assert abs(field_error_hz(estimate, field_hz).std() / expected - 1) < 0.05
    assert abs(estimate.noise_hz.mean() / expected - 1) < 0.02


@pytest.mark.parametrize("refine", [True, False])
def test_voxels_without_signal_are_finite_and_least_certain(generator, refine):
    images, _ = coil_images(generator, snr=50.0, dtype=torch.float32)
    images[..., 0] = 0
    images[:, :, :, :, 1] = float("nan")
    images[3, 2, :, :, 2] = complex(float("inf"), 0)
    estimate = mdi(lag_sums(images, torch.ones(())), scan_of(), refine=refine)
    for volume in (estimate.wrapped_phase_rad, estimate.noise_hz, estimate.coherence):
        assert torch.isfinite(volume).all()
    dead = estimate.wrapped_phase_rad[..., :3], estimate.coherence[..., :3]
    assert (dead[0] == 0).all()
    assert (dead[1] == 0).all()
    assert torch.allclose(estimate.noise_hz[..., :3], torch.tensor(largest_noise_hz(estimate.spacing_s)))
    assert (estimate.noise_hz[..., 3:] < 5).all()


def test_noise_alone_is_uncertain_and_incoherent(generator):
    parts = torch.randn((2, 8, 1, *SHAPE), generator=generator)
    estimate = mdi(lag_sums(torch.complex(parts[0], parts[1]), torch.ones(())), scan_of())
    assert abs(largest_noise_hz(3.1e-3) - 93.1) < 0.1
    assert estimate.noise_hz.max() <= largest_noise_hz(estimate.spacing_s) * (1 + 1e-6)
    assert estimate.noise_hz.median() > 0.1 * largest_noise_hz(estimate.spacing_s)
    assert estimate.coherence.median() < 0.5


def test_noise_is_estimated_where_it_is_not_known(generator):
    shape = (24, 24, 24)
    times = torch.tensor(ECHO_TIMES_S)[:, None, None, None, None]
    noise = torch.randn((2, 8, 1, *shape), generator=generator)
    images = 40.0 * torch.exp(-times / 0.05) + torch.complex(noise[0], noise[1])
    known = mdi(lag_sums(images, torch.ones(())), scan_of(shape))
    unknown = mdi(lag_sums(images, None), scan_of(shape))
    assert abs(unknown.noise_hz.mean() / known.noise_hz.mean() - 1) < 0.05


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
@pytest.mark.parametrize("n_coils", [1, 5])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_fused_passes_and_torch_are_one_estimate(generator, dtype, tolerance, n_coils, n_threads):
    images, _ = coil_images(generator, n_coils=n_coils, snr=20.0, dtype=dtype)
    images[..., :2] *= 0.02  # weak lags too
    images[0, 0, 3, 4, 5] = float("nan")
    images[:, :, 6] = 0
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        (lags, power), (lags_in_torch, power_in_torch) = lag_sums_on_cpu(images), lag_sums_in_torch(images)
        torch.testing.assert_close(lags, lags_in_torch, rtol=1e-5, atol=8 * tolerance, equal_nan=True)
        torch.testing.assert_close(power, power_in_torch, rtol=tolerance, atol=0, equal_nan=True)
        for sigma in (None, torch.ones((), dtype=dtype), 0.5 + torch.rand(SHAPE, dtype=dtype)):
            known = LagSums(lags, power, sigma, n_coils), ECHO_TIMES_S, 3.1e-3
            for n_lags in (1, 7):
                one, other = (maps(*known, n_lags, 2.0) for maps in (maps_on_cpu, maps_in_torch))
                assert one.wrapped_phase_rad.dtype == dtype
                assert wrap(one.wrapped_phase_rad - other.wrapped_phase_rad).abs().max() < tolerance
                torch.testing.assert_close(one.coherence, other.coherence, rtol=0, atol=tolerance)
                torch.testing.assert_close(one.noise_hz, other.noise_hz, rtol=100 * tolerance, atol=0)
    finally:
        torch.set_num_threads(before)


def test_lag_sums_pass_gradients_on_and_take_any_order_of_memory(generator):
    images, _ = coil_images(generator, snr=20.0)
    plain = lag_sums(images, None)
    moved = lag_sums(images.movedim(0, -1).contiguous().movedim(-1, 0).conj(), None)
    torch.testing.assert_close(moved.lags, plain.lags.conj().resolve_conj())
    polar = lag_sums_of_polar(images.abs(), images.angle(), None)
    torch.testing.assert_close(polar.lags, plain.lags)
    torch.testing.assert_close(polar.power, plain.power)
    lag_sums_of_polar(images.abs().requires_grad_(), images.angle(), None).power.sum().backward()
    lag_sums(images.requires_grad_(), None).power.sum().backward()
    torch.testing.assert_close(images.grad, 2 * images.detach())


def test_wrapped_phase_is_in_the_half_open_interval():
    phase = torch.linspace(-20, 20, 4001, dtype=torch.float64)
    edge = torch.tensor([-math.pi, math.pi, 3 * math.pi, -3 * math.pi, 0.0], dtype=torch.float64)
    for values in (phase, edge, phase.float(), edge.float()):
        wrapped = wrap(values)
        assert wrapped.max() <= math.pi + 1e-6
        assert wrapped.min() > -math.pi
        assert (torch.polar(torch.ones_like(values), values - wrapped) - 1).abs().max() < 1e-5


def test_single_echo_takes_the_phase_over_the_echo_time(generator):
    image = torch.polar(torch.full(SHAPE, 10.0), torch.full(SHAPE, 0.6))
    image[0] = float("nan")
    image[1] = 0
    estimate = single_echo(image, scan_of(echo_times_s=(20e-3,)), noise_sd=torch.tensor(1.0))
    assert estimate.spacing_s == 20e-3
    assert torch.allclose(estimate.wrapped_phase_rad[2:], torch.tensor(0.6))
    # Phase noise sigma / |S|; power 100 holds 2 sigma^2 of noise.
    assert torch.allclose(estimate.noise_hz[2:], torch.tensor(1 / (2 * math.pi * 20e-3 * math.sqrt(98.0))))
    assert (estimate.noise_hz[:2] == estimate.noise_hz.max()).all()
    assert (estimate.coherence[:2] == 0).all()
    assert (estimate.coherence[2:] == 1).all()
    quieter = single_echo(image, scan_of(echo_times_s=(20e-3,)), noise_sd=torch.tensor(0.1))
    assert (quieter.noise_hz[2:] < estimate.noise_hz[2:]).all()
    assert torch.isfinite(single_echo(image, scan_of(echo_times_s=(20e-3,))).noise_hz).all()


def test_what_cannot_be_used_is_refused(generator):
    images, _ = coil_images(generator)
    with pytest.raises(InputError, match="two echoes or more"):
        mdi(lag_sums(images[:1], None), scan_of(echo_times_s=ECHO_TIMES_S[:1]))
    with pytest.raises(InputError, match="8 echo images but 7 echo times"):
        mdi(lag_sums(images, None), scan_of(echo_times_s=ECHO_TIMES_S[:7]))
    with pytest.raises(InputError, match="evenly spaced"):
        mdi(lag_sums(images[:3], None), scan_of(echo_times_s=(3e-3, 6e-3, 12e-3)))
    with pytest.raises(InputError, match="power has shape"):
        mdi(lag_sums(images, None), scan_of((16, 15, 13)))
    sums = lag_sums(images, None)
    with pytest.raises(InputError, match="lags has shape"):
        mdi(LagSums(sums.lags[:-1], sums.power, None, 6), scan_of())
    with pytest.raises(InputError, match="one echo time"):
        single_echo(images[0, 0], scan_of())


def test_the_table_names_it():
    assert FIELD_ESTIMATORS["mdi"] is mdi


def test_an_estimate_goes_to_a_device_whole() -> None:
    ones = torch.ones(SHAPE)
    there = FieldEstimate(ones, 0.003, ones, ones).to(torch.device("meta"))
    assert {volume.device.type for volume in (there.wrapped_phase_rad, there.noise_hz, there.coherence)} == {"meta"}
    assert there.spacing_s == 0.003
