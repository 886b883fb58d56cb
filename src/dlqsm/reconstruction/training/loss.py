"""What training minimises: the complex error of every echo, and terms for what the field is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch.nn import functional

from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.fourier import padded_grid
from dlqsm.core.scan import Grid, Vector
from dlqsm.reconstruction.training.draws import NOISE_SD, Example
from dlqsm.reconstruction.training.selfsupervised import predicted_samples

REGION_VOXELS: Final = (3, 5, 3)
"""About as large as the red nucleus in voxels of 1.4 x 1.4 x 2.5 mm."""
_PADDING_MM: Final = 12.0
_VOLUME: Final = (-3, -2, -1)


@dataclass(frozen=True)
class LossSettings:
    """Weights of the terms of `image_loss`; the complex error has weight 1.

    Parameters
    ----------
    phase
        Of the error across the target's direction in the complex plane, which is what turns the phase.
    field
        Of the error along the one direction, over echoes, that looks like another field.
    susceptibility
        Of the susceptibility that this error would be taken for, mean over `REGION_VOXELS`: little of it is noise, and
        it is what shifts the value of a nucleus.
    """

    phase: float = 0.0
    field: float = 0.0
    susceptibility: float = 0.0


def loss_of(images: torch.Tensor, example: Example, settings: LossSettings) -> torch.Tensor:
    """`image_loss` where the example has an image for its target, `held_out_loss` where it has samples."""
    if example.held_out is not None:
        return held_out_loss(images, example)
    return image_loss(images, example, settings)


def image_loss(images: torch.Tensor, example: Example, settings: LossSettings) -> torch.Tensor:
    """Weighted mean of |x - target|, each echo over its own mean magnitude plus the noise, plus the terms asked for.

    Late echoes are faint and hold most of the field, hence one scale an echo. Zero exactly where images equal target.
    """
    target, weights = example.target, example.weights
    error = images - target
    scale = target.abs().mean((1, 2, 3, 4), keepdim=True) + NOISE_SD
    loss = (weights * error.abs() / scale).mean()
    if settings.phase:
        loss = loss + settings.phase * (weights * across(error, target).abs() / scale).mean()
    if len(target) > 1 and (settings.field or settings.susceptibility):
        shift = along_field(error, target, example.echo_times_s)
        loss = loss + settings.field * (weights * shift.abs()).mean()
        regions = like_susceptibility(weights * shift, example.voxel_size_mm)
        loss = loss + settings.susceptibility * regions.abs().mean()
    return loss


def held_out_loss(images: torch.Tensor, example: Example) -> torch.Tensor:
    """Error of the samples that the network did not see, over their mean magnitude; L1 and L2 norms in equal parts.

    References
    ----------
    Yaman et al., Magn Reson Med 84:3172 (2020), doi:10.1002/mrm.28378.
    """
    if example.held_out is None:
        raise ValueError("the example has an image for its target; use image_loss")
    error = (predicted_samples(images, example.maps) - example.target) * example.held_out
    sums = (1, 2, 3, 4)
    norms = [
        torch.linalg.vector_norm(error, order, sums) / torch.linalg.vector_norm(example.target, order, sums)
        for order in (1, 2)
    ]
    return 0.5 * (norms[0] + norms[1]).mean()


def across(error: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Part of the error across the target's direction: to first order the magnitude times the phase error."""
    magnitude = target.abs()
    return (error * target.conj()).imag / magnitude.clamp_min(torch.finfo(magnitude.dtype).tiny)


def along_field(error: torch.Tensor, target: torch.Tensor, echo_times_s: tuple[float, ...]) -> torch.Tensor:
    """Error of the field, to first order, with its sign; ``(channel, x, y, z)``.

    A field f turns echo e by 2 pi f TE_e. With weights |x_e|^2 the fitted field's error is
    sum_e |x_e| (TE_e - <TE>) a_e over the root of sum_e |x_e|^2 (TE_e - <TE>)^2 in units of the
    noise, a_e being the error across x_e; the mean magnitude makes it comparable with the other terms.
    """
    times = torch.tensor(echo_times_s, device=target.device, dtype=torch.float32)[:, None, None, None, None]
    power = target.abs().square()
    tiny = torch.finfo(power.dtype).tiny
    mean_time = (power * times).sum(0) / power.sum(0).clamp_min(tiny)
    lever = target.abs() * (times - mean_time)
    # Voxels fainter than the noise have no field; the noise in the norm fades them out.
    scale = (lever.square().sum(0) + NOISE_SD**2 * (times - times.mean()).square().sum()).sqrt()
    return (lever * across(error, target)).sum(0) / scale / (power.mean().sqrt() + NOISE_SD)


def like_susceptibility(field: torch.Tensor, voxel_size_mm: Vector) -> torch.Tensor:
    """Adjoint of the dipole on a field ``(channel, x, y, z)`` with B0 along z, mean over regions.

    Susceptibility chi makes the field D chi; of an error e of the field, D e (D is its own adjoint) is where an
    inversion begins to see sources. Inside a sphere its own field is zero: the mean of e over a nucleus would miss that
    its dipole pattern was smoothed.
    """
    nx, ny, nz = field.shape[1:]
    wide = padded_grid(Grid((nx, ny, nz), voxel_size_mm), _PADDING_MM)
    kernel = dipole_kernel(wide, (0.0, 0.0, 1.0), field)
    # Not the transforms of `core`, through which no gradient goes on a CPU.
    spectrum = torch.fft.rfftn(field, wide.shape, _VOLUME) * kernel
    return mean_over_regions(torch.fft.irfftn(spectrum, wide.shape, _VOLUME)[:, :nx, :ny, :nz])


def mean_over_regions(values: torch.Tensor) -> torch.Tensor:
    """Mean of ``(channel, x, y, z)`` over the box of `REGION_VOXELS` around each voxel, as far as there are voxels."""
    # Odd, and no larger than the volume.
    size = [min(n, there - 1 + there % 2) for n, there in zip(REGION_VOXELS, values.shape[1:], strict=True)]
    half = [n // 2 for n in size]
    return functional.avg_pool3d(values.unsqueeze(0), size, 1, half, count_include_pad=False)[0]
