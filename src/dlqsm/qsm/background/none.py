"""No background removal, for inversions that take a total field."""

from __future__ import annotations

import torch

from dlqsm.core.checks import require_finite, require_mask, require_shape
from dlqsm.core.scan import Scan
from dlqsm.core.solvers import CLOSED_FORM, Convergence


def none(
    total_field_ppm: torch.Tensor, mask: torch.Tensor, scan: Scan, noise_ppm: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, Convergence]:
    """Leave the background field where it is; removes nothing.

    For inversions in a single step, such as `tgv`, which disregard the field of outside sources themselves. Any other
    inversion takes the background for the field of the brain, and its map is worthless.

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

    Returns
    -------
    The total field inside the mask, zero outside; the mask; `CLOSED_FORM`.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or the field is not finite inside it.
    """
    del noise_ppm
    require_shape("total field", total_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_finite("total field inside the mask", total_field_ppm[mask])
    return torch.where(mask, total_field_ppm, 0.0), mask.clone(), CLOSED_FORM
