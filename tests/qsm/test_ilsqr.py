"""iLSQR: streaks lie in the cone and leave the map, edges stay, ranks and filters are what they are called."""

import pytest
import torch

from dlqsm.core.checks import ConvergenceWarning, InputError
from dlqsm.core.dipole import dipole_kernel, susceptibility_to_field
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan
from dlqsm.qsm.inversion.ilsqr import _ball_spectrum, _falling, _fast_map, _streaks, ilsqr

GRID = Grid((32, 30, 24), (1.0, 1.0, 1.5))
SCAN = Scan(GRID, b0_direction=(0.3, 0.2, (1 - 0.3**2 - 0.2**2) ** 0.5))
KERNEL = dipole_kernel(GRID, SCAN.b0_direction, torch.zeros(1, dtype=torch.float64))


def ball(radius_mm: float) -> torch.Tensor:
    axes = [(torch.arange(n).double() - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)]
    return sum(x**2 for x in torch.meshgrid(*axes, indexing="ij")) < radius_mm**2


MASK = ball(13.0)
CHI = 0.1 * ball(5.0).double()
FIELD = susceptibility_to_field(CHI, GRID, SCAN.b0_direction)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a[MASK], b[MASK]]))[0, 1])


def test_a_sphere_comes_back_and_the_map_scales_with_the_field() -> None:
    chi, convergence = ilsqr(FIELD, MASK, SCAN)
    assert convergence.converged
    assert correlation(chi, CHI) > 0.95
    threefold, _ = ilsqr(3.0 * FIELD, MASK, SCAN)
    torch.testing.assert_close(threefold, 3.0 * chi, rtol=1e-9, atol=1e-12)


def test_streaks_lie_in_the_cone_and_are_found_again(generator: torch.Generator) -> None:
    """What was added to a flat map from inside the cone alone is what the fit takes out of it."""
    cone = KERNEL.abs() < 0.1
    noise = torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    streak = irfft3(rfft3(noise) * cone, GRID.shape)
    everywhere = torch.ones_like(MASK)
    fast = torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    found, _ = _streaks(streak, fast, everywhere, cone, GRID.voxel_size_mm, 1e-8, 500)
    assert float((rfft3(found) * ~cone).abs().max()) < 1e-9 * float(rfft3(found).abs().max())
    assert float((found - streak).norm()) < 1e-3 * float(streak.norm())


def test_streaks_of_the_map_are_fewer_than_those_of_the_first_fit(generator: torch.Generator) -> None:
    """Outside the sphere the truth is flat: with a thin cone, most streaks stay."""
    field = FIELD + 2e-3 * torch.randn(GRID.shape, dtype=torch.float64, generator=generator)
    rim = MASK & ~ball(7.0)
    kept, removed = (ilsqr(field, MASK, SCAN, cone=cone)[0][rim].std() for cone in (0.01, 0.1))
    assert removed < 0.9 * kept


def test_the_fast_map_shows_the_edges_of_the_sphere() -> None:
    fast = _fast_map(FIELD * MASK, MASK, KERNEL, GRID)
    assert correlation(fast, CHI) > 0.8
    assert not fast[~MASK].any()


def test_the_mean_over_a_ball_has_its_moments() -> None:
    """At k = 0 it is 1, and falls as 1 - (2 pi k r)^2 / 10: the second moment of a ball; both branches meet."""
    spectrum = _ball_spectrum(3.0, Grid((4096, 1, 1), (1.0, 1.0, 1.0)), torch.zeros(1, dtype=torch.float64)).flatten()
    u = 2 * torch.pi * 3.0 * torch.fft.fftfreq(4096, dtype=torch.float64).abs()
    near = u < 0.2
    torch.testing.assert_close(spectrum[near], (1 - u**2 / 10)[near], rtol=0.0, atol=1e-5)
    single = _ball_spectrum(3.0, Grid((4096, 1, 1), (1.0, 1.0, 1.0)), torch.zeros(1)).flatten()
    torch.testing.assert_close(single.double(), spectrum, rtol=0.0, atol=2e-3)


def test_weights_fall_between_the_percentiles() -> None:
    values = torch.arange(101.0)
    weights = _falling(values, values >= 0, (50.0, 70.0))
    assert weights[:51].eq(1.0).all()
    assert weights[70:].eq(0.0).all()
    assert float(weights[60]) == pytest.approx(0.5)


def test_a_voxel_of_huge_noise_has_no_influence() -> None:
    noise = torch.full_like(FIELD, 1e-3)
    noise[12, 14, 11] = 1e6
    spoilt = FIELD + (noise > 1.0) * 1e-4
    clean, broken = (ilsqr(f, MASK, SCAN, noise)[0] for f in (FIELD, spoilt))
    assert float((broken - clean).norm() / clean.norm()) < 0.05
    trusting = ilsqr(spoilt, MASK, SCAN)[0]
    assert float((ilsqr(FIELD, MASK, SCAN)[0] - trusting).norm()) > 0.0


def test_it_says_how_it_stopped_and_refuses_what_it_cannot_use() -> None:
    with pytest.warns(ConvergenceWarning, match="ilsqr stopped after 4 iterations.*raise max_iterations"):
        _, convergence = ilsqr(FIELD, MASK, SCAN, tolerance=1e-9, max_iterations=2)
    assert not convergence.converged
    assert len(convergence.history) == convergence.n_iterations == 4
    with pytest.raises(InputError, match="cone must lie between 0 and 1/3"):
        ilsqr(FIELD, MASK, SCAN, cone=0.5)
    with pytest.raises(InputError, match="not finite"):
        ilsqr(FIELD * torch.nan, MASK, SCAN)
