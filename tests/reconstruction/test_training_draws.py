"""Examples are scans: their samples, noise, targets and symmetries are those of the forward model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_phantom import make_slab, random_mask

from dlqsm.core.fourier import fftc, ifftc
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.training.augmentation import conjugate, mirror, mix_coils, reflect, turn_phase
from dlqsm.reconstruction.training.draws import (
    DrawSettings,
    draw_example,
    linear_images,
    supervised_example,
    voxel_weights,
)
from dlqsm.reconstruction.training.slabs import open_slab, write_slab

PLANE = (-2, -1)
CPU = torch.device("cpu")
SETTINGS = DrawSettings(planes=3)


def unitary(n, seed=0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))[0])


def combined(slab):
    return roemer(ifftc(slab.kspace, PLANE), slab.maps)


def assert_is_a_scan(slab):
    """K-space is the transform of its own image under its own maps."""
    again = fftc(combined(slab)[:, None] * slab.maps, PLANE)
    assert float((again - slab.kspace).abs().max()) < 1e-4 * float(slab.kspace.abs().max())


def one_example(noise_factor=1.0, combines=True, **changes):
    slab = replace(make_slab()[0], **changes)
    mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(2)))
    generator = torch.Generator().manual_seed(4)
    return slab, supervised_example(slab, mask, noise_factor, generator, SETTINGS, combines)


def test_samples_are_zero_outside_the_mask_and_target_is_the_clean_image():
    slab, example = one_example()
    assert not example.samples[..., ~example.sampling_mask].any()
    assert example.samples[..., example.sampling_mask].all()
    assert torch.allclose(example.target[:, 0], combined(slab), atol=1e-4)
    assert torch.allclose(example.target[:, 0], make_slab()[1] * 1.0, atol=2e-3)


def test_coil_by_coil_targets_are_the_coil_images():
    slab, example = one_example(combines=False)
    assert torch.equal(example.target, ifftc(slab.kspace, PLANE))


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_noise_has_an_sd_of_one_whatever_its_factor(factor):
    slab, example = one_example(factor)
    noise = (example.samples - slab.kspace / factor)[..., example.sampling_mask]
    n = noise.numel()
    for part in (noise.real, noise.imag):
        assert float(part.std()) == pytest.approx(1.0, abs=4 / np.sqrt(2 * n))
        assert abs(float(part.mean())) < 4 / np.sqrt(n)
    assert torch.allclose(example.target[:, 0] * factor, combined(slab), atol=1e-4)


def test_a_measured_slab_gets_only_the_noise_that_is_missing():
    slab, example = one_example(1.0, noise_sd=1.0)
    assert torch.equal(example.samples, slab.kspace * example.sampling_mask)
    slab, example = one_example(2.0, noise_sd=1.0)
    added = (example.samples - slab.kspace / 2)[..., example.sampling_mask]
    assert float(added.real.std()) == pytest.approx(np.sqrt(1 - 0.25), rel=0.02)


def test_coil_mixtures_leave_the_combined_image_and_white_noise():
    slab, _ = make_slab()
    mixed = mix_coils(slab, unitary(4))
    assert float((mixed.kspace - slab.kspace).abs().max()) > 1
    assert torch.allclose(combined(mixed), combined(slab), atol=2e-4)
    assert_is_a_scan(mixed)
    fewer = mix_coils(slab, unitary(4)[:2])
    assert fewer.kspace.shape[1] == fewer.maps.shape[0] == 2


@pytest.mark.parametrize("shape", [(4, 16, 15), (5, 17, 20)])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 1, 2)])
def test_mirrored_slabs_are_scans_of_the_mirrored_image(shape, axes):
    slab, images = make_slab(shape=shape)
    mirrored = mirror(slab, axes)
    assert_is_a_scan(mirrored)
    expected = images
    for axis in axes:
        expected = expected.flip(1) if axis == 0 else reflect(expected, axis + 1)
    assert torch.allclose(combined(mirrored), expected, atol=2e-3)
    assert torch.allclose(mirror(mirrored, axes).kspace, slab.kspace)
    # Field, brain and nuclei went along: the phase between echoes is still the field's.
    gathered = (combined(mirrored)[0].conj() * combined(mirrored)[1]).angle()
    step = 2 * np.pi * mirrored.field_hz * (slab.echo_times_s[1] - slab.echo_times_s[0])
    assert float((gathered - step)[mirrored.brain].abs().max()) < 1e-3


def test_reflection_keeps_the_centre():
    for n in (7, 8):
        line = torch.arange(n)
        centre = n // 2
        mirrored = reflect(line, 0)
        assert int(mirrored[centre]) == centre
        assert int(mirrored[centre + 1]) == centre - 1


@pytest.mark.parametrize("shape", [(4, 16, 15), (5, 17, 20)])
def test_the_conjugate_is_a_scan_of_the_opposite_field(shape):
    slab, images = make_slab(shape=shape)
    opposite = conjugate(slab)
    assert_is_a_scan(opposite)
    assert torch.allclose(combined(opposite), images.conj(), atol=2e-3)
    assert torch.equal(opposite.field_hz, -slab.field_hz)
    assert torch.allclose(conjugate(opposite).kspace, slab.kspace)


def test_mask_and_samples_of_an_undersampled_slab_stay_together():
    slab, _ = make_slab()
    mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(3)))
    some = replace(slab, kspace=slab.kspace * mask, sampling_mask=mask)
    for changed in (mirror(some, (0, 1, 2)), mirror(some, (1,)), conjugate(some)):
        assert int(changed.sampling_mask.sum()) == int(mask.sum())
        assert not changed.kspace[..., ~changed.sampling_mask].any()


def test_phase_turns_with_echo_time_and_the_field_with_it():
    slab, images = make_slab()
    turned = turn_phase(slab, 0.7, 15.0)
    times = torch.tensor(slab.echo_times_s)[:, None, None, None]
    assert torch.allclose(combined(turned), images * torch.exp(1j * (0.7 + 2 * np.pi * 15 * times)), atol=2e-3)
    assert torch.allclose(turned.field_hz, slab.field_hz + 15)


def test_weights_have_mean_one_and_favour_what_was_asked_for():
    slab, images = make_slab()
    target = images[:, None]
    plain = voxel_weights(slab, target, SETTINGS)
    assert torch.allclose(plain, torch.ones_like(plain))
    nuclei = voxel_weights(slab, target, replace(SETTINGS, nuclei_weight=3.0))
    assert float(nuclei.mean()) == pytest.approx(1, abs=1e-5)
    assert float(nuclei[slab.nuclei].mean() / nuclei[~slab.nuclei].mean()) == pytest.approx(4, rel=1e-4)
    edges = voxel_weights(slab, target, replace(SETTINGS, edge_weight=1.0))
    assert edges[slab.brain].mean() > edges[~slab.brain].mean()
    outside = voxel_weights(slab, target, replace(SETTINGS, outside_weight=0.5))
    assert float(outside[~slab.brain].max() / outside[slab.brain].min()) == pytest.approx(0.5, rel=1e-4)


def test_an_example_follows_from_its_seeds_alone(tmp_path):
    write_slab(tmp_path / "a.safetensors", make_slab()[0])
    file = open_slab(tmp_path / "a.safetensors")

    def drawn(number):
        torch.rand(3)  # the global generator must not matter
        return draw_example(file, random_mask, SETTINGS, (5, number), CPU, True)

    first, again = drawn(1), drawn(1)
    assert torch.equal(first.samples, again.samples) and torch.equal(first.target, again.target)
    others = [drawn(number) for number in range(2, 60)]
    assert {len(example.samples) for example in others} == {1, 2, 3}
    assert all(example.samples.shape[2] == 3 for example in others)
    assert len({example.echo_times_s for example in others}) > 4
    assert (0.004, 0.012) in {example.echo_times_s for example in others}
    # Whatever symmetries were drawn, samples are those of the target under the maps, plus noise of 1.
    for example in others:
        model = fftc(example.target * example.maps, PLANE) * example.sampling_mask
        noise = (example.samples - model)[..., example.sampling_mask]
        assert float(noise.real.std()) == pytest.approx(1.0, rel=0.06)


def test_linear_images_are_those_of_the_linear_methods():
    slab, _ = make_slab()
    assert torch.equal(linear_images(slab.kspace, slab.maps, False), ifftc(slab.kspace, PLANE))
    assert torch.allclose(linear_images(slab.kspace, slab.maps, True)[:, 0], combined(slab))
