import pytest
import torch

from dlqsm.core.lags import lag_sums
from dlqsm.qsm.noise import estimate_noise_sd, image_noise_sd

SHAPE = (40, 36, 30)


def smooth_head() -> torch.Tensor:
    x, y, z = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    inside = (x**2 + y**2 + z**2 < 0.8).float()
    return inside * (60 + 20 * x - 10 * y * z)


@pytest.mark.parametrize("n_coils", [1, 8])
@pytest.mark.parametrize("sigma", [0.5, 2.0])
@pytest.mark.parametrize("zeroed_air", [False, True])
def test_white_noise_is_measured_whatever_the_coils(generator, n_coils, sigma, zeroed_air):
    head = smooth_head()
    parts = torch.randn((2, 3, n_coils, *SHAPE), generator=generator)
    images = head / n_coils**0.5 + sigma * torch.complex(parts[0], parts[1])
    if zeroed_air:
        images = torch.where(head > 0, images, torch.zeros_like(images))
    assert abs(estimate_noise_sd(lag_sums(images, None).power) / sigma - 1) < 0.12


def test_the_noise_that_is_known_is_taken():
    sigma = torch.tensor(3.0)
    images = torch.zeros((2, 1, 4, 4, 4), dtype=torch.complex64)
    assert image_noise_sd(lag_sums(images, sigma)) is sigma
    assert image_noise_sd(lag_sums(images, None)) == 0


def test_nan_and_thin_volumes_are_survived(generator):
    power = torch.rand((2, 6, 5, 1), generator=generator)
    power[0, 0] = float("nan")
    assert estimate_noise_sd(power) > 0


@pytest.mark.parametrize(("n_coils", "last_snr"), [(1, 1.0), (8, 3.0), (32, 5.0)])
def test_echoes_that_noise_fills_do_not_make_it_small(generator, n_coils, last_snr):
    """The magnitude of pure noise scatters by 0.71 of what each component does."""
    inside = (smooth_head() > 0).float()
    parts = torch.randn((2, 3, n_coils, *SHAPE), generator=generator)
    levels = torch.tensor([40.0, 15.0, last_snr]).reshape(3, 1, 1, 1, 1) / n_coils**0.5
    images = levels * inside + torch.complex(parts[0], parts[1])
    assert abs(image_noise_sd(lag_sums(images, None)) - 1) < 0.06


def test_an_echo_without_signal_does_not_make_it_zero(generator):
    parts = torch.randn((2, 3, 1, *SHAPE), generator=generator)
    images = smooth_head() + torch.complex(parts[0], parts[1])
    images[2] = 0.0
    assert abs(image_noise_sd(lag_sums(images, None)) - 1) < 0.06
    images[2] = float("nan")
    assert abs(image_noise_sd(lag_sums(images, None)) - 1) < 0.06
