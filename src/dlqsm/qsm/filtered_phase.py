"""Phase that a high-pass filter went over, as for susceptibility-weighted images: its field lacks low frequencies."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

import torch

from dlqsm.core.alarms import least_of
from dlqsm.core.checks import require_mask, require_shape
from dlqsm.core.scan import Scan
from dlqsm.qsm.masked_means import gaussian_mean, on_working_grid

WIDTH_MM: Final = 40.0
"""Full width at half maximum of the Gaussian that parts low from high frequencies."""
LEAST_SPREAD_PPB: Final = least_of("filtered")
"""Spread of the low frequencies below which no head's field lies: what air, sinuses and shim leave is 0.03 ppm or more.

Measured as `FieldSpread` tells it on 8 virtual heads and one of a person: 31 to 94 ppb as scanned; filtered by homodyne
kernels of 32 to 96 samples 0 to 3.5 ppb; true local fields of virtual heads, without any background, 1 to 2 ppb.
"""
LEAST_RATIO: Final = 4.0
"""High over low frequencies that a filter leaves at the least: 8 to 124 in the filtered heads, 2 as scanned."""
LEAST_VOLUME_ML: Final = 200.0
"""Masks below this are too small to tell low frequencies."""


@dataclass(frozen=True, slots=True)
class FieldSpread:
    """Spread of a field, parted by a Gaussian of `WIDTH_MM`.

    Parameters
    ----------
    low_ppb, high_ppb
        Standard deviation over the mask of its low frequencies, and of the rest [ppb].
    volume_ml
        Volume of the mask.
    """

    low_ppb: float
    high_ppb: float
    volume_ml: float

    @property
    def verdict(self) -> str:
        """``filtered``, ``whole``, or ``unclear`` where the mask is too small."""
        if self.volume_ml < LEAST_VOLUME_ML:
            return "unclear"
        filtered = self.low_ppb < LEAST_SPREAD_PPB and self.high_ppb > LEAST_RATIO * self.low_ppb
        return "filtered" if filtered else "whole"

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "verdict": self.verdict, "least_low_ppb": LEAST_SPREAD_PPB}


def field_spread(total_field_hz: torch.Tensor, mask: torch.Tensor, scan: Scan) -> FieldSpread:
    """Spread of low and high frequencies of the total field, before removal of the background.

    A homodyne filter divides each echo by its low-pass image, so that phase below the filter's frequency grows with
    echo time no more. The background field of a head lies there, whatever the shim.

    Parameters
    ----------
    total_field_hz
        Unwrapped field [Hz], ``(x, y, z)``.
    mask
        Voxels in which it is known, bool ``(x, y, z)``.
    scan
        Geometry and field strength of the scan.

    Returns
    -------
    The spreads.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty or the field strength is not known.
    """
    require_shape("total field", total_field_hz, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    (field_hz,), inside, size = on_working_grid((total_field_hz,), mask, scan.grid, WIDTH_MM / 10.0)
    low = gaussian_mean(field_hz, inside, size, WIDTH_MM / 2.3548)
    ppb = 1e3 / scan.hz_per_ppm
    spread = {name: part[inside] * ppb for name, part in (("low", low), ("high", field_hz - low))}
    low_ppb, high_ppb = (float(v.std()) if v.size else 0.0 for v in spread.values())
    return FieldSpread(low_ppb, high_ppb, int(mask.sum()) * scan.grid.voxel_volume_mm3 * 1e-3)
