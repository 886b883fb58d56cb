"""One step's example: planes and echoes of a slab under a random mask, random noise and random symmetries."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import ifftc
from dlqsm.core.scan import Vector
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.training.augmentation import conjugate, mirror, mix_coils, turn_phase
from dlqsm.reconstruction.training.selfsupervised import split_samples
from dlqsm.reconstruction.training.slabs import SlabSource, TrainingSlab

MaskOf = Callable[[tuple[int, int], Generator], NDArray[np.bool_]]
"""Draws a sampling mask ``(ny, nz)``."""
NOISE_SD = 1.0
_PLANE = (-2, -1)
_EDGE_LIMIT = 4.0


@dataclass(frozen=True)
class DrawSettings:
    """What varies between examples.

    Parameters
    ----------
    planes
        x-planes of an example.
    max_echoes
        Most echoes of an example.
    all_echoes_share
        Share of examples with as many echoes as allowed; the others have any number from one up.
    max_coils
        Most coils, for networks that treat coils one by one; all where None.
    most_noise
        Noise is raised by a factor between 1 and this, log-uniform.
    offset_hz
        Range of a frequency offset [Hz], of either sign.
    symmetries
        Mix coils, mirror and conjugate at random.
    nuclei_weight, edge_weight, outside_weight
        Weight that voxels of nuclei have beside 1; that of voxels whose image changes as much as the mean of the slab;
        and weight of voxels outside the brain.
    held_out_share
        Share of the samples that self-supervised training keeps for the loss.
    """

    planes: int = 4
    max_echoes: int = 8
    all_echoes_share: float = 0.5
    max_coils: int | None = None
    most_noise: float = 2.5
    offset_hz: float = 30.0
    symmetries: bool = True
    nuclei_weight: float = 0.0
    edge_weight: float = 0.0
    outside_weight: float = 1.0
    held_out_share: float = 0.4


@dataclass(frozen=True, eq=False)
class Example:
    """What a network sees in one step, and what it is judged by.

    Parameters
    ----------
    samples
        ``(echo, coil, x, ky, kz)``, zero where not sampled, noise of SD 1 a component.
    sampling_mask
        ``(ky, kz)`` bool.
    maps
        ``(coil, x, y, z)``.
    target
        Images ``(echo, channel, x, y, z)`` that the network should return; self-supervised the samples held out,
        ``(echo, coil, x, ky, kz)``.
    weights
        Weight of each voxel in the loss, ``(x, y, z)``.
    echo_times_s
        Echo times [s].
    voxel_size_mm
        Voxel edges [mm].
    held_out
        Cells ``(ky, kz)`` of the held-out samples; None where the target is an image.
    """

    samples: torch.Tensor
    sampling_mask: torch.Tensor
    maps: torch.Tensor
    target: torch.Tensor
    weights: torch.Tensor
    echo_times_s: tuple[float, ...]
    voxel_size_mm: Vector
    held_out: torch.Tensor | None = None


def draw_example(
    file: SlabSource,
    mask_of: MaskOf,
    settings: DrawSettings,
    seeds: tuple[int, ...],
    device: torch.device,
    combines: bool,
) -> Example:
    """Draw an example; all of it follows from the seeds (noise also from the kind of device).

    Parameters
    ----------
    file
        Slab to draw from; one that is not fully sampled makes a self-supervised example.
    mask_of
        Draws sampling masks.
    settings
        What varies.
    seeds
        Of this example.
    device
        Where the example is made and used.
    combines
        Whether the network combines coils.
    """
    rng = np.random.default_rng(seeds)
    slab = _read_some(file, settings, rng).to(device)
    slab = _vary(slab, settings, rng)
    noise = torch.Generator(device).manual_seed(int(rng.integers(2**63)))
    if slab.sampling_mask is not None:
        return self_supervised_example(slab, settings, rng)
    mask = torch.from_numpy(mask_of((slab.kspace.shape[-2], slab.kspace.shape[-1]), rng)).to(device)
    factor = math.exp(float(rng.uniform(0.0, math.log(settings.most_noise))))
    return supervised_example(slab, mask, factor, noise, settings, combines)


def supervised_example(
    slab: TrainingSlab,
    sampling_mask: torch.Tensor,
    noise_factor: float,
    noise: torch.Generator,
    settings: DrawSettings,
    combines: bool,
) -> Example:
    """Scan a fully sampled slab: add noise up to ``noise_factor`` times its own, keep the sampled cells.

    Target is the linear image of what was there before noise was added, in units of the noise that is there now.
    """
    clean = slab.kspace / noise_factor
    added = math.sqrt(max(NOISE_SD**2 - (slab.noise_sd / noise_factor) ** 2, 0.0))
    samples = (clean + added * white_noise(clean, noise)) * sampling_mask
    target = linear_images(clean, slab.maps, combines)
    weights = voxel_weights(slab, target, settings)
    return Example(samples, sampling_mask, slab.maps, target, weights, slab.echo_times_s, slab.voxel_size_mm)


def self_supervised_example(slab: TrainingSlab, settings: DrawSettings, rng: Generator) -> Example:
    """Part the samples of a scan into those that the network sees and those that it is judged by."""
    if slab.sampling_mask is None:
        raise InputError("a fully sampled slab needs no self-supervision; train on its images")
    mask = slab.sampling_mask.cpu().numpy()
    seen, held_out = (
        torch.from_numpy(part).to(slab.kspace.device) for part in split_samples(mask, settings.held_out_share, rng)
    )
    weights = torch.ones_like(slab.brain, dtype=torch.float32)
    known = weights, slab.echo_times_s, slab.voxel_size_mm
    return Example(slab.kspace * seen, seen, slab.maps, slab.kspace * held_out, *known, held_out)


def linear_images(kspace: torch.Tensor, maps: torch.Tensor, combines: bool) -> torch.Tensor:
    """Inverse Fourier transform of each coil, combined to one channel where ``combines``."""
    images = ifftc(kspace, _PLANE)
    return roemer(images, maps).unsqueeze(1) if combines else images


def white_noise(like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Complex noise of SD 1 a component, of a tensor's shape."""
    drawn = torch.randn((*like.shape, 2), generator=generator, device=like.device)
    return torch.view_as_complex(drawn)


def voxel_weights(slab: TrainingSlab, target: torch.Tensor, settings: DrawSettings) -> torch.Tensor:
    """Weights of the voxels in the loss, ``(x, y, z)``, of mean 1."""
    weights = torch.where(slab.brain, 1.0, settings.outside_weight)
    if settings.nuclei_weight:
        weights = weights + settings.nuclei_weight * slab.nuclei
    if settings.edge_weight:
        change = _change(target)
        weights = weights + settings.edge_weight * (change / change.mean().clamp_min(1e-12)).clamp_max(_EDGE_LIMIT)
    return weights / weights.mean().clamp_min(1e-12)


def _change(images: torch.Tensor) -> torch.Tensor:
    """How much the images differ from their neighbours along y and z, rms over echoes and channels."""
    power = torch.zeros(images.shape[2:], device=images.device)
    for axis in _PLANE:
        power = power + (images.roll(-1, axis) - images.roll(1, axis)).abs().square().sum((0, 1))
    return power.sqrt()


def _read_some(file: SlabSource, settings: DrawSettings, rng: Generator) -> TrainingSlab:
    n_echoes, _, n_planes, _, _ = file.shape
    n = min(settings.planes, n_planes)
    first = int(rng.integers(n_planes - n + 1))
    return file.read(slice(first, first + n), _some_echoes(n_echoes, settings, rng))


def _some_echoes(n_echoes: int, settings: DrawSettings, rng: Generator) -> list[int]:
    """Evenly spaced echoes: most often as many as allowed, else any number, of every or every second echo."""
    most = min(n_echoes, settings.max_echoes)
    n = most if rng.random() < settings.all_echoes_share else int(rng.integers(1, most + 1))
    stride = 2 if (n - 1) * 2 < n_echoes and rng.random() < 0.5 else 1
    first = int(rng.integers(n_echoes - (n - 1) * stride))
    return [first + stride * k for k in range(n)]


def _vary(slab: TrainingSlab, settings: DrawSettings, rng: Generator) -> TrainingSlab:
    """Turn the phase; and mix coils, mirror and conjugate where asked for."""
    slab = turn_phase(slab, float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(-1, 1)) * settings.offset_hz)
    n_coils = slab.kspace.shape[1]
    kept = min(n_coils, settings.max_coils or n_coils)
    unitary = (
        torch.from_numpy(_random_unitary(n_coils, rng)[:kept]) if settings.symmetries else torch.eye(n_coils)[:kept]
    )
    slab = mix_coils(slab, unitary.to(slab.kspace))
    if settings.symmetries:
        slab = mirror(slab, np.flatnonzero(rng.random(3) < 0.5).tolist())
        slab = conjugate(slab) if rng.random() < 0.5 else slab
    return replace(slab)


def _random_unitary(n: int, rng: Generator) -> NDArray[np.complex128]:
    """Uniformly distributed unitary matrix: the Q of complex normal numbers, with R's phases taken out."""
    q, r = np.linalg.qr(rng.standard_normal((n, n)) + 1j * rng.standard_normal((n, n)))
    diagonal = np.diagonal(r)
    return np.asarray(q * (diagonal / np.abs(diagonal)))
