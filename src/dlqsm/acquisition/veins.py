"""Veins of the virtual head: named sinuses and deep veins, random cortical and medullary ones, drawn as capsules."""

from __future__ import annotations

from typing import Final

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from dlqsm.acquisition.deformation import Volumes
from dlqsm.core.scan import Grid

Course = tuple[tuple[float, float, float, float], ...]
Line = NDArray[np.float64]
Tubes = NDArray[np.float64]
"""``(tube, 8)``: two end points [MNI mm], radius at each end [mm]."""

MIDLINE_VEINS: Final[tuple[Course, ...]] = (
    # straight sinus, from the great vein to the confluence: x, y, z, radius [mm]
    ((0, -40, 4, 1.8), (0, -50, 5, 2.0), (0, -66, -1, 2.0), (0, -84, -8, 2.2), (0, -98, -12, 2.4)),
)
PAIRED_VEINS: Final[tuple[Course, ...]] = (
    # internal cerebral
    ((2.0, 2, 9, 0.9), (2.5, -8, 13, 1.0), (2.5, -20, 13, 1.1), (2.0, -32, 9, 1.2), (0.5, -40, 4, 1.5)),
    # septal
    ((4.0, 24, 2, 0.4), (3.0, 18, 9, 0.5), (2.5, 9, 13, 0.6), (2.0, 2, 9, 0.8)),
    # thalamostriate, in the groove between caudate and thalamus
    ((20, -24, 19, 0.5), (17, -14, 20, 0.6), (12.5, -3, 18, 0.7), (7, 3, 13, 0.8), (2, 2, 9, 0.9)),
    # basal, round the midbrain
    ((20, 4, -18, 0.5), (17, -8, -16, 0.7), (16.5, -20, -10, 0.8), (10, -33, -3, 0.9), (1, -40, 4, 1.1)),
    # transverse and sigmoid sinus
    (
        (0, -99, -12, 2.4),
        (18, -98, -16, 3.0),
        (40, -86, -20, 3.2),
        (56, -64, -26, 3.2),
        (55, -52, -36, 3.4),
        (44, -46, -50, 3.4),
    ),
)


def trace(course: Course | Line, *, step_mm: float = 1.5) -> Tubes:
    """Cut a smooth curve through the given points into capsules."""
    points = np.asarray(course, dtype=np.float64)
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :3], axis=0), axis=1))])
    spline = CubicSpline(length, points)
    fine = spline(np.linspace(0.0, length[-1], max(2, int(length[-1] / step_mm) + 1)))
    fine[:, 3] = np.clip(fine[:, 3], points[:, 3].min(), points[:, 3].max())
    return np.concatenate([fine[:-1, :3], fine[1:, :3], fine[:-1, 3:], fine[1:, 3:]], axis=1)


def named_veins() -> Tubes:
    """Deep veins and dural sinuses that every person has, except the one that follows the skull's vault."""
    mirrored = [tuple((-x, y, z, r) for x, y, z, r in course) for course in PAIRED_VEINS]
    return np.concatenate([trace(course) for course in (*MIDLINE_VEINS, *PAIRED_VEINS, *mirrored)])


def medullary_veins(rng: np.random.Generator, n_veins: int = 160) -> Tubes:
    """Draw thin veins that run straight through the white matter towards the lateral ventricles."""
    courses = []
    for _ in range(n_veins):
        y, side = rng.uniform(-42, 26), rng.choice([-1.0, 1.0])
        elevation = np.radians(rng.uniform(5, 75))
        inner = np.array([side * rng.uniform(11, 22), y, rng.uniform(17, 25)])
        direction = np.array([side * np.cos(elevation), rng.normal(0, 0.15), np.sin(elevation)])
        length, radius = rng.uniform(10, 26), rng.uniform(0.15, 0.4)
        bend = rng.normal(0, 0.8, 3)
        courses.append(
            (
                (*inner, radius),
                (*(inner + 0.5 * length * direction + bend), 0.8 * radius),
                (*(inner + length * direction), 0.5 * radius),
            )
        )
    return np.concatenate([trace(course, step_mm=3.0) for course in courses])


def superficial_veins(surroundings: Volumes, rng: np.random.Generator, n_each_side: int = 16) -> Tubes:
    """Draw the superior sagittal sinus and the cortical veins that climb over the convexity into it."""
    angles = np.linspace(25.0, 195.0, 24)
    vault = _on_hull(surroundings, angles, np.zeros(24), depth_mm=0.0)
    courses = [np.column_stack([vault, np.linspace(1.0, 3.6, 24)])]
    for side in (-1.0, 1.0):
        for start in np.linspace(30.0, 165.0, n_each_side):
            wander = np.cumsum(rng.normal(0.0, 3.0, 7))
            tilt = np.linspace(rng.uniform(45.0, 75.0), 2.0, 7)
            course = _on_hull(surroundings, start + rng.normal(0.0, 4.0) + wander, side * tilt, depth_mm=1.0)
            courses.append(np.column_stack([course, np.linspace(0.4, rng.uniform(0.7, 1.2), 7)]))
    return np.concatenate([trace(course) for course in courses])


def _on_hull(surroundings: Volumes, sagittal_deg: Line, tilt_deg: Line, *, depth_mm: float) -> Line:
    """Points ``depth_mm`` under the brain's hull, seen from its middle at the given angles."""
    sagittal, tilt = np.radians(sagittal_deg), np.radians(tilt_deg)
    rays = np.column_stack([np.sin(tilt), np.cos(tilt) * np.cos(sagittal), np.cos(tilt) * np.sin(sagittal)])
    steps = np.arange(20.0, 130.0, 0.5)
    middle = np.array([0.0, -18.0, 10.0])
    along = middle + rays[:, None, :] * steps[None, :, None]
    hull = surroundings.sample(torch.from_numpy(along.astype(np.float32)))[0].numpy()
    reached = steps[np.argmax(hull > -depth_mm, axis=1)]
    found: Line = middle + rays * reached[:, None]
    return found


def paint_tubes(tubes: Tubes, grid: Grid, coverage: NDArray[np.float32]) -> None:
    """Write into ``coverage`` the fraction of each cell that capsules fill; ``tubes`` in scanner mm.

    The rim of a tube is a ramp one cell h wide about the radius w, of cross-section pi (w^2 + h^2 / 12). With
    w^2 = r^2 - h^2 / 12, or with w = h / 2 and a share of 3 r^2 / h^2 where the tube is thinner, that is pi r^2, so
    that its dipole moment is kept whatever the grid.
    """
    axes = np.asarray(grid.rotation) * np.asarray(grid.voxel_size_mm)
    to_index = np.linalg.inv(axes)
    placed = tubes.copy()
    for start in (0, 3):
        placed[:, start : start + 3] = (tubes[:, start : start + 3] - np.asarray(grid.origin_mm)) @ to_index.T
    _paint(placed, np.asarray(grid.voxel_size_mm), coverage)


@numba.njit(cache=True)
def _paint(tubes: Tubes, edges: NDArray[np.float64], coverage: NDArray[np.float32]) -> None:  # pragma: no cover
    """Capsules in voxel units onto cells; axes of the grid taken as orthogonal."""
    cell = (edges[0] * edges[1] * edges[2]) ** (1.0 / 3.0)
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for tube in tubes:
        reach = max(tube[6], tube[7]) + cell
        for axis in range(3):
            near, far = min(tube[axis], tube[axis + 3]), max(tube[axis], tube[axis + 3])
            low[axis] = max(0, int(np.floor(near - reach / edges[axis])))
            high[axis] = min(coverage.shape[axis], int(np.ceil(far + reach / edges[axis])) + 1)
        line = (tube[3:6] - tube[:3]) * edges
        squared = max((line**2).sum(), 1e-12)
        for i in range(low[0], high[0]):
            for j in range(low[1], high[1]):
                for k in range(low[2], high[2]):
                    px, py, pz = (i - tube[0]) * edges[0], (j - tube[1]) * edges[1], (k - tube[2]) * edges[2]
                    along = min(1.0, max(0.0, (px * line[0] + py * line[1] + pz * line[2]) / squared))
                    dx, dy, dz = px - along * line[0], py - along * line[1], pz - along * line[2]
                    radius = tube[6] + along * (tube[7] - tube[6])
                    wide = np.sqrt(max(radius**2 - cell**2 / 12.0, 0.25 * cell**2))
                    inside = 0.5 + (wide - np.sqrt(dx * dx + dy * dy + dz * dz)) / cell
                    share = min(1.0, max(0.0, inside)) * min(1.0, 3.0 * (radius / cell) ** 2)
                    coverage[i, j, k] = max(coverage[i, j, k], share)
