"""Phase-true coil combination: inter-echo phase is kept exactly, and the common phase is smooth."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from dlqsm.reconstruction.sensitivity import CoilMaps, dominant_eigenvector, interpolation_matrix, smooth_phase


def roemer(images: torch.Tensor, sensitivity_maps: torch.Tensor) -> torch.Tensor:
    """Matched-filter combination of coil images: sum_c conj(S_c) y_c.

    Parameters
    ----------
    images
        Coil images of white noise, ``(echo, coil, x, y, z)``.
    sensitivity_maps
        ``(coil, x, y, z)`` with sum over coils of |S|^2 = 1 (or 0); the same for all echoes, so their phase cancels
        between echoes.

    Returns
    -------
    Images ``(echo, x, y, z)``.

    References
    ----------
    Roemer et al., Magn Reson Med 16:192 (1990), doi:10.1002/mrm.1910160203.
    """
    return (sensitivity_maps.conj() * images).sum(1)


def combine_uncombined(images: torch.Tensor, *, block: int = 4) -> torch.Tensor:
    """Combine coil images of unknown sensitivities, phase-true.

    Sensitivities are the leading eigenvectors of the local coil covariance of the first echo (the object's phase
    cancels in it), their free phase is made smooth without poles, and all echoes are combined with them by `roemer`.
    The phase between echoes is thus that of sum_c conj(S_c) y_c with one S for all echoes, and the first echo keeps
    its own phase offset up to a smooth phase.

    Parameters
    ----------
    images
        ``(echo, coil, x, y, z)`` complex.
    block
        Edge [voxels] of the blocks whose covariance is taken.

    Returns
    -------
    Images ``(echo, x, y, z)``.

    References
    ----------
    Walsh et al., Magn Reson Med 43:682 (2000), doi:10.1002/(SICI)1522-2594(200005)43:5<682::AID-MRM10>3.0.CO;2-G.
    """
    first = images[0]
    covariance = _block_covariance(first, block)
    maps, energy = dominant_eigenvector(covariance)
    smooth = smooth_phase(maps, energy)
    weights = tuple(
        interpolation_matrix((np.arange(m) + 0.5) * n / m - 0.5, n)
        for n, m in zip(first.shape[1:], smooth.shape[1:], strict=True)
    )
    whole = CoilMaps(smooth, energy, weights, threshold=float("-inf"))
    return roemer(images, whole.slab(0, first.shape[1]).to(images))


def _block_covariance(image: torch.Tensor, block: int) -> torch.Tensor:
    """Mean of y y^H over blocks: ``(x, y, z, coil, coil)``."""
    nx, ny, nz = (max(1, -(-n // block)) for n in image.shape[1:])
    rows = []
    for coil in range(len(image)):
        products = torch.view_as_real(image[coil] * image.conj()).movedim(-1, 0)
        rows.append(functional.adaptive_avg_pool3d(products, (nx, ny, nz)))
    parts = torch.stack(rows, dim=1)
    return torch.complex(parts[0], parts[1]).permute(2, 3, 4, 0, 1)
