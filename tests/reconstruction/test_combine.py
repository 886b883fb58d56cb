import torch
from coil_phantom import make_phantom

from dlqsm.reconstruction.combine import roemer


def test_roemer_with_true_maps_is_the_image():
    phantom = make_phantom(shape=(20, 40, 28), noise_sd=1e-4)
    images = phantom.images[:, None] * phantom.maps
    assert torch.allclose(roemer(images, phantom.maps), phantom.images, atol=1e-5)


def test_a_phase_of_the_maps_turns_all_echoes_alike():
    phantom = make_phantom(shape=(20, 40, 28), noise_sd=1e-4)
    images = phantom.images[:, None] * phantom.maps
    angles = torch.rand(phantom.maps.shape[1:], generator=torch.Generator().manual_seed(2)) * 6.0
    turn = torch.polar(torch.ones_like(angles), angles)
    combined = roemer(images, phantom.maps * turn)
    assert torch.allclose(combined, phantom.images * turn.conj(), atol=1e-5)
    between = combined[1:] * combined[:-1].conj()
    assert torch.allclose(between, phantom.images[1:] * phantom.images[:-1].conj(), atol=1e-5)
