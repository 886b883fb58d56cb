"""Unwrapping of all echoes at once: each voxel's phases lie on a line in echo time, so two maps tell all turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from dlqsm.core.checks import InputError, require_mask, require_shape
from dlqsm.core.fourier import bounding_box
from dlqsm.core.methods import Unwrap
from dlqsm.core.scan import Scan
from dlqsm.qsm import echo_kernels as kernels

SAME_SPACING: Final = 1.01
"""Echo spacings up to this many times the shortest one count as equal to it."""
LARGEST_DISTANCE_RAD: Final = 0.8
"""Mean distance from the line above which an echo is unwrapped by itself; pure noise lies pi / 2 off."""


@dataclass(frozen=True, slots=True)
class EchoReport:
    """How the unwrapping of all echoes went.

    Parameters
    ----------
    distances_rad
        Mean distance of each echo's phase from the line of its voxel, weighted by magnitude [rad].
    unwrapped_alone
        Indices of echoes too far from their lines (bipolar readout, flow, motion), which were unwrapped by themselves.
    """

    distances_rad: tuple[float, ...]
    unwrapped_alone: tuple[int, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain numbers for a JSON file."""
        return {"distances_rad": list(self.distances_rad), "unwrapped_alone": list(self.unwrapped_alone)}


def unwrap_echoes(
    wrapped_phase_rad: torch.Tensor,
    magnitude: torch.Tensor | None,
    mask: torch.Tensor,
    scan: Scan,
    unwrap: Unwrap,
) -> tuple[torch.Tensor, torch.Tensor, EchoReport]:
    """Unwrap every echo by the line phi_e = phi_0 + s TE_e that all echoes of a voxel share.

    The slope s is the phase of the summed products of neighbouring echoes, unwrapped in space; the weighted line
    through the echoes refines it and gives the offset phi_0, which is unwrapped in space as well where it wraps. Each
    echo then takes the turns that are nearest to its line, which differ from the input by whole turns exactly.

    Parameters
    ----------
    wrapped_phase_rad
        Phase [rad], ``(echo, x, y, z)``, finite inside the mask.
    magnitude
        Magnitude of the echoes, any unit, ``(echo, x, y, z)``; equal where absent.
    mask
        Voxels to unwrap, bool ``(x, y, z)``.
    scan
        Needs one echo time for each echo, two or more.
    unwrap
        Unwraps one map in space.

    Returns
    -------
    Unwrapped phase [rad], zero outside the mask; the mask without voxels whose slope or offset has uncertain turns;
    and how it went.

    Raises
    ------
    InputError
        If shapes disagree, the mask is empty, or there are fewer than two echoes.

    References
    ----------
    Dymerska et al., Magn Reson Med 85:2294 (2021), doi:10.1002/mrm.28563 (unwrapping along echo time).
    """
    times, pairs = _checked_times(wrapped_phase_rad, magnitude, mask, scan)
    box = bounding_box(mask, 0.0, scan.grid.voxel_size_mm)
    inside = np.ascontiguousarray(mask[box].cpu().numpy())
    phase = _flat(wrapped_phase_rad, box)
    size = np.ones_like(phase) if magnitude is None else _flat(magnitude, box)
    size = size / max(float(size[0][inside.ravel()].mean()), 1e-30)
    flat = inside.ravel()
    slope, certain = _in_space(kernels.slopes(phase, size, flat, pairs), box, mask, mask, scan, unwrap)
    offset, slope = kernels.lines(phase, size, flat, times, slope, pairs)
    if _jumps(offset.reshape(inside.shape), inside):
        offset, certain = _in_space(offset, box, mask, certain, scan, unwrap)
    unwrapped, distances, alone = torch.zeros_like(wrapped_phase_rad), [], []
    for e, time in enumerate(times):
        values, distance = kernels.nearest_to_line(phase[e], size[e], flat, time, offset, slope)
        distances.append(float(distance))
        if distance <= LARGEST_DISTANCE_RAD:
            unwrapped[(e, *box)] = torch.from_numpy(values.reshape(inside.shape)).to(unwrapped)
        else:
            alone.append(e)
            unwrapped[e], sure, _ = unwrap(wrapped_phase_rad[e], mask, scan, None)
            certain = certain & sure
    return unwrapped, certain, EchoReport(tuple(distances), tuple(alone))


Box = tuple[slice, slice, slice]


def _in_space(
    values: kernels.Array, box: Box, mask: torch.Tensor, certain: torch.Tensor, scan: Scan, unwrap: Unwrap
) -> tuple[kernels.Array, torch.Tensor]:
    """Unwrap a flat map of the box in space; what is uncertain there as well leaves ``certain``."""
    full = torch.zeros(mask.shape, dtype=torch.from_numpy(values).dtype)
    full[box] = torch.from_numpy(values.reshape(full[box].shape))
    unwrapped, sure, _ = unwrap(full, mask.cpu(), scan, None)
    return np.ascontiguousarray(unwrapped[box].numpy()).ravel(), certain & sure.to(certain.device)


def _flat(images: torch.Tensor, box: Box) -> kernels.Array:
    cut = images[(slice(None), *box)].detach().cpu()
    return np.ascontiguousarray(cut.numpy()).reshape(images.shape[0], -1)


def _jumps(values: kernels.Array, inside: kernels.Array) -> bool:
    """Whether any two neighbours inside the mask differ by more than half a turn."""
    for axis in range(3):
        after, before = [slice(None)] * 3, [slice(None)] * 3
        after[axis], before[axis] = slice(1, None), slice(None, -1)
        a, b = tuple(after), tuple(before)
        if bool(((np.abs(values[a] - values[b]) > np.pi) & inside[a] & inside[b]).any()):
            return True
    return False


def _checked_times(
    phase: torch.Tensor, magnitude: torch.Tensor | None, mask: torch.Tensor, scan: Scan
) -> tuple[kernels.Array, kernels.Array]:
    """Echo times in units of the shortest spacing, and the first echo of each pair that is about so far apart."""
    n_echoes = len(scan.echo_times_s)
    if n_echoes < 2:
        raise InputError(f"unwrapping echoes together needs two echo times or more; got {n_echoes}")
    require_shape("phase", phase, (n_echoes, *scan.grid.shape), "scan: one volume per echo time")
    if magnitude is not None:
        require_shape("magnitude", magnitude, tuple(phase.shape), "the phase")
    require_mask(mask, scan.grid.shape)
    spacings = np.diff(np.asarray(scan.echo_times_s, np.float64))
    times = np.asarray(scan.echo_times_s, np.float64) / spacings.min()
    return times, np.flatnonzero(spacings <= SAME_SPACING * spacings.min())
