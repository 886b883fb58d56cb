"""Scan protocols: the paper's, a small one for two-core machines, and any other from a mapping (a TOML file)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from dlqsm.core.checks import InputError, require_choice, require_positive
from dlqsm.core.scan import Grid, Scan, Vector, check_echo_times

COARSEST_CELL_MM: Final = 1.0
"""Largest edge of a cell of simulated tissue when a protocol is scaled, as in ``paper`` and ``small``."""
LEAST_MATRIX: Final = 16
PAPER_ECHO_TIMES_S: Final = tuple(round(3.3e-3 + 3.1e-3 * k, 6) for k in range(8))


@dataclass(frozen=True, slots=True)
class Protocol:
    """A 3-D multi-echo gradient-echo protocol of the virtual scanner, with the spreads between its scans.

    Parameters
    ----------
    name
        Name under which results are filed.
    shape
        Acquired matrix along readout (x) and the two phase-encoding axes.
    voxel_size_mm
        Acquired voxel edges [mm].
    fine_factor
        Cells of the simulated tissue per acquired voxel and axis; the k-space crop back makes partial volume.
    n_coils
        Loops of the receive helmet.
    echo_times_s, repetition_time_s, flip_angle_deg, field_strength_t
        Sequence: echo times [s], ascending; TR [s]; flip angle [degrees]; main field [T]. Fields
        scale with it, R2* and T1 of the head do not: they are those of 3 T.
    snr
        White matter magnitude at the first echo over the SD of one component of the noise in the optimally combined
        fully sampled image; infinite for no noise.
    tilt_deg
        Rotations of the slab about the scanner's x, y and z [degrees].
    slab_edge
        Share of the slab over which the excitation rolls off, at each end.
    lying_rotation_sd_deg, lying_translation_sd_mm
        Root mean square rotation angle [degrees] and translation [mm] of a person's head against the axes and the
        middle of the slab, in all scans; assumed, since slabs are laid along the head. Were all heads straight, slices
        would cut each nucleus alike in all people, which made a nucleus of one scan differ from the next by a bias.
    pose_rotation_sd_deg, pose_translation_sd_mm
        The same of the head between scans.
    drift_ppm
        Range of the linear field drift, of either sign, in seven minutes [ppm].
    shim_sd_ppm
        Root mean square over the brain of the field that the shim leaves in error [ppm].

    Raises
    ------
    InputError
        If a value is out of its range.
    """

    name: str
    shape: tuple[int, int, int]
    voxel_size_mm: Vector
    fine_factor: tuple[int, int, int]
    n_coils: int
    echo_times_s: tuple[float, ...] = PAPER_ECHO_TIMES_S
    repetition_time_s: float = 30.2e-3
    flip_angle_deg: float = 15.0
    field_strength_t: float = 3.0
    snr: float = 90.0
    tilt_deg: Vector = (0.0, 0.0, 0.0)
    slab_edge: float = 0.08
    lying_rotation_sd_deg: float = 3.0
    lying_translation_sd_mm: float = 3.0
    pose_rotation_sd_deg: float = 1.5
    pose_translation_sd_mm: float = 1.5
    drift_ppm: tuple[float, float] = (0.02, 0.05)
    shim_sd_ppm: float = 0.03

    def __post_init__(self) -> None:
        require_positive("shape", self.shape, "voxels")
        require_positive("voxel_size_mm", self.voxel_size_mm, "mm")
        if not all(math.isfinite(value) for value in self.tilt_deg):
            raise InputError(f"tilt_deg must be finite numbers in degrees; got {self.tilt_deg}")
        require_positive("fine_factor", self.fine_factor, "cells")
        require_positive("n_coils", [self.n_coils], "channels")
        require_positive("repetition_time_s", [self.repetition_time_s], "seconds")
        require_positive("flip_angle_deg", [self.flip_angle_deg], "degrees")
        require_positive("field_strength_t", [self.field_strength_t], "T")
        check_echo_times(self.echo_times_s)
        if not self.echo_times_s or self.echo_times_s[-1] >= self.repetition_time_s:
            raise InputError(f"echoes must lie within the TR of {self.repetition_time_s} s; got {self.echo_times_s} s")
        if not self.snr > 0:
            raise InputError(f"snr must be above zero (inf for no noise); got {self.snr}")
        if not 0 <= self.slab_edge < 0.5:
            raise InputError(f"slab_edge must be at least 0 and below 0.5; got {self.slab_edge}")
        lying = (self.lying_rotation_sd_deg, self.lying_translation_sd_mm)
        moved = (self.pose_rotation_sd_deg, self.pose_translation_sd_mm)
        spreads = (*lying, *moved, self.shim_sd_ppm, *self.drift_ppm)
        if not all(math.isfinite(value) and value >= 0 for value in spreads):
            raise InputError(f"spreads of pose, drift and shim must be 0 or more; got {spreads}")

    @property
    def grid(self) -> Grid:
        """The acquired grid, centred on the isocentre."""
        return Grid.centred(self.shape, self.voxel_size_mm, self._rotation)

    @property
    def scan(self) -> Scan:
        """The `Scan` of the acquired images."""
        return Scan(self.grid, self.echo_times_s, self.field_strength_t)

    def fine_grid(self, margin: int = 0) -> Grid:
        """The grid of the simulated tissue: the same field of view, ``margin`` planes more at both ends of z."""
        nx, ny, nz = (n * f for n, f in zip(self.shape, self.fine_factor, strict=True))
        x, y, z = (v / f for v, f in zip(self.voxel_size_mm, self.fine_factor, strict=True))
        return Grid.centred((nx, ny, nz + 2 * margin), (x, y, z), self._rotation)

    def wide_grid(self, extent_mm: float, voxel_mm: float) -> Grid:
        """An isotropic grid along the same axes that holds the whole head and its surroundings."""
        n = 2 * math.ceil(extent_mm / voxel_mm / 2)
        return Grid.centred((n, n, n), (voxel_mm, voxel_mm, voxel_mm), self._rotation)

    def scaled(self, scale: float, n_coils: int | None = None) -> Protocol:
        """Return the protocol on a smaller or larger matrix of the same field of view, with as many more coils.

        Cells of the simulated tissue stay at or below `COARSEST_CELL_MM`, and at two a voxel or more.

        Parameters
        ----------
        scale
            Factor of the matrix, rounded to even numbers, and of the number of coils.
        n_coils
            Number of coils, where it shall not follow the scale.

        Raises
        ------
        InputError
            If the scale is not above zero, or so small that nothing remains of an axis.
        """
        require_positive("scale", [scale], "times the matrix")
        if scale == 1.0:
            return self if n_coils is None else dataclasses.replace(self, n_coils=n_coils)
        nx, ny, nz = (2 * round(n * scale / 2) for n in self.shape)
        if min(nx, ny, nz) < LEAST_MATRIX:
            least = f"expected at least {LEAST_MATRIX} an axis"
            raise InputError(f"a scale of {scale} leaves a matrix of {nx} x {ny} x {nz}; {least}")
        x, y, z = (v * n / m for v, n, m in zip(self.voxel_size_mm, self.shape, (nx, ny, nz), strict=True))
        fx, fy, fz = (max(2, math.ceil(v / COARSEST_CELL_MM - 1e-9)) for v in (x, y, z))
        return dataclasses.replace(
            self,
            name=f"{self.name} x {scale:g}",
            shape=(nx, ny, nz),
            voxel_size_mm=(x, y, z),
            fine_factor=(fx, fy, fz),
            n_coils=n_coils or max(1, round(self.n_coils * scale)),
        )

    def with_straight_heads(self) -> Protocol:
        """Return the same protocol with heads along the axes, their middle at the isocentre, but for motion."""
        return dataclasses.replace(self, lying_rotation_sd_deg=0.0, lying_translation_sd_mm=0.0)

    def without_motion(self) -> Protocol:
        """Return the same protocol with straight heads and no pose change, drift or shim error between scans."""
        still = {
            "pose_rotation_sd_deg": 0.0,
            "pose_translation_sd_mm": 0.0,
            "drift_ppm": (0.0, 0.0),
            "shim_sd_ppm": 0.0,
        }
        return dataclasses.replace(self.with_straight_heads(), **still)  # type: ignore[arg-type]

    @property
    def _rotation(self) -> np.ndarray:
        return np.asarray(Rotation.from_euler("xyz", self.tilt_deg, degrees=True).as_matrix())


PROTOCOLS: Final = {
    "paper": Protocol("paper", (280, 280, 96), (0.8, 0.8, 2.0), (2, 2, 2), 32),
    "small": Protocol("small", (128, 128, 36), (1.6, 1.6, 4.0), (2, 2, 4), 8),
}
"""``paper``: Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227; its matrix follows from the
scan times. ``small``: the same sequence on twice the voxel edges."""


def protocol_from(mapping: Mapping[str, Any]) -> Protocol:
    """Make a protocol from plain values, as a TOML file gives them.

    Parameters
    ----------
    mapping
        Fields of `Protocol` that differ from the protocol named by ``base`` (``paper`` where absent).

    Returns
    -------
    The `Protocol`.

    Raises
    ------
    InputError
        If a key is unknown or a value has the wrong kind.
    """
    values = dict(mapping)
    base = values.pop("base", "paper")
    require_choice("protocol", base, PROTOCOLS)
    known = {field.name: getattr(PROTOCOLS[base], field.name) for field in dataclasses.fields(Protocol)}
    unknown = [key for key in values if key not in known]
    if unknown:
        raise InputError(f"unknown protocol key '{unknown[0]}'; known keys are base, {', '.join(known)}")
    return dataclasses.replace(PROTOCOLS[base], **{key: _like(key, value, known[key]) for key, value in values.items()})


def _like(key: str, value: Any, example: Any) -> Any:
    """The value in the type of the example, an array of numbers as a tuple; raises where it is of another kind."""
    if isinstance(example, tuple) and isinstance(value, list | tuple):
        # Only the number of echoes is free.
        if key == "echo_times_s" or len(value) == len(example):
            return tuple(_like(key, part, example[0]) for part in value)
    elif isinstance(example, str) and isinstance(value, str):
        return value
    elif isinstance(example, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(example, int) and isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputError(f"protocol key '{key}' must be of the form {example!r}; got {value!r}")
