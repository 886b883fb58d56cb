"""Wavelets, differences and shrinkage of the sparse priors: algebra."""

import numpy as np
import pytest
import torch

from dlqsm.reconstruction.sparse.low_rank import shrink_blocks
from dlqsm.reconstruction.sparse.shrinkage import shrink_groups, shrink_singular_values
from dlqsm.reconstruction.sparse.total_variation import TotalVariation, gradient, gradient_adjoint, total_variation
from dlqsm.reconstruction.sparse.wavelets import (
    analyse,
    detail_mask,
    draw_shifts,
    merge_weights,
    shrink_details,
    synthesise,
)

SHAPES = [(16, 8, 24), (13, 21, 36), (1, 5, 9), (7, 1, 2)]
SHIFTS = [(0, 0, 0), (3, 5, 7), (1, 2, 4)]


def complex_noise(shape, generator, dtype=torch.complex128):
    return torch.randn(shape, dtype=dtype, generator=generator)


def inner(a, b):
    return (a.conj() * b).sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shift", SHIFTS)
class TestHaar:
    def test_synthesis_undoes_analysis(self, shape, shift, generator):
        volumes = complex_noise((2, *shape), generator)
        assert torch.allclose(synthesise(analyse(volumes, shift), shift, shape), volumes, atol=1e-6)

    def test_energy_is_kept(self, shape, shift, generator):
        volumes = complex_noise((2, *shape), generator)
        assert float(analyse(volumes, shift).norm() / volumes.norm()) == pytest.approx(1.0, abs=1e-6)

    def test_synthesis_is_the_adjoint_of_analysis(self, shape, shift, generator):
        volumes = complex_noise(shape, generator)
        coefficients = complex_noise(analyse(volumes, shift).shape, generator)
        left = inner(analyse(volumes, shift), coefficients)
        assert abs(left - inner(volumes, synthesise(coefficients, shift, shape))) < 1e-5 * volumes.norm() ** 2 + 1e-5

    def test_a_constant_has_no_detail_up_to_the_edges(self, shape, shift):
        coefficients = analyse(torch.ones(shape, dtype=torch.float64), shift)
        assert float((coefficients * detail_mask(coefficients.shape, coefficients.device)).abs().max()) < 1e-6

    def test_the_kernel_for_the_processor_is_the_transform(self, shape, shift, generator):
        images = complex_noise((3, *shape), generator)
        for joint in (False, True):
            plain = shrink_details(images, 0.9, [shift, (2, 2, 2)], joint=joint)
            fast = shrink_details(images.to(torch.complex64), 0.9, [shift, (2, 2, 2)], joint=joint)
            assert torch.allclose(fast.to(plain), plain, atol=1e-5)


def test_merges_are_rotations_whatever_the_sizes():
    for n in range(1, 20):
        for shift in range(8):
            first, second = merge_weights(n, shift)
            assert np.allclose(first**2 + second**2, 1.0, atol=1e-6)


def test_an_edge_between_cells_is_cheaper_than_inside_one():
    edge = torch.zeros(1, 16, 8, 8, dtype=torch.complex128)
    edge[:, 8:] = 1.0
    coefficients = [analyse(edge, (shift, 0, 0)) for shift in (0, 1)]
    assert [int((c.abs() > 1e-9).sum()) for c in coefficients] != [0, 0]
    assert int((coefficients[0].abs() > 1e-9).sum()) == 1 < int((coefficients[1].abs() > 1e-9).sum())


def test_shifts_differ_along_every_axis():
    shifts = np.array(draw_shifts(8, np.random.default_rng(3)))
    assert all(sorted(shifts[:, axis]) == list(range(8)) for axis in range(3))


def test_shrinking_details_is_a_proximal_map(generator):
    """x minimises 1/2 |x - v|^2 + t |W x|_1: the objective grows along any direction."""
    volume, shift, weight = complex_noise((1, 9, 10, 11), generator), (3, 1, 6), 0.7

    def objective(x):
        details = analyse(x, shift)
        return (
            0.5 * (x - volume).abs().square().sum()
            + weight * (details.abs() * detail_mask(details.shape[-3:], x.device)).sum()
        )

    best = shrink_details(volume, weight, [shift], joint=False)
    for _ in range(20):
        other = best + 1e-3 * complex_noise(volume.shape, generator)
        assert float(objective(other)) > float(objective(best))


@pytest.mark.parametrize("axis", [None, 0])
def test_soft_shrinkage_moves_by_the_threshold_and_keeps_the_direction(axis, generator):
    values = complex_noise((4, 50), generator)
    shrunk = shrink_groups(values, 0.8, axis=axis)
    size = values.abs() if axis is None else values.abs().square().sum(0, keepdim=True).sqrt()
    new_size = shrunk.abs() if axis is None else shrunk.abs().square().sum(0, keepdim=True).sqrt()
    assert torch.allclose(new_size, (size - 0.8).clamp_min(0.0), atol=1e-12)
    assert torch.allclose(shrunk * size, values * new_size, atol=1e-12)


def test_singular_values_shrink_by_the_threshold(generator):
    matrices = complex_noise((5, 4, 30), generator)
    shrunk = shrink_singular_values(matrices, 3.0)
    before, after = torch.linalg.svdvals(matrices), torch.linalg.svdvals(shrunk)
    assert torch.allclose(after, (before - 3.0).clamp_min(0.0), atol=1e-9)
    residual = matrices - shrunk
    assert float(torch.linalg.svdvals(residual).max()) <= 3.0 + 1e-9


def test_singular_values_of_zero_are_no_trouble():
    assert not shrink_singular_values(torch.zeros(2, 4, 30, dtype=torch.complex64), 1.0).any()


class TestBlocks:
    def test_without_threshold_nothing_changes(self, generator):
        images = complex_noise((4, 2, 6, 9, 7), generator)
        assert torch.allclose(shrink_blocks(images, 0.0, (1, 2, 3)), images, atol=1e-10)

    def test_one_decay_stays_and_noise_goes(self, generator):
        decay = torch.exp(-torch.arange(6) / 4.0 + 0.7j * torch.arange(6)).to(torch.complex128)
        clean = 60.0 * decay[:, None, None, None, None] * complex_noise((1, 1, 12, 12, 8), generator)
        noise = 2**0.5 * complex_noise(clean.shape, generator)
        left = shrink_blocks(clean + noise, 1.0, (0, 0, 0)) - clean
        assert float(left.norm() / noise.norm()) < 0.75
        assert float(shrink_blocks(noise, 1.0, (0, 0, 0)).norm() / noise.norm()) < 0.05


class TestTotalVariation:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_adjoint(self, shape, generator):
        image, field = complex_noise((2, *shape), generator), complex_noise((3, 2, *shape), generator)
        difference = inner(gradient(image), field) - inner(image, gradient_adjoint(field))
        assert abs(difference) < 1e-10 * image.numel()

    def test_the_norm_of_the_gradient_is_below_the_step_of_its_prox(self, generator):
        image = complex_noise((8, 8, 8), generator)
        for _ in range(50):
            image = gradient_adjoint(gradient(image / image.norm()))
        assert float(image.norm()) < 12.0

    def test_many_steps_reach_the_minimum(self, generator):
        image = complex_noise((6, 7, 8), generator)
        best = TotalVariation(n_inner=400)(image, 0.4)

        def objective(x):
            return 0.5 * (x - image).abs().square().sum() + 0.4 * total_variation(x)

        for _ in range(20):
            assert float(objective(best + 1e-3 * complex_noise(image.shape, generator))) > float(objective(best))

    def test_calls_go_on_where_the_last_one_ended(self, generator):
        image = complex_noise((6, 7, 8), generator)
        best, some = TotalVariation(n_inner=400)(image, 0.4), TotalVariation(n_inner=3)
        errors = [float((some(image, 0.4) - best).norm()) for _ in range(10)]
        assert errors[-1] < 0.1 * errors[0]

    def test_a_huge_weight_leaves_the_mean(self, generator):
        image = complex_noise((4, 4, 4), generator)
        assert torch.allclose(TotalVariation(n_inner=2000)(image, 20.0), image.mean().expand(4, 4, 4), atol=0.02)

    def test_without_weight_nothing_changes(self, generator):
        image = complex_noise((4, 4, 4), generator)
        assert torch.equal(TotalVariation()(image, 0.0), image)
