"""The unit dipole: susceptibility to relative field, used by simulation, background removal and inversion."""

import torch

from dlqsm.core.fourier import crop_to, irfft3, pad_to, padded_grid, rfft3, wavenumbers
from dlqsm.core.scan import Grid, Vector


def dipole_kernel(grid: Grid, b0_direction: Vector, like: torch.Tensor) -> torch.Tensor:
    """Dipole response in k-space for the real FFT: D(k) = 1/3 - (k . b)^2 / |k|^2, D(0) = 0.

    With oblique B0 and even sizes the sampled D is not Hermitian on the Nyquist planes (k and -k fall on one sample
    there); D is averaged over both signs, so that real and complex transforms agree.

    Parameters
    ----------
    grid
        Grid that is transformed.
    b0_direction
        Unit vector of B0 along the array axes.
    like
        Tensor whose dtype and device the kernel takes.

    Returns
    -------
    Kernel of shape ``(nx, ny, nz // 2 + 1)``, dimensionless, in [-2/3, 1/3].

    References
    ----------
    Marques & Bowtell, Concepts Magn Reson B 25:65 (2005), doi:10.1002/cmr.b.20034.
    """
    k = wavenumbers(grid, like)
    k_squared = k[0] ** 2 + k[1] ** 2 + k[2] ** 2
    k_squared[0, 0, 0] = 1.0
    cross_terms = torch.zeros_like(k_squared)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        # On a Nyquist plane the sign of that component is ambiguous: the mean of the odd cross term over it is 0.
        product = _without_nyquist(k[a], grid.shape[a]) * _without_nyquist(k[b], grid.shape[b])
        cross_terms = cross_terms + 2.0 * b0_direction[a] * b0_direction[b] * product
    squares = sum((b * component) ** 2 for b, component in zip(b0_direction, k, strict=True))
    kernel = 1.0 / 3.0 - (squares + cross_terms) / k_squared
    kernel[0, 0, 0] = 0.0
    return kernel


def susceptibility_to_field(
    chi_ppm: torch.Tensor, grid: Grid, b0_direction: Vector, *, padding_mm: float = 40.0
) -> torch.Tensor:
    """Relative field [ppm] of a susceptibility map [ppm]: F^-1 D F chi, zero-padded against wrap-around."""
    wide = padded_grid(grid, padding_mm)
    kernel = dipole_kernel(wide, b0_direction, chi_ppm)
    return crop_to(irfft3(rfft3(pad_to(chi_ppm, wide)) * kernel, wide.shape), grid)


def _without_nyquist(component: torch.Tensor, n: int) -> torch.Tensor:
    if n % 2:
        return component
    limit = component.abs().max() if n > 1 else 0.0
    return torch.where(component.abs() >= limit, torch.zeros_like(component), component)
