"""A region kept uniform: the end is the dense least-squares solution, fluid flattens, without it nothing changes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from small_problem import problem

from dlqsm.config import QsmConfig, Step
from dlqsm.core.checks import InputError
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.pipeline import map_susceptibility, sums_of_images
from dlqsm.pipeline.uncertainty import susceptibility_noise
from dlqsm.qsm.inversion import INVERSIONS, l1
from dlqsm.qsm.inversion.medi import gauss_newton_step
from dlqsm.qsm.splitting import admm
from dlqsm.qsm.splitting.admm import Problem, State, solve, step_in_torch, step_on_cpu
from dlqsm.qsm.splitting.uniform import Uniform

GRID = Grid((30, 28, 22), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, (0.005, 0.01, 0.015), 3.0, (0.0, 0.0, 1.0))
AXES = [(torch.arange(n, dtype=torch.float64) - n / 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
X, Y, Z = torch.meshgrid(*AXES, indexing="ij")
MASK = X**2 + Y**2 + Z**2 < 12**2
FLUID = (X - 4) ** 2 + (Y + 3) ** 2 + Z**2 < 4**2
NUCLEUS = (X + 5) ** 2 + Y**2 + Z**2 < 3**2
CHI = 0.1 * NUCLEUS.double() + torch.where(FLUID, 0.02 * torch.sin(X), 0.0)
FIELD = susceptibility_to_field(CHI, GRID, SCAN.b0_direction)
QUICK = {"l1": {"strength": 1e-4, "padding_mm": 6.0}, "medi": {"padding_mm": 6.0}}


def noisy(generator: torch.Generator) -> torch.Tensor:
    return FIELD + 1e-3 * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)


def invert(name: str, field: torch.Tensor, **options: object) -> torch.Tensor:
    return INVERSIONS[name](field, MASK, SCAN, None, None, **{**QUICK[name], **options})[0]


@pytest.mark.parametrize(("name", "strength"), [("l1", 100.0), ("medi", 10.0)])
def test_the_spread_inside_the_fluid_vanishes_with_a_large_strength(name, strength, generator):
    field, fine = noisy(generator), {"tolerance": 1e-4, "max_iterations": 3000 if name == "l1" else 30}
    maps = [invert(name, field, csf_strength=s, csf_region=FLUID, **fine) for s in (0.0, 0.1, strength)]
    spreads = [float(chi[FLUID].std()) for chi in maps]
    assert spreads[2] < spreads[1] < spreads[0]
    assert spreads[2] < 0.02 * spreads[0]
    nuclei = [float(chi[NUCLEUS].mean() - chi[MASK & ~FLUID].mean()) for chi in maps]
    assert nuclei[2] == pytest.approx(nuclei[0], abs=0.01)


@pytest.mark.parametrize("name", QUICK)
def test_at_zero_nothing_changes_by_a_bit(name, generator):
    field = noisy(generator)
    plain, zero = invert(name, field), invert(name, field, csf_strength=0.0, csf_region=FLUID)
    assert torch.equal(plain, zero)
    assert not torch.equal(plain, invert(name, field, csf_strength=0.1, csf_region=FLUID))


def test_fused_passes_and_torch_are_the_same_iteration_with_the_term():
    given = problem()
    given.uniform = Uniform(torch.rand(given.field.shape, dtype=torch.float64) > 0.7, 2.0, 0.1)
    fused, plain = State.zero(given.field), State.zero(given.field)
    fused.level, plain.level = torch.zeros_like(given.field), torch.zeros_like(given.field)
    for step, state in ((step_on_cpu, fused), (step_in_torch, plain)):
        for _ in range(6):
            step(given, state, admm._inverse(given))
    for name in ("chi", "fitted", "split", "q", "aim", "level"):
        torch.testing.assert_close(getattr(fused, name), getattr(plain, name), rtol=1e-9, atol=1e-12)


def dense(given: Problem) -> np.ndarray:
    """Rows W D and root(strength) (M - mean over M), built from unit vectors: nothing of the solver's."""
    n = given.field.numel()
    units = torch.eye(n, dtype=torch.float64).reshape(n, *given.field.shape)
    columns = torch.fft.irfftn(torch.fft.rfftn(units, dim=(1, 2, 3)) * given.kernel, s=given.field.shape, dim=(1, 2, 3))
    data = (columns * given.weights_squared.sqrt()).reshape(n, n).T.numpy()
    member = given.uniform.inside.reshape(-1).numpy().astype(float)
    projector = np.diag(member) - np.outer(member, member) / member.sum()
    return np.concatenate([data, given.uniform.strength**0.5 * projector])


def test_without_total_variation_the_end_is_the_dense_least_squares_solution():
    grid, generator = Grid((6, 5, 4), (1.0, 1.1, 1.3)), torch.Generator().manual_seed(2)
    field, weights, place = (torch.rand(grid.shape, generator=generator, dtype=torch.float64) for _ in range(3))
    given = Problem(
        field=field,
        weights_squared=0.2 + weights,
        kernel=dipole_kernel(grid, (0.1, 0.2, 0.97), field),
        smooth=torch.zeros((3, *grid.shape), dtype=torch.bool),
        spacing=(0.9, 1.0, 1.2),
        alpha=1e-3,
        mu_gradient=1e-3,
        mu_field=0.3,
        uniform=Uniform(place > 0.6, 0.7, 0.1),
    )
    state, _ = solve(given, State.zero(field), tolerance=1e-11, max_iterations=200_000)
    rows = dense(given)
    target = np.concatenate([(given.weights_squared.sqrt() * field).reshape(-1).numpy(), np.zeros(field.numel())])
    best = np.linalg.lstsq(rows, target, rcond=None)[0]
    mine = state.chi.reshape(-1).numpy()
    # What no row sees is free; what the rows see is unique.
    np.testing.assert_allclose(rows @ mine, rows @ best, atol=1e-5)
    without = np.linalg.lstsq(rows[: field.numel()], target[: field.numel()], rcond=None)[0]
    assert np.abs(rows @ without - rows @ best).max() > 1e-2


def test_steps_of_medi_go_downhill_to_where_the_cost_with_the_term_is_flat(generator):
    given, c, smoothing = problem(), 60.0, 1e-3
    given.field, given.alpha = 0.2 * given.field, 1e-4
    given.uniform = Uniform(torch.rand(given.field.shape, generator=generator) > 0.7, 0.5)

    def cost(chi: torch.Tensor) -> torch.Tensor:
        fitted = torch.fft.irfftn(torch.fft.rfftn(chi) * given.kernel, s=chi.shape)
        data = (given.weights_squared * (1 - torch.cos(c * (fitted - given.field)))).sum() / c**2
        slopes = torch.stack([(chi.roll(-1, axis) - chi) / h for axis, h in enumerate(given.spacing)])
        rough = (given.smooth * (slopes**2 + smoothing**2).sqrt()).sum()
        fluid = chi[given.uniform.inside]
        return data + given.alpha * rough + 0.25 * ((fluid - fluid.mean()) ** 2).sum()

    chi, costs, steepness = torch.zeros_like(given.field), [], []
    for _ in range(16):
        asked = chi.clone().requires_grad_()
        value = cost(asked)
        steepness.append(float(torch.autograd.grad(value, asked)[0].norm()))
        costs.append(float(value.detach()))
        chi = chi + gauss_newton_step(given, chi, c)
    assert all(after < before for before, after in itertools.pairwise(costs))
    assert steepness[-1] < 1e-2 * steepness[0]


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Three echoes of the ball: R2* is 2 /s in the fluid and 25 /s elsewhere."""
    generator = torch.Generator().manual_seed(1)
    rate_hz = torch.where(FLUID, 2.0, 25.0)
    times_s = torch.tensor(SCAN.echo_times_s, dtype=torch.float64)[:, None, None, None]
    signal = torch.polar(MASK * torch.exp(-rate_hz * times_s), 2 * torch.pi * SCAN.hz_per_ppm * FIELD * times_s)
    noise = 0.005 * torch.randn((2, *signal.shape), generator=generator, dtype=torch.float64)
    noisy_signal = (signal + torch.complex(noise[0], noise[1])).to(torch.complex64)
    return noisy_signal.abs(), noisy_signal.angle()


def test_the_chain_finds_the_fluid_by_its_relaxation_and_its_noise_falls():
    magnitude, phase_rad = images()
    sums, spreads = sums_of_images(magnitude, phase_rad), []
    for strength in (0.0, 10.0):
        options = {"strength": 1e-4, "csf_strength": strength}
        config = QsmConfig(background=Step("none"), inversion=Step("l1", options))
        maps = map_susceptibility(sums, SCAN, config, external_mask=MASK)
        assert [told.name for told in maps.references] == ["brain", "csf"]
        noise = susceptibility_noise(maps, sums.power.sum(0).sqrt(), SCAN, config, n_realisations=2)
        fluid = FLUID & maps.eroded_mask
        deviation = noise.errors_ppm[:, fluid] - noise.errors_ppm[:, fluid].mean(1, keepdim=True)
        spreads.append((float(maps.chi_ppm[fluid].std()), float(deviation.square().mean().sqrt())))
    assert spreads[1][0] < 0.2 * spreads[0][0]
    assert spreads[1][1] < 0.5 * spreads[0][1]


def test_a_term_without_a_region_is_refused():
    with pytest.raises(InputError, match="csf_strength needs the region of the cerebrospinal fluid: from R2"):
        l1(FIELD, MASK, SCAN, csf_strength=1.0)
    with pytest.raises(InputError, match="csf_region has no voxel inside the mask"):
        l1(FIELD, MASK, SCAN, csf_strength=1.0, csf_region=~MASK)
    with pytest.raises(InputError, match="csf_strength must be zero or more; got -1"):
        l1(FIELD, MASK, SCAN, csf_strength=-1.0, csf_region=FLUID)
    with pytest.raises(InputError, match="csf_region has shape"):
        l1(FIELD, MASK, SCAN, csf_strength=1.0, csf_region=FLUID[1:])
    with pytest.raises(InputError, match="no option 'csf_region'"):
        Step("l1", {"csf_region": True}).bound("inversion")
