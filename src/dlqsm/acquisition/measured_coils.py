"""Receive coils whose sensitivities were measured in one plane, for scans of the virtual head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from torch.nn import functional

from dlqsm.core.checks import InputError

HALF_WIDTHS_MM: Final = (115.0, 92.0)
"""From the isocentre to the edges of what was measured, along y and z: a field of view for a head."""
_SIZE = 96
_SMOOTHING = 3.0
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class MeasuredCoils:
    """Channels of a measured plane, taken for every plane across the readout.

    Parameters
    ----------
    maps
        Complex sensitivities ``(coil, y, z)`` from edge to edge of `HALF_WIDTHS_MM`; beyond, those of the edge.
    covariance
        ``(coil, coil)``: covariance of the channels' noise.
    """

    maps: torch.Tensor
    covariance: NDArray[np.complex128]

    @property
    def n_coils(self) -> int:
        """Number of channels."""
        return len(self.maps)

    def sensitivity(self, index: int, positions_mm: torch.Tensor) -> torch.Tensor:
        """Complex128 sensitivity ``(n,)`` of one channel at RAS positions ``(n, 3)`` [mm], by linear interpolation."""
        y, z = (positions_mm[:, axis] / HALF_WIDTHS_MM[axis - 1] for axis in (1, 2))
        where = torch.stack([z, y], -1)[None, None]
        parts = torch.view_as_real(self.maps[index]).movedim(-1, 0)[None]
        found = functional.grid_sample(parts, where, padding_mode="border", align_corners=True)
        return torch.complex(*found[0, :, 0])


def measured_coils(maps: NDArray[np.complexfloating], turn: int = 0) -> MeasuredCoils:
    """Coils from sensitivities ``(coil, row, column)`` that are zero where nothing was measured.

    The rectangle round what was measured is laid over the plane of phase encoding. Where it holds voxels that were not
    measured, they get the nearest value that was, smoothed.

    Parameters
    ----------
    maps
        Measured sensitivities of one plane.
    turn
        Quarter turns of the plane, with every second four mirrored.

    Raises
    ------
    InputError
        If they are not finite complex maps of two coils or more, or too little of the plane was measured.
    """
    if maps.ndim != 3 or len(maps) < 2 or not np.iscomplexobj(maps) or not np.isfinite(maps).all():
        raise InputError(
            f"coil maps must be finite complex numbers (coil, row, column) of two coils or more; got {maps.dtype} of "
            f"shape {maps.shape}"
        )
    turned = np.rot90(maps, turn % 4, (1, 2))
    turned = turned[:, ::-1] if turn % 8 >= 4 else turned
    measured = (turned != 0).any(0)
    if measured.mean() < _LEAST_SHARE:
        raise InputError(f"coil maps must cover at least {_LEAST_SHARE:.0%} of their plane; got {measured.mean():.1%}")
    rows, columns = np.flatnonzero(measured.any(1)), np.flatnonzero(measured.any(0))
    inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    continued = _continued(turned[:, *inside].astype(np.complex128), measured[inside])
    parts = torch.view_as_real(torch.from_numpy(continued)).movedim(-1, 1)
    small = functional.interpolate(parts, (_SIZE, _SIZE), mode="bilinear", align_corners=True)
    return MeasuredCoils(torch.view_as_complex(small.movedim(1, -1).contiguous()), np.eye(len(maps), dtype=complex))


def _continued(values: NDArray[np.complex128], measured: NDArray[np.bool_]) -> NDArray[np.complex128]:
    nearest = distance_transform_edt(~measured, return_distances=False, return_indices=True)
    found = values[:, *nearest]
    smooth = np.stack([gaussian_filter(part, (0, _SMOOTHING, _SMOOTHING)) for part in (found.real, found.imag)])
    return np.asarray(np.where(measured, found, smooth[0] + 1j * smooth[1]))
