"""Which (ky, kz) lines a scan acquires, and in which order: exact counts, deterministic from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dlqsm.acquisition.sampling_kernels import throw_darts, trim_crowded
from dlqsm.core.checks import InputError
from dlqsm.core.raw import calibration_region

Cells = NDArray[np.bool_]
DEFAULT_CALIBRATION: Final = (24, 16)
CALIBRATION_SHARE: Final = 0.15
"""Largest share of the samples that the default calibration region takes (24 x 16 does not fit 64 x 18 at AF 4)."""


@dataclass(frozen=True)
class Sampling:
    """The lines of one scan.

    Parameters
    ----------
    mask
        ``(ny, nz)`` bool: acquired cells, k-space centre at ``n // 2``.
    calibration
        ``(ny, nz)`` bool: cells of the fully sampled calibration region, part of ``mask``.
    lines
        ``(n, 2)`` int32: ky, kz of each line in the order of acquisition.
    """

    mask: Cells
    calibration: Cells
    lines: NDArray[np.int32]

    @property
    def acceleration(self) -> float:
        """Net acceleration factor: all cells over acquired cells."""
        return self.mask.size / len(self.lines)

    def centre(self, shape: tuple[int, int]) -> Sampling:
        """Return what a smaller matrix ``(ny, nz)`` of the same field of view holds: the central part, in its order."""
        corner = [n // 2 - m // 2 for n, m in zip(self.mask.shape, shape, strict=True)]
        window = tuple(slice(c, c + m) for c, m in zip(corner, shape, strict=True))
        lines = self.lines - np.array(corner, dtype=np.int32)
        inside = ((lines >= 0) & (lines < np.array(shape))).all(axis=1)
        return Sampling(self.mask[window], self.calibration[window], lines[inside])

    def describe(self) -> dict[str, float]:
        """Return count, acceleration over all cells and inside the inscribed ellipse, and the PSF's peak side lobe."""
        inside = _ellipse(self.mask.shape)
        spread = np.abs(np.fft.ifft2(self.mask)).ravel()
        return {
            "n_samples": len(self.lines),
            "acceleration": self.acceleration,
            "acceleration_inside_ellipse": float(inside.sum() / max(int(self.mask[inside].sum()), 1)),
            "peak_side_lobe": float(spread[1:].max(initial=0.0) / spread[0]),
        }


def poisson(
    shape: tuple[int, int],
    acceleration: float,
    seed: int,
    acquired: Cells | None = None,
    *,
    calibration: tuple[int, int] | None = None,
    slope: float = 1.5,
    elliptical: bool | None = None,
) -> Sampling:
    """Poisson-disk sampling of variable density with exactly ``round(ny nz / acceleration)`` samples.

    Cells are visited in a random order and taken where no taken cell lies within R(r) = R0 (1 + slope r), r the
    distance from the centre over half the matrix, R in cells. R0 is bisected for the count; the few samples left
    over are those closest to a neighbour for their R.

    Parameters
    ----------
    shape
        Cells along ky and kz.
    acceleration
        Net acceleration factor over the whole rectangle, 1 or more.
    seed
        Seed of the order of visits.
    acquired
        ``(ny, nz)`` bool: cells to choose among, of which those in their fully sampled centre can be calibration; all
        where absent.
    calibration
        Axes of the fully sampled ellipse round the centre [cells]; by default 24 x 16, or less where that would be
        more than 15 % of the samples.
    slope
        Growth of the exclusion radius from the centre to the edge; 0 is uniform density.
    elliptical
        Whether the corners stay empty; by default wherever the samples fit into the ellipse.

    Returns
    -------
    The `Sampling`, in centre-out order.

    Raises
    ------
    InputError
        If the acceleration is below 1, or the samples are more than were acquired, do not fit into the support, or are
        less than the calibration region.

    References
    ----------
    Bridson, SIGGRAPH Sketches (2007), doi:10.1145/1278780.1278807; Lustig & Pauly, Magn Reson Med 64:457 (2010),
    doi:10.1002/mrm.22428.
    """
    if not (math.isfinite(slope) and slope >= 0):
        raise InputError(f"slope must be 0 or more; got {slope}")
    n, support, centre = _plan(shape, acceleration, acquired, calibration, elliptical)
    order = np.random.default_rng(seed).permutation(np.flatnonzero(support & ~centre)).astype(np.int64)
    growth = 1.0 + slope * _radius(shape)
    base = _bisect(lambda r0: int(throw_darts(centre, order, r0 * growth).sum()), n, high=1.0)
    mask = throw_darts(centre, order, base * growth)
    trim_crowded(mask, centre, growth, int(mask.sum()) - n)
    return Sampling(mask, centre, _centre_out(mask))


def uniform(
    shape: tuple[int, int],
    acceleration: float,
    seed: int,
    acquired: Cells | None = None,
    *,
    calibration: tuple[int, int] | None = None,
    elliptical: bool | None = None,
) -> Sampling:
    """Regular skipping along the longer axis with exactly ``round(ny nz / acceleration)`` samples.

    Outside the calibration region every p-th line is acquired, p being the (fractional) step that gives the count;
    the samples left over, less than two lines, are the outermost ones.

    Parameters
    ----------
    shape
        Cells along ky and kz.
    acceleration
        Net acceleration factor over the whole rectangle, 1 or more.
    seed
        Not used: there is nothing random here.
    acquired
        As in `poisson`.
    calibration
        Axes of the fully sampled ellipse round the centre [cells]; by default 24 x 16, or less where that would be
        more than 15 % of the samples.
    elliptical
        Whether the corners stay empty; by default wherever the samples fit into the ellipse.

    Returns
    -------
    The `Sampling`, in centre-out order.

    Raises
    ------
    InputError
        If the acceleration is below 1, or the samples are more than were acquired, do not fit into the support, or are
        less than the calibration region.
    """
    del seed
    n, support, centre = _plan(shape, acceleration, acquired, calibration, elliptical)

    def chosen(step: float) -> Cells:
        return np.asarray(centre | (support & _every(shape, step)))

    step = 1.0 + _bisect(lambda excess: int(chosen(1.0 + excess).sum()), n, high=1.0)
    whole, mask = chosen(round(step)), chosen(step)
    if whole.sum() == mask.sum():
        mask = whole  # aliases into fewer places
    spare = np.flatnonzero(mask & ~centre)
    outermost_first = spare[np.argsort(-_radius(shape).ravel()[spare], kind="stable")]
    mask.flat[outermost_first[: int(mask.sum()) - n]] = False
    return Sampling(mask, centre, _centre_out(mask))


def full(shape: tuple[int, int]) -> Sampling:
    """Every cell of the grid, in centre-out order."""
    everything = np.ones(shape, dtype=bool)
    centre = _calibration(shape, DEFAULT_CALIBRATION)
    return Sampling(everything, centre, _centre_out(everything))


SAMPLINGS: Final[dict[str, Callable[..., Sampling]]] = {"poisson": poisson, "uniform": uniform}


def _plan(
    shape: tuple[int, int],
    acceleration: float,
    acquired: Cells | None,
    calibration: tuple[int, int] | None,
    elliptical: bool | None,
) -> tuple[int, Cells, Cells]:
    """Count of samples, allowed cells and calibration cells; raises where they contradict each other."""
    if len(shape) != 2 or min(shape) < 1:
        raise InputError(f"a sampling grid has two axes of at least one cell; got {shape}")
    if not (math.isfinite(acceleration) and acceleration >= 1):
        raise InputError(f"acceleration must be 1 or more (1 samples every cell); got {acceleration}")
    n, n_cells = round(shape[0] * shape[1] / acceleration), shape[0] * shape[1]
    if n < 1:
        raise InputError(f"acceleration {acceleration} leaves no sample of {n_cells} cells; give a smaller one")
    there = np.ones(shape, dtype=bool) if acquired is None else acquired
    if n > int(there.sum()):
        raise InputError(
            f"{n} samples (acceleration {acceleration} of {n_cells} cells) are more than the {int(there.sum())} that "
            "were acquired; accelerate more"
        )
    ellipse = _ellipse(shape) & there
    fits = n <= int(ellipse.sum())
    if elliptical and not fits:
        raise InputError(
            f"{n} samples (acceleration {acceleration} of {n_cells} cells) do not fit into the {int(ellipse.sum())} "
            "cells of the ellipse; sample the full rectangle or accelerate more"
        )
    support = ellipse if (fits if elliptical is None else elliptical) else there
    centre = support & (_default_calibration(shape, n) if calibration is None else _calibration(shape, calibration))
    if acquired is not None:
        centre &= calibration_region(acquired)
    if int(centre.sum()) > n:
        raise InputError(
            f"the calibration region has {int(centre.sum())} cells, more than the {n} samples of acceleration "
            f"{acceleration}; give a smaller region or accelerate less"
        )
    return n, support, centre


def _default_calibration(shape: tuple[int, int], n: int) -> Cells:
    """The default ellipse, shrunk in steps of 2 % until it is at most `CALIBRATION_SHARE` of the samples."""
    for percent in range(100, 0, -2):
        size = (
            max(1, round(DEFAULT_CALIBRATION[0] * percent / 100)),
            max(1, round(DEFAULT_CALIBRATION[1] * percent / 100)),
        )
        region = _calibration(shape, size)
        if int(region.sum()) <= CALIBRATION_SHARE * n:
            return region
    return _calibration(shape, (1, 1))


def _calibration(shape: tuple[int, int], size: tuple[int, int]) -> Cells:
    """Ellipse of ``size`` cells round the k-space centre: exactly that many cells along each axis."""
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"a calibration region has two axes of at least one cell; got {size}")
    fitting = min(size[0], shape[0]), min(size[1], shape[1])
    # An even number of cells cannot be symmetric about the cell n // 2: it takes one more on the negative side.
    u, w = (
        (np.arange(n) - n // 2 + (0.5 if c % 2 == 0 else 0.0)) / (c / 2) for n, c in zip(shape, fitting, strict=True)
    )
    return np.asarray(u[:, None] ** 2 + w[None, :] ** 2 <= 1.0)


def _radius(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Distance from the centre of the matrix over half the matrix, per axis: 1 on the inscribed ellipse."""
    u, w = ((np.arange(n) + 0.5 - n / 2) / (n / 2) for n in shape)
    return np.hypot(u[:, None], w[None, :])


def _ellipse(shape: tuple[int, ...]) -> Cells:
    return np.asarray(_radius(shape) <= 1.0)


def _every(shape: tuple[int, int], step: float) -> Cells:
    """Lines across the longer axis at every multiple of ``step`` from the centre line."""
    axis = 0 if shape[0] >= shape[1] else 1
    offset = np.arange(shape[axis]) - shape[axis] // 2
    keep = np.floor(offset / step) != np.floor((offset - 1) / step)
    return np.broadcast_to(np.expand_dims(keep, 1 - axis), shape)


def _bisect(count: Callable[[float], int], n: int, *, high: float, n_steps: int = 24) -> float:
    """The largest value found whose (on the whole falling) count is still at least ``n``; 0 must satisfy it."""
    low = 0.0
    while count(high) >= n and high < 1e6:
        low, high = high, 2.0 * high
    for _ in range(n_steps):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if count(middle) >= n else (low, middle)
    return low


def _centre_out(mask: Cells) -> NDArray[np.int32]:
    """Cells ring by ring from the centre, each ring by angle: a spiral, so that drift is smooth over k-space."""
    lines = np.argwhere(mask)
    offset = lines - np.array([n // 2 for n in mask.shape])
    # Rings follow the shape of the matrix and are one cell of its longer axis wide.
    scale = max(mask.shape) / np.array(mask.shape)
    ring = np.rint(np.hypot(*(offset * scale).T)).astype(int)
    angle = np.arctan2(*(offset * scale).T[::-1])
    return np.ascontiguousarray(lines[np.lexsort((angle, ring))], dtype=np.int32)
