"""How good a network in training is: the error of the field [Hz] on fixed scans of held-out slabs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from dlqsm.acquisition.sampling import poisson
from dlqsm.core.checks import InputError
from dlqsm.core.lags import lag_sums
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.mdi import mdi, wrap
from dlqsm.reconstruction.training.draws import (
    DrawSettings,
    Example,
    self_supervised_example,
    supervised_example,
)
from dlqsm.reconstruction.training.loss import held_out_loss, like_susceptibility
from dlqsm.reconstruction.training.slabs import TrainingSlab, open_slab, slab_paths

_SEED: Final = 20261
CERTAIN_HZ: Final = 2.0
_EDGE_PLANES: Final = 2
"""Planes at each end of a slab whose neighbours are missing, left out of the judgement."""


@dataclass(frozen=True)
class ValidationSettings:
    """What a network is judged on.

    Parameters
    ----------
    accelerations
        Factors, each with one fixed mask a slab.
    most_slabs
        Slabs that are used.
    planes
        Central planes of each slab that are used; all where None.
    slope
        Of the masks' density.
    """

    accelerations: tuple[float, ...] = (4.0,)
    most_slabs: int = 2
    planes: int | None = None
    slope: float = 1.5


class Validation:
    """Fixed scans of held-out slabs, and the errors of a network's field on them.

    Parameters
    ----------
    folder
        Holds slab files.
    settings
        What is used of them.
    combines
        Whether the network combines coils.
    device
        Where networks run.
    """

    def __init__(self, folder: Path, settings: ValidationSettings, *, combines: bool, device: torch.device) -> None:
        files = [open_slab(path) for path in slab_paths(folder)][: settings.most_slabs]
        if not files:
            raise InputError(f"{folder}: there is no slab to validate on here")
        self.settings, self.combines, self.device = settings, combines, device
        self._slabs = [file.read(_central(file.shape[2], settings.planes)) for file in files]

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Mean errors over all cases; ``score``, the sum of the field's errors [Hz], is what is kept lowest."""
        with torch.no_grad():
            cases = [
                self._judge(network, slab.to(self.device), factor, index)
                for index, slab in enumerate(self._slabs)
                for factor in (self.settings.accelerations if slab.sampling_mask is None else (1.0,))
            ]
        names = [name for name in cases[0] if all(name in case for case in cases)]
        return {name: float(np.mean([case[name] for case in cases])) for name in names}

    def _judge(self, network: nn.Module, slab: TrainingSlab, factor: float, index: int) -> dict[str, float]:
        example = self._example(slab, factor, index)
        images = network(example.samples, example.sampling_mask, example.maps, 1.0)
        if example.held_out is not None:
            loss = float(held_out_loss(images, example))
            return {"score": loss, "held_out_error": loss}
        return image_errors(images, example, slab)

    def _example(self, slab: TrainingSlab, factor: float, index: int) -> Example:
        settings = DrawSettings()
        if slab.sampling_mask is not None:
            return self_supervised_example(slab, settings, np.random.default_rng([_SEED, index]))
        shape = (slab.kspace.shape[-2], slab.kspace.shape[-1])
        mask = torch.from_numpy(poisson(shape, factor, _SEED + index, slope=self.settings.slope).mask)
        # Noise from the CPU, so that every device judges the same scan.
        noise = torch.Generator().manual_seed(_SEED + index)
        on_cpu = supervised_example(slab.to(torch.device("cpu")), mask, 1.0, noise, settings, self.combines)
        moved = {name: _on(value, self.device) for name, value in vars(on_cpu).items()}
        return Example(**moved)


def image_errors(images: torch.Tensor, example: Example, slab: TrainingSlab) -> dict[str, float]:
    """Errors of images ``(echo, channel, x, y, z)`` of a slab, its end planes left out.

    The reference field is the true one where it is known, else that of the target. Where the two differ by more than
    `CERTAIN_HZ`, beside air and in large veins, no single field explains the voxel however it is reconstructed, and a
    few such voxels would outweigh the brain: they are not judged.

    Returns
    -------
    ``score`` and ``brain_hz`` with two echoes or more, and, where there are nuclei, ``nuclei_hz`` and ``dipole_hz``,
    what of the error would be taken for susceptibility of their regions (`like_susceptibility`); ``nrmse`` in the
    brain.
    """
    inner = _inner(images.shape[2])
    brain = slab.brain[inner]
    error, target = (images - example.target)[:, :, inner], example.target[:, :, inner]
    nrmse = float((error[..., brain].abs().square().sum() / target[..., brain].abs().square().sum()).sqrt())
    if len(images) < 2:
        return {"score": nrmse, "nrmse": nrmse}
    clean_hz = field_hz(target, slab)
    reference = clean_hz if slab.field_hz is None else slab.field_hz[inner]
    difference = field_difference_hz(field_hz(images[:, :, inner], slab), reference, slab.echo_times_s)
    certain = brain & (field_difference_hz(clean_hz, reference, slab.echo_times_s).abs() < CERTAIN_HZ)
    nuclei = slab.nuclei[inner] & certain
    errors = {"brain_hz": rms(difference[certain])}
    if bool(nuclei.any()):
        errors["nuclei_hz"] = rms(difference[nuclei])
        seen = like_susceptibility(torch.where(certain, difference, 0.0).unsqueeze(0), slab.voxel_size_mm)[0]
        errors["dipole_hz"] = rms(seen[nuclei])
    return {"score": sum(errors.values()), **errors, "nrmse": nrmse}


def field_hz(images: torch.Tensor, slab: TrainingSlab) -> torch.Tensor:
    """Wrapped field [Hz] by MDI of images in units of the noise, ``(x, y, z)``."""
    nx, ny, nz = images.shape[2:]
    scan = Scan(Grid((nx, ny, nz), slab.voxel_size_mm), slab.echo_times_s)
    estimate = mdi(lag_sums(images, torch.ones_like(images[0, 0].real)), scan)
    return estimate.wrapped_phase_rad / (TWO_PI * estimate.spacing_s)


def field_difference_hz(a: torch.Tensor, b: torch.Tensor, echo_times_s: Sequence[float]) -> torch.Tensor:
    """Difference of two fields [Hz] of which whole turns in one echo spacing are not known."""
    turn_s = TWO_PI * (echo_times_s[1] - echo_times_s[0])
    return wrap((a - b) * turn_s) / turn_s


def rms(values: torch.Tensor) -> float:
    """Root mean square; NaN where there are no values."""
    return math.sqrt(float(values.double().square().mean())) if values.numel() else math.nan


def _inner(n_planes: int) -> slice:
    edge = _EDGE_PLANES if n_planes > 3 * _EDGE_PLANES else 0
    return slice(edge, n_planes - edge)


def _central(n_planes: int, wanted: int | None) -> slice:
    n = n_planes if wanted is None else min(wanted, n_planes)
    return slice((n_planes - n) // 2, (n_planes - n) // 2 + n)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, torch.Tensor) else value
