"""Linear reconstructions of slabs: zero-filled, and SENSE by conjugate gradients."""

from __future__ import annotations

import torch

from dlqsm.core.checks import require_not_negative, require_stop
from dlqsm.core.fourier import ifftc
from dlqsm.core.solvers import Map, conjugate_gradient_of_each

_PLANE = (-2, -1)


def zero(
    hybrid_slab: torch.Tensor, sampling_mask: torch.Tensor, sensitivity_maps: torch.Tensor, noise: float
) -> torch.Tensor:
    """Inverse FFT of each coil with zeros where nothing was sampled: F^H y; exact at an acceleration of 1.

    Parameters
    ----------
    hybrid_slab
        ``(echo, coil, x, ky, kz)``, zero where not sampled.
    sampling_mask, sensitivity_maps, noise
        Not used.

    Returns
    -------
    Coil images ``(echo, coil, x, y, z)``.
    """
    del sampling_mask, sensitivity_maps, noise
    return ifftc(hybrid_slab, _PLANE)


def sense(
    hybrid_slab: torch.Tensor,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    *,
    regularisation: float = 0.01,
    max_iterations: int = 12,
    tolerance: float = 1e-4,
) -> torch.Tensor:
    """Image that explains the samples of all coils best, by conjugate gradients for each plane and echo.

    Solves (E^H E + lambda) x = (1 + lambda) E^H y with E = M F S (eq. 4 of the reference with a Tikhonov term). The
    noise is white, so no covariance appears; the norm of E is at most 1, so lambda is relative. The factor
    1 + lambda makes a fully sampled image exact whatever lambda is.

    Parameters
    ----------
    hybrid_slab
        ``(echo, coil, x, ky, kz)``, white noise, zero where not sampled.
    sampling_mask
        Sampled cells, ``(ky, kz)`` bool.
    sensitivity_maps
        ``(coil, x, y, z)`` with sum over coils of |S|^2 = 1, or zero in the background.
    noise
        Not used: lambda is relative to the operator.
    regularisation
        Tikhonov weight lambda, relative to the norm of the encoding; larger is less noisy and more aliased.
    max_iterations
        Most conjugate-gradient iterations; fewer are smoother.
    tolerance
        Relative residual at which the iteration ends.

    Returns
    -------
    Combined images ``(echo, 1, x, y, z)``.

    Raises
    ------
    InputError
        If an option is out of range.

    References
    ----------
    Pruessmann et al., Magn Reson Med 46:638 (2001), doi:10.1002/mrm.1241.
    """
    del noise
    require_not_negative("regularisation", [regularisation])
    require_stop(tolerance, max_iterations)
    # In FFT order throughout, so that the shifts cost nothing inside the iteration.
    maps = torch.fft.ifftshift(sensitivity_maps, dim=_PLANE).unsqueeze(0)
    keep = torch.fft.ifftshift(sampling_mask, dim=_PLANE).to(sensitivity_maps.real.dtype)
    kspace = torch.fft.ifftshift(hybrid_slab, dim=_PLANE)
    right_side = (torch.fft.ifft2(kspace, norm="ortho") * maps.conj()).sum(1)
    solution, _ = conjugate_gradient_of_each(
        _normal_operator(maps, keep, regularisation),
        (1.0 + regularisation) * right_side,
        n_batch_axes=2,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return torch.fft.fftshift(solution, dim=_PLANE).unsqueeze(1)


def _normal_operator(maps: torch.Tensor, keep: torch.Tensor, regularisation: float) -> Map:
    """The map E^H E + lambda for images ``(echo, x, y, z)`` in FFT order."""

    def normal(image: torch.Tensor) -> torch.Tensor:
        kspace = torch.fft.fft2(image.unsqueeze(1) * maps, norm="ortho") * keep
        return (torch.fft.ifft2(kspace, norm="ortho") * maps.conj()).sum(1) + regularisation * image

    return normal
