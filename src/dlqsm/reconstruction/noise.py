"""Noise of reconstructed images: standard deviation of one component (real or imaginary) at each voxel."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from dlqsm.core.methods import Reconstruction
from dlqsm.core.units import TWO_PI
from dlqsm.reconstruction.combine import roemer

BOX_VOXELS = 7


def zero_filled_noise(sampling_mask: torch.Tensor, noise: float) -> float:
    """Noise SD of zero-filled coil images, everywhere: noise * sqrt(sampled / all), since the FFT is unitary."""
    return noise * float(sampling_mask.double().mean()) ** 0.5


def replica_slab(
    method: Reconstruction,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    planes: range,
    seed: int,
) -> torch.Tensor:
    """Reconstruct one echo of pure noise, the pseudo-replica of a linear method.

    Each x-plane draws from a generator of its own, so that the size of the slabs does not matter. Conjugate gradients
    that stop early are only nearly linear: the replica then states a few per cent too much.

    Parameters
    ----------
    method
        The reconstruction, linear in the data.
    sampling_mask, sensitivity_maps, noise
        As for the method.
    planes
        x-planes of the slab.
    seed
        Seed of the scan.

    Returns
    -------
    Image of noise, ``(x, y, z)`` complex; for methods that leave coils apart the first channel.

    References
    ----------
    Robson et al., Magn Reson Med 60:895 (2008), doi:10.1002/mrm.21728.
    """
    samples = _drawn_noise(sampling_mask, sensitivity_maps, noise, planes, (seed,))
    return method(samples.unsqueeze(0), sampling_mask, sensitivity_maps, noise)[0, 0]


def with_more_noise(
    method: Reconstruction,
    hybrid_slab: torch.Tensor,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    planes: range,
    seed: int,
) -> torch.Tensor:
    """Channels of the same samples with noise added once more: the pseudo-replica of a method not linear.

    A sparse prior removes most noise where there is nothing and keeps it at edges, so noise alone would tell nothing:
    its reconstruction is zero. Bias, as of contrast that the prior takes away, is not noise and is not in the replica.

    Parameters
    ----------
    method
        The reconstruction.
    hybrid_slab
        Samples ``(echo, coil, x, ky, kz)``.
    sampling_mask, sensitivity_maps, noise
        As for the method.
    planes
        x-planes of the slab.
    seed
        Seed of the scan.

    References
    ----------
    Robson et al., Magn Reson Med 60:895 (2008), doi:10.1002/mrm.21728.
    """
    noisier = hybrid_slab.clone()
    for echo, samples in enumerate(noisier):
        samples += _drawn_noise(sampling_mask, sensitivity_maps, noise, planes, (seed, echo))
    return method(noisier, sampling_mask, sensitivity_maps, noise)


def image_change(again: torch.Tensor, channels: torch.Tensor, sensitivity_maps: torch.Tensor) -> torch.Tensor:
    """How much channels ``(echo, channel, x, y, z)`` differ, ``(x, y, z)``.

    The rms over echoes; over channels too, weighted by their squared sensitivities, which is the noise of the combined
    image.
    """
    changes = ((one - other).abs().square() for one, other in zip(again, channels, strict=True))
    power = functools.reduce(torch.add, changes) / len(channels)
    weights = sensitivity_maps.abs().square()
    weights = torch.where(weights.sum(0) > 0, weights, 1.0 / len(weights))
    return (power[0] if len(power) == 1 else (weights * power).sum(0)).sqrt()


def reliability(noise_sd: torch.Tensor, power: torch.Tensor) -> torch.Tensor:
    """Noise that stands for the error of a method not linear, ``(x, y, z)``: the same everywhere.

    It is the rms of the noise of its replica over the signal's power. A prior that smooths leaves little noise where
    there is little detail, and what it has taken away shows in no replica. Weights of 1 / noise trusted the
    surroundings of nuclei too much, and pulled nuclei towards them; so did, half as much, those of its root
    (`docs/reconstruction.md`).

    Parameters
    ----------
    noise_sd
        Of the replica, ``(x, y, z)``.
    power
        Of the signal, ``(x, y, z)``.
    """
    level = ((power * noise_sd.square()).sum(dtype=torch.float64) / power.sum(dtype=torch.float64)).sqrt()
    return torch.full_like(noise_sd, float(level)) if bool(torch.isfinite(level)) else noise_sd


def field_change(
    again: torch.Tensor, channels: torch.Tensor, sensitivity_maps: torch.Tensor, echo_times_s: Sequence[float]
) -> torch.Tensor:
    """Field by which channels ``(echo, channel, x, y, z)`` differ, over `field_sd_hz`, ``(x, y, z)``.

    The slope over echo times of the phase between them, weighted by squared magnitude: what a fit of both fields with
    an offset would give, without unwrapping either. Zero where there is no signal.
    """
    one, other = (each[:, 0] if each.shape[1] == 1 else roemer(each, sensitivity_maps) for each in (again, channels))
    lever, information = _lever(other, echo_times_s)
    turned = (one * other.conj()).angle()
    return (lever * turned).sum(0) / information.sqrt().clamp_min(torch.finfo(information.dtype).tiny)


def field_sd_hz(images: torch.Tensor, echo_times_s: Sequence[float]) -> torch.Tensor:
    """Standard deviation [Hz] that noise of SD 1 a component gives the field of images ``(echo, x, y, z)``.

    The Cramér-Rao bound of a phase that grows linearly from an unknown offset:
    1 / (2 pi sqrt(sum_e |x_e|^2 (TE_e - <TE>)^2)); zero where there is no signal.
    """
    _, information = _lever(images, echo_times_s)
    return torch.where(information > 0, 1.0 / (TWO_PI * information.sqrt()), torch.zeros_like(information))


def _lever(images: torch.Tensor, echo_times_s: Sequence[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """|x_e|^2 (TE_e - <TE>) of each echo, and the sum of |x_e|^2 (TE_e - <TE>)^2."""
    times = torch.tensor(echo_times_s, device=images.device, dtype=torch.float32)[:, None, None, None]
    power = images.abs().square()
    mean_time = (power * times).sum(0) / power.sum(0).clamp_min(torch.finfo(power.dtype).tiny)
    return power * (times - mean_time), (power * (times - mean_time).square()).sum(0)


def _drawn_noise(
    sampling_mask: torch.Tensor, sensitivity_maps: torch.Tensor, noise: float, planes: range, seeds: tuple[int, ...]
) -> torch.Tensor:
    """Samples of noise of one echo, ``(coil, x, ky, kz)``."""
    shape = (sensitivity_maps.shape[0], *sampling_mask.shape, 2)
    drawn = [np.random.default_rng([*seeds, plane]).standard_normal(shape, dtype=np.float32) for plane in planes]
    samples = torch.view_as_complex(torch.from_numpy(np.stack(drawn, axis=1))).to(sensitivity_maps) * noise
    return samples * sampling_mask


def local_noise_sd(replica: torch.Tensor) -> torch.Tensor:
    """Standard deviation of one component of a noise image in a 7 x 7 x 7 box, over its voxels that are not zero."""
    power = _box_mean(replica.abs().square())
    share = _box_mean((replica != 0).to(power.dtype))
    return torch.where(replica != 0, (power / (2.0 * share.clamp_min(1e-6))).sqrt(), torch.zeros_like(power))


def local_rms(change: torch.Tensor) -> torch.Tensor:
    """Root mean square of a real volume in a 7 x 7 x 7 box, over its voxels that are not zero."""
    return 2.0**0.5 * local_noise_sd(change)


def _box_mean(volume: torch.Tensor) -> torch.Tensor:
    """Mean over the part of the box that is inside the volume."""
    # An odd box that fits even a volume of few planes.
    halves = [min(BOX_VOXELS, n) // 2 - (min(BOX_VOXELS, n) % 2 == 0) for n in volume.shape]
    edges = [2 * half + 1 for half in halves]
    return functional.avg_pool3d(volume[None, None], edges, stride=1, padding=halves, count_include_pad=False)[0, 0]
