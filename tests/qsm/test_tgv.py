"""TGV: harmonic fields count for nothing, one iteration on any device, and the end is the minimum of its cost."""

import math

import pytest
import torch

from dlqsm.core.checks import ConvergenceWarning, InputError
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.inversion import primal_dual
from dlqsm.qsm.inversion.primal_dual import Problem, State, links, solve, step_in_torch, step_on_cpu
from dlqsm.qsm.inversion.tgv import tgv

GRID = Grid((32, 31, 21), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, b0_direction=(0.3, 0.2, (1 - 0.3**2 - 0.2**2) ** 0.5))
QUICK = {"padding_mm": 8.0}
AXES = [(torch.arange(n).double() - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
X, Y, Z = torch.meshgrid(*AXES, indexing="ij")


def distance(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> torch.Tensor:
    return ((X - x) ** 2 + (Y - y) ** 2 + (Z - z) ** 2).sqrt()


MASK = distance() < 13.0
SPHERE = distance(1.0, -2.0) < 4.5
CLEAN = susceptibility_to_field(0.1 * SPHERE.double(), GRID, SCAN.b0_direction)
LOCAL = CLEAN + 2e-3 * torch.randn(GRID.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
OUTSIDE = susceptibility_to_field(9.4 * (distance(14.0, 10.0, 6.0) < 3.0).double(), GRID, SCAN.b0_direction)
HARMONIC = {
    "constant": 0.5 + 0.0 * X,
    "linear": (X - 2.0 * Z) / 20.0,
    "quadratic": (X**2 - Z**2) / 200.0,
    "saddle": X * Y / 200.0,
    "cubic": (X**3 - 3.0 * X * Y**2) / 2000.0,
}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def contrast(chi: torch.Tensor) -> float:
    rim = MASK & (distance(1.0, -2.0) > 7.0)
    return float(chi[SPHERE].mean() - chi[rim].mean()) / 0.1


@pytest.mark.parametrize("name", HARMONIC)
def test_harmonic_fields_count_for_nothing(name: str) -> None:
    chi, _ = tgv(LOCAL, MASK, SCAN, **QUICK)
    total, _ = tgv(LOCAL + HARMONIC[name], MASK, SCAN, **QUICK)
    assert float(HARMONIC[name][MASK].abs().max()) > 0.2 > float(LOCAL.abs().max())
    assert relative(total, chi) < 1e-3


def test_kept_harmonic_fields_change_the_map() -> None:
    chi, _ = tgv(LOCAL, MASK, SCAN, harmonic="keep", **QUICK)
    total, _ = tgv(LOCAL + HARMONIC["quadratic"], MASK, SCAN, harmonic="keep", tolerance=2e-2, **QUICK)
    assert relative(total, chi) > 0.5


def test_a_sphere_comes_back_from_a_total_field_and_the_background_does_not_move_it() -> None:
    """After the method that removes nothing, as in one step; the source outside is 94 times the one inside."""
    field, mask, told = BACKGROUND_REMOVERS["none"](LOCAL + OUTSIDE, MASK, SCAN, None)
    assert told.converged
    magnitude = 1.0 + 0.3 * SPHERE.double()
    from_total, _ = tgv(field, mask, SCAN, None, magnitude, **QUICK)
    from_local, _ = tgv(LOCAL, MASK, SCAN, None, magnitude, **QUICK)
    assert 0.9 < contrast(from_total) < 1.1
    assert abs(contrast(from_total) - contrast(from_local)) < 0.05


def test_no_removal_returns_what_it_was_given_inside_the_mask() -> None:
    field = torch.where(MASK, LOCAL, torch.nan)
    same, kept, _ = BACKGROUND_REMOVERS["none"](field, MASK, SCAN, None)
    assert torch.equal(same, torch.where(MASK, LOCAL, 0.0))
    assert torch.equal(kept, MASK)
    with pytest.raises(InputError, match="not finite"):
        BACKGROUND_REMOVERS["none"](field, torch.ones_like(MASK), SCAN, None)


def test_a_ramp_costs_the_second_order_nothing() -> None:
    """Of a linear susceptibility the second order is zero: TGV keeps more of its slope than total variation."""
    core = distance() < 6.0
    field = susceptibility_to_field(0.01 * X * (distance() < 11.0), GRID, SCAN.b0_direction)
    slopes = []
    for second_order in (0.5, 1e3):
        chi, _ = tgv(field, MASK, SCAN, strength=5e-3, second_order=second_order, tolerance=1e-2, **QUICK)
        slopes.append(float((chi[core] * X[core]).sum() / (X[core] ** 2).sum()) / 0.01)
    assert slopes[1] < 0.9 * slopes[0]


def test_a_voxel_of_huge_noise_has_no_influence() -> None:
    noise = torch.full_like(LOCAL, 1e-3)
    noise[16, 15, 10] = 1e6
    spoilt = LOCAL + (noise > 1.0) * 0.5
    clean, broken = (tgv(f, MASK, SCAN, noise, harmonic="keep", **QUICK)[0] for f in (LOCAL, spoilt))
    trusting, _ = tgv(spoilt, MASK, SCAN, harmonic="keep", tolerance=2e-2, **QUICK)
    assert relative(broken, clean) < 0.05
    assert relative(trusting, clean) > 0.5


def test_it_says_how_it_stopped_and_refuses_what_it_cannot_use() -> None:
    with pytest.warns(ConvergenceWarning, match="tgv stopped after 10 iterations.*raise max_iterations"):
        _, convergence = tgv(LOCAL, MASK, SCAN, max_iterations=10)
    assert convergence.residual == convergence.history[-1] > convergence.tolerance
    with pytest.raises(InputError, match="unknown choice of harmonic"):
        tgv(LOCAL, MASK, SCAN, harmonic="drop")
    with pytest.raises(InputError, match="second_order"):
        tgv(LOCAL, MASK, SCAN, second_order=0.0)
    with pytest.raises(InputError, match="strength"):
        tgv(LOCAL, MASK, SCAN, strength=-1.0)


def problem(dtype: torch.dtype = torch.float64) -> Problem:
    """A random one on a small anisotropic grid, with edges and with voxels that have no data."""
    grid, generator = Grid((12, 10, 9), (1.0, 1.0, 2.0)), torch.Generator().manual_seed(0)
    field = torch.randn(grid.shape, generator=generator, dtype=dtype) * 0.05
    weights = torch.rand(grid.shape, generator=generator, dtype=dtype)
    return Problem(
        field=field,
        weights_squared=torch.where(weights > 0.3, weights, 0.0),
        kernel=dipole_kernel(grid, (0.0, 0.0, 1.0), field),
        linked=links(torch.rand((3, *grid.shape), generator=generator) > 0.1),
        spacing=(0.8, 0.8, 1.6),
        alpha1=1e-2,
        alpha0=2e-2,
        sigma_gradient=0.3,
        sigma_curvature=0.5,
        sigma_field=0.2,
    )


def after_steps(given: Problem, step: object, n: int) -> tuple[State, torch.Tensor]:
    state = State.zero(given.field)
    ahead, filter_ = torch.zeros_like(state.w), given.steps_of_chi()
    told = [step(given, state, filter_, ahead) for _ in range(n)]  # type: ignore[operator]
    return state, torch.tensor([[float(a), float(b)] for a, b in told])


def test_fused_passes_and_torch_are_the_same_iteration() -> None:
    fused, told = after_steps(problem(), step_on_cpu, 6)
    plain, expected = after_steps(problem(), step_in_torch, 6)
    for name in ("chi", "fitted", "w", "p", "r", "s"):
        torch.testing.assert_close(getattr(fused, name), getattr(plain, name), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(told, expected, rtol=1e-6, atol=0.0)


def test_threads_share_slabs_without_changing_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    one, _ = after_steps(problem(torch.float32), step_on_cpu, 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    three, _ = after_steps(problem(torch.float32), step_on_cpu, 4)
    assert torch.equal(one.chi, three.chi)
    assert torch.equal(one.r, three.r)


def test_differences_and_their_adjoints_agree(generator: torch.Generator) -> None:
    spacing = (0.8, 0.9, 1.6)
    chi = torch.randn(6, 7, 8, dtype=torch.float64, generator=generator)
    w = torch.randn(3, 6, 7, 8, dtype=torch.float64, generator=generator)
    r = torch.randn(6, 6, 7, 8, dtype=torch.float64, generator=generator)
    inner = (primal_dual._gradient(chi, spacing) * w).sum()
    torch.testing.assert_close(inner, (chi * primal_dual._gradient_adjoint(w, spacing)).sum())
    inner = (primal_dual._curvature(w, spacing) * r).sum()
    torch.testing.assert_close(inner, (w * primal_dual._curvature_adjoint(r, spacing)).sum())


def test_steps_keep_the_iteration_contracting(generator: torch.Generator) -> None:
    """K^T Sigma K <= T^-1 by power iteration on T^(1/2) K^T Sigma K T^(1/2): its norm is near one, and not above."""
    given = problem()
    h, tau, filter_ = given.spacing, math.sqrt(given.tau), given.steps_of_chi().sqrt()
    shape = given.field.shape
    chi = torch.randn(shape, dtype=torch.float64, generator=generator)
    w = torch.randn((3, *shape), dtype=torch.float64, generator=generator)
    norm = 0.0
    for _ in range(100):
        size = math.sqrt(float(chi.square().sum() + w.square().sum()))
        chi, w = irfft3(rfft3(chi / size) * filter_, shape), tau * w / size
        p = given.sigma_gradient * (primal_dual._gradient(chi, h) - w)
        r = given.sigma_curvature * primal_dual._curvature(w, h)
        s = given.sigma_field * irfft3(rfft3(chi) * given.kernel, shape)
        right = rfft3(primal_dual._gradient_adjoint(p, h)) + given.kernel * rfft3(s)
        chi, w = irfft3(right * filter_, shape), tau * (primal_dual._curvature_adjoint(r, h) - p)
        norm = math.sqrt(float(chi.square().sum() + w.square().sum()))
    assert 0.7 < norm <= 1.0 + 1e-9


def cost(given: Problem, chi: torch.Tensor, w: torch.Tensor) -> float:
    """1/2 |W (D chi - b)|^2 + alpha1 sum |G chi - w| + alpha0 sum |E w|, written out."""
    fitted = irfft3(rfft3(chi) * given.kernel, chi.shape)
    counts = torch.stack([(given.linked >> bit) & 1 for bit in range(9)])
    first = (counts[:3] * (primal_dual._gradient(chi, given.spacing) - w)).square().sum(0).sqrt().sum()
    second = (counts[3:] * primal_dual._curvature(w, given.spacing)).square().sum(0).sqrt().sum()
    data = 0.5 * (given.weights_squared * (fitted - given.field) ** 2).sum()
    return float(data + given.alpha1 * first + given.alpha0 * second)


def test_the_end_minimises_the_cost(generator: torch.Generator) -> None:
    given = problem()
    state, told = solve(given, State.zero(given.field), tolerance=0.0, max_iterations=3000)
    assert told.residual < 1e-3 * told.history[0]
    best = cost(given, state.chi, state.w)
    for _ in range(10):
        chi, w = (1e-3 * torch.randn(v.shape, dtype=torch.float64, generator=generator) for v in (state.chi, state.w))
        assert cost(given, state.chi + chi, state.w + w) > best
        assert cost(given, state.chi + chi, state.w) > best
        assert cost(given, state.chi, state.w + w) > best


def test_components_of_the_second_order_count_where_all_that_they_difference_counts() -> None:
    smooth = torch.ones((3, 5, 5, 5), dtype=torch.bool)
    smooth[0, 2, 2, 2] = False
    counts = torch.stack([(links(smooth) >> bit) & 1 for bit in range(9)]).bool()
    assert not counts[0, 2, 2, 2]
    assert not counts[3, 2, 2, 2]
    assert not counts[3, 3, 2, 2]
    assert not counts[6, 2, 1, 2]
    assert counts[4:6, 2, 2, 2].all()
    assert not counts[:, 4].any()
    assert not counts[:, :, 4].any()
    assert not counts[:, :, :, 4].any()
