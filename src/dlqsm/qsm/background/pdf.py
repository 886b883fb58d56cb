"""PDF: the background field is what dipoles outside the mask can make of the total field."""

from __future__ import annotations

import warnings

import torch

from dlqsm.core.checks import (
    ConvergenceWarning,
    InputError,
    require_finite,
    require_mask,
    require_positive,
    require_shape,
)
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.operators import LinearOperator
from dlqsm.core.scan import Scan
from dlqsm.core.solvers import Convergence, conjugate_gradient
from dlqsm.qsm.box import Box
from dlqsm.qsm.weights import relative_weights


def pdf(
    total_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    *,
    reach_mm: float = 40.0,
    local_sd_ppm: float = 0.008,
    tolerance: float = 3e-3,
    max_iterations: int = 100,
) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
    """Remove the background field by projection onto dipole fields (PDF).

    Fits the total field b inside the mask M by sources chi_out outside it, and subtracts the fit:

        min over chi_out of || W M (b - c - D chi_out) ||^2,    b_local = M (b - c - D chi_out)

    with c the weighted mean of b and W = 1 / sqrt(noise^2 + local_sd^2), over its mean: to this fit the local field is
    noise as well, so that weights that follow the noise alone trust bright voxels too much. Conjugate gradients on the
    normal equations; stopping early regularises. Sources lie in the box of the mask widened by ``reach_mm``; the box is
    periodic, which moves sources but leaves their field harmonic inside the mask. The whole mask is kept.

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
    tolerance
        Residual of the normal equations, relative to the start, at which the fit stops.
    max_iterations
        Iterations after which the fit stops in any case.

    Returns
    -------
    Local field [ppm], zero outside the mask; the mask; the `Convergence`.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or leaves no voxel outside for sources.

    References
    ----------
    Liu et al., NMR Biomed 24:1129 (2011), doi:10.1002/nbm.1670.
    """
    require_shape("total field", total_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_positive("reach_mm", [reach_mm], "mm")
    box = Box.around(mask, scan.grid, reach_mm)
    inside = box.take(mask)
    if bool(inside.all()):
        raise InputError("the mask fills its box, so no background source fits outside it; give a larger reach_mm")
    field = box.take(torch.where(mask, total_field_ppm, 0.0))
    require_finite("total field inside the mask", field)
    spread = None if noise_ppm is None else (noise_ppm**2 + local_sd_ppm**2).sqrt()
    weights = box.take(relative_weights(mask, spread, total_field_ppm))
    kernel = dipole_kernel(box.wide, scan.b0_direction, field)
    offset = (weights**2 * field).sum() / (weights**2).sum()
    field = torch.where(inside, field - offset, 0.0)
    outside = (~inside).to(field.dtype)

    def to_field(sources: torch.Tensor) -> torch.Tensor:
        return irfft3(rfft3(sources) * kernel, box.wide.shape)

    weighted = LinearOperator(
        lambda sources: weights * to_field(outside * sources), lambda residual: outside * to_field(weights * residual)
    )
    sources, convergence = conjugate_gradient(
        weighted.normal, weighted.adjoint(weights * field), tolerance=tolerance, max_iterations=max_iterations
    )
    if not convergence.converged:
        warnings.warn(_not_converged(convergence), ConvergenceWarning, stacklevel=2)
    local = torch.where(inside, field - to_field(outside * sources), 0.0)
    return box.put_back(local), mask.clone(), convergence


def _not_converged(convergence: Convergence) -> str:
    return (
        f"pdf stopped after {convergence.n_iterations} iterations at a residual of {convergence.residual:.1e}, above "
        f"{convergence.tolerance:.1e}; raise max_iterations or tolerance"
    )
