"""Differences, operators, solvers, lag sums: adjoints and identities."""

from dataclasses import replace

import pytest
import torch
from sense_encoding import LinearOperator, sense_operator

from dlqsm.core.checks import ConvergenceWarning, InputError, require_finite, require_mask
from dlqsm.core.differences import divergence, gradient, isotropic_spacing, laplacian
from dlqsm.core.lags import LARGEST_POWER, LEAST_POWER, lag_sums, within_range
from dlqsm.core.solvers import CLOSED_FORM, Convergence, conjugate_gradient, warn_unless_converged

SPACING = (0.8, 1.0, 2.0)


def test_gradient_and_divergence_are_adjoint(generator: torch.Generator) -> None:
    u = torch.randn(5, 6, 7, dtype=torch.float64, generator=generator)
    v = torch.randn(3, 5, 6, 7, dtype=torch.float64, generator=generator)
    assert torch.allclose((gradient(u, SPACING) * v).sum(), -(u * divergence(v, SPACING)).sum())


def test_laplacian_of_a_plane_wave_is_its_eigenvalue() -> None:
    n = 16
    wave = torch.cos(2 * torch.pi * torch.arange(n, dtype=torch.float64) / n)[:, None, None].expand(n, 4, 4)
    eigenvalue = (2 * torch.cos(torch.tensor(2 * torch.pi / n, dtype=torch.float64)) - 2) / SPACING[0] ** 2
    assert torch.allclose(laplacian(wave, SPACING), eigenvalue * wave, atol=1e-12)


def test_isotropic_spacing_has_unit_product() -> None:
    a, b, c = isotropic_spacing((0.8, 0.8, 2.0))
    assert abs(a * b * c - 1) < 1e-12


def test_sense_operator_is_adjoint_and_composes(generator: torch.Generator) -> None:
    maps = torch.randn(3, 2, 8, 9, dtype=torch.complex128, generator=generator)
    mask = torch.rand(8, 9, generator=generator) > 0.4
    op = sense_operator(maps, mask)
    u = torch.randn(4, 2, 8, 9, dtype=torch.complex128, generator=generator)
    v = torch.randn(4, 3, 2, 8, 9, dtype=torch.complex128, generator=generator)
    assert op(u).shape == v.shape
    assert op.adjoint(v).shape == u.shape
    assert torch.allclose((op(u).conj() * v).sum(), (u.conj() * op.adjoint(v)).sum())
    double = op @ LinearOperator(lambda x: 2 * x, lambda x: 2 * x)
    assert torch.allclose(double.normal(u), 4 * op.normal(u))


def test_conjugate_gradients_solve_a_hermitian_system(generator: torch.Generator) -> None:
    a = torch.randn(12, 12, dtype=torch.complex128, generator=generator)
    normal = a.conj().T @ a + 5 * torch.eye(12)
    truth = torch.randn(12, dtype=torch.complex128, generator=generator)
    x, how = conjugate_gradient(lambda v: normal @ v, normal @ truth, tolerance=1e-10, max_iterations=60)
    assert how.converged
    assert torch.allclose(x, truth, atol=1e-7)
    assert len(how.history) == how.n_iterations
    again, warm = conjugate_gradient(
        lambda v: normal @ v, normal @ truth, start=truth, tolerance=1e-6, max_iterations=60
    )
    assert warm.n_iterations <= 1
    assert torch.allclose(again, truth, atol=1e-7)


def test_a_preconditioner_saves_iterations_and_keeps_the_solution(generator: torch.Generator) -> None:
    scales = torch.logspace(0, 4, 60, dtype=torch.float64)
    noise = torch.randn(60, 60, dtype=torch.complex128, generator=generator)
    normal = torch.diag(scales).to(noise.dtype) + 0.01 * noise @ noise.conj().T
    truth = torch.randn(60, dtype=torch.complex128, generator=generator)
    options = {"tolerance": 1e-9, "max_iterations": 400}
    _, plain = conjugate_gradient(lambda v: normal @ v, normal @ truth, **options)
    x, how = conjugate_gradient(lambda v: normal @ v, normal @ truth, precondition=lambda r: r / scales, **options)
    assert torch.allclose(x, truth, atol=1e-6)
    assert 3 * how.n_iterations < plain.n_iterations
    warm = conjugate_gradient(
        lambda v: normal @ v, normal @ truth, start=truth, precondition=lambda r: r / scales, **options
    )[1]
    assert warm.converged
    assert warm.n_iterations <= 1


def test_conjugate_gradients_tell_when_they_are_cut_short(generator: torch.Generator) -> None:
    diagonal = torch.logspace(-4, 0, 40, dtype=torch.float64)
    _, how = conjugate_gradient(
        lambda v: diagonal * v, torch.ones(40, dtype=torch.float64), tolerance=1e-12, max_iterations=3
    )
    assert not how.converged
    assert how.n_iterations == 3
    zero, trivial = conjugate_gradient(lambda v: v, torch.zeros(4), tolerance=1e-3, max_iterations=5)
    assert trivial.converged
    assert not zero.any()
    assert CLOSED_FORM.as_dict()["converged"] is True


def test_lag_sums_against_their_definition(generator: torch.Generator) -> None:
    s = torch.randn(4, 3, 2, 2, 2, dtype=torch.complex128, generator=generator)
    sums = lag_sums(s, None)
    second = sum(s[e, c].conj() * s[e + 2, c] for e in range(2) for c in range(3))
    assert torch.allclose(sums.lags[1], second)
    assert torch.allclose(sums.power, (s.abs() ** 2).sum(1))
    assert sums.n_channels == 3
    assert lag_sums(s[:1], None).lags.shape == (0, 2, 2, 2)


def test_checks_name_what_is_wrong() -> None:
    with pytest.raises(InputError, match="dtype"):
        require_mask(torch.ones(2, 2, 2), (2, 2, 2))
    with pytest.raises(InputError, match=r"shape \(2, 2, 2\); expected \(2, 2, 3\)"):
        require_mask(torch.ones(2, 2, 2, dtype=torch.bool), (2, 2, 3))
    with pytest.raises(InputError, match="empty"):
        require_mask(torch.zeros(2, 2, 2, dtype=torch.bool), (2, 2, 2))
    with pytest.raises(InputError, match="2 values"):
        require_finite("field", torch.tensor([1.0, float("nan"), float("inf")]))


@pytest.mark.parametrize("power_of_two", [-40, -10, 0, 10, 40])
def test_lag_sums_out_of_range_come_in_another_unit_and_others_as_they_are(power_of_two, generator):
    images = torch.randn(3, 2, 4, 4, 4, dtype=torch.complex64, generator=generator) * 2.0**power_of_two
    sums = lag_sums(images, torch.full((4, 4, 4), 2.0**power_of_two))
    found = within_range(sums)
    assert (found is sums) == (abs(power_of_two) <= 10)
    assert LEAST_POWER <= float(found.power.max()) <= LARGEST_POWER
    assert torch.equal(found.lags / found.noise_sd**2, lag_sums(images * 2.0**-power_of_two, None).lags)
    assert within_range(lag_sums(images * torch.nan, None)).n_channels == 2


def test_what_stops_above_its_tolerance_is_told_once_with_what_to_raise() -> None:
    stopped = Convergence(converged=False, n_iterations=7, residual=0.02, tolerance=1e-3)
    with pytest.warns(ConvergenceWarning, match="lbv stopped after 7 cycles.*above 1.0e-03; raise max_cycles"):
        warn_unless_converged("lbv", stopped, steps="cycles", option="max_cycles")
    for quiet in (CLOSED_FORM, replace(stopped, tolerance=0.0)):
        warn_unless_converged("lbv", quiet)
