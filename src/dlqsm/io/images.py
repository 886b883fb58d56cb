"""Magnitude and phase, or real and imaginary images of several echoes: files to arrays, with every decision said."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan, Vector
from dlqsm.io.field_strength import believed_field_t
from dlqsm.io.files import number_of
from dlqsm.io.nifti import Image, read_image, require_same_grid
from dlqsm.io.phase_unit import phase_in_radian
from dlqsm.io.sidecars import inherited_sidecar, is_same_time


@dataclass(frozen=True, slots=True)
class PhaseOptions:
    """What a user says of phase images.

    Parameters
    ----------
    unit
        Unit; from the headers where None.
    invert
        Whether the sign is turned.
    bipolar
        Whether echoes were read with alternating polarity.
    accept
        What is accepted in spite of a check that fails: ``sign``, ``filtered``, names of alarms that stop.
    coils
        How images of single coils are combined: ``mdi`` leaves them apart, ``mcpc3ds`` makes one image an echo.
    """

    unit: str | None = None
    invert: bool = False
    bipolar: bool = False
    accept: tuple[str, ...] = ()
    coils: str = "mdi"


AS_STORED: Final = PhaseOptions()
_MOST_BELOW_ZERO: Final = 0.1
"""Share of the largest magnitude down to which values below zero pass as those of an interpolation."""


@dataclass(frozen=True, slots=True)
class EchoSeries:
    """Images of one scan as the steps want them.

    Parameters
    ----------
    magnitude, phase_rad
        ``(echo, coil, x, y, z)``; one coil where combined. Values that were not finite are zero.
    scan
        Grid, echo times, field strength and B0 direction, as far as known.
    n_not_finite
        Voxels with a NaN or infinity in any echo.
    not_finite
        Those voxels, ``(x, y, z)`` bool.
    decisions
        What was decided, by what, in words.
    """

    magnitude: torch.Tensor
    phase_rad: torch.Tensor
    scan: Scan
    not_finite: torch.Tensor
    decisions: dict[str, str]

    @property
    def n_not_finite(self) -> int:
        """Voxels with a NaN or infinity in any echo."""
        return int(self.not_finite.sum())


def read_echo_series(
    magnitude: Sequence[Path],
    phase: Sequence[Path],
    *,
    phase_unit: str | None,
    echo_times_s: Sequence[float] | None,
    field_strength_t: float | None,
    b0_direction: Vector | None,
    n_coils: int = 1,
) -> EchoSeries:
    """Read one file per echo, or one 4-D file; a fifth axis is coils. Options override the sidecars.

    Parameters
    ----------
    magnitude, phase
        Files in one order.
    phase_unit
        Unit of the phase; from the headers where None.
    echo_times_s, field_strength_t, b0_direction
        Override the sidecars and the affine.
    n_coils
        Files an echo, one a coil, which follow each other; 1 where each file holds all coils, or combined images.

    Raises
    ------
    InputError
        For shapes, grids or echo counts that disagree, echo times that are missing, unsorted or in ms, phase whose unit
        nothing tells, and phase that is constant or outside what its unit allows.
    """
    if not magnitude or not phase:
        raise InputError("expected at least one magnitude and one phase image; got none")
    images = {"magnitude": [read_image(p) for p in magnitude], "phase": [read_image(p) for p in phase]}
    sidecars = [inherited_sidecar(p) for p in phase]
    grid = images["phase"][0].grid
    for image in images["magnitude"] + images["phase"]:
        require_same_grid(image.path, image.grid, grid, str(phase[0]))
    decisions: dict[str, str] = {}
    radians = [phase_in_radian(i, s, phase_unit, decisions) for i, s in zip(images["phase"], sidecars, strict=True)]
    phase_values = stack_echoes([i.path for i in images["phase"]], radians, n_coils)
    magnitudes = [image.values for image in images["magnitude"]]
    magnitude_values = stack_echoes([i.path for i in images["magnitude"]], magnitudes, n_coils)
    if magnitude_values.shape != phase_values.shape:
        raise InputError(
            f"{magnitude[0]}: magnitude has {magnitude_values.shape[0]} echoes x {magnitude_values.shape[1]} coils; "
            f"expected {phase_values.shape[0]} x {phase_values.shape[1]}, as the phase has"
        )
    for image in images["magnitude"]:
        _require_magnitude(image)
    _require_one_timing(magnitude, phase, sidecars)
    told = echo_times_s, field_strength_t, b0_direction
    return series_of_values(phase, sidecars, grid, magnitude_values, phase_values, told, decisions, n_coils)


def read_complex_series(
    real: Sequence[Path],
    imaginary: Sequence[Path],
    *,
    echo_times_s: Sequence[float] | None,
    field_strength_t: float | None,
    b0_direction: Vector | None,
    n_coils: int = 1,
) -> EchoSeries:
    """Read real and imaginary images as `read_echo_series` reads magnitude and phase; the phase needs no unit then.

    Raises
    ------
    InputError
        For shapes, grids or echo counts that disagree, and echo times that are missing, unsorted or in ms.
    """
    images = [[read_image(p) for p in paths] for paths in (real, imaginary)]
    sidecars = [inherited_sidecar(p) for p in real]
    grid = images[0][0].grid
    for image in images[0] + images[1]:
        require_same_grid(image.path, image.grid, grid, str(real[0]))
        if not np.any(image.values):
            raise InputError(f"{image.path}: is zero in every voxel; expected the real or imaginary part of an echo")
    a, b = (stack_echoes([i.path for i in part], [i.values for i in part], n_coils) for part in images)
    if a.shape != b.shape:
        raise InputError(
            f"{imaginary[0]}: the imaginary part has {b.shape[0]} echoes x {b.shape[1]} coils; expected "
            f"{a.shape[0]} x {a.shape[1]}, as the real part has"
        )
    _require_one_timing(imaginary, real, sidecars)
    told = echo_times_s, field_strength_t, b0_direction
    decisions = {"phase_unit": "rad, the angle of real and imaginary images"}
    return series_of_values(real, sidecars, grid, np.hypot(a, b), np.arctan2(b, a), told, decisions, n_coils)


def series_of_values(
    paths: Sequence[Path],
    sidecars: list[dict[str, object]],
    grid: Grid,
    magnitude_values: NDArray[np.floating],
    phase_values: NDArray[np.floating],
    told: tuple[Sequence[float] | None, float | None, Vector | None],
    decisions: dict[str, str],
    n_coils: int = 1,
) -> EchoSeries:
    """Values ``(echo, coil, x, y, z)`` with echo times, field and B0: as told, else by the sidecars of ``paths``."""
    echo_times_s, field_strength_t, b0_direction = told
    _require_one_time_an_echo(paths, sidecars, n_coils)
    times = _echo_times(paths[::n_coils], sidecars[::n_coils], echo_times_s, phase_values.shape[0], decisions)
    order = np.arange(len(times)) if echo_times_s else np.argsort(times)
    strength = _field_strength(paths, sidecars, field_strength_t, decisions)
    try:
        scan = Scan(grid, tuple(times[i] for i in order), strength, b0_direction or (0.0, 0.0, 0.0))
    except InputError as error:
        raise InputError(f"{paths[0]}: {error}") from None
    decisions["b0_direction"] = _b0_sentence(scan, given=b0_direction is not None)
    decisions["phase_sign"] = "as stored: phase grows with time where the field is higher, exp(+i 2 pi f TE)"
    bad = ~(np.isfinite(phase_values) & np.isfinite(magnitude_values)).all(axis=(0, 1))
    both = [torch.from_numpy(np.where(bad, 0.0, v[order]).astype(v.dtype)) for v in (magnitude_values, phase_values)]
    return EchoSeries(both[0], both[1], scan, torch.from_numpy(bad), decisions)


def _require_magnitude(image: Image) -> None:
    """A magnitude has no values below zero, but for what an interpolation may leave."""
    finite = image.values[np.isfinite(image.values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    if not high > 0:
        raise InputError(f"{image.path}: the magnitude is above zero in no voxel; expected a magnitude image")
    if low < -_MOST_BELOW_ZERO * high:
        raise InputError(
            f"{image.path}: the magnitude reaches from {low:.4g} to {high:.4g}; expected no values below zero: are "
            "magnitude and phase swapped?"
        )


def stack_echoes(paths: list[Path], volumes: list[NDArray[np.floating]], n_coils: int) -> NDArray[np.floating]:
    """Stack files and trailing axes to ``(echo, coil, x, y, z)``."""
    if len(volumes) == 1:
        whole = volumes[0].reshape(*volumes[0].shape, *(1,) * (5 - volumes[0].ndim))
        return np.ascontiguousarray(np.moveaxis(whole, (3, 4), (0, 1)))
    for path, volume in zip(paths, volumes, strict=True):
        if volume.ndim > 3 and volume.shape[3] != 1:
            raise InputError(
                f"{path}: with one file per echo each must be x, y, z (and 1, coil); got shape {volume.shape}"
            )
        if volume.shape != volumes[0].shape:
            raise InputError(f"{path}: has shape {volume.shape}; expected {volumes[0].shape}, as {paths[0]} has")
    if n_coils > 1:
        if volumes[0].ndim > 3 and math.prod(volumes[0].shape[3:]) > 1:
            raise InputError(f"{paths[0]}: with one file per coil each must be x, y, z; got shape {volumes[0].shape}")
        return np.stack(volumes).reshape(-1, n_coils, *volumes[0].shape[:3])
    whole = np.stack([v.reshape(*v.shape[:3], -1) for v in volumes])
    return np.ascontiguousarray(np.moveaxis(whole, -1, 1))


def _echo_times(
    paths: Sequence[Path],
    sidecars: list[dict[str, object]],
    option: Sequence[float] | None,
    n_echoes: int,
    decisions: dict[str, str],
) -> list[float]:
    if option:
        decisions["echo_times"] = "the option --echo-times or the scan file"
        times = [float(t) for t in option]
    else:
        decisions["echo_times"] = "the sidecars' EchoTime"
        stored = [s.get("EchoTime") for s in sidecars]
        first = stored[0]
        listed = first if len(paths) == 1 and isinstance(first, list) else stored
        times = [number_of(paths[0], "sidecar's EchoTime", t) for t in listed if t is not None]
        if len(set(times)) != len(times):
            raise InputError(f"{paths[0]}: two echoes have one EchoTime in their sidecars ({times} s)")
        if not times:
            raise InputError(f"{paths[0]}: no sidecar tells the echo times; give --echo-times in seconds")
    if len(times) != n_echoes:
        raise InputError(f"{paths[0]}: the images have {n_echoes} echoes, but {len(times)} echo times are given")
    return times


def _require_one_time_an_echo(paths: Sequence[Path], sidecars: list[dict[str, object]], n_coils: int) -> None:
    """The images of all coils of an echo must have its echo time."""
    for place, told in enumerate(sidecars):
        first = place - place % n_coils
        mine, theirs = told.get("EchoTime"), sidecars[first].get("EchoTime")
        if not is_same_time(mine, theirs):
            raise InputError(f"{paths[place]}: its EchoTime is {mine} s; expected {theirs} s, as {paths[first]} has")


def _require_one_timing(
    magnitude: Sequence[Path], phase: Sequence[Path], phase_sidecars: list[dict[str, object]]
) -> None:
    """Magnitude and phase files must come in one order of echoes."""
    if len(magnitude) != len(phase):
        return
    for m, p, told in zip(magnitude, phase, phase_sidecars, strict=True):
        mine, theirs = inherited_sidecar(m).get("EchoTime"), told.get("EchoTime")
        if mine is not None and theirs is not None and not is_same_time(mine, theirs):
            raise InputError(f"{m}: its EchoTime is {mine} s; expected {theirs} s, as {p} at the same place has")


def _field_strength(
    paths: Sequence[Path], sidecars: list[dict[str, object]], option: float | None, decisions: dict[str, str]
) -> float | None:
    if option is not None:
        decisions["field_strength"] = f"{option:g} T, from the option --field-strength or the scan file"
        return option
    told = list(zip(paths, sidecars, strict=True))
    stored, frequencies_mhz = (
        {number_of(path, f"sidecar's {key}", v) for path, s in told if (v := s.get(key)) is not None}
        for key in ("MagneticFieldStrength", "ImagingFrequency")
    )
    if len(stored) > 1:
        raise InputError(
            f"{paths[0]}: the sidecars name several field strengths ({sorted(stored)} T); give --field-strength"
        )
    frequency_hz = 1e6 * sum(frequencies_mhz) / len(frequencies_mhz) if frequencies_mhz else None
    field_t, sentence = believed_field_t(next(iter(stored), None), frequency_hz)
    if field_t is not None:
        named = "MagneticFieldStrength" if field_t in stored else "ImagingFrequency"
        decisions["field_strength"] = f"{field_t:.6g} T, from the sidecars' {named}" + (
            f" ({sentence})" if sentence else ""
        )
    return field_t


def _b0_sentence(scan: Scan, *, given: bool) -> str:
    direction = ", ".join(f"{v:.4f}" for v in scan.b0_direction)
    tilt = math.degrees(math.acos(min(1.0, max(abs(v) for v in scan.b0_direction))))
    source = "the option --b0-direction or the scan file" if given else "the affine (scanner z)"
    sentence = f"({direction}) along the array axes, {tilt:.1f} degrees off an axis, from {source}"
    if not given and scan.grid.rotation == Grid(scan.grid.shape, scan.grid.voxel_size_mm).rotation:
        sentence += "; the affine holds no rotation: if the images were resampled, give --b0-direction"
    return sentence
