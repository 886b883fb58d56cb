"""A training slab whose image and sensitivities are known, and a small real network to train on it."""

from typing import Any, ClassVar

import numpy as np
import torch
from coil_phantom import ECHO_TIMES_S, loop_coils, positions
from torch import nn

from dlqsm.core.fourier import fftc, ifftc
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.training.slabs import TrainingSlab

SHAPE = (6, 32, 25)
SNR = 60.0


def make_slab(
    seed: int = 0, shape: tuple[int, int, int] = SHAPE, n_coils: int = 4
) -> tuple[TrainingSlab, torch.Tensor]:
    """Slab without noise, and its images ``(echo, x, y, z)``; each seed has its own texture and field."""
    rng = np.random.default_rng(seed)
    x, y, z = positions(shape)
    inside = (y / 0.42) ** 2 + (z / 0.4) ** 2 < 1
    a, b, c = rng.uniform(8, 24, 3)
    texture = 1 + 0.3 * torch.cos(a * y + 3 * x) * torch.cos(b * z) + 0.3 * torch.cos(c * (y + z))
    y0, z0 = rng.uniform(-0.15, 0.15, 2)
    nuclei = ((y - y0) ** 2 + (z - z0) ** 2 < 0.012) & inside
    field_hz = 12 * nuclei + 20 * y
    images = torch.stack(
        [SNR * inside * texture * torch.exp(1j * (2 * np.pi * field_hz * t + 0.4) - 25 * t) for t in ECHO_TIMES_S]
    )
    maps = loop_coils(n_coils, shape)
    kspace = fftc(images[:, None] * maps, (-2, -1)).to(torch.complex64)
    slab = TrainingSlab(
        kspace=kspace,
        maps=maps.to(torch.complex64),
        brain=inside,
        nuclei=nuclei,
        echo_times_s=ECHO_TIMES_S,
        voxel_size_mm=(2.0, 2.0, 2.0),
        snr=SNR,
        field_hz=field_hz.float(),
        source=f"phantom {seed}",
    )
    return slab, images.to(torch.complex64)


class TinyNetwork(nn.Module):
    """Two steps of: convolutions add what is missing, then a gradient step towards the samples."""

    NAME: ClassVar[str] = "tiny"
    COMBINES: ClassVar[bool] = True

    def __init__(self, *, features: int = 8) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {"features": features}
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2, features, 3, padding=1), nn.ReLU(), nn.Conv2d(features, 2, 3, padding=1))
            for _ in range(2)
        )
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(
        self, hybrid_slab: torch.Tensor, sampling_mask: torch.Tensor, sensitivity_maps: torch.Tensor, noise: float
    ) -> torch.Tensor:
        image = roemer(ifftc(hybrid_slab, (-2, -1)), sensitivity_maps).unsqueeze(1)
        for block in self.blocks:
            parts = torch.view_as_real(image).flatten(0, 2).movedim(-1, 1) / (SNR * noise)
            change = block(parts).movedim(1, -1).contiguous() * (SNR * noise)
            image = image + torch.view_as_complex(change).view_as(image)
            left = (fftc(image * sensitivity_maps, (-2, -1)) - hybrid_slab) * sampling_mask
            image = image - roemer(ifftc(left, (-2, -1)), sensitivity_maps).unsqueeze(1)
        return image


def random_mask(shape: tuple[int, int], rng: np.random.Generator, share: float = 0.4) -> np.ndarray:
    """Cells at random, with a sampled square in the middle."""
    mask = rng.random(shape) < share
    y, z = shape[0] // 2, shape[1] // 2
    mask[y - 4 : y + 4, z - 4 : z + 4] = True
    return mask
