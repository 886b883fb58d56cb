"""A small brain of spheres and a rod in an oblique field, as images of several coils; what was put in is known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.units import TWO_PI

SHAPE, VOXEL_MM = (24, 22, 20), (2.0, 2.25, 2.5)
ECHO_TIMES_S = (0.004, 0.009, 0.014, 0.019)
FIELD_STRENGTH_T = 3.0
CENTRE_MM, SEMI_AXES_MM = (-1.0, 1.0, 0.5), (19.0, 18.5, 18.0)
NUCLEI = (
    ((-7.0, 4.0, 2.0), 4.5, 0.12, 42.0),
    ((7.5, 3.0, 1.0), 4.0, 0.09, 38.0),
    ((1.0, -8.0, -4.0), 4.0, 0.15, 44.0),
    ((0.0, 7.0, -6.0), 4.5, -0.06, 12.0),
)
"""Centre [mm], radius [mm], susceptibility [ppm] and R2* [1/s] of each."""
AIR = ((4.0, -29.0, -6.0), 5.0, 9.0)
"""Centre [mm], radius [mm] and susceptibility [ppm] of a sphere outside the brain."""
NOISE_SD = 0.01


@dataclass(frozen=True)
class Scene:
    """Images ``(echo, coil, x, y, z)``, brain mask, susceptibility of the brain [ppm], air beside it, and the scan."""

    magnitude: torch.Tensor
    phase_rad: torch.Tensor
    mask: torch.Tensor
    chi_ppm: torch.Tensor
    air: torch.Tensor
    scan: Scan
    noise_sd: torch.Tensor | None = None

    def with_images(self, images: torch.Tensor) -> Scene:
        """The same scene with other complex images."""
        return replace(self, magnitude=images.abs(), phase_rad=images.angle())

    @property
    def images(self) -> torch.Tensor:
        """Complex images."""
        return torch.polar(self.magnitude, self.phase_rad)


def tilted(x_deg: float, y_deg: float) -> np.ndarray:
    """Rotation of the array axes against the scanner's, about x and then y."""
    a, b = math.radians(x_deg), math.radians(y_deg)
    about_x = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    about_y = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    return about_y @ about_x


def make_scene(
    *,
    shape: tuple[int, int, int] = SHAPE,
    voxel_mm: tuple[float, float, float] = VOXEL_MM,
    tilt_deg: tuple[float, float] = (12.0, -7.0),
    chi_scale: float = 1.0,
    air_scale: float = 1.0,
    noise_sd: float = NOISE_SD,
    dtype: torch.dtype = torch.float64,
) -> Scene:
    """Scan the scene; noise is the same whatever the susceptibility."""
    grid = Grid.centred(shape, voxel_mm, tilted(*tilt_deg))
    scan = Scan(grid, ECHO_TIMES_S, FIELD_STRENGTH_T)
    mask = ((_offsets(grid, CENTRE_MM) / torch.tensor(SEMI_AXES_MM)[:, None, None, None]) ** 2).sum(0) < 1
    chi, rate_hz = torch.zeros(shape, dtype=torch.float64), torch.full(shape, 18.0, dtype=torch.float64)
    for centre, radius, value, rate in NUCLEI:
        ball = _offsets(grid, centre).square().sum(0).sqrt() < radius
        chi[ball], rate_hz[ball] = value, rate
    x, y, z = _offsets(grid, (6.0, 0.0, 0.0))
    rod = ((x**2 + z**2).sqrt() < 2.6) & (y.abs() < 14.0)
    chi[rod], rate_hz[rod] = 0.2, 40.0
    chi = torch.where(mask, chi, 0.0) * chi_scale
    air = _offsets(grid, AIR[0]).square().sum(0).sqrt() < AIR[1]
    sources = torch.where(air, AIR[2] * air_scale, chi)
    field_ppm = susceptibility_to_field(sources, grid, scan.b0_direction) + 0.8 + 0.004 * _offsets(grid, (0, 0, 0))[1]
    images = _echoes(field_ppm * scan.hz_per_ppm, rate_hz, mask, grid) + noise_sd * _noise(shape)
    real = torch.zeros((), dtype=dtype)
    return Scene(images.abs().to(real), images.angle().to(real), mask, chi.to(real), air, scan)


def _echoes(field_hz: torch.Tensor, rate_hz: torch.Tensor, mask: torch.Tensor, grid: Grid) -> torch.Tensor:
    times = torch.tensor(ECHO_TIMES_S, dtype=torch.float64)[:, None, None, None]
    texture = 1.0 + 0.1 * torch.cos(_offsets(grid, (2.0, 1.0, 0.0)) / 5.0).sum(0)
    decay = torch.where(mask, texture, 0.02) * torch.exp(-rate_hz * times)
    return torch.polar(decay, TWO_PI * field_hz * times)[:, None] * _coils(grid)


def _coils(grid: Grid) -> torch.Tensor:
    """Smooth sensitivities, each with a phase of its own, ``(coil, x, y, z)``."""
    places = ((30.0, 5.0, 0.0), (-20.0, 25.0, 10.0), (-5.0, -25.0, -20.0))
    coils = []
    for number, place in enumerate(places):
        x, y, z = _offsets(grid, place)
        size = 25.0 / (x**2 + y**2 + z**2 + 400.0).sqrt()
        coils.append(torch.polar(size, 0.7 * number + 0.03 * x - 0.02 * y * number))
    return torch.stack(coils)


def _noise(shape: tuple[int, int, int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(20261129)
    size = (len(ECHO_TIMES_S), 3, *shape)
    return torch.complex(*(torch.randn(size, generator=generator, dtype=torch.float64) for _ in range(2)))


def _offsets(grid: Grid, centre_mm: tuple[float, float, float]) -> torch.Tensor:
    """Distances from a point along the array axes [mm], ``(3, x, y, z)``; the middle voxel is at 0."""
    axes = [
        (torch.arange(n, dtype=torch.float64) - n // 2) * v - c
        for n, v, c in zip(grid.shape, grid.voxel_size_mm, centre_mm, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))
