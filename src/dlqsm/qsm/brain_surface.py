"""The brain as a closed surface that grows from a sphere until it meets dark voxels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.scan import Vector

Array = NDArray[Any]
MIN_RADIUS_MM, MAX_RADIUS_MM = 3.33, 10.0
"""Curvature radii between which the surface passes from flexible to stiff (Smith 2002)."""
DEPTH_OF_DARKEST_MM, DEPTH_OF_BRIGHTEST_MM, DEPTH_STEP_MM = 20.0, 10.0, 1.5
"""How far below the surface the darkest and the brightest voxel are looked for (Smith 2002), and in what steps."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Intensities that steer the surface: robust minimum and maximum, head threshold, and the median of the brain."""

    low: float
    high: float
    head: float
    brain: float

    @classmethod
    def of(cls, magnitude: Array) -> Levels:
        """Levels of an image, the brain's as long as nothing is known that of the head."""
        low, high = (float(v) for v in np.percentile(magnitude, [2, 98]))
        head = head_threshold(magnitude)
        inside = magnitude[magnitude > head]
        return cls(low, high, head, float(np.median(inside)) if inside.size else head)


def brain_surface(magnitude: Array, voxel_size_mm: Vector, *, fraction: float, n_steps: int) -> Array:
    """Voxels inside a triangulated sphere that is pushed outwards through the brain and kept smooth.

    Each vertex moves by half its tangential distance to the mean of its neighbours, by a share of the normal distance
    that grows with curvature, and by 0.05 l 2 (I_min - t_l) / (I_max - t_2) along the outward normal, l the mean edge,
    I_min and I_max the extremes along the inward normal, t_l = t_2 + fraction (I_max - t_2) (eqs. 1 to 13 of [1]).

    References
    ----------
    [1] Smith, Hum Brain Mapp 17:143 (2002), doi:10.1002/hbm.10062.
    """
    levels = Levels.of(magnitude)
    size = np.asarray(voxel_size_mm)
    head = magnitude > levels.head
    weight = np.where(head, np.minimum(magnitude, levels.high), 0.0)
    centre = np.array(ndimage.center_of_mass(weight)) * size
    radius = (3.0 * head.sum() * size.prod() / (4.0 * np.pi)) ** (1 / 3)
    vertices, faces = icosphere(4)
    neighbours, n_neighbours = _neighbours(faces, len(vertices))
    ball = _distance_from(centre, magnitude.shape, size) < radius
    in_ball = magnitude[ball & head]
    levels = Levels(levels.low, levels.high, levels.head, float(np.median(in_ball)) if in_ball.size else levels.brain)
    surface = centre + 0.5 * radius * vertices
    for _ in range(n_steps):
        surface = _step(surface, faces, neighbours, n_neighbours, magnitude, size, levels, fraction)
    return fill_surface(surface, faces, magnitude.shape, size)


def head_threshold(magnitude: Array) -> float:
    """Half the threshold that parts dark from bright voxels with the least variance within both.

    References
    ----------
    Otsu, IEEE Trans Syst Man Cybern 9:62 (1979), doi:10.1109/TSMC.1979.4310076.
    """
    counts, edges = np.histogram(np.minimum(magnitude, np.percentile(magnitude, 99.5)), 256)
    middle = 0.5 * (edges[1:] + edges[:-1])
    n_below, sum_below = np.cumsum(counts)[:-1], np.cumsum(counts * middle)[:-1]
    n, total = counts.sum(), (counts * middle).sum()
    between = (total * n_below / n - sum_below) ** 2 / np.maximum(n_below * (n - n_below), 1)
    return 0.5 * float(edges[1:-1][between.argmax()])


def icosphere(n_subdivisions: int) -> tuple[Array, Array]:
    """Vertices on the unit sphere and triangles of an icosahedron whose faces are split in four again and again."""
    golden = (1.0 + 5.0**0.5) / 2.0
    corners = [(a, b * golden) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
    vertices = np.array([np.roll((0.0, a, b), shift) for shift in range(3) for a, b in corners])
    edge = 2.0 + 1e-6
    near = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1) <= edge
    n = len(vertices)
    faces = np.array(
        [
            (i, j, k)
            for i in range(n)
            for j in range(i + 1, n)
            for k in range(j + 1, n)
            if near[i, j] & near[j, k] & near[i, k]
        ]
    )
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    inward = (np.cross(b - a, c - a) * (a + b + c)).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    for _ in range(n_subdivisions):
        vertices, faces = _split(vertices, faces)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces


def fill_surface(surface: Array, faces: Array, shape: tuple[int, ...], size: Array) -> Array:
    """Voxels on or inside a closed triangulated surface [mm]; what lies outside the array is cut off at its faces."""
    a, b, c = (surface[faces[:, k]] / size for k in range(3))
    longest = max(float(np.abs(p - q).max()) for p, q in ((a, b), (b, c), (c, a)))
    n = int(np.ceil(2.0 * longest)) + 1
    shell = np.zeros(shape, np.bool_)
    for i in range(n + 1):
        for j in range(n + 1 - i):
            points = np.rint((i * a + j * b + (n - i - j) * c) / n).astype(np.int64)
            x, y, z = (np.clip(points[:, k], 0, shape[k] - 1) for k in range(3))
            shell[x, y, z] = True
    return np.asarray(ndimage.binary_fill_holes(shell))


def _split(vertices: Array, faces: Array) -> tuple[Array, Array]:
    """Four triangles for each one, with the midpoints of the edges as new vertices on the unit sphere."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, at = np.unique(edges, axis=0, return_inverse=True)
    middle = vertices[unique].mean(1)
    middle *= np.linalg.norm(vertices[0]) / np.linalg.norm(middle, axis=1, keepdims=True)
    ab, bc, ca = at.ravel().reshape(3, -1) + len(vertices)
    a, b, c = faces.T
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([vertices, middle]), np.concatenate([np.stack(part, axis=1) for part in parts])


def _neighbours(faces: Array, n_vertices: int) -> tuple[Array, Array]:
    """Indices ``(n, 6)`` of the vertices that share an edge with each, padded with the vertex itself; their number."""
    pairs = np.unique(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=n_vertices)
    table = np.repeat(np.arange(n_vertices)[:, None], counts.max(), axis=1)
    column = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[pairs[:, 0], column] = pairs[:, 1]
    return table, counts


def _distance_from(centre: Array, shape: tuple[int, ...], size: Array) -> Array:
    axes = [(np.arange(n) * h - c) ** 2 for n, h, c in zip(shape, size, centre, strict=True)]
    return np.asarray(np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]))


def _step(
    surface: Array,
    faces: Array,
    neighbours: Array,
    n_neighbours: Array,
    magnitude: Array,
    size: Array,
    levels: Levels,
    fraction: float,
) -> Array:
    """One update of all vertices."""
    normal = _normals(surface, faces)
    around = surface[neighbours] - surface[:, None]
    edge = np.linalg.norm(around, axis=2).sum() / n_neighbours.sum()
    to_mean = around.sum(1) / n_neighbours[:, None]
    along = (to_mean * normal).sum(1, keepdims=True)
    tangential = to_mean - along * normal
    # Curvature 1/r = 2 |s_n| / l^2 decides how stiff the surface is (eqs. 5 to 8 of Smith 2002).
    curvature = 2.0 * np.abs(along) / edge**2
    middle = 0.5 * (1.0 / MIN_RADIUS_MM + 1.0 / MAX_RADIUS_MM)
    steepness = 6.0 / (1.0 / MIN_RADIUS_MM - 1.0 / MAX_RADIUS_MM)
    stiffness = 0.5 * (1.0 + np.tanh(steepness * (curvature - middle)))
    push = 0.05 * edge * _push(surface, normal, magnitude, size, levels, fraction)
    return np.asarray(surface + 0.5 * tangential + stiffness * along * normal + push[:, None] * normal)


def _normals(surface: Array, faces: Array) -> Array:
    """Outward unit normal of each vertex: area-weighted mean of its triangles."""
    a, b, c = (surface[faces[:, k]] for k in range(3))
    of_face = np.cross(b - a, c - a)
    normal = np.zeros_like(surface)
    for k in range(3):
        for axis in range(3):
            normal[:, axis] += np.bincount(faces[:, k], of_face[:, axis], minlength=len(surface))
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def _push(surface: Array, normal: Array, magnitude: Array, size: Array, levels: Levels, fraction: float) -> Array:
    """2 (I_min - t_l) / (I_max - t_2) from the voxels below each vertex (eqs. 9 to 13 of Smith 2002)."""
    depths = np.arange(0.0, DEPTH_OF_DARKEST_MM + 1e-6, DEPTH_STEP_MM)
    points = (surface[:, None] - depths[:, None] * normal[:, None]) / size
    index = np.rint(points).astype(np.int64)
    clipped = [np.clip(index[..., k], 0, magnitude.shape[k] - 1) for k in range(3)]
    values = magnitude[clipped[0], clipped[1], clipped[2]]
    darkest = np.maximum(levels.low, np.minimum(levels.brain, values.min(1)))
    brightest = np.minimum(levels.brain, np.maximum(levels.head, values[:, depths <= DEPTH_OF_BRIGHTEST_MM].max(1)))
    threshold = levels.low + fraction * (brightest - levels.low)
    return np.asarray(2.0 * (darkest - threshold) / np.maximum(brightest - levels.low, 1e-12))
