"""Sign of the susceptibility by physics: iron in deep nuclei and veins makes tissue decay fast, and is paramagnetic."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.alarms import least_of
from dlqsm.core.checks import require_mask, require_shape
from dlqsm.core.scan import Scan, Vector
from dlqsm.core.units import PPB_PER_PPM
from dlqsm.qsm.masked_means import Array, Inside, gaussian_mean, on_working_grid
from dlqsm.qsm.weights import MAD_TO_SD

RIM_MM: Final = 6.0
"""Voxels nearer to the edge of the mask are left out: air dephases them, and their susceptibility is least sure."""
FINE_MM: Final = 2.0
COARSE_MM: Final = 12.0
"""Excess is the difference of two Gaussian means of these SD: the size of nuclei and veins, noise averaged out."""
LEAST_EXCESS_HZ: Final = 6.0
"""Excess of R2* at 3 T from which a voxel counts as of fast decay [1/s]; it scales with the field."""
LEAST_OVER_NOISE: Final = 3.5
"""The same in robust standard deviations of the excess, so that noise does not count."""
LARGEST_R2STAR_HZ: Final = 150.0
"""Rates above this at 3 T count as this [1/s]."""
PLACE_MM: Final = 8.0
"""Edge of the cubes whose voxels of fast decay count as one place."""
CLEAR_SCORE: Final = -least_of("sign")
"""Score beyond which the sign is clear: signs that fell by chance would reach it at most once in 457 maps.

Measured on maps of virtual heads: 3.6 to 7.0 (41 maps, voxels of 2.6 mm and finer) and 3.0 to 5.1 (6 maps, 4 mm); the
score changes its sign with the map's.
"""
AGREES, UNCLEAR, CONTRADICTS = "agrees", "unclear", "contradicts"


@dataclass(frozen=True, slots=True)
class SignEvidence:
    """What places of fast decay say about the sign.

    Parameters
    ----------
    score
        sum v / sqrt(sum v^2) over places, v = excess of susceptibility x sqrt(volume); in -sqrt(n) to sqrt(n).
    excess_ppb
        Mean excess of the susceptibility in them over what surrounds them [ppb].
    n_places, n_voxels
        Places, and voxels of fast decay in them (of the working grid).
    r2star_excess_hz
        Mean excess of their rate of decay [1/s].
    """

    score: float
    excess_ppb: float
    n_places: int
    n_voxels: int
    r2star_excess_hz: float = 0.0

    @property
    def verdict(self) -> str:
        """``agrees``, ``unclear`` or ``contradicts``."""
        if abs(self.score) < CLEAR_SCORE:
            return UNCLEAR
        return AGREES if self.score > 0 else CONTRADICTS

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers for a JSON file."""
        return {**asdict(self), "verdict": self.verdict, "clear_score": CLEAR_SCORE}


def sign_evidence(chi_ppm: torch.Tensor, r2star_hz: torch.Tensor, mask: torch.Tensor, scan: Scan) -> SignEvidence:
    """Compare the susceptibility in places of fast decay with their surroundings.

    Excess of both maps is their mean over 2 mm less that over 12 mm. Voxels whose R2* exceeds by 6/s (at 3 T) and by
    3.5 standard deviations of the noise, 6 mm or more inside the mask, are gathered in cubes of 8 mm. Were the sign of
    each cube a coin's, the score would pass t with a probability below exp(-t^2 / 2), whatever the sizes (Hoeffding):
    one vein, one bleeding or one calcification can not decide, and noise does not.

    Parameters
    ----------
    chi_ppm, r2star_hz
        Susceptibility [ppm] and relaxation rate [1/s], ``(x, y, z)``.
    mask
        Voxels in which the susceptibility is valid, bool ``(x, y, z)``.
    scan
        Geometry and field strength of the scan.

    Returns
    -------
    The evidence; score 0 where there is no place of fast decay.

    Raises
    ------
    InputError
        If shapes disagree or the mask is empty.
    """
    require_shape("susceptibility", chi_ppm, scan.grid.shape, "scan.grid")
    require_shape("R2*", r2star_hz, scan.grid.shape, "scan.grid")
    require_mask(mask, scan.grid.shape)
    # Rates beyond those of any tissue are noise where there is no signal.
    limited = r2star_hz.nan_to_num(0.0).clamp(0.0, LARGEST_R2STAR_HZ * scan.field_over_3t)
    (chi, r2star), inside, size = on_working_grid((chi_ppm, limited), mask, scan.grid, FINE_MM)
    chi_excess, r2star_excess = _excess(chi, inside, size), _excess(r2star, inside, size)
    fast = _fast(r2star_excess, inside, size, scan.field_over_3t)
    if not fast.any():
        return SignEvidence(0.0, 0.0, 0, 0)
    place = _places(inside.shape, size)[fast]
    n = np.bincount(place)
    excess_ppb = PPB_PER_PPM * np.bincount(place, chi_excess[fast])[n > 0] / n[n > 0]
    votes = excess_ppb * np.sqrt(n[n > 0])
    norm = math.sqrt(float((votes**2).sum()))
    score = float(votes.sum()) / norm if norm > 0 else 0.0
    chi_excess_ppm, r2star_excess_hz = (float(excess[fast].mean()) for excess in (chi_excess, r2star_excess))
    return SignEvidence(score, PPB_PER_PPM * chi_excess_ppm, int((n > 0).sum()), int(fast.sum()), r2star_excess_hz)


def _excess(values: Array, inside: Inside, size: Vector) -> Array:
    return gaussian_mean(values, inside, size, FINE_MM) - gaussian_mean(values, inside, size, COARSE_MM)


def _fast(r2star_excess: Array, inside: Inside, size: Vector, field_over_3t: float) -> Inside:
    """Voxels of fast decay away from the rim."""
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=size)[1:-1, 1:-1, 1:-1]
    deep = depth > RIM_MM
    if not deep.any():
        return np.zeros_like(inside)
    usual = np.median(r2star_excess[deep])
    noise = MAD_TO_SD * float(np.median(np.abs(r2star_excess[deep] - usual)))
    return np.asarray(deep & (r2star_excess > max(LEAST_EXCESS_HZ * field_over_3t, LEAST_OVER_NOISE * noise)))


def _places(shape: tuple[int, ...], size: Vector) -> NDArray[np.intp]:
    """Number of the cube that each voxel lies in."""
    along = [(np.arange(n) * v // PLACE_MM).astype(np.intp) for n, v in zip(shape, size, strict=True)]
    _, ny, nz = (int(a[-1]) + 1 for a in along)
    x, y, z = along
    return np.asarray((x[:, None, None] * ny + y[:, None]) * nz + z)
