"""Standard deviations from realisations of noise: plain ones from many, pooled over like voxels from a few."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import bounding_box, irfft3, pad_to, padded_grid, rfft3
from dlqsm.core.scan import Grid

ENOUGH_REALISATIONS = 30
"""From here on nothing is pooled: the standard deviation of 30 values has a sampling error of 13 %."""
VOXEL_POOLING_MM = 2.0
"""Over wider Gaussians edges, where inversions let noise pass, are smeared; over narrower ones eight are too few."""
SHIFT_POOLING_MM = 8.0
"""Shifts of a region over which its mean's noise is pooled: of 3 to 8 mm the best for three to eight realisations."""
PRIOR_FREEDOM = 12.0
"""Degrees of freedom of what all regions tell of one: it fits ratios that differ by 20 %, as on a virtual head."""
REACH = 2.5
"""Gaussians end at this many standard deviations."""


def monte_carlo_sd(errors: torch.Tensor) -> torch.Tensor:
    """Standard deviation over realisations ``(n, x, y, z)``, divisor n - 1; its sampling error is 1 / sqrt(2 n - 2)."""
    return errors.std(0)


def pooled_sd(errors: torch.Tensor, mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Standard deviation from a few realisations: the logarithm of the variance is averaged over neighbours.

    log s^2(x) = < log v(y) >_y - psi(f / 2) + log(f / 2),    f = n - 1,

    with v the variance over realisations, < > a Gaussian mean in the mask and psi the digamma function, which makes up
    for the mean of the logarithm of a chi-square variable. The logarithm keeps a noisy edge from its calm neighbours.

    Parameters
    ----------
    errors
        Realisations ``(n, x, y, z)``, two or more.
    mask
        Voxels with a value, bool ``(x, y, z)``.
    grid
        Grid of the map.

    Returns
    -------
    Standard deviation in the unit of the errors, ``(x, y, z)``; zero outside the mask and where nothing varies.
    """
    variance = errors.var(0)
    known = mask & (variance > 0)
    logarithm = torch.where(known, variance, 1.0).log()
    half = torch.tensor((errors.shape[0] - 1) / 2.0, dtype=torch.float64)
    excess = float(torch.digamma(half) - half.log())
    mean = _gaussian(logarithm, grid) / _gaussian(known.to(errors.dtype), grid).clamp_min(1e-6)
    return torch.where(known, ((mean - excess) / 2.0).exp(), 0.0)


def standard_deviation(errors: torch.Tensor, mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    """`monte_carlo_sd` of at least `ENOUGH_REALISATIONS`, `pooled_sd` of fewer; zero outside the mask."""
    require_realisations(errors.shape[0])
    if errors.shape[0] >= ENOUGH_REALISATIONS:
        return torch.where(mask, monte_carlo_sd(errors), 0.0)
    return pooled_sd(errors, mask, grid)


def sds_of_means(errors: torch.Tensor, regions: Sequence[torch.Tensor], mask: torch.Tensor, grid: Grid) -> list[float]:
    """Standard deviations of the means of regions, in which errors are correlated.

    Of `ENOUGH_REALISATIONS` they are those of the means. Of a few, whose own standard deviation s would be uncertain by
    1 / sqrt(2 n - 2), each is told by that of the region moved about, m, which pools its neighbourhood (`moved_sd`),
    and by the ratios r = s / m of this and of all regions,

        m sqrt((p <r^2> + (n - 1) r^2) / (p + n - 1)),    p = `PRIOR_FREEDOM`.

    The ratio is above 1 where regions are pieces that an inversion moves as a whole, so that their errors hang together
    more than those around them. Against Monte Carlo, less that one's own error, nuclei scatter by 14 % with 8
    realisations and 12 to 13 % with 16 on two bench problems of 128 x 128 x 36 voxels, by 20 and 13 % on a virtual
    head, and by 14 % with 8 on a bench problem of 256 x 256 x 72 (V-SHARP, l1).

    Parameters
    ----------
    errors
        Realisations ``(n, x, y, z)``, two or more; zero outside the mask.
    regions
        Weights of the voxels of each region, not negative, ``(x, y, z)``; only their ratios matter.
    mask
        Voxels with a value, bool ``(x, y, z)``.
    grid
        Grid of the map.

    Returns
    -------
    One a region, in the unit of the errors; NaN where no voxel has weight.
    """
    own = [_sd_of_mean(errors, weights) for weights in regions]
    if errors.shape[0] >= ENOUGH_REALISATIONS:
        return own
    sd = pooled_sd(errors, mask, grid)
    moved = [moved_sd(errors, sd, weights, grid) for weights in regions]
    squares = [(s / m) ** 2 if m > 0.0 else math.nan for s, m in zip(own, moved, strict=True)]
    known = [square for square in squares if not math.isnan(square)]
    common, freedom = (sum(known) / len(known) if known else 0.0), errors.shape[0] - 1
    shrunk = [(PRIOR_FREEDOM * common + freedom * square) / (PRIOR_FREEDOM + freedom) for square in squares]
    return [m * square**0.5 if m > 0.0 else m for m, square in zip(moved, shrunk, strict=True)]


def moved_sd(errors: torch.Tensor, sd: torch.Tensor, weights: torch.Tensor, grid: Grid) -> float:
    """Standard deviation of the mean of a region that is moved about and keeps its own noise.

        m^2 = < sum_k (sum_x w(x) sd(x) z_k(x + d))^2 / (n - 1) >_d / < (share of the region inside at d)^2 >_d

    over shifts d with Gaussian weights, z = errors / sd: errors are taken to be correlated alike over some
    millimetres.
    Parameters and result are as in `sds_of_means`; ``sd`` is `pooled_sd`.
    """
    n, total = errors.shape[0], float(weights.sum())
    if total <= 0.0:
        return math.nan
    margin_mm = REACH * SHIFT_POOLING_MM
    near = bounding_box(weights > 0, margin_mm, grid.voxel_size_mm)
    own, centred = (weights / total * sd)[near], (errors - errors.mean(0))[(..., *near)]
    if not bool((own > 0).any()):
        return 0.0
    nx, ny, nz = own.shape
    wide = padded_grid(Grid((nx, ny, nz), grid.voxel_size_mm), margin_mm)
    known = sd[near] > 0
    fields = torch.cat([torch.where(known, centred / sd[near].where(known, 1.0), 0.0), known[None].to(own.dtype)])
    spectra = rfft3(pad_to(fields, wide)) * rfft3(pad_to(own, wide)).conj()
    squares = irfft3(spectra, wide.shape).square_()
    shifts = _shift_weights(wide, own)
    moved, inside = float((squares[:n].sum(0) * shifts).sum()), float((squares[n] * shifts).sum())
    return float(own.sum()) * (moved / inside / (n - 1)) ** 0.5


def require_realisations(n: int) -> None:
    """Raise `InputError` unless there are two or more."""
    if n < 2:
        raise InputError(f"a standard deviation needs two realisations of the noise or more; got {n}")


def _sd_of_mean(errors: torch.Tensor, weights: torch.Tensor) -> float:
    require_realisations(errors.shape[0])
    chosen = weights > 0
    if not bool(chosen.any()):
        return math.nan
    means = errors[:, chosen].double() @ weights[chosen].double()
    return float(means.std()) / float(weights[chosen].sum())


def _gaussian(values: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Convolve with a Gaussian of `VOXEL_POOLING_MM`; zeros beyond the border."""
    for axis, edge in enumerate(grid.voxel_size_mm):
        reach = math.ceil(REACH * VOXEL_POOLING_MM / edge)
        offsets = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device) * edge
        kernel = torch.exp(-0.5 * (offsets / VOXEL_POOLING_MM) ** 2)
        lines = values.movedim(axis, -1)
        flat = lines.reshape(-1, 1, lines.shape[-1])
        blurred = functional.conv1d(flat, (kernel / kernel.sum())[None, None], padding=reach)
        values = blurred.reshape(lines.shape).movedim(-1, axis)
    return values


def _shift_weights(grid: Grid, like: torch.Tensor) -> torch.Tensor:
    """Gaussian of `SHIFT_POOLING_MM` over the shifts of a periodic grid, zero beyond its reach."""
    lines = []
    for n, edge in zip(grid.shape, grid.voxel_size_mm, strict=True):
        index = torch.arange(n, device=like.device)
        distance = torch.where(index <= n // 2, index, n - index).to(like.dtype) * edge / SHIFT_POOLING_MM
        lines.append(torch.exp(-0.5 * distance**2) * (distance <= REACH))
    return lines[0][:, None, None] * lines[1][None, :, None] * lines[2]
