"""Magnitude and phase of one echo of a multi-echo DICOM scan, as volumes in radian."""

from __future__ import annotations

import numpy as np
import torch

from dlqsm.core.checks import InputError
from dlqsm.io.dicom_volumes import Volume, unit_after_rescale
from dlqsm.io.images import PhaseOptions
from dlqsm.io.megre import Megre
from dlqsm.io.nifti import read_image, read_volume
from dlqsm.io.phase_unit import phase_in_radian


def read_echo(
    megre: Megre, number: int, options: PhaseOptions, decisions: dict[str, str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Magnitude and phase [rad] of an echo, ``(x, y, z)``, the sign turned where asked for.

    Raises
    ------
    InputError
        If nothing tells the unit of the phase, or its values are far from what the unit allows.
    """
    if megre.phase:
        magnitude = three_axes(read_volume(megre.magnitude[number].path)[0])
        phase_rad = _phase(megre.phase[number], options.unit, decisions)
    else:
        if options.unit is not None:
            shown = megre.real[number].series.shown
            raise InputError(f"{shown}: real and imaginary images need no phase unit; leave out --phase-unit")
        parts = (megre.real[number], megre.imaginary[number])
        real, imaginary = (three_axes(read_volume(v.path)[0]) for v in parts)
        magnitude, phase_rad = torch.hypot(real, imaginary), torch.atan2(imaginary, real)
        decisions["phase_unit"] = "rad, the angle of real and imaginary images"
    return magnitude, -phase_rad if options.invert else phase_rad


def three_axes(values: torch.Tensor) -> torch.Tensor:
    """The volume without axes of one entry."""
    return values.reshape(values.shape[:3])


def _phase(volume: Volume, unit: str | None, decisions: dict[str, str]) -> torch.Tensor:
    """Phase in rad; the unit by the option, by the DICOM rescale, or by what sidecar and NIfTI header tell."""
    image = read_image(volume.path)
    by_rescale = None if unit else unit_after_rescale(volume.series, image)
    try:
        values = phase_in_radian(image, volume.sidecar, unit or by_rescale, decisions)
    except InputError as error:
        raise InputError(str(error).replace(str(volume.path), f"{volume.series.shown}: {volume.series}")) from None
    if by_rescale:
        decisions["phase_unit"] = f"{by_rescale}, from the rescale type of the DICOM headers and the NIfTI scaling"
    return three_axes(torch.from_numpy(np.ascontiguousarray(values, np.float32)))
