"""Geometry and timing of a scan: `Grid` and `Scan`, frozen, plain Python numbers, so they have no device."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dlqsm.core import units
from dlqsm.core.checks import InputError, require_positive

Vector = tuple[float, float, float]
Affine = NDArray[np.float64]
ECHO_TIME_LIMIT_S = 0.5
"""Echo times above this are milliseconds taken for seconds: no gradient echo of the head lives that long."""

WEAKEST_FIELD_T, STRONGEST_FIELD_T = 0.001, 30.0
"""Fields beyond these are gauss, or megahertz taken for hertz."""


@dataclass(frozen=True, slots=True)
class Grid:
    """A regular voxel grid.

    Parameters
    ----------
    shape
        Voxels along x, y, z.
    voxel_size_mm
        Voxel edges along the array axes [mm].
    rotation
        Rows of the matrix whose columns are the unit vectors of the array axes in RAS scanner space.
    origin_mm
        RAS position of the centre of voxel (0, 0, 0) [mm].

    Raises
    ------
    InputError
        If the shape is not three positive integers or a voxel edge is not above zero.
    """

    shape: tuple[int, int, int]
    voxel_size_mm: Vector
    rotation: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    origin_mm: Vector = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InputError(f"a grid has three axes of at least one voxel; got shape {self.shape}")
        require_positive("voxel_size_mm", self.voxel_size_mm, "mm")

    @classmethod
    def from_affine(cls, shape: tuple[int, int, int], affine: Affine) -> Grid:
        """Make the grid of a NIfTI affine (RAS, mm); sheared axes stay as they are."""
        matrix = np.asarray(affine, dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise InputError("the affine holds values that are not finite; expected voxel edges and positions in mm")
        edges = np.linalg.norm(matrix[:3, :3], axis=0)
        if edges.min() <= 0:
            raise InputError(f"the affine has a voxel edge of {edges.min()} mm; expected three edges above zero")
        unit = matrix[:3, :3] / edges
        a, b, c = (_vector(row) for row in unit)
        return cls(shape, _vector(edges), (a, b, c), _vector(matrix[:3, 3]))

    @classmethod
    def centred(cls, shape: tuple[int, int, int], voxel_size_mm: Vector, rotation: NDArray[np.float64]) -> Grid:
        """Make the grid whose voxel ``n // 2`` sits at the scanner's isocentre."""
        matrix = np.eye(4)
        matrix[:3, :3] = rotation * np.asarray(voxel_size_mm)
        matrix[:3, 3] = -matrix[:3, :3] @ (np.asarray(shape) // 2)
        return cls.from_affine(shape, matrix)

    @property
    def affine(self) -> Affine:
        """Voxel index to RAS scanner position [mm], 4 x 4 float64 whatever the image's dtype."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.asarray(self.rotation) * np.asarray(self.voxel_size_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel [mm3]."""
        return math.prod(self.voxel_size_mm)

    @property
    def shear_deg(self) -> float:
        """Largest angle by which two axes are off a right angle [degrees]; 0 for all that is scanned."""
        axes = np.asarray(self.rotation)
        cosines = np.abs(np.triu(axes.T @ axes, 1))
        return math.degrees(math.asin(min(1.0, float(cosines.max()))))

    def b0_direction(self) -> Vector:
        """Direction of B0 (scanner z) along the array axes: R^T (0, 0, 1), R the nearest rotation where sheared.

        The columns are normalised before: without that an anisotropic oblique grid gets a wrong tilt.
        """
        u, _, vt = np.linalg.svd(np.asarray(self.rotation))
        return _vector((u @ vt).T @ np.array([0.0, 0.0, 1.0]))


@dataclass(frozen=True, slots=True)
class Scan:
    """What a step must know of the acquisition.

    Parameters
    ----------
    grid
        The voxel grid.
    echo_times_s
        Echo times [s], ascending; empty where unknown.
    field_strength_t
        Main field [T]; None where unknown.
    b0_direction
        Unit vector of B0 along the array axes; from the grid unless given.

    Raises
    ------
    InputError
        If echo times are negative, unsorted or look like milliseconds, or if B0 has no direction.
    """

    grid: Grid
    echo_times_s: tuple[float, ...] = ()
    field_strength_t: float | None = None
    b0_direction: Vector = field(default=(0.0, 0.0, 0.0))

    def __post_init__(self) -> None:
        check_echo_times(self.echo_times_s)
        if self.field_strength_t is not None:
            check_field_strength(self.field_strength_t)
        norm = math.hypot(*self.b0_direction)
        if not math.isfinite(norm):
            raise InputError(f"B0 direction must be three finite numbers; got {self.b0_direction}")
        direction = self.grid.b0_direction() if norm == 0 else _vector(np.asarray(self.b0_direction) / norm)
        object.__setattr__(self, "b0_direction", direction)

    @property
    def hz_per_ppm(self) -> float:
        """Frequency of one ppm [Hz]; raises `InputError` where the field strength is unknown."""
        if self.field_strength_t is None:
            raise InputError("the field strength is not known; give --field-strength in tesla")
        return units.hz_per_ppm(self.field_strength_t)

    @property
    def field_over_3t(self) -> float:
        """Field strength over 3 T, for which limits on R2* hold; 1 where the field strength is unknown."""
        return 1.0 if self.field_strength_t is None else self.field_strength_t / 3.0

    @property
    def echo_spacing_s(self) -> float:
        """Spacing of uniform echo times [s]; raises `InputError` for fewer than two or for uneven echoes."""
        if len(self.echo_times_s) < 2:
            raise InputError(f"two echoes or more are needed; got {len(self.echo_times_s)}")
        if not self.has_even_echoes(2):
            raise InputError(f"echo times must be evenly spaced; got {list(self.echo_times_s)} s")
        return float(np.diff(self.echo_times_s).mean())

    def has_even_echoes(self, n_least: int) -> bool:
        """Whether there are ``n_least`` echoes or more, and all evenly spaced."""
        steps = np.diff(self.echo_times_s)
        return len(self.echo_times_s) >= n_least and bool(np.ptp(steps) <= 0.02 * steps.mean())


def check_field_strength(field_strength_t: float) -> None:
    """Raise `InputError` unless a main field is one that a scanner can have."""
    require_positive("field strength", [field_strength_t], "T")
    if not WEAKEST_FIELD_T <= field_strength_t <= STRONGEST_FIELD_T:
        raise InputError(
            f"field strength {field_strength_t:g} T is outside {WEAKEST_FIELD_T:g} to {STRONGEST_FIELD_T:g} T; "
            "give it in tesla"
        )


def check_echo_times(echo_times_s: tuple[float, ...]) -> None:
    """Raise `InputError` unless echo times are above zero, ascending and below `ECHO_TIME_LIMIT_S`."""
    require_positive("echo times", echo_times_s, "seconds")
    if any(b <= a for a, b in itertools.pairwise(echo_times_s)):
        raise InputError(f"echo times must ascend; got {list(echo_times_s)} s")
    if echo_times_s and max(echo_times_s) > ECHO_TIME_LIMIT_S:
        raise InputError(
            f"echo time {max(echo_times_s)} s is longer than {ECHO_TIME_LIMIT_S} s; "
            "give echo times in seconds, not milliseconds"
        )


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) + 0.0 for v in values)
    return x, y, z


def direction_text(direction: Sequence[float]) -> str:
    """A direction of B0 in words."""
    return f"({', '.join(f'{part:.4f}' for part in direction)}) along the array axes"
