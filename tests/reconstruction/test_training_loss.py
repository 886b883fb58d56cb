"""The loss is zero for the truth and nowhere else, falls along its gradient, and each of its options matters."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from training_phantom import make_slab, random_mask

from dlqsm.core.checks import InputError
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.fourier import fftc
from dlqsm.core.raw import calibration_region
from dlqsm.core.scan import Grid
from dlqsm.reconstruction.training.draws import DrawSettings, self_supervised_example, supervised_example
from dlqsm.reconstruction.training.loss import (
    REGION_VOXELS,
    LossSettings,
    across,
    along_field,
    held_out_loss,
    image_loss,
    like_susceptibility,
    loss_of,
    mean_over_regions,
)
from dlqsm.reconstruction.training.selfsupervised import predicted_samples, split_samples

ALL = LossSettings(phase=0.5, field=0.5, susceptibility=0.5)
PLAIN = DrawSettings()


def example_and_truth(settings=PLAIN):
    slab, _ = make_slab()
    mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(2)))
    example = supervised_example(slab, mask, 1.0, torch.Generator().manual_seed(4), settings, True)
    return example, example.target


def undersampled():
    slab, images = make_slab()
    mask = torch.from_numpy(random_mask(tuple(slab.kspace.shape[-2:]), np.random.default_rng(3)))
    return replace(slab, kspace=slab.kspace * mask, sampling_mask=mask), images[:, None]


def noise_like(images, seed=0):
    return torch.view_as_complex(torch.randn((*images.shape, 2), generator=torch.Generator().manual_seed(seed)))


@pytest.mark.parametrize("settings", [LossSettings(), ALL])
def test_zero_at_the_truth_and_only_there(settings):
    example, truth = example_and_truth()
    assert float(loss_of(truth, example, settings)) == 0.0
    for size in (0.1, 1.0, 10.0):
        assert float(loss_of(truth + size * noise_like(truth), example, settings)) > 0


@pytest.mark.parametrize("settings", [LossSettings(), ALL])
def test_the_gradient_points_to_the_truth(settings):
    example, truth = example_and_truth()
    images = (truth + 3 * noise_like(truth)).requires_grad_()
    loss = image_loss(images, example, settings)
    loss.backward()
    towards = truth - images.detach()
    slope = (images.grad.conj() * towards).real.sum()
    assert slope < 0
    # A norm grows in proportion to the distance, so that the slope towards its zero is the loss itself.
    assert float(-slope) == pytest.approx(float(loss.detach()), rel=1e-3)


def test_every_echo_counts_alike_whatever_its_magnitude():
    example, truth = example_and_truth()
    losses = []
    for echo in range(len(truth)):
        images = truth.clone()
        images[echo] *= 1.1
        losses.append(float(image_loss(images, example, LossSettings())))
    assert max(losses) / min(losses) == pytest.approx(1.0, abs=0.1)


def test_the_phase_term_sees_the_error_across_the_target_only():
    _, truth = example_and_truth()
    size = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1))
    assert float(across(size * truth, truth).abs().max()) < 1e-4
    # Faint voxels have no direction.
    bright = truth.abs() > 1
    assert torch.allclose(across(1j * size * truth, truth)[bright], (size * truth.abs())[bright], rtol=1e-4)


def test_the_field_term_sees_a_change_of_field_and_neither_offset_nor_decay():
    example, truth = example_and_truth()
    times = torch.tensor(example.echo_times_s)[:, None, None, None, None]
    other_field = 1j * 2 * torch.pi * 1.0 * times * truth
    offset, decay = 0.1j * truth, -5 * times * truth
    size = {
        name: float(along_field(e, truth, example.echo_times_s).abs().mean())
        for name, e in (("field", other_field), ("offset", offset), ("decay", decay))
    }
    assert size["offset"] < 1e-3 * size["field"] and size["decay"] < 1e-3 * size["field"]
    assert float(along_field(-2 * other_field, truth, example.echo_times_s).abs().mean()) == pytest.approx(
        2 * size["field"], rel=1e-4
    )
    assert float(along_field(-2 * other_field, truth, example.echo_times_s).mean()) < 0


def test_the_mean_over_regions_keeps_what_a_region_has_in_common_and_averages_noise():
    noise = torch.randn(1, 9, 40, 30, generator=torch.Generator().manual_seed(3))
    n_voxels = math.prod(REGION_VOXELS)

    assert torch.allclose(mean_over_regions(torch.full((2, 4, 10, 8), 0.5)), torch.tensor(0.5))
    inner = mean_over_regions(noise)[:, 2:-2, 4:-4, 4:-4]
    assert mean_over_regions(torch.ones(1, 1, 4, 2)).shape == (1, 1, 4, 2)
    assert float(inner.std()) == pytest.approx(n_voxels**-0.5, rel=0.1)


def test_a_lost_dipole_pattern_looks_like_susceptibility_and_noise_of_its_size_does_not():
    chi = torch.zeros(9, 40, 30)
    chi[3:6, 18:23, 14:17] = 1.0
    field = susceptibility_to_field(chi, Grid((9, 40, 30), (1.4, 1.4, 2.5)), (0.0, 0.0, 1.0))
    noise = torch.randn(field.shape, generator=torch.Generator().manual_seed(4)) * field.std()
    lost, noisy = (like_susceptibility(each.unsqueeze(0), (1.4, 1.4, 2.5))[0] for each in (field, noise))

    assert int(lost.argmax()) == int(mean_over_regions(chi.unsqueeze(0)).argmax())
    # The pattern's own mean over the source is nearly nothing, that of the field it is seen as is not.
    source = chi > 0
    assert abs(float(field[source].mean())) < 0.1
    assert float(lost[source].mean()) > 5 * float(noisy[source].abs().mean())


def test_each_option_changes_the_loss():
    example, truth = example_and_truth()
    images = truth * (1 + 0.05j)
    images[:, :, :, :10] += 5
    plain = float(image_loss(images, example, LossSettings()))
    assert float(image_loss(images, example, LossSettings(phase=1.0))) > plain
    assert float(image_loss(images, example, LossSettings(field=1.0))) > plain
    assert float(image_loss(images, example, LossSettings(susceptibility=1.0))) > plain
    for change in ({"nuclei_weight": 5.0}, {"edge_weight": 2.0}, {"outside_weight": 0.2}):
        weighted, _ = example_and_truth(DrawSettings(**change))
        assert float(image_loss(images, weighted, LossSettings())) != pytest.approx(plain, rel=1e-3)


def test_one_echo_has_no_field_term():
    example, truth = example_and_truth()
    one = replace(example, target=truth[:1], echo_times_s=example.echo_times_s[:1])
    images = truth[:1] + noise_like(truth[:1])
    both = LossSettings(field=1.0, susceptibility=1.0)
    assert float(image_loss(images, one, both)) == float(image_loss(images, one, LossSettings()))


def test_held_out_and_seen_cells_part_the_samples_and_the_calibration_is_seen():
    mask = random_mask((32, 25), np.random.default_rng(3))
    seen, held_out = split_samples(mask, 0.4, np.random.default_rng(1))
    assert not (seen & held_out).any()
    assert np.array_equal(seen | held_out, mask)
    region = calibration_region(mask)
    assert region.any() and not (held_out & region).any()
    assert held_out.sum() == round(0.4 * (mask & ~region).sum())
    assert not np.array_equal(split_samples(mask, 0.4, np.random.default_rng(2))[1], held_out)


def test_splits_that_cannot_be_made_are_refused():
    mask = random_mask((32, 25), np.random.default_rng(3))
    for share in (0.0, 1.0):
        with pytest.raises(InputError, match="between 0 and 1"):
            split_samples(mask, share, np.random.default_rng(1))
    with pytest.raises(InputError, match="acquire more lines"):
        split_samples(calibration_region(mask), 0.4, np.random.default_rng(1))


def test_a_self_supervised_example_shows_nothing_of_what_it_judges_by():
    slab, images = undersampled()
    example = self_supervised_example(slab, DrawSettings(), np.random.default_rng(1))
    assert not example.samples[..., example.held_out].any()
    assert not example.target[..., ~example.held_out].any()
    assert torch.equal(example.samples + example.target, slab.kspace)
    assert torch.equal(example.sampling_mask | example.held_out, slab.sampling_mask)
    assert float(held_out_loss(images, example)) < 1e-4
    assert float(held_out_loss(torch.zeros_like(images), example)) == pytest.approx(1.0)


def test_the_gradient_of_held_out_samples_points_to_the_image():
    slab, truth = undersampled()
    example = self_supervised_example(slab, DrawSettings(), np.random.default_rng(1))
    images = (truth + 3 * noise_like(truth)).requires_grad_()
    loss_of(images, example, LossSettings()).backward()
    assert float((images.grad.conj() * (truth - images.detach())).real.sum()) < 0


def test_predicted_samples_of_coil_images_are_their_transform():
    slab, images = make_slab()
    coil_images = images[:, None] * slab.maps
    assert torch.allclose(predicted_samples(images[:, None], slab.maps), fftc(coil_images, (-2, -1)), atol=1e-4)
    assert torch.equal(predicted_samples(coil_images, slab.maps), fftc(coil_images, (-2, -1)))
