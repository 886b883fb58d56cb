"""The misfit of combined images to the samples of all coils, portion by portion."""

from __future__ import annotations

from typing import Final

import torch

from dlqsm.core.fourier import fftc, ifftc
from dlqsm.core.solvers import conjugate_gradient_of_each
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.learned.consistency import PLANE

_AT_ONCE_BYTES: Final = {"cpu": 2**22, "cuda": 2**31}
"""Of features, or of coil images, at a time: larger ones cost a CPU a quarter more, spent on fetching memory."""


class Misfit:
    """Misfit |E x - y|^2 / 2 of combined images x to samples y of all coils, E = M F S, and what follows from it.

    The phases that centre the transform cancel in E^H E, which is applied without them.

    Parameters
    ----------
    samples
        y, ``(echo, coil, x, ky, kz)`` with a noise of 1, zero where not sampled.
    sampling_mask
        M, sampled cells ``(ky, kz)``, bool.
    maps
        S, coil sensitivities ``(coil, x, y, z)`` with sum over coils of |S|^2 = 1, or zero in the background.

    References
    ----------
    Pruessmann et al., Magn Reson Med 46:638 (2001), doi:10.1002/mrm.1241.
    """

    def __init__(self, samples: torch.Tensor, sampling_mask: torch.Tensor, maps: torch.Tensor) -> None:
        self.maps, self.mask = maps, sampling_mask
        self.keep = torch.fft.ifftshift(sampling_mask, dim=PLANE).to(maps.real.dtype)
        self._at_once = max(1, at_once_bytes(maps.device.type) // samples[:, :, :1].nbytes)
        right_sides = [roemer(ifftc(samples[:, :, x], PLANE), maps[:, x]) for x in self._parts()]
        self.right_side = torch.cat(right_sides, 1)
        self.inside = (maps != 0).any(0)
        self.noise_level = self.keep.mean().sqrt()

    def gradient(self, images: torch.Tensor) -> torch.Tensor:
        """E^H (E x - y), of images ``(echo, x, y, z)`` and of their shape."""
        result = self._normal(images)
        return result - self.right_side if torch.is_grad_enabled() else result.sub_(self.right_side)

    def left_over(self, images: torch.Tensor, n_steps: int) -> torch.Tensor:
        """What n steps of conjugate gradients on E^H E d = E^H (y - E x) find, each plane and echo by itself."""
        found, _ = conjugate_gradient_of_each(
            self._normal, self.gradient(images).neg_(), n_batch_axes=2, tolerance=0.0, max_iterations=n_steps
        )
        return found

    def _normal(self, images: torch.Tensor) -> torch.Tensor:
        """E^H E x."""
        if torch.is_grad_enabled():
            return self._normal_of(images, slice(None))
        result = torch.empty_like(images)
        for x in self._parts():
            result[:, x] = self._normal_of(images, x)
        return result

    def _normal_of(self, images: torch.Tensor, x: slice) -> torch.Tensor:
        maps = self.maps[:, x]
        kspace = torch.fft.fft2(images[:, x].unsqueeze(1) * maps) * self.keep
        return (torch.fft.ifft2(kspace) * maps.conj()).sum(1)

    def _parts(self) -> list[slice]:
        return portions(self.maps.shape[1], self._at_once)

    def with_samples(self, images: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Coil images ``(echo, coil, x, y, z)`` of images ``(echo, x, y, z)``, with the measured samples as given."""
        kspace = fftc(images.unsqueeze(1) * self.maps, PLANE)
        return ifftc(torch.where(self.mask, samples, kspace), PLANE)


def at_once_bytes(device_type: str) -> int:
    """Size of a portion that a device works on at a time [bytes]."""
    return _AT_ONCE_BYTES.get(device_type, _AT_ONCE_BYTES["cpu"])


def portions(n_planes: int, at_once: int) -> list[slice]:
    """Slices of at most ``at_once`` planes."""
    return [slice(first, min(first + at_once, n_planes)) for first in range(0, n_planes, at_once)]
