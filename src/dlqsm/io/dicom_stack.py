"""The voxel grid of a DICOM series, and which images lie in each of its slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.dicom_header import Series

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])
_SAME_MM: Final = 0.01
_SAME_COSINE: Final = 1e-4
_UNEVEN: Final = 0.02
"""Share of the slice spacing that slices may be away from their even places."""
_BELONGS: Final = ("StudyInstanceUID", "FrameOfReferenceUID")
_GEOMETRY: Final = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Rows", "Columns", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """One image: a file, or a frame of it counted from 1."""

    class_uid: str
    instance_uid: str
    series_uid: str
    frame: int | None


@dataclass(frozen=True, slots=True)
class Stack:
    """A series as one volume.

    Parameters
    ----------
    series
        Where it is from.
    head
        Header of its first file, without pixels.
    grid
        Voxel grid ``(column, row, slice)``, slices along the normal of the image plane.
    positions, orientation, spacing
        ImagePositionPatient of each slice, ImageOrientationPatient and PixelSpacing, as the headers write them.
    sources
        Images of each slice: all echoes, magnitude and phase.
    """

    series: Series
    head: Dataset
    grid: Grid
    positions: tuple[Sequence[float], ...]
    orientation: Sequence[float]
    spacing: Sequence[float]
    sources: tuple[tuple[Source, ...], ...]


@dataclass(frozen=True, slots=True)
class _Plane:
    """One image in space."""

    source: Source
    shape: tuple[int, int]
    position: Sequence[float]
    orientation: Sequence[float]
    spacing: Sequence[float]


def read_stack(series: Series) -> Stack:
    """Read where the images of a series lie.

    Raises
    ------
    InputError
        If they make no volume: an image has no place, they differ in size or direction, or lie unevenly.
    """
    try:
        return _stack(series)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of pydicom, which understands values when they are asked for, or of what is no number
        reason = " ".join(str(error).split())
        raise InputError(
            f"{series.shown}: the headers of {series} make no volume ({reason}); export it again"
        ) from None


def _stack(series: Series) -> Stack:
    planes = [plane for file in series.files for plane in _planes(series, dcmread(file, specific_tags=list(_GEOMETRY)))]
    first = planes[0]
    for plane in planes:
        if plane.shape != first.shape or not _alike(plane, first):
            raise InputError(f"{series.shown}: {series} holds images of several sizes or directions, no single volume")
    across, down = np.asarray(first.orientation[:3], float), np.asarray(first.orientation[3:], float)
    normal = np.cross(across, down)
    slices = _slices(planes, normal)
    places = np.array([group[0].position for group in slices], dtype=np.float64)
    step = _even_step(series, places)
    head = dcmread(series.files[0], stop_before_pixels=True)
    for name in _BELONGS:
        if not head.get(name):
            raise InputError(f"{series.shown}: {series} has no {name}, so that nothing can be put beside it")
    columns, rows = first.shape
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = across * float(first.spacing[1]), down * float(first.spacing[0])
    affine[:3, 2], affine[:3, 3] = step, places[0]
    return Stack(
        series,
        head,
        Grid.from_affine((columns, rows, len(slices)), _LPS_TO_RAS @ affine),
        tuple(group[0].position for group in slices),
        first.orientation,
        first.spacing,
        tuple(tuple(plane.source for plane in group) for group in slices),
    )


def same_voxels(grid: Grid, other: Grid) -> bool:
    """Whether two grids have one shape, and corners within a tenth of a voxel of each other."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], [1])).reshape(4, -1)
    moved = np.abs((grid.affine - other.affine) @ corners).max()
    return grid.shape == other.shape and float(moved) <= 0.1 * min(other.voxel_size_mm)


def on_stack(values: NDArray[np.float32], grid: Grid, stack: Grid) -> NDArray[np.float32] | None:
    """A volume with its axes turned and flipped to those of a stack; None where the two are not one grid of voxels."""
    to_volume = np.linalg.inv(grid.affine) @ stack.affine
    axes = np.abs(to_volume[:3, :3]).argmax(axis=0)
    if sorted(axes) != [0, 1, 2]:
        return None
    flipped = to_volume[axes, range(3)] < 0
    turned = values.transpose(axes)
    index = np.zeros((4, 4))
    index[axes, range(3)] = np.where(flipped, -1, 1)
    index[axes, 3] = np.where(flipped, np.array(turned.shape) - 1, 0)
    index[3, 3] = 1
    if not same_voxels(Grid.from_affine(turned.shape, grid.affine @ index), stack):
        return None
    return np.flip(turned, np.flatnonzero(flipped))


def _planes(series: Series, head: Dataset) -> Iterator[_Plane]:
    """Images of a file: one, or one a frame."""
    shared = (head.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    frames = head.get("PerFrameFunctionalGroupsSequence")
    for number, frame in enumerate(frames or [head], 1):
        found = [
            _of_group(frame, shared, group, name)
            for group, name in (
                ("PlanePositionSequence", "ImagePositionPatient"),
                ("PlaneOrientationSequence", "ImageOrientationPatient"),
                ("PixelMeasuresSequence", "PixelSpacing"),
            )
        ]
        if not all(found) or "Columns" not in head:
            raise InputError(f"{series.shown}: an image of {series} does not tell where it lies; export it again")
        uids = (str(head.SOPClassUID), str(head.SOPInstanceUID), str(head.SeriesInstanceUID))
        source = Source(*uids, number if frames else None)
        yield _Plane(source, (int(head.Columns), int(head.Rows)), *found)


def _of_group(frame: Dataset, shared: Dataset, group: str, name: str) -> Sequence[float]:
    """A value of a classic header, or of a functional group of the frame or of all frames; empty where absent."""
    if name in frame:
        return list(frame[name].value)
    for part in (frame, shared):
        items = part.get(group)
        if items and name in items[0]:
            return list(items[0][name].value)
    return []


def _alike(plane: _Plane, first: _Plane) -> bool:
    pairs = ((plane.orientation, first.orientation, _SAME_COSINE), (plane.spacing, first.spacing, _SAME_MM))
    return all(np.allclose(np.asarray(a, float), np.asarray(b, float), rtol=0, atol=limit) for a, b, limit in pairs)


def _slices(planes: list[_Plane], normal: NDArray[np.float64]) -> list[list[_Plane]]:
    """Images by their place along the normal."""
    slices: list[list[_Plane]] = []
    heights = [float(np.asarray(plane.position, float) @ normal) for plane in planes]
    last = -np.inf
    for height, plane in sorted(zip(heights, planes, strict=True), key=lambda pair: pair[0]):
        if height - last > _SAME_MM:
            slices.append([])
        slices[-1].append(plane)
        last = height
    return slices


def _even_step(series: Series, places: NDArray[np.float64]) -> NDArray[np.float64]:
    """From one slice to the next [mm]."""
    if len(places) < 2:
        raise InputError(f"{series.shown}: {series} has one slice; expected a volume")
    step: NDArray[np.float64] = (places[-1] - places[0]) / (len(places) - 1)
    even = places[0] + np.arange(len(places))[:, None] * step
    if float(np.abs(places - even).max()) > _UNEVEN * float(np.linalg.norm(step)):
        raise InputError(f"{series.shown}: the slices of {series} lie unevenly, some are missing; export it again")
    return step
