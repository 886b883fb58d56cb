"""PDF: the background field is what dipoles outside the mask can make of the total field."""

from __future__ import annotations

import torch

from dlqsm.core.checks import (
    InputError,
    require_finite,
    require_mask,
    require_not_negative,
    require_positive,
    require_shape,
    require_stop,
)
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Grid, Scan, Vector
from dlqsm.core.solvers import Convergence, conjugate_gradient, warn_unless_converged
from dlqsm.qsm.blocks import Blocks, averaged, averaged_field, blocks_of, grid_of_blocks, repeated
from dlqsm.qsm.box import Box
from dlqsm.qsm.weights import relative_weights


def pdf(
    total_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    *,
    reach_mm: float = 24.0,
    local_sd_ppm: float = 0.008,
    working_voxel_mm: float = 2.0,
    tolerance: float = 4e-3,
    max_iterations: int = 200,
) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
    """Remove the background field by projection onto dipole fields (PDF).

    Fits the total field b inside the mask M by sources chi_out outside it, and subtracts the fit:

        min over chi_out of || W M (b - c - D chi_out) ||^2,    b_local = M (b - c - D chi_out)

    with c the weighted mean of b and W = 1 / sqrt(noise^2 + local_sd^2), over its mean: to this fit the local field is
    noise as well, so that weights that follow the noise alone trust bright voxels too much. Conjugate gradients on the
    normal equations; stopping early regularises. They start from the sources of blocks of voxels, where an iteration
    costs a fraction. Sources lie in the box of the mask widened by ``reach_mm``; the box is periodic, which moves
    sources but leaves their field harmonic inside the mask. The whole mask is kept.

    Parameters
    ----------
    total_field_ppm
        Total field relative to B0 [ppm], ``(x, y, z)``.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan and B0 direction.
    noise_ppm
        Standard deviation of the field [ppm], ``(x, y, z)``; equal weights where absent.
    reach_mm
        Room for sources between the box of the mask and its periodic copy [mm].
    local_sd_ppm
        Expected standard deviation of the local field [ppm], added in square to the noise.
    working_voxel_mm
        Voxels are averaged in blocks up to this size [mm] for the start; up to one voxel, the fit starts from zero.
    tolerance
        Residual of the normal equations, relative to their right side, at which the fit stops.
    max_iterations
        Iterations after which the fit stops in any case.

    Returns
    -------
    Local field [ppm], zero outside the mask; the mask; the `Convergence` on the fine grid.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or leaves no voxel outside for sources, or an option is out of range.

    References
    ----------
    Liu et al., NMR Biomed 24:1129 (2011), doi:10.1002/nbm.1670.
    """
    require_shape("total field", total_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_positive("reach_mm and working_voxel_mm", [reach_mm, working_voxel_mm], "mm")
    require_not_negative("local_sd_ppm", [local_sd_ppm])
    require_stop(tolerance, max_iterations)
    box = Box.around(mask, scan.grid, reach_mm)
    inside = box.take(mask)
    if bool(inside.all()):
        raise InputError("the mask fills its box, so no background source fits outside it; give a larger reach_mm")
    field = box.take(torch.where(mask, total_field_ppm, 0.0))
    require_finite("total field inside the mask", field)
    spread = None if noise_ppm is None else (noise_ppm**2 + local_sd_ppm**2).sqrt()
    weights = box.take(relative_weights(mask, spread, total_field_ppm))
    fit = _Fit(field, inside, weights**2, box.wide, scan.b0_direction)
    start = _start(fit, blocks_of(scan.grid.voxel_size_mm, working_voxel_mm), tolerance, max_iterations)
    sources, convergence = fit.sources(start, tolerance, max_iterations)
    warn_unless_converged("pdf", convergence)
    local = torch.where(inside, fit.centred - fit.field_of(sources), 0.0)
    return box.put_back(local), mask.clone(), convergence


class _Fit:
    """The least-squares problem on one grid."""

    def __init__(
        self, field: torch.Tensor, inside: torch.Tensor, weights_squared: torch.Tensor, grid: Grid, b0: Vector
    ) -> None:
        self.field, self.inside, self.weights_squared, self.grid, self.b0 = field, inside, weights_squared, grid, b0
        offset = (weights_squared * field).sum(dtype=torch.float64) / weights_squared.sum(dtype=torch.float64)
        self.centred = torch.where(inside, field - offset, 0.0)
        self._kernel = dipole_kernel(grid, b0, field)

    def field_of(self, sources: torch.Tensor) -> torch.Tensor:
        return irfft3(rfft3(sources).mul_(self._kernel), self.grid.shape)

    def sources(
        self, start: torch.Tensor | None, tolerance: float, max_iterations: int
    ) -> tuple[torch.Tensor, Convergence]:
        """Sources outside the mask whose field is nearest to the centred field."""

        def adjoint(weighted: torch.Tensor) -> torch.Tensor:
            return self.field_of(weighted).masked_fill_(self.inside, 0.0)

        # Conjugate gradients from a start outside the mask never leave it.
        return conjugate_gradient(
            lambda sources: adjoint(self.field_of(sources).mul_(self.weights_squared)),
            adjoint(self.weights_squared * self.centred),
            start=start,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )


def _start(fit: _Fit, blocks: Blocks, tolerance: float, max_iterations: int) -> torch.Tensor | None:
    """Sources of the same problem on blocks of voxels, None where a block is one voxel."""
    if blocks == (1, 1, 1):
        return None
    field, weights_squared = averaged_field(fit.field, fit.weights_squared, blocks)
    grid = grid_of_blocks(fit.grid, blocks)
    coarse = _Fit(field, averaged(fit.inside.to(field.dtype), blocks) > 0, weights_squared, grid, fit.b0)
    sources, _ = coarse.sources(None, tolerance, max_iterations)
    return repeated(sources, blocks, fit.grid.shape).masked_fill_(fit.inside, 0.0)
