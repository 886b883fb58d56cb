import pytest
import torch

from dlqsm.core.checks import InputError
from dlqsm.qsm.relaxation import fit_in_torch, fit_on_cpu, r2star

ECHO_TIMES_S = tuple(3.3e-3 + 3.1e-3 * k for k in range(8))
SHAPE = (24, 24, 12)


def decay(rate_hz: float, amplitude: float, n_coils: int = 1, dtype=torch.float32) -> torch.Tensor:
    times = torch.tensor(ECHO_TIMES_S, dtype=dtype)[:, None, None, None, None]
    return amplitude / n_coils**0.5 * torch.exp(-rate_hz * times) * torch.ones((8, n_coils, *SHAPE), dtype=dtype)


def noisy_magnitude(signal: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    parts = torch.randn((2, *signal.shape), generator=generator)
    return (torch.complex(signal + parts[0], parts[1]).abs() ** 2).sum(1).sqrt()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rate_hz", [0.0, 5.0, 20.0, 150.0])
def test_exact_without_noise(rate_hz, dtype):
    fitted = r2star(decay(rate_hz, 1e-3, dtype=dtype)[:, 0], ECHO_TIMES_S)
    assert fitted.dtype == dtype
    assert torch.allclose(
        fitted, torch.full(SHAPE, rate_hz, dtype=dtype), atol=1e-3 if dtype == torch.float32 else 1e-9
    )


@pytest.mark.parametrize("rate_hz", [20.0, 40.0, 80.0, 150.0])
def test_unbiased_within_one_percent_at_snr_30(generator, rate_hz):
    fitted = r2star(noisy_magnitude(decay(rate_hz, 30.0), generator), ECHO_TIMES_S, torch.ones(()))
    # 6912 voxels know the mean to about 0.1 percent.
    assert abs(fitted.mean() / rate_hz - 1) < 0.01


def test_noise_of_many_coils_is_taken_out(generator):
    magnitude = noisy_magnitude(decay(40.0, 30.0, n_coils=8), generator)
    corrected = r2star(magnitude, ECHO_TIMES_S, torch.ones(()), n_channels=8)
    raw = r2star(magnitude, ECHO_TIMES_S)
    assert abs(corrected.mean() / 40 - 1) < 0.01
    assert raw.mean() < 0.97 * 40


def test_every_option_changes_the_result(generator):
    magnitude = noisy_magnitude(decay(150.0, 15.0), generator)
    default = r2star(magnitude, ECHO_TIMES_S, torch.ones(()))
    assert not torch.equal(default, r2star(magnitude, ECHO_TIMES_S, torch.ones(()), n_channels=2))
    assert not torch.equal(default, r2star(magnitude, ECHO_TIMES_S, torch.ones(()), least_snr=0.5))
    assert r2star(magnitude, ECHO_TIMES_S, torch.ones(()), largest_hz=50.0).max() == 50.0


def test_unusable_voxels_are_zero_and_never_nan(generator):
    magnitude = decay(20.0, 1.0)[:, 0].clone()
    magnitude[:, 0] = 0
    magnitude[:, 1] = float("nan")
    magnitude[1:, 2] = 0
    magnitude[:, 3] = magnitude[:, 3].flip(0)
    magnitude[4, 4] = float("nan")
    fitted = r2star(magnitude, ECHO_TIMES_S, torch.full((), 1e-3))
    assert (fitted[:4] == 0).all()
    assert torch.allclose(fitted[4:], torch.tensor(20.0), atol=1e-3)


def test_what_cannot_be_used_is_refused():
    with pytest.raises(InputError, match="two echoes or more"):
        r2star(torch.ones((1, 2, 2, 2)), (3e-3,))
    with pytest.raises(InputError, match="magnitude has shape"):
        r2star(torch.ones((3, 2, 2, 2)), (3e-3, 6e-3))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-3), (torch.float64, 1e-8)])
@pytest.mark.parametrize("n_threads", [1, 3])
def test_fused_pass_and_torch_are_one_fit(generator, dtype, tolerance, n_threads):
    """Over signals from noise to SNR 100, some echoes unusable; sigma one number or a map."""
    signal = decay(60.0, 1.0) * torch.linspace(0.0, 100.0, SHAPE[0])[:, None, None]
    magnitude = noisy_magnitude(signal, generator).to(dtype)
    magnitude[:, 3] = float("nan")
    magnitude[2, 5] = 0.0
    n_before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        for sigma in (torch.zeros((), dtype=dtype), torch.ones(SHAPE, dtype=dtype)):
            given = magnitude, ECHO_TIMES_S, sigma, 2, 3.0, 1000.0
            one, other = fit_on_cpu(*given), fit_in_torch(*given)
            # An echo on the edge of least_snr may count in one and not in the other.
            assert ((one - other).abs() > tolerance * (1 + other)).float().mean() < 1e-3
            assert (one - other).abs().max() < 5.0
    finally:
        torch.set_num_threads(n_before)
