"""Coil combination that keeps the phase between echoes."""

from __future__ import annotations

import torch


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
