"""The brain as a closed surface that grows from a sphere until it meets dark voxels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.scan import Vector

Array = NDArray[Any]
MIN_RADIUS_MM, MAX_RADIUS_MM = 3.33, 10.0
"""Curvature radii between which the surface passes from flexible to stiff (Smith 2002)."""
DEPTH_OF_DARKEST_MM, DEPTH_OF_BRIGHTEST_MM, DEPTH_STEP_MM = 20.0, 10.0, 1.5
"""How far below the surface the darkest and the brightest voxel are looked for (Smith 2002), and in what steps."""


def brain_surface(magnitude: Array, voxel_size_mm: Vector, *, fraction: float, n_steps: int) -> Array:
    """Voxels inside a triangulated sphere that is pushed outwards through the brain and kept smooth.

    Each vertex moves by half its tangential distance to the mean of its neighbours, by a share of the normal distance
    that grows with curvature, and by 0.05 l 2 (I_min - t_l) / (I_max - t_2) along the outward normal, l the mean edge,
    I_min and I_max the extremes along the inward normal, t_l = t_2 + fraction (I_max - t_2) (eqs. 1 to 13 of [1]).

    References
    ----------
    [1] Smith, Hum Brain Mapp 17:143 (2002), doi:10.1002/hbm.10062.
    """
    low, high = (float(v) for v in np.percentile(magnitude, [2, 98]))
    size, threshold = np.asarray(voxel_size_mm), head_threshold(magnitude)
    head = magnitude > threshold
    centre = np.array(ndimage.center_of_mass(np.where(head, np.minimum(magnitude, high), 0.0))) * size
    radius = (3.0 * head.sum() * size.prod() / (4.0 * np.pi)) ** (1 / 3)
    near = head & (_distance_from(centre, magnitude.shape, size) < radius)
    levels = np.array([low, threshold, float(np.median(magnitude[near if near.any() else head]))])
    vertices, faces = icosphere(4)
    neighbours, n_neighbours = _neighbours(faces, len(vertices))
    image = np.ascontiguousarray(magnitude, np.float64)
    start = centre + 0.5 * radius * vertices
    surface = _grow(start, faces, neighbours, n_neighbours, image, size, levels, fraction, n_steps)
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


@numba.njit(cache=True, nogil=True)
def _grow(
    surface: Array,
    faces: Array,
    neighbours: Array,
    n_neighbours: Array,
    magnitude: Array,
    size: Array,
    levels: Array,
    fraction: float,
    n_steps: int,
) -> Array:
    """All steps; ``levels`` are low, head and brain."""
    n = len(surface)
    middle, steepness = 0.5 * (1 / MIN_RADIUS_MM + 1 / MAX_RADIUS_MM), 6.0 / (1 / MIN_RADIUS_MM - 1 / MAX_RADIUS_MM)
    to_mean, normals = np.empty_like(surface), np.empty_like(surface)
    for _ in range(n_steps):
        _set_normals(normals, surface, faces)
        edge = _set_steps_to_mean(to_mean, surface, neighbours, n_neighbours)
        for v in range(n):
            along = 0.0
            for axis in range(3):
                along += to_mean[v, axis] * normals[v, axis]
            # Curvature 1/r = 2 |s_n| / l^2 decides how stiff the surface is (eqs. 5 to 8 of Smith 2002).
            stiffness = 0.5 * (1.0 + np.tanh(steepness * (2.0 * abs(along) / edge**2 - middle)))
            push = 0.05 * edge * _push(surface[v], normals[v], magnitude, size, levels, fraction)
            # Half the tangential part of the way to the neighbours' mean, a share of the normal part, and the push.
            for axis in range(3):
                surface[v, axis] += 0.5 * to_mean[v, axis] + ((stiffness - 0.5) * along + push) * normals[v, axis]
    return surface


@numba.njit(cache=True, nogil=True)
def _set_steps_to_mean(to_mean: Array, surface: Array, neighbours: Array, n_neighbours: Array) -> float:
    """Write the step from each vertex to the mean of its neighbours; returns the mean length of the edges."""
    total = 0.0
    for v in range(len(surface)):
        to_mean[v] = 0.0
        for k in range(n_neighbours[v]):
            square = 0.0
            for axis in range(3):
                step = surface[neighbours[v, k], axis] - surface[v, axis]
                to_mean[v, axis] += step / n_neighbours[v]
                square += step * step
            total += np.sqrt(square)
    return total / n_neighbours.sum()


@numba.njit(cache=True, nogil=True)
def _set_normals(normals: Array, surface: Array, faces: Array) -> None:
    """Write the outward unit normal of each vertex: the area-weighted mean of its triangles."""
    normals[:] = 0.0
    for f in range(len(faces)):
        a, b, c = faces[f]
        for axis in range(3):
            s, t = (axis + 1) % 3, (axis + 2) % 3
            first = (surface[b, s] - surface[a, s]) * (surface[c, t] - surface[a, t])
            component = first - (surface[b, t] - surface[a, t]) * (surface[c, s] - surface[a, s])
            for v in (a, b, c):
                normals[v, axis] += component
    for v in range(len(surface)):
        length = np.sqrt(normals[v, 0] ** 2 + normals[v, 1] ** 2 + normals[v, 2] ** 2)
        for axis in range(3):
            normals[v, axis] /= max(length, 1e-12)


@numba.njit(cache=True, nogil=True)
def _push(vertex: Array, normal: Array, magnitude: Array, size: Array, levels: Array, fraction: float) -> float:
    """2 (I_min - t_l) / (I_max - t_2) from the voxels below a vertex (eqs. 9 to 13 of Smith 2002)."""
    low, head, brain = levels
    darkest, brightest = brain, head
    for k in range(int(DEPTH_OF_DARKEST_MM / DEPTH_STEP_MM) + 1):
        depth = k * DEPTH_STEP_MM
        x = min(max(int(np.rint((vertex[0] - depth * normal[0]) / size[0])), 0), magnitude.shape[0] - 1)
        y = min(max(int(np.rint((vertex[1] - depth * normal[1]) / size[1])), 0), magnitude.shape[1] - 1)
        z = min(max(int(np.rint((vertex[2] - depth * normal[2]) / size[2])), 0), magnitude.shape[2] - 1)
        darkest = min(darkest, magnitude[x, y, z])
        if depth <= DEPTH_OF_BRIGHTEST_MM:
            brightest = max(brightest, magnitude[x, y, z])
    darkest, brightest = max(darkest, low), min(brightest, brain)
    return 2.0 * (darkest - low - fraction * (brightest - low)) / max(brightest - low, 1e-30)
