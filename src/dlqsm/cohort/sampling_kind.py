"""Whether phase-encoding lines were skipped regularly or drawn at random, told from the sampling itself."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LATTICE_REACH: Final = 8
_SAME: Final = 0.95
_PURE: Final = 0.9

Cells = NDArray[np.bool_]


def is_uniform(sampling_mask: Cells, calibration: Cells) -> bool:
    """Whether a sampling skips lines regularly outside its calibration region.

    True where whole lines are either taken or skipped along one of the axes, however they follow each other; or where
    the samples repeat themselves under two independent shifts, as in CAIPIRINHA and skipping along both axes. Random
    samplings of whatever density do neither.

    Parameters
    ----------
    sampling_mask, calibration
        ``(ny, nz)`` bool, calibration region among the samples.
    """
    outside = ~calibration
    taken = sampling_mask & outside
    if not taken.any():
        return True
    return any(_whole_lines(taken, outside, axis) for axis in (0, 1)) or _is_lattice(sampling_mask, outside)


def _whole_lines(taken: Cells, outside: Cells, axis: int) -> bool:
    """Whether most samples lie in lines that are full, as far as the line's samples reach (elliptical support)."""
    lines, cells = np.moveaxis(taken, axis, 0), np.moveaxis(outside, axis, 0)
    in_full = 0
    for line, usable in zip(lines, cells, strict=True):
        where = np.flatnonzero(line)
        if where.size > 1:
            reached = usable[where[0] : where[-1] + 1].sum()
            in_full += where.size if where.size >= _PURE * reached else 0
    return bool(in_full >= _PURE * taken.sum())


def _is_lattice(sampling_mask: Cells, outside: Cells) -> bool:
    """Whether two independent small shifts map the samples onto samples."""
    shifts: list[tuple[int, int]] = []
    for dy in range(_LATTICE_REACH + 1):
        for dz in range(-_LATTICE_REACH if dy else 1, _LATTICE_REACH + 1):
            if _repeats(sampling_mask, outside, dy, dz):
                shifts.append((dy, dz))
    return any(a[0] * b[1] != a[1] * b[0] for a in shifts for b in shifts)


def _repeats(sampling_mask: Cells, outside: Cells, dy: int, dz: int) -> bool:
    """Whether a shift maps sampled cells onto sampled ones and empty onto empty, where both are inside the support."""
    ny, nz = sampling_mask.shape
    if dy >= ny or abs(dz) >= nz:
        return False
    first = (slice(0, ny - dy), slice(max(0, -dz), nz - max(0, dz)))
    second = (slice(dy, ny), slice(max(0, dz), nz - max(0, -dz)))
    a, b = sampling_mask[first], sampling_mask[second]
    count = outside[first] & outside[second] & (a | b)
    return bool(count.any() and (a & b)[count].mean() >= _SAME - _edge_share(sampling_mask, dy, dz))


def _edge_share(sampling_mask: Cells, dy: int, dz: int) -> float:
    """Share of the samples that a shift moves across the border of an elliptical support."""
    return min(0.3, np.pi / 2 * float(np.hypot(dy / sampling_mask.shape[0], dz / sampling_mask.shape[1])))
