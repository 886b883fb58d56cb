"""How k-space was sampled, told from the cells themselves: regularly or not, one-sided or not, in which outline."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dlqsm.core.raw import calibration_region

_LATTICE_REACH: Final = 8
_SAME: Final = 0.95
_PURE: Final = 0.9

FULL: Final = "full"
UNIFORM: Final = "uniform"
IRREGULAR: Final = "irregular"
_NEARLY_ALL: Final = 0.98
_ONE_SIDED: Final = 0.85
"""Reach of the shorter side over that of the longer one; random samplings miss the outermost lines by chance."""
_CORNERS: Final = 0.01
"""Share of samples outside the ellipse; a rectangle that is sampled throughout has 0.21."""

Cells = NDArray[np.bool_]


def sampling_facts(sampling_mask: Cells) -> dict[str, Any]:
    """What the consensus checklist asks of a sampling.

    Parameters
    ----------
    sampling_mask
        ``(ny, nz)`` bool, k-space centre at ``n // 2``.

    Returns
    -------
    ``sampling`` (`FULL`, `UNIFORM` or `IRREGULAR`), ``partial_fourier`` (the sampled share of each axis of which one
    side was cut short, in words) and ``elliptical_shutter``.
    """
    return {
        "sampling": sampling_kind(sampling_mask),
        "partial_fourier": _partial_fourier(sampling_mask),
        "elliptical_shutter": is_elliptical(sampling_mask),
    }


def sampling_kind(sampling_mask: Cells) -> str:
    """`FULL` where hardly a cell ``(ky, kz)`` lies outside the fully sampled region, else `UNIFORM` or `IRREGULAR`."""
    calibration = calibration_region(sampling_mask)
    if (sampling_mask & calibration).sum() >= _NEARLY_ALL * sampling_mask.sum():
        return FULL
    return UNIFORM if is_uniform(sampling_mask, calibration) else IRREGULAR


def is_elliptical(sampling_mask: Cells) -> bool:
    """Whether the corners of the sampled rectangle of cells ``(ky, kz)`` are left out."""
    taken = np.nonzero(sampling_mask)
    offsets = [where - n // 2 for where, n in zip(taken, sampling_mask.shape, strict=True)]
    squares = [(offset / max(1, int(np.abs(offset).max()))) ** 2 for offset in offsets]
    return bool((squares[0] + squares[1] > 1.0).mean() < _CORNERS)


def _partial_fourier(sampling_mask: Cells) -> str:
    """Share of each one-sided axis, as ``0.75 along ky``; ``none`` where both sides reach as far."""
    parts = []
    for axis, name in enumerate(("ky", "kz")):
        where = np.flatnonzero(sampling_mask.any(1 - axis)) - sampling_mask.shape[axis] // 2
        sides = -int(where.min()), int(where.max()) + 1
        if min(sides) < _ONE_SIDED * max(sides):
            parts.append(f"{sum(sides) / (2 * max(sides)):.2g} along {name}")
    return ", ".join(parts) or "none"


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
