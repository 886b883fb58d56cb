"""LBV: the background field is what is harmonic inside the mask and equals the total field on its rim."""

from __future__ import annotations

import torch
from torch.nn import functional

from dlqsm.core.checks import (
    InputError,
    require_finite,
    require_mask,
    require_not_negative,
    require_shape,
    require_stop,
)
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.solvers import Convergence, conjugate_gradient, warn_unless_converged
from dlqsm.qsm.background.multigrid import levels, v_cycle
from dlqsm.qsm.box import Box
from dlqsm.qsm.mask import erode


def lbv(
    total_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    *,
    rim_mm: float = 3.0,
    tolerance: float = 1e-4,
    max_cycles: int = 30,
) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
    """Remove the background field by solving Laplace's equation from the rim inwards (LBV).

    The field of outside sources is harmonic inside the mask. It is taken to be all of the total field b on the rim, so
    that the local field solves a Poisson equation with zero on the rim:

        laplace b_local = laplace b inside,    b_local = 0 on the rim

    The seven-point Laplacian, by conjugate gradients that one V-cycle of geometric multigrid preconditions; a handful
    of cycles at any size. B0 does not matter. What local field there is on the rim is taken for background, and its
    harmonic part is missing far into the brain: the rim should lie below the cortex and its veins.

    Parameters
    ----------
    total_field_ppm
        Total field relative to B0 [ppm], ``(x, y, z)``.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan.
    noise_ppm
        Not used by this method.
    rim_mm
        Voxels no farther than this from the nearest one outside leave the mask first [mm]; 0 keeps it. On a bench head
        the error 4 mm below the surface falls from 90 % without to 75 % with 3 mm, which leave 82 % of the mask.
    tolerance
        Residual in the norm of the preconditioner, relative, at which the solver stops.
    max_cycles
        Cycles after which the solver stops in any case.

    Returns
    -------
    Local field [ppm], zero outside the returned mask; the voxels whose six neighbours lie in the mask without its rim;
    the `Convergence`.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or nothing but rim, or an option is out of range.

    References
    ----------
    Zhou et al., NMR Biomed 27:312 (2014), doi:10.1002/nbm.3064.
    """
    del noise_ppm
    require_shape("total field", total_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_not_negative("rim_mm", [rim_mm])
    require_stop(tolerance, max_cycles, "max_cycles")
    require_finite("total field inside the mask", torch.where(mask, total_field_ppm, 0.0))
    known = erode(mask, scan.grid, rim_mm)
    interior = _interior(known)
    if not bool(interior.any()):
        raise InputError(f"nothing of the mask lies inside a rim of {rim_mm} mm and one voxel; give a smaller rim_mm")
    box = Box.around(known, scan.grid, 0.0)
    centred = torch.where(known, total_field_ppm - total_field_ppm[known].mean(dtype=torch.float64), 0.0)
    local, convergence = _zero_on_the_rim(box.take(centred), box.take(interior), scan.grid, tolerance, max_cycles)
    warn_unless_converged("lbv", convergence, steps="cycles", option="max_cycles")
    return box.put_back(local), interior, convergence


def _interior(mask: torch.Tensor) -> torch.Tensor:
    """Voxels of the mask whose six neighbours lie in it; outside the array is outside."""
    padded, out = functional.pad(mask, (1, 1, 1, 1, 1, 1)), mask.clone()
    for axis, n in enumerate(mask.shape):
        for first in (0, 2):
            side = padded.narrow(axis, first, n)
            for other in {0, 1, 2} - {axis}:
                side = side.narrow(other, 1, mask.shape[other])
            out &= side
    return out


def _zero_on_the_rim(
    field: torch.Tensor, interior: torch.Tensor, grid: Grid, tolerance: float, max_cycles: int
) -> tuple[torch.Tensor, Convergence]:
    """The field that has the Laplacian of ``field`` in the interior and vanishes elsewhere."""
    grids = levels(interior, grid.voxel_size_mm, field)
    return conjugate_gradient(
        grids[0].laplacian,
        grids[0].laplacian(field),
        precondition=lambda residual: v_cycle(grids, residual),
        tolerance=tolerance,
        max_iterations=max_cycles,
    )
