"""The encoding that reconstructions invert, as a pair of functions: forward and adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.core.fourier import fftc, ifftc
from dlqsm.core.solvers import Map


@dataclass(frozen=True, slots=True)
class LinearOperator:
    """A linear map with its adjoint: <A u, v> = <u, A^H v>."""

    forward: Map
    adjoint: Map

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        """A x."""
        return self.forward(value)

    def __matmul__(self, other: LinearOperator) -> LinearOperator:
        """Composition: ``(A @ B)(x) = A(B(x))``."""
        return LinearOperator(
            lambda value: self.forward(other.forward(value)), lambda value: other.adjoint(self.adjoint(value))
        )

    def normal(self, value: torch.Tensor) -> torch.Tensor:
        """A^H A."""
        return self.adjoint(self.forward(value))


def sense_operator(sensitivity_maps: torch.Tensor, sampling_mask: torch.Tensor) -> LinearOperator:
    """SENSE encoding of y-z planes: M F (S x), over the last two axes.

    Parameters
    ----------
    sensitivity_maps
        Complex, ``(coil, x, y, z)``.
    sampling_mask
        Boolean, ``(y, z)``, k-space centre at ``n // 2``.

    Returns
    -------
    Operator from images ``(..., x, y, z)`` to k-space ``(..., coil, x, ky, kz)``.

    References
    ----------
    Pruessmann et al., Magn Reson Med 46:638 (2001), doi:10.1002/mrm.1241.
    """
    keep = sampling_mask.to(sensitivity_maps.real.dtype)

    def forward(image: torch.Tensor) -> torch.Tensor:
        return fftc(image.unsqueeze(-4) * sensitivity_maps, (-2, -1)) * keep

    def adjoint(kspace: torch.Tensor) -> torch.Tensor:
        return (ifftc(kspace * keep, (-2, -1)) * sensitivity_maps.conj()).sum(-4)

    return LinearOperator(forward, adjoint)
