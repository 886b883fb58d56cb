"""Fourier transforms: centred and orthonormal for images, plain and real for convolutions of volumes."""

from collections.abc import Sequence

import numpy as np
import scipy.fft
import torch
from torch.nn import functional

from dlqsm.core.scan import Grid, Vector


def fftc(image: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Centred orthonormal FFT: image centre and k-space centre both at index ``n // 2``."""
    shifted = torch.fft.ifftshift(image, dim=tuple(axes))
    return torch.fft.fftshift(torch.fft.fftn(shifted, dim=tuple(axes), norm="ortho"), dim=tuple(axes))


def ifftc(kspace: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
    """Inverse of `fftc` (and its adjoint, since both are unitary)."""
    shifted = torch.fft.ifftshift(kspace, dim=tuple(axes))
    return torch.fft.fftshift(torch.fft.ifftn(shifted, dim=tuple(axes), norm="ortho"), dim=tuple(axes))


def rfft3(volume: torch.Tensor) -> torch.Tensor:
    """Real FFT over the last three axes; on the CPU SciPy's, which is twice as fast as torch's there."""
    if volume.device.type == "cpu":
        out = scipy.fft.rfftn(volume.detach().numpy(), axes=(-3, -2, -1), workers=torch.get_num_threads())
        return torch.from_numpy(out)
    return torch.fft.rfftn(volume, dim=(-3, -2, -1))


def irfft3(spectrum: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Inverse of `rfft3` to a volume whose last three axes have ``shape``."""
    if spectrum.device.type == "cpu":
        out = scipy.fft.irfftn(
            spectrum.detach().numpy(), s=tuple(shape), axes=(-3, -2, -1), workers=torch.get_num_threads()
        )
        return torch.from_numpy(out)
    return torch.fft.irfftn(spectrum, s=tuple(shape), dim=(-3, -2, -1))


def wavenumbers(
    grid: Grid, like: torch.Tensor, *, half: bool = True
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Broadcastable kx, ky, kz [1/mm] of the uncentred FFT; the last axis halved for real transforms."""
    spec = {"dtype": like.real.dtype, "device": like.device}
    (nx, ny, nz), (vx, vy, vz) = grid.shape, grid.voxel_size_mm
    kz = torch.fft.rfftfreq(nz, vz, **spec) if half else torch.fft.fftfreq(nz, vz, **spec)
    kx, ky = torch.fft.fftfreq(nx, vx, **spec), torch.fft.fftfreq(ny, vy, **spec)
    return kx[:, None, None], ky[None, :, None], kz[None, None, :]


def padded_grid(grid: Grid, margin_mm: float) -> Grid:
    """Grid with at least ``margin_mm`` of room at the far end of each axis, and sizes that transform fast."""
    need = [n + int(np.ceil(margin_mm / v)) for n, v in zip(grid.shape, grid.voxel_size_mm, strict=True)]
    nx, ny, nz = (int(scipy.fft.next_fast_len(n, real=True)) for n in need)
    return Grid((nx, ny, nz), grid.voxel_size_mm, grid.rotation, grid.origin_mm)


def pad_to(volume: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Append zeros at the far ends of the last three axes up to the shape of ``grid``."""
    missing = [b - a for a, b in zip(volume.shape[-3:], grid.shape, strict=True)]
    return functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))


def crop_to(volume: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Undo `pad_to`: the leading corner of the last three axes with the shape of ``grid``."""
    nx, ny, nz = grid.shape
    return volume[..., :nx, :ny, :nz]


def crop_kspace(kspace: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Central part of a centred k-space, over the last ``len(shape)`` axes, with the centre at ``n // 2`` kept."""
    for axis, n in zip(range(-len(shape), 0), shape, strict=True):
        kspace = kspace.narrow(axis, kspace.shape[axis] // 2 - n // 2, n)
    return kspace


def bounding_box(mask: torch.Tensor, margin_mm: float, voxel_size_mm: Vector) -> tuple[slice, slice, slice]:
    """Slices of the box round ``mask`` with a margin [mm], inside the array."""
    found = []
    for axis in range(3):
        line = torch.nonzero(_project(mask, axis)).flatten()
        margin = int(np.ceil(margin_mm / voxel_size_mm[axis]))
        found.append(slice(max(int(line[0]) - margin, 0), min(int(line[-1]) + margin + 1, mask.shape[axis])))
    return found[0], found[1], found[2]


def _project(mask: torch.Tensor, axis: int) -> torch.Tensor:
    return mask.movedim(axis, 0).flatten(1).any(dim=1)
