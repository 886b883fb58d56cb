"""Proximal maps in closed form: soft shrinkage of magnitudes, and of singular values."""

from __future__ import annotations

import torch


def shrink_groups(values: torch.Tensor, threshold: float, *, axis: int | None) -> torch.Tensor:
    """Pull magnitudes towards zero: v max(1 - threshold / |v|, 0), the proximal map of threshold * sum of |v|.

    Parameters
    ----------
    values
        Real or complex.
    threshold
        In units of the values.
    axis
        Where given, |v| is the norm along it, and the group along it shrinks as one.
    """
    power = values.abs().square()
    norm = (power if axis is None else power.sum(axis, keepdim=True)).sqrt()
    return values * (1.0 - threshold / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp_min(0.0)


def shrink_singular_values(matrices: torch.Tensor, threshold: float) -> torch.Tensor:
    """Pull singular values towards zero by ``threshold``: the proximal map of threshold times the nuclear norm.

    The few rows' Gram matrix gives left singular vectors U and values s; the result is
    U max(1 - threshold / s, 0) U^H times the matrix.

    Parameters
    ----------
    matrices
        ``(..., row, column)`` with few rows, real or complex.
    threshold
        In units of the matrices.

    References
    ----------
    Cai et al., SIAM J Optim 20:1956 (2010), doi:10.1137/080738970.
    """
    energies, vectors = torch.linalg.eigh(matrices @ matrices.mH)
    sizes = energies.clamp_min(torch.finfo(energies.dtype).tiny).sqrt()
    kept = (1.0 - threshold / sizes).clamp_min(0.0)
    return (vectors * kept.unsqueeze(-2)) @ (vectors.mH @ matrices)
