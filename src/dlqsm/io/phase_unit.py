"""The unit of phase images.

It is decided from, in this order: the caller's option, the sidecar's ``Units``, the vendor's scaling in sidecar and
NIfTI header. It is never guessed from the data's range; the range only confirms, or contradicts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.units import TWO_PI
from dlqsm.io.nifti import Image

PHASE_UNITS = "rad, mrad, siemens or range:LO:HI"
_LARGEST_PHASE_RAD = 10 * TWO_PI
_SMALLEST_SPAN_RAD = 0.1
_SIEMENS = -4096.0, 4096.0
"""Values of -pi and pi once slope and intercept of the header are applied, which some tools leave out."""
_SIEMENS_SCALING = 2.0, -4096.0
_SPARE = 1e-3
"""Share of a turn by which rounded values or limits may lie beyond the limits."""


def phase_in_radian(
    image: Image, sidecar: dict[str, object], option: str | None, decisions: dict[str, str]
) -> NDArray[np.floating]:
    """Phase in radian; says in ``decisions`` what settled the unit.

    Raises
    ------
    InputError
        If nothing tells the unit, or the values are constant or far from what the unit allows.
    """
    unit, reason = (option, "the option --phase-unit") if option else _unit_from_headers(image, sidecar)
    values = image.values
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise InputError(f"{image.path}: the phase is finite in no voxel; expected wrapped phase images")
    low, high = float(finite.min()), float(finite.max())
    if unit is None:
        raise InputError(
            f"{image.path}: neither the header nor a sidecar says in what unit the phase is stored "
            f"(it spans {low:.6g} to {high:.6g}); give --phase-unit {PHASE_UNITS}"
        )
    scale, offset = _scale_of(unit)
    span = (high - low) * scale
    if low == high:
        raise InputError(f"{image.path}: the phase is {low:g} in every voxel; expected wrapped phase images")
    if span < _SMALLEST_SPAN_RAD or max(abs(low * scale + offset), abs(high * scale + offset)) > _LARGEST_PHASE_RAD:
        raise InputError(
            f"{image.path}: in the unit '{unit}' (from {reason}) the phase would span {low * scale + offset:.4g} to "
            f"{high * scale + offset:.4g} rad; expected about -3.14 to 3.14: give the right --phase-unit"
        )
    if option:
        _require_within(image, option, low, high)
    decisions["phase_unit"] = f"{unit}, from {reason}"
    return values * values.dtype.type(scale) + values.dtype.type(offset)


def _unit_from_headers(image: Image, sidecar: dict[str, object]) -> tuple[str | None, str]:
    """The unit that sidecar and header name, with what named it; (None, '') where they do not."""
    units = str(sidecar.get("Units", "")).lower()
    if units in ("rad", "radian", "radians"):
        return "rad", "the sidecar's Units"
    if units in ("mrad", "milliradian"):
        return "mrad", "the sidecar's Units"
    vendor = str(sidecar.get("Manufacturer", "")).lower()
    intercept = sidecar.get("PhilipsRWVIntercept", sidecar.get("PhilipsRescaleIntercept"))
    if "philips" in vendor and isinstance(intercept, int | float) and math.isclose(intercept, -3142, abs_tol=1):
        # Philips stores milliradian by its rescale; dcm2niix divides by 1000 in the NIfTI header or leaves it.
        for unit, factor in (("rad", 1e-3), ("mrad", 1.0)):
            if math.isclose(image.intercept, intercept * factor, rel_tol=1e-3):
                return unit, "the Philips rescale (milliradian) and the NIfTI scaling"
    if "siemens" in vendor and (image.slope, image.intercept) == _SIEMENS_SCALING:
        return "siemens", "the Siemens scaling (slope 2, intercept -4096)"
    return None, ""


def _require_within(image: Image, unit: str, low: float, high: float) -> None:
    """Raise `InputError` where the values are none of the unit: it would scale the susceptibility by 2 or 0.5."""
    limits = _limits_of(unit)
    if limits is None:
        return
    spare = _SPARE * (limits[1] - limits[0])
    beyond = low < limits[0] - spare or high > limits[1] + spare
    # Wrapped phase that passes pi/2 and is negative nowhere is stored from 0 on, unless the header says otherwise.
    unscaled = unit == "siemens" and low >= 0 and high > limits[1] / 2
    if beyond or (unscaled and (image.slope, image.intercept) != _SIEMENS_SCALING):
        raise InputError(
            f"{image.path}: the phase spans {low:.6g} to {high:.6g}, but in the unit '{unit}' (from the option "
            f"--phase-unit) {limits[0]:g} is -pi and {limits[1]:g} is pi; give siemens for values of -4096 to 4094, "
            "range:0:4096 for 0 to 4095, or else range:LO:HI"
        )


def _limits_of(unit: str) -> tuple[float, float] | None:
    """Stored values of -pi and pi; None for radian and milliradian, which may hold several turns."""
    if unit in ("rad", "mrad"):
        return None
    if unit == "siemens":
        return _SIEMENS
    try:
        kind, low, high = unit.split(":")
        limits = float(low), float(high)
    except ValueError:
        raise InputError(f"unknown phase unit '{unit}'; expected {PHASE_UNITS}") from None
    if kind != "range" or not limits[1] > limits[0]:
        raise InputError(f"unknown phase unit '{unit}'; expected {PHASE_UNITS} with LO below HI")
    return limits


def _scale_of(unit: str) -> tuple[float, float]:
    """Factor and offset from stored values to radian."""
    limits = _limits_of(unit)
    if limits is None:
        return {"rad": 1.0, "mrad": 1e-3}[unit], 0.0
    if unit == "siemens":
        return math.pi / 4096, 0.0
    span = limits[1] - limits[0]
    return TWO_PI / span, -math.pi - limits[0] * TWO_PI / span
