"""Galleries of the page: for each quantity the same planes of every arm, on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from dlqsm.core.labels import FULL_NAMES
from dlqsm.core.scan import Grid
from dlqsm.core.units import S_PER_MS
from dlqsm.report import images
from dlqsm.report.images import Scale
from dlqsm.report.participant import ArmMaps, ParticipantReport
from dlqsm.report.places import whole_view, zooms
from dlqsm.report.planes import MARKS, PLANES, View, cut, pixel_size_mm
from dlqsm.report.summary import poles_of

MANY_ARMS = 3
"""From this number of arms on, arms are columns and planes are rows."""
_CAPTIONS: Final = {
    "chi_ppm": (
        "Susceptibility",
        "Paramagnetic is bright, diamagnetic dark; zero is the mean of the reference region.",
    ),
    "magnitude": ("Magnitude", "One scale for all arms, up to the 99.5th percentile of the leading arm's brain."),
    "phase_rad": ("Phase", "Wrapped, as measured."),
    "total_field_hz": ("Total field", "Unwrapped, before background removal; positive where the frequency is higher."),
    "noise_hz": (
        "Noise of the field",
        "Standard deviation of the total field, as the noise of the data makes it; one scale for all arms, up to the "
        "95th percentile of the leading arm's brain.",
    ),
    "local_field_hz": ("Local field", "After background removal."),
}
_PERCENTILES: Final = {"magnitude": (99.5, "a.u."), "noise_hz": (95.0, "Hz")}
"""Where the window of a quantity ends that has no fixed one, and its unit."""


@dataclass(frozen=True)
class Panel:
    """One image with what is written on and under it."""

    uri: str
    alt: str
    caption: str
    width_mm: float
    height_mm: float
    marks: tuple[str, str]
    pixels: tuple[int, int]
    outlines: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Gallery:
    """Rows of panels on one scale, and what could not be drawn."""

    title: str
    note: str
    scale: Scale
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    missing: tuple[str, ...] = ()


def quantity_gallery(report: ParticipantReport, quantity: str) -> Gallery:
    """Planes of one of the six quantities of every arm."""
    title, note = _CAPTIONS[quantity]
    echo_s = report.leading.shown_echo_s
    if echo_s is not None and quantity == "phase_rad":
        note = f"{note} Echo time {echo_s / S_PER_MS:.4g} ms."
    if quantity == "phase_rad":
        note = f"{note}{_poles(report)}"
    if quantity == "noise_hz":
        note = f"{note}{_medians(report)}"
    volumes = [(arm, shown(arm, quantity)) for arm in report.arms]
    return _gallery(report, title, note, quantity_scale(report, quantity), volumes)


def difference_to_reference(report: ParticipantReport) -> Gallery | None:
    """Susceptibility of each other arm minus the reference arm's, both demeaned in the mask they share."""
    reference = report.reference
    if reference is None or len(report.arms) == 1:
        return None
    volumes = [(arm, _difference(arm, reference)) for arm in report.arms if arm is not reference]
    note = (
        f"Arm minus {reference.name}, voxel by voxel on the grid as acquired, without registration: between separate "
        "scans, motion shows too. Both maps lose their mean inside the mask that they share."
    )
    why = f"no susceptibility, or another grid than {reference.name}"
    return _gallery(report, f"Difference to {reference.name}", note, images.DIFFERENCE_PPM, volumes, why)


def difference_to_truth(report: ParticipantReport) -> Gallery | None:
    """Susceptibility of each arm minus its truth, both demeaned in the arm's mask; None without any truth."""
    if all(arm.truth_chi_ppm is None for arm in report.arms):
        return None
    volumes = [(arm, _error(arm)) for arm in report.arms]
    note = (
        "Arm minus the true susceptibility of the virtual head in the same position. Both lose their mean in the mask."
    )
    return _gallery(report, "Difference to truth", note, images.DIFFERENCE_PPM, volumes, "no truth")


def zoom_gallery(report: ParticipantReport) -> Gallery | None:
    """Susceptibility round the basal ganglia and in the midbrain, with outlines; None without labels."""
    places = zooms(report)
    if not places:
        return None
    rows = []
    for zoom in places:
        found = [
            _panel(arm, volume, zoom.view, zoom.plane, images.CHI_PPM, zoom.place, arm.name, outlined=True)
            for arm, volume in _chi_volumes(report)
        ]
        rows.append((f"{zoom.place}, {zoom.plane}", tuple(found)))
    missing = tuple(f"{arm.name}: not shown (no susceptibility)" for arm in report.arms if arm.chi_ppm is None)
    note = "Outlines are the labels that the values come from."
    return Gallery("Nuclei", note, images.CHI_PPM, tuple(rows), missing)


def registration_gallery(report: ParticipantReport) -> Gallery | None:
    """Magnitude with the outlines of the nuclei, the head and close by; None without labels or magnitude."""
    drawn = [(arm, arm.magnitude) for arm in report.arms if arm.magnitude is not None]
    places = [(f"{zoom.place}, {zoom.plane}", zoom.view, zoom.plane) for zoom in zooms(report)]
    if not drawn or not places:
        return None
    scale = quantity_scale(report, "magnitude")
    rows = []
    for label, view, plane in [("Head, axial", whole_view(report), "axial"), *places]:
        found = [_panel(arm, m, view, plane, scale, "Magnitude", arm.name, outlined=True) for arm, m in drawn]
        rows.append((label, tuple(found)))
    missing = tuple(f"{arm.name}: not shown (no magnitude)" for arm in report.arms if arm.magnitude is None)
    note = "Outlines as above, here on the magnitude, by which the motion between arms was found."
    return Gallery("Registration", note, scale, tuple(rows), missing)


def _gallery(
    report: ParticipantReport,
    title: str,
    note: str,
    scale: Scale,
    volumes: list[tuple[ArmMaps, torch.Tensor | None]],
    why_missing: str = "not among the data of this arm",
) -> Gallery:
    view = whole_view(report)
    drawn = [(arm, volume) for arm, volume in volumes if volume is not None]
    missing = tuple(f"{arm.name}: not shown ({why_missing})" for arm, volume in volumes if volume is None)
    many = len(report.arms) >= MANY_ARMS
    panels = {
        (arm.name, plane): _panel(arm, volume, view, plane, scale, title, arm.name if many else plane.capitalize())
        for arm, volume in drawn
        for plane in PLANES
    }
    if many:
        rows = [(plane.capitalize(), [(arm.name, plane) for arm, _ in drawn]) for plane in PLANES]
    else:
        rows = [(arm.name, [(arm.name, plane) for plane in PLANES]) for arm, _ in drawn]
    filled = tuple((label, tuple(panels[key] for key in keys)) for label, keys in rows if keys)
    return Gallery(title, note, scale, filled, missing)


def _panel(
    arm: ArmMaps,
    volume: torch.Tensor,
    view: View,
    plane: str,
    scale: Scale,
    title: str,
    caption: str,
    *,
    outlined: bool = False,
) -> Panel:
    pixels = cut(volume, arm.grid, view, plane)
    width, height = _size_mm(pixels, arm.grid, plane)
    found: tuple[tuple[str, str, str], ...] = ()
    if outlined and arm.labels is not None:
        found = tuple(images.outlines(cut(arm.labels, arm.grid, view, plane)))
    named = f", with the outlines of {', '.join(FULL_NAMES[name] for name, _, _ in found)}" if found else ""
    alt = f"{title} of {arm.name}, {plane} plane, {scale.low:.3g} to {scale.high:.3g} {scale.unit}{named}."
    size = pixels.shape[1], pixels.shape[0]
    return Panel(images.data_uri(pixels, scale), alt, caption, width, height, MARKS[plane], size, found)


def _size_mm(pixels: images.Pixels, grid: Grid, plane: str) -> tuple[float, float]:
    width, height = pixel_size_mm(grid, plane)
    return pixels.shape[1] * width, pixels.shape[0] * height


def _medians(report: ParticipantReport) -> str:
    """Median over the mask of each arm, which tells more of noise than grey does."""
    told = [f"{a.name} {float(a.noise_hz[a.mask].median()):.2g}" for a in report.arms if a.noise_hz is not None]
    return f" Median in the mask [Hz]: {', '.join(told)}." if told else ""


def _poles(report: ParticipantReport) -> str:
    """Poles of each arm whose account counts them: a phase that turns round a point cannot be unwrapped there."""
    counted = [(arm.name, poles_of(arm.summary)) for arm in report.arms]
    told = [f"{name} {count}" for name, count in counted if count is not None]
    return f" Phase poles, which no unwrapping can close: {'; '.join(told)}." if told else ""


def quantity_scale(report: ParticipantReport, quantity: str) -> Scale:
    """Fixed window of a quantity; those of magnitude and noise end at a percentile of the leading arm's brain."""
    if quantity in _PERCENTILES:
        percentile, unit = _PERCENTILES[quantity]
        arms = [arm for arm in (report.leading, *report.arms) if getattr(arm, quantity) is not None]
        inside = getattr(arms[0], quantity)[arms[0].mask].cpu() if arms else None
        top = 1.0 if inside is None else float(np.percentile(inside, percentile))
        return Scale(0.0, top or 1.0, unit)
    return {
        "phase_rad": images.PHASE_RAD,
        "total_field_hz": images.TOTAL_FIELD_HZ,
        "local_field_hz": images.LOCAL_FIELD_HZ,
        "chi_ppm": images.CHI_PPM,
    }[quantity]


def shown(arm: ArmMaps, quantity: str) -> torch.Tensor | None:
    """Magnitude and phase whole; fields and susceptibility inside the mask, NaN (black) outside."""
    volume: torch.Tensor | None = getattr(arm, quantity)
    if volume is None or quantity in ("magnitude", "phase_rad"):
        return volume
    # The total field is known in the mask before erosion: the rim of that mask is where it is not zero.
    inside = arm.mask | (volume != 0) if quantity == "total_field_hz" else arm.mask
    return torch.where(inside, volume, torch.full_like(volume, torch.nan))


def _chi_volumes(report: ParticipantReport) -> list[tuple[ArmMaps, torch.Tensor]]:
    volumes = [(arm, shown(arm, "chi_ppm")) for arm in report.arms]
    return [(arm, volume) for arm, volume in volumes if volume is not None]


def _difference(arm: ArmMaps, reference: ArmMaps) -> torch.Tensor | None:
    if arm.chi_ppm is None or reference.chi_ppm is None or arm.grid != reference.grid:
        return None
    return _demeaned_difference(arm.chi_ppm, reference.chi_ppm, arm.mask & reference.mask)


def _error(arm: ArmMaps) -> torch.Tensor | None:
    if arm.chi_ppm is None or arm.truth_chi_ppm is None:
        return None
    return _demeaned_difference(arm.chi_ppm, arm.truth_chi_ppm, arm.mask)


def _demeaned_difference(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | None:
    if not bool(mask.any()):
        return None
    difference = a - b
    return torch.where(mask, difference - difference[mask].mean(), torch.zeros_like(difference))
