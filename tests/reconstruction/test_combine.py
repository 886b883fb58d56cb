import torch
from coil_phantom import make_phantom

from dlqsm.reconstruction.combine import combine_uncombined, roemer

SHAPE = (20, 40, 28)


def coil_images(noise_sd: float = 0.002):
    phantom = make_phantom(shape=SHAPE, noise_sd=1e-4)
    images = phantom.images[:, None] * phantom.maps
    noise = torch.randn(images.shape, dtype=images.dtype, generator=torch.Generator().manual_seed(2))
    return phantom, images + noise_sd * noise


def test_roemer_with_true_maps_is_the_image():
    phantom, images = coil_images(noise_sd=0.0)
    assert torch.allclose(roemer(images, phantom.maps), phantom.images, atol=1e-5)


def test_combination_without_maps_keeps_the_phase_between_echoes_and_the_magnitude():
    phantom, images = coil_images()
    combined = combine_uncombined(images)
    core = phantom.mask & (phantom.images[0].abs() > 0.3)
    ratio = (combined[1:] * combined[:-1].conj()) / (phantom.images[1:] * phantom.images[:-1].conj())
    assert float(ratio.angle().abs()[:, core].max()) < 0.05
    assert float((combined[0].abs() / phantom.images[0].abs())[core].sub(1).abs().mean()) < 0.02


def test_combination_without_maps_changes_the_first_echo_by_a_smooth_phase_only():
    phantom, images = coil_images()
    core = phantom.mask & (phantom.images[0].abs() > 0.3)
    offset = combine_uncombined(images)[0] * phantom.images[0].conj()
    for axis in range(3):
        n = offset.shape[axis]
        both = core.narrow(axis, 0, n - 1) & core.narrow(axis, 1, n - 1)
        step = (offset.narrow(axis, 1, n - 1) * offset.narrow(axis, 0, n - 1).conj()).angle()
        assert float(step.abs()[both].max()) < 0.35


def test_a_common_phase_of_all_coils_stays_in_the_image():
    _, images = coil_images()
    plain, turned = combine_uncombined(images), combine_uncombined(images * torch.tensor(0.6 + 0.8j))
    assert torch.allclose(turned, plain * (0.6 + 0.8j), atol=1e-4)


def test_the_block_matters():
    _, images = coil_images()
    assert not torch.allclose(combine_uncombined(images), combine_uncombined(images, block=7), atol=1e-4)
