"""DICOM series to volumes by dcm2niix: one image for each echo and component, with what its sidecar tells."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import dcm2niix

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.dicom_header import Series, component_of
from dlqsm.io.nifti import Image, read_grid, read_shape
from dlqsm.io.outputs import read_json

_OPTIONS: Final = (
    "-g", "i",  # no defaults of the user's
    "-b", "y", "-ba", "y",  # a sidecar, without names and dates
    "-z", "n",
    "-x", "n",  # not cropped
    "-p", "y",  # Philips: the precise scaling
    "-d", "0", "-w", "2",
    "-f", "image_%e",
)  # fmt: skip
_ENDINGS: Final = {"ph": "PHASE", "real": "REAL", "imaginary": "IMAGINARY"}
"""How dcm2niix ends the name of an image that is no magnitude."""
_INCOMPLETE: Final = re.compile(r"Missing images|Interslice distance varies|images may be missing", re.IGNORECASE)
_SAME_SCALE: Final = 1e-3
_LIMIT_S: Final = 3600


@dataclass(frozen=True, slots=True)
class Volume:
    """One image of a series.

    Parameters
    ----------
    series
        Where it is from.
    path
        NIfTI file that dcm2niix wrote.
    sidecar
        Content of the JSON beside it.
    component
        MAGNITUDE, PHASE, REAL or IMAGINARY; None where nothing tells.
    grid
        Its voxel grid.
    n_volumes
        Volumes that the file holds; 1 but for a time series.
    """

    series: Series
    path: Path
    sidecar: dict[str, Any]
    component: str | None
    grid: Grid
    n_volumes: int

    @property
    def echo_time_s(self) -> float | None:
        """Echo time [s]."""
        value = self.sidecar.get("EchoTime")
        return float(value) if isinstance(value, int | float) else None

    @property
    def is_3d(self) -> bool:
        """Whether the scan encoded three dimensions."""
        return self.sidecar.get("MRAcquisitionType") == "3D"


def convert_series(series: Series, scratch: Path) -> list[Volume]:
    """Convert one series.

    Raises
    ------
    InputError
        If dcm2niix fails, or finds that slices are missing.
    """
    source, target = scratch / "in", scratch / "out"
    for folder in (source, target):
        folder.mkdir(parents=True)
    for number, file in enumerate(series.files):
        _link_or_copy(file, source / f"{number:06d}.dcm")
    _run(series, source, target)
    images = sorted(target.glob("*.nii"))
    if not images:
        raise InputError(
            f"{series.shown}: dcm2niix made no image of {series}; export it again, or choose with --series"
        )
    return [_volume(series, image) for image in images]


def unit_after_rescale(series: Series, image: Image) -> str | None:
    """The unit of a phase image that the DICOM headers name, as dcm2niix leaves it or divided by 1000; else None."""
    if len(series.phase_rescales) != 1:
        return None
    ((slope, intercept, unit),) = series.phase_rescales
    for name, factor in (("mrad", 1.0), ("rad", 1e-3)) if unit == "mrad" else (("rad", 1.0),):
        scaled = math.isclose(image.slope, slope * factor, rel_tol=_SAME_SCALE)
        if unit and scaled and math.isclose(image.intercept, intercept * factor, rel_tol=_SAME_SCALE):
            return name
    return None


def _run(series: Series, source: Path, target: Path, call: Callable[..., Any] = subprocess.run) -> None:
    words = [dcm2niix.bin, *_OPTIONS, "-o", str(target), str(source)]
    try:
        done = call(words, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{series.shown}: dcm2niix cannot be run on {series} ({error})") from None
    said = f"{done.stdout}\n{done.stderr}"
    if _INCOMPLETE.search(said):
        raise InputError(
            f"{series.shown}: slices of {series} are missing, by dcm2niix; expected the whole series: export it again, "
            "or leave it out with --series"
        )
    if done.returncode != 0:
        reasons = [line.strip() for line in said.splitlines() if line.startswith("Error")]
        told = reasons[0].replace(str(source), "the series") if reasons else f"exit code {done.returncode}"
        raise InputError(
            f"{series.shown}: dcm2niix cannot convert {series} ({told}); export it again, or leave it out with --series"
        )


def _volume(series: Series, image: Path) -> Volume:
    sidecar = read_json(image.with_suffix(".json"))
    component = _component(series, image, sidecar)
    return Volume(series, image, sidecar, component, read_grid(image), math.prod(read_shape(image)[3:]))


def _component(series: Series, image: Path, sidecar: dict[str, Any]) -> str | None:
    """By the name that dcm2niix gave, by ImageType, or by the headers of the series as far as these leave no choice."""
    for ending in image.stem.split("_")[1:]:
        if ending in _ENDINGS:
            return _ENDINGS[ending]
    told = component_of(str(word) for word in sidecar.get("ImageType", ()))
    if told:
        return told
    rest = series.components - set(_ENDINGS.values()) if len(series.components) > 1 else series.components
    return next(iter(rest)) if len(rest) == 1 and "MIXED" not in rest else None


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copyfile(source, target)
