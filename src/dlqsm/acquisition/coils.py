"""The receive helmet: sensitivities of circular loops by Biot and Savart's law, and correlated noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.acquisition.resampling import resample, spline_matrices
from dlqsm.core.scan import Grid

HELMET_SEMI_AXES_MM: Final = (115.0, 130.0, 125.0)
HELMET_OPENING_DEG: Final = 118.0
"""Polar angle from the vertex at which the helmet ends, over the neck."""
WIRE_MM: Final = 6.0
"""Thickness of the conductor: keeps the field finite where a loop crosses the field of view."""
COARSE_VOXEL_MM: Final = 5.0
"""Spacing at which sensitivities are computed before interpolation."""
NOISE_CORRELATION: Final = (0.05, 0.20)
"""Noise correlation of far and of coinciding loops."""


class Receiver(Protocol):
    """What a scan needs of its coils."""

    @property
    def covariance(self) -> NDArray[np.complex128]:
        """Covariance of the channels' noise, unit diagonal, ``(coil, coil)``."""

    @property
    def n_coils(self) -> int:
        """Number of channels."""

    def sensitivity(self, index: int, positions_mm: torch.Tensor) -> torch.Tensor:
        """Complex128 sensitivity ``(n,)`` of one channel at RAS positions ``(n, 3)`` [mm]."""


@dataclass(frozen=True)
class CoilArray:
    """Circular loops on a helmet round the isocentre, and the covariance of their noise.

    Parameters
    ----------
    centres_mm, normals
        ``(coil, 3)``: RAS centres [mm] and unit normals.
    loop_radius_mm
        Radius of all loops [mm].
    gains
        ``(coil,)`` complex factors: a constant phase per channel, and one scale that makes the root sum of squares
        at the isocentre 1.
    covariance
        ``(coil, coil)`` complex, Hermitian, unit diagonal: covariance of the channels' noise.
    """

    centres_mm: NDArray[np.float64]
    normals: NDArray[np.float64]
    loop_radius_mm: float
    gains: NDArray[np.complex128]
    covariance: NDArray[np.complex128]

    @property
    def n_coils(self) -> int:
        """Number of channels."""
        return len(self.gains)

    def sensitivity(self, index: int, positions_mm: torch.Tensor) -> torch.Tensor:
        """B_x - i B_y of one loop with a unit current, times the channel's gain, at RAS positions ``(n, 3)`` [mm]."""
        normal = torch.from_numpy(self.normals[index])
        offset = positions_mm - torch.from_numpy(self.centres_mm[index])
        along = offset @ normal
        radial = offset - along[:, None] * normal
        distance = torch.linalg.vector_norm(radial, dim=1).clamp_min(1e-4 * self.loop_radius_mm)
        b_radial, b_axial = _loop_field(distance, along, self.loop_radius_mm)
        field = (b_radial / distance)[:, None] * radial + b_axial[:, None] * normal
        return torch.complex(field[:, 0], -field[:, 1]) * complex(self.gains[index])


def helmet(n_coils: int, rng: np.random.Generator) -> CoilArray:
    """Spread overlapping loops evenly over a helmet; channel phases are random.

    Parameters
    ----------
    n_coils
        Number of loops.
    rng
        Source of the channel phases.

    Returns
    -------
    The `CoilArray`.

    References
    ----------
    Roemer et al., Magn Reson Med 16:192 (1990), doi:10.1002/mrm.1910160203.
    """
    lowest = math.cos(math.radians(HELMET_OPENING_DEG))
    height = 1.0 - (np.arange(n_coils) + 0.5) / n_coils * (1.0 - lowest)
    azimuth = np.arange(n_coils) * math.pi * (3.0 - math.sqrt(5.0))
    across = np.sqrt(1.0 - height**2)
    normals = np.stack([across * np.cos(azimuth), across * np.sin(azimuth), height], axis=1)
    centres = normals * np.array(HELMET_SEMI_AXES_MM)
    # The loops' discs together have 1.2 times the area of the helmet, so that neighbours overlap.
    area = 2.0 * math.pi * (1.0 - lowest) * np.mean(np.square(HELMET_SEMI_AXES_MM))
    radius = math.sqrt(1.2 * area / n_coils / math.pi)
    phases = np.exp(2j * math.pi * rng.random(n_coils))
    plain = CoilArray(centres, normals, radius, phases, _noise_covariance(centres, phases))
    middle = sensitivities_at(plain, torch.zeros(1, 3, dtype=torch.float64))
    return CoilArray(centres, normals, radius, phases / float(torch.linalg.vector_norm(middle)), plain.covariance)


def sensitivities_at(coils: Receiver, positions_mm: torch.Tensor) -> torch.Tensor:
    """Sensitivities of all channels at RAS positions ``(n, 3)`` [mm]; complex ``(coil, n)``."""
    return torch.stack([coils.sensitivity(index, positions_mm) for index in range(coils.n_coils)])


def sensitivity_map(coils: Receiver, index: int, grid: Grid) -> torch.Tensor:
    """Sensitivity of one channel on a grid.

    Parameters
    ----------
    coils
        The array.
    index
        Channel.
    grid
        Grid in scanner space; B0 is along scanner z, whatever the grid's tilt.

    Returns
    -------
    Complex64 map of ``grid.shape``.
    """
    # Smooth wherever there is signal: a spline through a coarse grid is enough, and 50 times faster.
    extent = [n * v for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    nx, ny, nz = (2 * math.ceil(0.5 * mm / COARSE_VOXEL_MM + 3) for mm in extent)
    coarse = Grid.centred((nx, ny, nz), (COARSE_VOXEL_MM,) * 3, np.asarray(grid.rotation))
    steps = torch.from_numpy(np.indices(coarse.shape).reshape(3, -1).T.astype(np.float64))
    affine = torch.from_numpy(coarse.affine)
    positions_mm = steps @ affine[:3, :3].T + affine[:3, 3]
    values = coils.sensitivity(index, positions_mm).to(torch.complex64).reshape(coarse.shape)
    return resample(values, spline_matrices(coarse, grid))


def receive_gain(sensitivities: torch.Tensor, covariance: NDArray[np.complex128]) -> torch.Tensor:
    """SNR gain of the optimal combination, sqrt(c^H Psi^-1 c), of sensitivities ``(coil, n)``."""
    factor = torch.linalg.cholesky(torch.from_numpy(covariance))
    white = torch.linalg.solve_triangular(factor, sensitivities.to(torch.complex128), upper=False)
    return torch.linalg.vector_norm(white, dim=0)


def correlated_noise(covariance: NDArray[np.complex128], n: int, rng: np.random.Generator) -> NDArray[np.complex64]:
    """White complex noise ``(coil, n)`` with E[n n^H] = 2 Psi: Psi's diagonal is the variance of one component."""
    factor = np.linalg.cholesky(covariance).astype(np.complex64)
    parts = rng.standard_normal((2, len(covariance), n), dtype=np.float32)
    return np.asarray(factor @ (parts[0] + 1j * parts[1]), dtype=np.complex64)


def _noise_covariance(centres_mm: NDArray[np.float64], phases: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Correlations from `NOISE_CORRELATION`, falling with distance; positive definite as a sum of kernels that are."""
    far, near = NOISE_CORRELATION
    distance = np.linalg.norm(centres_mm[:, None] - centres_mm[None, :], axis=-1)
    plain = far + (near - far) * np.exp(-0.5 * (distance / 60.0) ** 2)
    np.fill_diagonal(plain, 1.0)
    return np.asarray(phases[:, None] * plain * phases[None, :].conj())


def _loop_field(rho: torch.Tensor, z: torch.Tensor, radius: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Radial and axial field of a loop in its own cylinder coordinates, up to mu0 I / pi (Jackson, section 5.5)."""
    squares = radius**2 + rho**2 + z**2 + WIRE_MM**2
    alpha_squared, beta_squared = squares - 2 * radius * rho, squares + 2 * radius * rho
    k, e = _elliptic_integrals(torch.sqrt(alpha_squared / beta_squared))
    scale = 0.5 / (alpha_squared * torch.sqrt(beta_squared))
    b_radial = scale * z / rho * (squares * e - alpha_squared * k)
    b_axial = scale * ((2 * radius**2 - squares) * e + alpha_squared * k)
    return b_radial, b_axial


def _elliptic_integrals(complement: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Complete elliptic integrals K and E of the complementary modulus k', by the arithmetic-geometric mean."""
    a, b = torch.ones_like(complement), complement
    deficit = 0.5 * (1.0 - complement**2)
    for power in range(6):
        a, b, c = 0.5 * (a + b), torch.sqrt(a * b), 0.5 * (a - b)
        deficit = deficit + 2.0**power * c**2
    k = 0.5 * math.pi / a
    return k, k * (1.0 - deficit)
