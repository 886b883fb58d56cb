"""Inversions in closed form: each divides by the dipole kernel with its own filter."""

from __future__ import annotations

import torch

from dlqsm.core.checks import InputError, require_choice, require_finite, require_mask, require_positive, require_shape
from dlqsm.core.differences import isotropic_spacing
from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import irfft3, rfft3
from dlqsm.core.scan import Scan
from dlqsm.core.solvers import CLOSED_FORM, Convergence
from dlqsm.qsm.splitting.gradients import squared_gradient


def tkd(
    local_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    magnitude: torch.Tensor | None = None,
    *,
    threshold: float = 0.15,
) -> tuple[torch.Tensor, Convergence]:
    """Invert by truncated k-space division: chi = F^-1 [ F b / D ] where |D| > threshold, 0 elsewhere.

    The field is used as it is on the whole grid: no padding, no referencing, in the precision of the input.

    Parameters
    ----------
    local_field_ppm
        Local field relative to B0 [ppm], ``(x, y, z)``; used inside the mask.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan and B0 direction.
    noise_ppm, magnitude
        Not used by this method.
    threshold
        Magnitude of the dipole kernel up to which 1/D is set to zero, between 0 and 2/3.

    Returns
    -------
    Susceptibility [ppm], zero outside the mask, and `CLOSED_FORM`.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or the threshold leaves nothing.

    References
    ----------
    Shmueli et al., Magn Reson Med 62:1510 (2009), doi:10.1002/mrm.22135.
    """
    del noise_ppm, magnitude
    if not 0.0 < threshold < 2.0 / 3.0:
        raise InputError(
            f"threshold of tkd must lie between 0 and 2/3, the range of the dipole kernel; got {threshold}"
        )
    kernel = _checked_kernel(local_field_ppm, mask, scan)
    return _filtered(local_field_ppm, mask, torch.where(kernel.abs() > threshold, 1.0 / kernel, 0.0)), CLOSED_FORM


def tikhonov(
    local_field_ppm: torch.Tensor,
    mask: torch.Tensor,
    scan: Scan,
    noise_ppm: torch.Tensor | None = None,
    magnitude: torch.Tensor | None = None,
    *,
    strength: float = 3e-3,
    penalty: str = "gradient",
) -> tuple[torch.Tensor, Convergence]:
    """Invert with a quadratic penalty: chi = F^-1 [ D F b / (D^2 + strength R) ].

    R is 1 (``identity``: small values) or the squared gradient sum_d |E_d|^2 (``gradient``: smooth maps), with E_d
    the transform of the forward difference over the voxel edge relative to the mean edge. As in `tkd` the field is used
    as it is on the whole grid, without padding; it is periodic.

    Parameters
    ----------
    local_field_ppm
        Local field relative to B0 [ppm], ``(x, y, z)``; used inside the mask.
    mask
        Voxels in which the field is known, bool ``(x, y, z)``.
    scan
        Geometry of the scan and B0 direction.
    noise_ppm, magnitude
        Not used by this method.
    strength
        Weight of the penalty, dimensionless; larger is smoother.
    penalty
        What is kept small: ``identity`` the susceptibility, ``gradient`` its differences.

    Returns
    -------
    Susceptibility [ppm], zero outside the mask, and `CLOSED_FORM`.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, the strength is not above zero or the penalty is unknown.

    References
    ----------
    Bilgic et al., J Magn Reson Imaging 40:181 (2014), doi:10.1002/jmri.24365.
    """
    del noise_ppm, magnitude
    require_positive("strength", [strength], "units of D^2")
    require_choice("penalty", penalty, ("identity", "gradient"))
    kernel = _checked_kernel(local_field_ppm, mask, scan)
    spacing = isotropic_spacing(scan.grid.voxel_size_mm)
    roughness = torch.ones_like(kernel) if penalty == "identity" else squared_gradient(scan.grid.shape, spacing, kernel)
    denominator = kernel**2 + strength * roughness
    denominator[0, 0, 0] = 1.0
    return _filtered(local_field_ppm, mask, kernel / denominator), CLOSED_FORM


def _checked_kernel(local_field_ppm: torch.Tensor, mask: torch.Tensor, scan: Scan) -> torch.Tensor:
    require_shape("local field", local_field_ppm, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    require_finite("local field inside the mask", local_field_ppm[mask])
    return dipole_kernel(scan.grid, scan.b0_direction, local_field_ppm)


def _filtered(field_ppm: torch.Tensor, mask: torch.Tensor, inverse_filter: torch.Tensor) -> torch.Tensor:
    spectrum = rfft3(torch.where(mask, field_ppm, 0.0))
    return torch.where(mask, irfft3(spectrum * inverse_filter, field_ppm.shape), 0.0)
