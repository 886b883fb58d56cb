"""A head-like object under coils with smooth complex sensitivities, as raw data with known truth."""

from dataclasses import dataclass

import numpy as np
import torch

from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader, calibration_region
from dlqsm.core.scan import Grid

SHAPE = (12, 40, 28)
ECHO_TIMES_S = (0.004, 0.008, 0.012)


@dataclass(frozen=True)
class Phantom:
    """Images (echo, x, y, z), sensitivities (coil, x, y, z) with unit norm, field [Hz] and the object's mask."""

    images: torch.Tensor
    maps: torch.Tensor
    field_hz: torch.Tensor
    mask: torch.Tensor
    raw: MemoryRaw


def positions(shape: tuple[int, ...]) -> list[torch.Tensor]:
    axes = [(torch.arange(n, dtype=torch.float64) - n // 2) / n for n in shape]
    return list(torch.meshgrid(*axes, indexing="ij"))


def loop_coils(n_coils: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Sensitivities of small loops on a sphere round the object: dipole fields B_x - i B_y with random phases."""
    rng = np.random.default_rng(5)
    x, y, z = positions(shape)
    coils = []
    for coil in range(n_coils):
        height, angle = -0.6 + 1.2 * (coil + 0.5) / n_coils, 2.4 * coil
        ring = np.sqrt(1 - height**2)
        axis = np.array([ring * np.cos(angle), ring * np.sin(angle), height])
        dx, dy, dz = (p - 0.85 * a for p, a in zip((x, y, z), axis, strict=True))
        r2 = dx**2 + dy**2 + dz**2
        along = dx * axis[0] + dy * axis[1] + dz * axis[2]
        field = (3 * along * dx / r2 - axis[0]) - 1j * (3 * along * dy / r2 - axis[1])
        coils.append(field / r2**1.5 * np.exp(2j * np.pi * rng.random()))
    stacked = torch.stack(coils)
    return stacked / stacked.abs().square().sum(0).sqrt()


def make_phantom(
    mask: np.ndarray | None = None,
    *,
    n_coils: int = 6,
    noise_sd: float = 0.01,
    oversampling: int = 1,
    covariance: np.ndarray | None = None,
    noise_scan: bool = True,
    shape: tuple[int, int, int] = SHAPE,
) -> Phantom:
    """Scan the object on the sampled cells (all where None); noise of covariance noise_sd^2 C per component."""
    rng = np.random.default_rng(11)
    x, y, z = positions(shape)
    inside = (x / 0.45) ** 2 + (y / 0.42) ** 2 + (z / 0.42) ** 2 < 1
    texture = 1 + 0.3 * torch.cos(25 * y + 8 * x) * torch.cos(21 * z - 5 * y) + 0.2 * torch.cos(60 * y)
    field_hz = 40 * torch.exp(-((y - 0.1) ** 2 + z**2 + x**2) / 0.04) - 25 * y
    images = torch.stack(
        [inside * texture * torch.exp(1j * (2 * np.pi * field_hz * t + 0.4) - 25 * t) for t in ECHO_TIMES_S]
    )
    maps = loop_coils(n_coils, shape)
    wide = torch.zeros((len(images), n_coils, oversampling * shape[0], *shape[1:]), dtype=torch.complex128)
    start = oversampling * shape[0] // 2 - shape[0] // 2
    wide[:, :, start : start + shape[0]] = images[:, None] * maps
    kspace = fftc(wide, (-3, -2, -1)).numpy()
    sampled = np.ones(shape[1:], dtype=bool) if mask is None else mask
    lines = np.argwhere(sampled).astype(np.int32)
    rng.shuffle(lines)
    samples = kspace[:, :, :, lines[:, 0], lines[:, 1]].transpose(3, 0, 1, 2)
    root = noise_sd * np.linalg.cholesky(np.eye(n_coils) if covariance is None else covariance)

    def noise(n: int) -> np.ndarray:
        return root @ (rng.standard_normal((n_coils, n)) + 1j * rng.standard_normal((n_coils, n)))

    by_coil = noise(samples.size // n_coils).reshape(n_coils, len(lines), len(images), -1)
    samples = samples + np.moveaxis(by_coil, 0, 2)
    header = RawHeader(
        grid=Grid.centred(shape, (2.0, 2.0, 2.0), np.eye(3)),
        n_readout=oversampling * shape[0],
        n_coils=n_coils,
        n_echoes=len(images),
        lines=lines,
        calibration=calibration_region(sampled)[lines[:, 0], lines[:, 1]],
        echo_times_s=ECHO_TIMES_S,
        field_strength_t=3.0,
        noise=noise(20000).astype(np.complex64) if noise_scan else None,
    )
    raw = MemoryRaw(header, samples.astype(np.complex64))
    return Phantom(images.to(torch.complex64), maps.to(torch.complex64), field_hz.float(), inside, raw)


def every_second_row(shape: tuple[int, int] = SHAPE[1:], centre: int = 12) -> np.ndarray:
    """Uniform sampling at 2 along ky with a square of calibration lines."""
    mask = np.zeros(shape, dtype=bool)
    mask[::2] = True
    y, z = shape[0] // 2, shape[1] // 2
    mask[y - centre // 2 : y + centre // 2, z - centre // 2 : z + centre // 2] = True
    return mask
