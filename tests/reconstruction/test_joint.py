"""The joint network: what must hold for any weights."""

import pytest
import torch
from networks import random_network

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import fftc, ifftc
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.learned.echoes import EchoConvolution, echo_positions
from dlqsm.reconstruction.learned.joint import JointNetwork, joint, smooth_phase
from dlqsm.reconstruction.learned.misfit import Misfit

PLANE = (-2, -1)


@pytest.fixture(scope="module")
def problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples (echo, coil, x, ky, kz) of random smooth images and coils, mask and maps."""
    generator = torch.Generator().manual_seed(5)

    def smooth(*shape: int) -> torch.Tensor:
        noise = torch.view_as_complex(torch.randn((*shape, 2), generator=generator))
        window = torch.zeros(shape[-2:])
        ny, nz = shape[-2:]
        window[ny // 2 - 3 : ny // 2 + 4, nz // 2 - 3 : nz // 2 + 4] = 1.0
        return ifftc(fftc(noise, PLANE) * window, PLANE)

    maps = smooth(3, 9, 24, 18)
    maps = maps / maps.abs().square().sum(0).sqrt()
    images = 40.0 * smooth(3, 9, 24, 18)
    mask = torch.rand((24, 18), generator=generator) < 0.5
    mask[9:15, 6:12] = True
    samples = fftc(images.unsqueeze(1) * maps, PLANE) * mask
    return samples, mask, maps


def test_a_fully_sampled_mask_gives_the_matched_filter_exactly(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    network = random_network("joint")
    whole = torch.ones_like(mask)
    assert torch.equal(network(samples, whole, maps, 1.0)[:, 0], roemer(ifftc(samples, PLANE), maps))
    coils = network(samples, whole, maps, 1.0, exact=True)
    torch.testing.assert_close(fftc(coils, PLANE), samples, atol=1e-4, rtol=1e-5)


@torch.no_grad()
def test_exact_mode_returns_the_measured_samples(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    coils = random_network("joint")(samples, mask, maps, 1.0, exact=True)
    assert coils.shape == samples.shape
    error = (fftc(coils, PLANE) * mask - samples).abs().max()
    assert float(error) <= 1e-5 * float(samples.abs().max())


@torch.no_grad()
def test_final_steps_explain_more_of_the_samples(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    network, left = random_network("joint"), []
    for n_steps in (0, 1, 2, 4):
        images = network(samples, mask, maps, 1.0, final_steps=n_steps)
        left.append(float((fftc(images * maps, PLANE) * mask - samples).norm()))
    assert left == sorted(left, reverse=True)
    assert left[2] < 0.7 * left[0]


@torch.no_grad()
def test_final_steps_leave_what_explains_the_samples_already(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    truth = roemer(ifftc(samples, PLANE), maps)
    encoding = Misfit(fftc(truth.unsqueeze(1) * maps, PLANE) * mask, mask, maps)
    assert float(encoding.left_over(truth, 4).abs().max()) <= 1e-5 * float(truth.abs().max())


def test_final_steps_out_of_range_are_refused(problem: tuple[torch.Tensor, ...]) -> None:
    with pytest.raises(InputError, match="final_steps must be 0 to 12; got 13"):
        joint(*problem, 1.0, final_steps=13)


@torch.no_grad()
def test_it_scales_with_the_data_and_turns_with_their_phase(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    network = random_network("joint")
    images = network(samples, mask, maps, 1.0)
    size = float(images.abs().max())
    scaled = network(7.0 * samples, mask, maps, 7.0)
    assert float((scaled - 7.0 * images).abs().max()) <= 1e-4 * 7.0 * size
    phasor = torch.polar(torch.ones(3), torch.tensor([0.3, -2.0, 1.1]))[:, None, None, None, None]
    turned = network(samples * phasor, mask, maps, 1.0)
    # An echo's own phase is taken away before the echoes are put together.
    assert float((turned - images * phasor).abs().max()) <= 1e-4 * size


@torch.no_grad()
@pytest.mark.parametrize("n_echoes", [1, 2, 3])
def test_any_number_of_echoes_goes_through_one_set_of_weights(problem: tuple[torch.Tensor, ...], n_echoes: int) -> None:
    samples, mask, maps = problem
    images = random_network("joint")(samples[:n_echoes, :, :2, :23, :17], mask[:23, :17], maps[:, :2, :23, :17], 1.0)
    assert images.shape == (n_echoes, 1, 2, 23, 17)
    assert bool(torch.isfinite(torch.view_as_real(images)).all())


@torch.no_grad()
def test_what_no_coil_sees_stays_empty(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    dark = maps.clone()
    dark[:, :, :5] = 0.0
    assert not bool(random_network("joint")(samples, mask, dark, 1.0)[:, :, :, :5].any())


def test_every_weight_learns(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    network = random_network("joint")
    network(samples[:, :, :2], mask, maps[:, :2], 1.0).abs().sum().backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None or not bool(value.grad.any())]
    assert silent == []


@torch.no_grad()
def test_before_training_it_is_close_to_its_start(problem: tuple[torch.Tensor, ...]) -> None:
    samples, mask, maps = problem
    torch.manual_seed(0)
    network = JointNetwork(features=6, coarse_features=8, start_iterations=20)
    start = network._start(samples, mask, maps)
    change = network(samples, mask, maps, 1.0)[:, 0] - start
    assert float(change.norm() / start.norm()) < 0.1


def test_one_echo_is_its_own_mean_and_has_no_trend() -> None:
    torch.manual_seed(1)
    layer = EchoConvolution(2, 3, joins=True)
    one = torch.randn(4, 2, 6, 6)
    alone = layer(one, echo_positions(1, one))
    # The same image in both echoes: mean is the image, trend 0, so the level is that of one echo alone.
    twice = layer(torch.cat([one, one]), echo_positions(2, one))
    torch.testing.assert_close(twice[:4] + twice[4:], 2 * alone)


def test_the_smooth_phase_of_a_smooth_phase_is_itself() -> None:
    y = torch.arange(40.0)[:, None] / 40.0
    phase = (0.8 * torch.cos(2 * torch.pi * y)).expand(40, 24)
    found = smooth_phase((3.0 * torch.polar(torch.ones_like(phase), phase))[None, None])
    assert float(torch.angle(found * torch.polar(torch.ones_like(phase), -phase)).abs().max()) < 0.1
