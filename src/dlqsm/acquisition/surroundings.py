"""What surrounds the brain: meninges, skull, scalp, face, neck, and the air in sinuses, ears, nose, mouth and trachea.

Made as signed distances [mm, negative inside] on a coarse grid in MNI space; the brain's own hull is the template's.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.acquisition.deformation import Volumes
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.scan import Grid

Field = NDArray[np.floating]
Ellipsoid = tuple[tuple[float, float, float], tuple[float, float, float]]
Capsule = tuple[tuple[float, float, float], tuple[float, float, float], float]

CHANNELS: Final = ("hull", "skin", "air", "bone", "eye")
SURROUNDINGS_GRID: Final = Grid((111, 151, 181), (2.0, 2.0, 2.0), origin_mm=(-110.0, -170.0, -250.0))
MENINGES_MM: Final = 2.0
"""Cerebrospinal fluid between brain and skull."""
SKULL_MM: Final = 6.5
SCALP_MM: Final = 6.0
INNER_TABLE_MM: Final = 2.0
"""Bone that always lies between meninges and air."""

SINUSES: Final[tuple[Ellipsoid, ...]] = (
    # centre and half axes [MNI mm], right side where paired: sphenoid, ethmoid, maxillary, frontal, mastoid, middle ear
    ((5.0, 19.0, -40.0), (8.0, 13.0, 9.0)),
    ((7.0, 45.0, -40.0), (5.0, 15.0, 8.0)),
    ((29.0, 47.0, -68.0), (12.0, 15.0, 16.0)),
    ((9.0, 79.0, -14.0), (9.0, 4.5, 14.0)),
    ((60.0, -38.0, -52.0), (7.0, 9.0, 11.0)),
    ((50.0, -22.0, -44.0), (3.5, 5.0, 5.0)),
)
AIRWAYS: Final[tuple[Capsule, ...]] = (
    # ends and radius [MNI mm], right side where paired: ear canal, two nasal passages, pharynx, mouth, trachea
    ((53.0, -22.0, -46.0), (100.0, -26.0, -46.0), 3.5),
    ((4.5, 88.0, -75.0), (5.0, 15.0, -66.0), 3.0),
    ((4.5, 82.0, -60.0), (5.0, 20.0, -55.0), 2.5),
    ((0.0, 6.0, -62.0), (0.0, -4.0, -105.0), 8.0),
    ((6.0, 52.0, -92.0), (6.0, 0.0, -92.0), 3.0),
    ((0.0, -4.0, -105.0), (0.0, 6.0, -260.0), 8.5),
)
FACE_BONES: Final[tuple[Capsule, ...]] = (
    # mandible (ramus, body, chin), cheek arch, palate, neck spine, clivus, petrous ridge
    ((50.0, 2.0, -60.0), (46.0, 14.0, -105.0), 5.0),
    ((46.0, 14.0, -105.0), (24.0, 66.0, -116.0), 6.0),
    ((24.0, 66.0, -116.0), (0.0, 78.0, -116.0), 6.0),
    ((58.0, 5.0, -52.0), (42.0, 60.0, -58.0), 3.0),
    ((0.0, 76.0, -84.0), (0.0, 30.0, -82.0), 4.0),
    ((0.0, -28.0, -84.0), (0.0, -22.0, -260.0), 11.0),
    ((0.0, 2.0, -42.0), (0.0, -20.0, -64.0), 8.0),
    ((14.0, -12.0, -46.0), (60.0, -36.0, -50.0), 9.0),
)
SPHENOID_BODY: Final[Ellipsoid] = ((0.0, 12.0, -42.0), (26.0, 24.0, 13.0))
EYES: Final[tuple[Ellipsoid, ...]] = (((33.0, 68.0, -38.0), (13.0, 13.0, 13.0)),)


def make_surroundings(anatomy: Anatomy, *, sinus_size_mm: float = 0.0) -> Volumes:
    """Make the signed distances in the order of `CHANNELS`.

    Parameters
    ----------
    anatomy
        Template; its T1 contrast is zero outside the brain.
    sinus_size_mm
        Shift of the walls of the paranasal sinuses and mastoid cells outwards [mm]: they differ much between persons.
    """
    x, y, z = _positions(SURROUNDINGS_GRID)
    mirrored = (np.abs(x), y, z)
    hull = brain_hull(anatomy, SURROUNDINGS_GRID)
    sinuses = _union([_ellipsoid(mirrored, *shape) for shape in SINUSES]) - sinus_size_mm
    airways = _union([_capsule(mirrored, *shape) for shape in AIRWAYS])
    rounded = np.asarray(ndimage.gaussian_filter(hull, 3.0))
    # Sinuses lie outside the inner table of the skull, whatever their size.
    air = np.maximum(np.minimum(sinuses, airways), MENINGES_MM + INNER_TABLE_MM - hull)
    spinal_canal = _capsule((x, y, z), (0.0, -38.0, -60.0), (0.0, -42.0, -260.0), 8.0)
    vault = np.maximum(MENINGES_MM - hull, rounded - (MENINGES_MM + SKULL_MM))
    parts = [_capsule(mirrored, *shape) for shape in FACE_BONES]
    face = _union([*parts, _ellipsoid(mirrored, *SPHENOID_BODY), sinuses - 1.5])
    bone = np.maximum(np.minimum(vault, face), -spinal_canal)
    eyes = _union([_ellipsoid(mirrored, *shape) for shape in EYES])
    skin = _skin(rounded, x, y, z)
    channels = np.stack([hull, skin, air, bone, eyes]).astype(np.float32)
    return Volumes(torch.from_numpy(channels), SURROUNDINGS_GRID)


@functools.lru_cache(maxsize=1)
def brain_hull(anatomy: Anatomy, grid: Grid, *, closing_mm: float = 9.0) -> Field:
    """Signed distance from the brain with its fissures closed [mm]; the same for all participants, so made once."""
    brain = anatomy.t1 > 0
    index = [
        (np.arange(n) * edge + start - origin) / own
        for n, edge, start, origin, own in zip(
            grid.shape, grid.voxel_size_mm, grid.origin_mm, anatomy.grid.origin_mm, anatomy.grid.voxel_size_mm,
            strict=True,
        )
    ]  # fmt: skip
    mesh = np.meshgrid(*index, indexing="ij")
    inside = ndimage.map_coordinates(brain.astype(np.float32), mesh, order=1) > 0.5
    grown = ndimage.distance_transform_edt(~inside, grid.voxel_size_mm) <= closing_mm
    closed = ndimage.distance_transform_edt(grown, grid.voxel_size_mm) > closing_mm
    distance = ndimage.distance_transform_edt(~closed, grid.voxel_size_mm)
    depth = ndimage.distance_transform_edt(closed, grid.voxel_size_mm)
    return ndimage.gaussian_filter((distance - depth).astype(np.float32), 1.0)


def _skin(hull: Field, x: Field, y: Field, z: Field) -> Field:
    """Outer surface: scalp round the skull, face, nose, ears, neck and shoulders, blended smoothly."""
    sides = np.abs(x)
    scalp = hull - (MENINGES_MM + SKULL_MM + SCALP_MM)
    face = _ellipsoid((x, y, z), (0.0, 28.0, -62.0), (66.0, 70.0, 74.0))
    neck = np.hypot(x / 58.0, (y + 18.0) / 62.0) * 60.0 - 60.0
    neck = np.maximum(neck, z + 50.0)
    chin = _ellipsoid((sides, y, z), (0.0, 58.0, -108.0), (40.0, 32.0, 26.0))
    shoulders = _ellipsoid((x, y, z), (0.0, -25.0, -275.0), (240.0, 95.0, 90.0))
    face = _blend(face, chin, 15.0)
    body = _blend(_blend(_blend(scalp, face, 12.0), neck, 18.0), shoulders, 25.0)
    nose = _ellipsoid((x, y, z), (0.0, 94.0, -62.0), (15.0, 16.0, 24.0))
    ears = _ellipsoid((sides, y, z), (71.0, -32.0, -42.0), (7.0, 17.0, 30.0))
    return np.minimum(_blend(body, nose, 8.0), ears)


def _positions(grid: Grid) -> tuple[Field, Field, Field]:
    axes = [
        (start + edge * np.arange(n)).astype(np.float32)
        for n, edge, start in zip(grid.shape, grid.voxel_size_mm, grid.origin_mm, strict=True)
    ]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return x, y, z


def _ellipsoid(
    at: tuple[Field, Field, Field], centre: tuple[float, float, float], axes: tuple[float, float, float]
) -> Field:
    """About the distance from an ellipsoid: k (k - 1) / |grad k^2 / 2| with k its own norm."""
    parts = [(p - c) / a for p, c, a in zip(at, centre, axes, strict=True)]
    norm = np.sqrt(sum(part**2 for part in parts))
    slope = np.sqrt(sum((part / a) ** 2 for part, a in zip(parts, axes, strict=True)))
    return norm * (norm - 1.0) / np.maximum(slope, 1e-6)


def _capsule(
    at: tuple[Field, Field, Field],
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    radius: float,
) -> Field:
    offset = [p - s for p, s in zip(at, start, strict=True)]
    line = [e - s for e, s in zip(end, start, strict=True)]
    along = np.clip(sum(o * d for o, d in zip(offset, line, strict=True)) / sum(d * d for d in line), 0.0, 1.0)
    return np.sqrt(sum((o - along * d) ** 2 for o, d in zip(offset, line, strict=True))) - radius


def _union(parts: list[Field]) -> Field:
    return np.minimum.reduce(parts)


def _blend(first: Field, second: Field, width_mm: float) -> Field:
    """Union whose crease is rounded over ``width_mm`` (polynomial smooth minimum)."""
    share = np.clip(0.5 + 0.5 * (second - first) / width_mm, 0.0, 1.0)
    return second + (first - second) * share - width_mm * share * (1.0 - share)
