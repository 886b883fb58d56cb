"""Changes of a scan that are scans again: mixtures of coils, phases, mirror images and the opposite phase."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dlqsm.core.units import TWO_PI
from dlqsm.reconstruction.training.slabs import TrainingSlab


def mix_coils(slab: TrainingSlab, unitary: torch.Tensor) -> TrainingSlab:
    """Replace the coils by orthonormal mixtures of them: noise stays white, the combined image what it was.

    Parameters
    ----------
    slab
        The slab.
    unitary
        ``(coil, coil)``; with fewer rows than columns coils are left out.
    """
    mixer = unitary.to(slab.kspace)
    return replace(
        slab,
        kspace=torch.einsum("dc,ecxyz->edxyz", mixer, slab.kspace),
        maps=torch.einsum("dc,cxyz->dxyz", mixer, slab.maps),
    )


def turn_phase(slab: TrainingSlab, phase_rad: float, offset_hz: float) -> TrainingSlab:
    """Turn all samples by one phase [rad] and, growing with echo time, by a frequency [Hz]."""
    angles = [phase_rad + TWO_PI * offset_hz * time for time in slab.echo_times_s]
    turn = torch.polar(torch.ones(len(angles)), torch.tensor(angles)).to(slab.kspace)
    field_hz = None if slab.field_hz is None else slab.field_hz + offset_hz
    return replace(slab, kspace=slab.kspace * turn[:, None, None, None, None], field_hz=field_hz)


def mirror(slab: TrainingSlab, axes: Sequence[int]) -> TrainingSlab:
    """Mirror the image along axes (0 x, 1 y, 2 z) about voxel ``n // 2``; along x about the middle of the slab.

    The Fourier transform maps a mirrored image to the mirrored k-space, so that samples along y and z are mirrored
    about their own centre ``n // 2``.
    """
    changed = slab
    for axis in axes:
        change = _flip if axis == 0 else reflect
        tensors = {name: getattr(changed, name) for name in ("kspace", "maps", "brain", "nuclei", "field_hz")}
        mirrored: dict[str, Any] = {
            name: None if value is None else change(value, axis - 3) for name, value in tensors.items()
        }
        mask = changed.sampling_mask
        if mask is not None and axis > 0:
            mask = reflect(mask, axis - 3)
        changed = replace(changed, **mirrored, sampling_mask=mask)
    return changed


def conjugate(slab: TrainingSlab) -> TrainingSlab:
    """Turn the phase of everything to its opposite: image and maps are conjugated, the field changes its sign.

    The k-space of conj(x) is conj(X(-k)).
    """
    opposite = reflect(reflect(slab.kspace, -2), -1)
    mask = slab.sampling_mask
    return replace(
        slab,
        kspace=opposite.conj().resolve_conj(),
        maps=slab.maps.conj().resolve_conj(),
        field_hz=None if slab.field_hz is None else -slab.field_hz,
        sampling_mask=None if mask is None else reflect(reflect(mask, -2), -1),
    )


def reflect(values: torch.Tensor, axis: int) -> torch.Tensor:
    """Mirror about index ``n // 2`` with period n: entry ``n // 2 + k`` comes from ``n // 2 - k``."""
    n = values.shape[axis]
    flipped = values.flip(axis)
    return flipped.roll(1, axis) if n % 2 == 0 else flipped


def _flip(values: torch.Tensor, axis: int) -> torch.Tensor:
    return values.flip(axis)
