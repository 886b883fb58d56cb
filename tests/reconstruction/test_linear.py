import pytest
import torch
from coil_phantom import SHAPE, every_second_row, loop_coils, make_phantom, positions
from sense_encoding import sense_operator

from dlqsm.core.fourier import fftc
from dlqsm.core.solvers import conjugate_gradient, conjugate_gradient_of_each
from dlqsm.reconstruction.linear import sense, zero


@pytest.fixture(params=[torch.complex64, torch.complex128], ids=["single", "double"])
def dtype(request):
    return request.param


def case(dtype: torch.dtype, sampled: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noiseless samples of a slab of three planes, the image, and the maps (zero outside the object)."""
    phantom = make_phantom()
    x, y, z = positions(SHAPE)
    support = (x / 0.47) ** 2 + (y / 0.44) ** 2 + (z / 0.44) ** 2 < 1
    maps = (loop_coils(6).to(dtype) * support)[:, 4:7]
    images = phantom.images[:, 4:7].to(dtype)
    return fftc(images[:, None] * maps, (-2, -1)) * sampled, images, maps


def test_zero_filling_of_full_data_gives_the_coil_images(dtype):
    full = torch.ones(SHAPE[1:], dtype=torch.bool)
    kspace, images, maps = case(dtype, full)
    result = zero(kspace, full, maps, 1.0)
    assert result.dtype == dtype
    assert torch.allclose(result, images[:, None] * maps, atol=1e-5)


@pytest.mark.parametrize("regularisation", [0.0, 0.01, 0.5])
def test_sense_of_full_data_is_the_exact_combination(dtype, regularisation):
    full = torch.ones(SHAPE[1:], dtype=torch.bool)
    kspace, _, maps = case(dtype, full)
    kspace = kspace + torch.randn(kspace.shape, dtype=dtype, generator=torch.Generator().manual_seed(1))
    combined = (zero(kspace, full, maps, 1.0) * maps.conj()).sum(1, keepdim=True)
    result = sense(kspace, full, maps, 1.0, regularisation=regularisation)
    assert result.shape == (3, 1, 3, *SHAPE[1:])
    assert float((result - combined).norm() / combined.norm()) < (1e-5 if dtype == torch.complex64 else 1e-12)


def test_sense_of_every_second_row_finds_the_image(dtype):
    mask = torch.from_numpy(every_second_row())
    kspace, images, maps = case(dtype, mask)
    result = sense(kspace, mask, maps, 1.0, regularisation=1e-6, max_iterations=80, tolerance=1e-6)[:, 0]
    assert float((result - images).norm() / images.norm()) < 2e-3
    folded = (zero(kspace, mask, maps, 1.0) * maps.conj()).sum(1)
    assert float((folded - images).norm() / images.norm()) > 0.05


def test_sense_solves_the_normal_equations_of_the_core_operator():
    mask = torch.from_numpy(every_second_row())
    kspace, _, maps = case(torch.complex128, mask)
    result = sense(kspace, mask, maps, 1.0, regularisation=0.05, max_iterations=200, tolerance=1e-12)[:, 0]
    operator = sense_operator(maps, mask)
    residual = operator.normal(result) + 0.05 * result - 1.05 * operator.adjoint(kspace)
    assert float(residual.norm() / operator.adjoint(kspace).norm()) < 1e-10


def test_sense_is_linear():
    mask = torch.from_numpy(every_second_row())
    kspace, _, maps = case(torch.complex128, mask)
    other = kspace.flip(0) * 0.3
    exact = {"max_iterations": 200, "tolerance": 1e-13}
    together = sense(kspace + 2j * other, mask, maps, 1.0, **exact)
    apart = sense(kspace, mask, maps, 1.0, **exact) + 2j * sense(other, mask, maps, 1.0, **exact)
    assert torch.allclose(together, apart, atol=1e-10)


@pytest.mark.parametrize("option", [{"regularisation": 0.2}, {"max_iterations": 2}, {"tolerance": 0.3}])
def test_every_option_of_sense_matters(option):
    mask = torch.from_numpy(every_second_row())
    kspace, _, maps = case(torch.complex64, mask)
    plain, other = sense(kspace, mask, maps, 1.0), sense(kspace, mask, maps, 1.0, **option)
    assert float((plain - other).norm() / plain.norm()) > 1e-3


def test_maps_that_are_zero_give_zero():
    mask = torch.from_numpy(every_second_row())
    kspace, _, maps = case(torch.complex64, mask)
    assert not sense(kspace, mask, torch.zeros_like(maps), 1.0).any()


def test_systems_solved_together_are_those_solved_one_by_one(generator):
    factors = torch.randn((2, 3, 8, 8), dtype=torch.complex128, generator=generator)
    matrices = factors @ factors.mH + torch.eye(8)
    right = torch.randn((2, 3, 8), dtype=torch.complex128, generator=generator)
    together, convergence = conjugate_gradient_of_each(
        lambda x: (matrices @ x[..., None])[..., 0], right, n_batch_axes=2, tolerance=1e-12, max_iterations=60
    )
    assert convergence.converged and convergence.residual <= 1e-12
    for i in range(2):
        for j in range(3):
            alone, _ = conjugate_gradient(
                lambda x, m=matrices[i, j]: m @ x, right[i, j], tolerance=1e-12, max_iterations=60
            )
            assert torch.allclose(together[i, j], alone, atol=1e-9)
    assert torch.allclose(together, torch.linalg.solve(matrices, right), atol=1e-9)


def test_a_system_that_is_not_solved_in_time_says_so():
    right = torch.ones(2, 5, dtype=torch.float64)
    scale = torch.arange(1.0, 6.0, dtype=torch.float64)
    _, convergence = conjugate_gradient_of_each(
        lambda x: scale * x, right, n_batch_axes=1, tolerance=1e-12, max_iterations=2
    )
    assert not convergence.converged and convergence.n_iterations == 2 and convergence.residual > 1e-12
    _, of_zero = conjugate_gradient_of_each(
        lambda x: scale * x, torch.zeros_like(right), n_batch_axes=1, tolerance=1e-12, max_iterations=5
    )
    assert of_zero.converged
