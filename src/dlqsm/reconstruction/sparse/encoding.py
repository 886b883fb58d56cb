"""Encoding of x-planes: coils, Fourier transform along y and z, sampling; applied plane by plane, in cache."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.core.fourier import ifftc

_PLANE = (-2, -1)
_CPU_BYTES = 400_000
_GPU_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class Encoding:
    """E = M F S of a slab, or E = M F for each coil apart, as right side E^H y and normal map E^H E.

    Images are ``(echo, channel, x, y, z)``: one channel where coils are combined, else one a coil. The phases that
    centre the Fourier transform are diagonal in k-space, as M is, and cancel in E^H E, which needs no shifts.

    Parameters
    ----------
    maps
        ``(x, coil, y, z)`` where coils are combined; None where each is reconstructed by itself.
    conjugate
        Conjugate of the maps, in memory of its own; None with them.
    keep
        Sampling mask ``(ky, kz)`` in FFT order, of the images' complex type.
    planes
        x-planes in which any sensitivity is above zero; images are zero elsewhere.
    """

    maps: torch.Tensor | None
    conjugate: torch.Tensor | None
    keep: torch.Tensor
    planes: torch.Tensor

    def right_side(self, hybrid_slab: torch.Tensor) -> torch.Tensor:
        """E^H y of samples ``(echo, coil, x, ky, kz)``, zero where not sampled."""
        if self.conjugate is None:
            return ifftc(hybrid_slab, _PLANE)
        n_echoes, _, *shape = hybrid_slab.shape
        result = hybrid_slab.new_zeros((n_echoes, 1, *shape))
        for plane in self.planes.tolist():
            maps = self.conjugate[plane]
            for echo, out in zip(hybrid_slab, result, strict=True):
                out[0, plane] = (ifftc(echo[:, plane], _PLANE) * maps).sum(0)
        return result

    def normal(self, images: torch.Tensor) -> torch.Tensor:
        """E^H E x."""
        result = torch.zeros_like(images)
        for some in self.planes.split(self._planes_at_once(images)) if len(self.planes) else ():
            where: slice | torch.Tensor = slice(int(some[0]), int(some[0]) + 1) if len(some) == 1 else some
            for echo, out in zip(images, result, strict=True):
                out[:, where] = self._normal_of_planes(echo[:, where], where)
        return result

    def _normal_of_planes(self, planes: torch.Tensor, where: slice | torch.Tensor) -> torch.Tensor:
        """E^H E of planes ``(channel, x, y, z)`` of one echo."""
        if self.maps is None or self.conjugate is None:
            return torch.fft.ifft2(torch.fft.fft2(planes).mul_(self.keep))
        kspace = torch.fft.fft2(planes[0].unsqueeze(1) * self.maps[where]).mul_(self.keep)
        return torch.fft.ifft2(kspace).mul_(self.conjugate[where]).sum(1).unsqueeze(0)

    def _planes_at_once(self, images: torch.Tensor) -> int:
        n_coils = images.shape[1] if self.maps is None else self.maps.shape[1]
        plane_bytes = images.element_size() * n_coils * images.shape[-1] * images.shape[-2]
        return max(1, (_CPU_BYTES if images.device.type == "cpu" else _GPU_BYTES) // plane_bytes)


def combined_encoding(sensitivity_maps: torch.Tensor, sampling_mask: torch.Tensor) -> Encoding:
    """E = M F S for one image of all coils; maps ``(coil, x, y, z)`` with sum over coils of |S|^2 at most 1."""
    maps = sensitivity_maps.movedim(0, 1).contiguous()
    planes = torch.nonzero((maps != 0).flatten(1).any(1)).flatten()
    return Encoding(maps, maps.conj().resolve_conj(), _fft_order(sampling_mask, maps.dtype), planes)


def separate_encoding(hybrid_slab: torch.Tensor, sampling_mask: torch.Tensor) -> Encoding:
    """E = M F for the image of each coil."""
    planes = torch.arange(hybrid_slab.shape[2], device=hybrid_slab.device)
    return Encoding(None, None, _fft_order(sampling_mask, hybrid_slab.dtype), planes)


def _fft_order(sampling_mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.fft.ifftshift(sampling_mask, dim=_PLANE).to(dtype)
