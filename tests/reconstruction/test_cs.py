"""Compressed sensing: what must hold exactly, then what it gains on a small scan."""

import itertools

import numpy as np
import pytest
import torch
from coil_phantom import loop_coils, positions
from sense_encoding import sense_operator

from dlqsm.acquisition.sampling import poisson
from dlqsm.core.checks import InputError
from dlqsm.core.fourier import fftc
from dlqsm.core.methods import options_of
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.linear import sense, zero
from dlqsm.reconstruction.sparse import PRIORS, cs
from dlqsm.reconstruction.sparse.encoding import combined_encoding, separate_encoding
from dlqsm.reconstruction.sparse.solver import proximal_gradient
from dlqsm.reconstruction.sparse.total_variation import TotalVariation, total_variation
from dlqsm.reconstruction.sparse.wavelets import analyse, detail_mask, shrink_details

SHAPE = (14, 48, 36)
SNR = 40.0
CONFIGURATIONS = [(prior, coils) for prior in PRIORS for coils in ("sense", "each")]


def head_like() -> torch.Tensor:
    """Ellipsoids of unlike signal and decay in a smooth phase that grows with the echo, ``(3, x, y, z)``."""
    x, y, z = positions(SHAPE)
    inside = (x / 0.6) ** 2 + (y / 0.42) ** 2 + (z / 0.42) ** 2 < 1
    density, decay, field = 0.8 * inside, 0.2 + 0.0 * x, 3.0 * y**2 - 2.0 * z * y + x
    for centre, radius, signal, rate in ((-0.2, 0.12, 1.0, 0.4), (0.05, 0.08, 0.6, 0.8), (0.22, 0.1, 0.9, 0.1)):
        blob = (x / 0.4) ** 2 + ((y - centre) ** 2 + (z + centre / 2) ** 2) / radius**2 < 1
        density, decay = torch.where(blob, signal, density), torch.where(blob, rate, decay)
    return torch.stack([density * torch.exp((2.0j * field - decay) * (echo + 1)) for echo in range(3)])


def scan(acceleration: float, *, dtype: torch.dtype = torch.complex64, planes=slice(4, 10)):
    """Samples of a slab with noise 1, the images, the mask, and the maps, zero outside the object."""
    images = SNR * head_like()[:, planes].to(dtype)
    maps = loop_coils(4, SHAPE).to(dtype)[:, planes] * (images[0].abs() > 0)
    mask = torch.ones(SHAPE[1:], dtype=torch.bool)
    if acceleration > 1:
        mask = torch.from_numpy(poisson((SHAPE[1], SHAPE[2]), acceleration, 3).mask)
    random = torch.Generator().manual_seed(5)
    drawn = 2**0.5 * torch.randn((len(images), 4, *images.shape[1:]), dtype=dtype, generator=random)
    return (fftc(images[:, None] * maps, (-2, -1)) + drawn) * mask, images, mask, maps


def error(result: torch.Tensor, images: torch.Tensor, maps: torch.Tensor) -> float:
    combined = result[:, 0] if result.shape[1] == 1 else (result * maps.conj()).sum(1)
    return float((combined - images).norm() / images.norm())


@pytest.mark.parametrize(("prior", "coils"), CONFIGURATIONS)
class TestEveryPrior:
    def test_full_data_without_prior_are_exact(self, prior, coils):
        kspace, _, mask, maps = scan(1.0)
        result = cs(kspace, mask, maps, 1.0, prior=prior, coils=coils, strength=0.0)
        images = zero(kspace, mask, maps, 1.0)
        expected = images if coils == "each" else (images * maps.conj()).sum(1, keepdim=True)
        assert result.shape == expected.shape
        assert float((result - expected).norm() / expected.norm()) < 1e-5

    def test_a_common_phase_passes_through(self, prior, coils):
        kspace, _, mask, maps = scan(3.0, dtype=torch.complex128)
        turn = np.exp(0.7j)
        options = {"prior": prior, "coils": coils, "max_iterations": 3}
        turned = cs(turn * kspace, mask, maps, 1.0, **options)
        assert torch.allclose(turned, turn * cs(kspace, mask, maps, 1.0, **options), atol=1e-6 * SNR)

    def test_data_and_noise_scale_together(self, prior, coils):
        kspace, _, mask, maps = scan(3.0, dtype=torch.complex128)
        options = {"prior": prior, "coils": coils, "max_iterations": 3}
        scaled = cs(7.0 * kspace, mask, maps, 7.0, **options)
        assert torch.allclose(scaled, 7.0 * cs(kspace, mask, maps, 1.0, **options), atol=1e-5 * SNR)

    def test_repeats_are_identical(self, prior, coils):
        kspace, _, mask, maps = scan(3.0)
        options = {"prior": prior, "coils": coils, "max_iterations": 4}
        assert torch.equal(cs(kspace, mask, maps, 1.0, **options), cs(kspace, mask, maps, 1.0, **options))

    def test_better_than_zero_filling(self, prior, coils):
        kspace, images, mask, maps = scan(5.0)
        filled = error(zero(kspace, mask, maps, 1.0), images, maps)
        bound = 1.05 if prior == "llr" else 0.75
        assert error(cs(kspace, mask, maps, 1.0, prior=prior, coils=coils), images, maps) < bound * filled


@pytest.mark.parametrize("prior", PRIORS)
def test_better_than_sense_at_five(prior):
    """At twice the default strength, where images are best; the default is the best of nuclei."""
    kspace, images, mask, maps = scan(5.0)
    linear = error(sense(kspace, mask, maps, 1.0), images, maps)
    result = cs(kspace, mask, maps, 1.0, prior=prior, strength=2 * PRIORS[prior])
    assert error(result, images, maps) < 0.8 * linear


def test_coils_together_beat_coils_apart():
    kspace, images, mask, maps = scan(5.0)
    together, apart = (
        error(cs(kspace, mask, maps, 1.0, coils=c, strength=0.35), images, maps) for c in ("sense", "each")
    )
    assert together < apart


@pytest.mark.parametrize(("strength", "factor"), [(1e-3, 1.0), (1.0, 1.02)])
def test_more_strength_is_smoother(strength, factor):
    kspace, _, mask, maps = scan(3.0)
    some = total_variation(cs(kspace, mask, maps, 1.0, strength=strength))
    more = total_variation(cs(kspace, mask, maps, 1.0, strength=4 * strength + 0.5))
    assert float(some) > factor * float(more)


def test_encoding_is_the_core_operator():
    kspace, images, mask, maps = scan(3.0, dtype=torch.complex128)
    encoding, operator = combined_encoding(maps, mask), sense_operator(maps, mask)
    assert torch.allclose(encoding.normal(images.unsqueeze(1))[:, 0], operator.normal(images), atol=1e-9)
    assert torch.allclose(encoding.right_side(kspace)[:, 0], operator.adjoint(kspace), atol=1e-9)
    coils = images.unsqueeze(1) * maps
    apart = separate_encoding(kspace, mask)
    assert torch.allclose(apart.normal(coils), zero(fftc(coils, (-2, -1)) * mask, mask, maps, 1.0), atol=1e-9)


class TestSolver:
    """With the cells at rest, or with total variation, there is one objective, and its minimum is known."""

    weight = 0.6

    def solve(self, n_iterations, prior="haar"):
        kspace, _, mask, maps = scan(3.0, dtype=torch.complex128)
        encoding = combined_encoding(maps, mask)
        right_side = encoding.right_side(kspace[:1])
        tv = TotalVariation(n_inner=20)

        def haar(images, weight, iteration):
            return shrink_details(images.flatten(0, 1), weight, [(3, 1, 2)], joint=False).reshape(images.shape)

        images, convergence = proximal_gradient(
            encoding.normal,
            right_side,
            haar if prior == "haar" else tv,
            [self.weight] * n_iterations,
            start=right_side,
            tolerance=0.0,
        )
        misfit = 0.5 * (images.conj() * (encoding.normal(images) - 2.0 * right_side)).sum().real
        if prior == "tv":
            return float(misfit + self.weight * total_variation(images)), convergence
        details = analyse(images, (3, 1, 2))
        kept = details * detail_mask(details.shape[-3:], images.device)
        return float(misfit + self.weight * kept.abs().sum()), convergence

    def test_twenty_iterations_come_near_a_long_run(self):
        (start, _), (twenty, _), (long, _) = (self.solve(n) for n in (1, 20, 80))
        assert twenty - long < 0.3 * (start - long)

    def test_the_objective_falls(self):
        values = [self.solve(n)[0] for n in (1, 2, 4, 8, 16, 32, 64)]
        assert all(after < before for before, after in itertools.pairwise(values))

    def test_it_tells_how_it_ended(self):
        _, convergence = self.solve(5)
        assert convergence.n_iterations == 5 and not convergence.converged
        assert len(convergence.history) == 5 and convergence.history[-1] < 0.5 * convergence.history[0]


def test_planes_beyond_a_halo_do_not_matter():
    kspace, images, mask, maps = scan(3.0, planes=slice(0, 14))
    whole = cs(kspace, mask, maps, 1.0)[:, :, :4]
    part = cs(kspace[:, :, :12], mask, maps[:, :12], 1.0)[:, :, :4]
    assert float((part - whole).norm()) < 0.1 * float((whole[:, 0] - images[:, :4]).norm())


def test_maps_that_are_zero_give_zero():
    kspace, _, mask, maps = scan(3.0)
    assert not cs(kspace, mask, torch.zeros_like(maps), 1.0).any()


@pytest.mark.parametrize(
    "option",
    [
        {"prior": "tv"},
        {"prior": "llr"},
        {"coils": "each"},
        {"strength": 2.0},
        {"max_iterations": 2},
        {"tolerance": 0.3},
    ],
)
def test_every_option_matters(option):
    kspace, images, mask, maps = scan(3.0)
    plain, other = cs(kspace, mask, maps, 1.0), cs(kspace, mask, maps, 1.0, **option)
    assert abs(error(plain, images, maps) - error(other, images, maps)) > 1e-4


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"prior": "fourier"}, "wavelet, tv, llr, wavelet\\+llr"),
        ({"coils": "some"}, "sense, each"),
        ({"strength": -1.0}, "zero or more"),
        ({"strength": float("nan")}, "zero or more"),
    ],
)
def test_what_it_does_not_know_it_refuses(option, words):
    kspace, _, mask, maps = scan(3.0)
    with pytest.raises(InputError, match=words):
        cs(kspace, mask, maps, 1.0, **option)


def test_the_help_states_the_strengths():
    text = options_of(RECONSTRUCTIONS["cs"])["strength"].help
    for prior, strength in PRIORS.items():
        assert f"{strength:g} for {prior}" in text
