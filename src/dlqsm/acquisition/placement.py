"""The head in the scanner: what makes the signal, and the truth that a scan of it should show."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from numpy.random import Generator

from dlqsm.acquisition.conditions import Conditions
from dlqsm.acquisition.field import (
    SPLIT_RANGE_MM,
    WIDE_BORDER_MM,
    WIDE_EXTENT_MM,
    WIDE_VOXEL_MM,
    SmoothMap,
    fit_shim,
    shim_error,
    wide_field,
)
from dlqsm.acquisition.head import Pose, TissueMaps
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.resampling import Matrices, at_voxel_centres, crop_matrices, fraction_of_voxels, resample
from dlqsm.acquisition.signal import central_differences, ernst_signal, slab_profile
from dlqsm.acquisition.tissue import TISSUE_NUMBERS, TISSUES
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.fourier import bounding_box
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM

AIR_PPM: Final = TISSUES["air"].chi_ppb / PPB_PER_PPM
WHITE_MATTER_SHARE: Final = 0.9
"""Share of a voxel that white matter must fill for the SNR to be measured there."""
PHASE_RAD: Final = 1.0
"""SD of each coefficient of the smooth transmit phase, per 100 mm and its square [rad]."""

TissueSource = Callable[[Grid, Pose], TissueMaps]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the scan should show, on the acquired grid: the fine maps through the k-space crop of the acquisition.

    Parameters
    ----------
    grid
        The acquired grid.
    chi_ppm
        Susceptibility inside the brain relative to soft tissue [ppm], zero outside; not demeaned.
    r2star_hz
        R2* inside the brain [1/s].
    labels
        Nuclei by `core.labels.label_table` where they fill at least half of the voxel, uint8.
    mask
        Voxels at least half brain inside the slab.
    local_field_hz
        Field of ``chi_ppm`` inside the field of view [Hz].
    total_field_hz
        Local field plus that of everything else after the shim [Hz]; without drift. The field of outer sources is
        taken at the voxel centres: it varies slowly, and its jumps at air would ring through a crop.
    conditions
        What was drawn for this scan: pose, drift, shim error, noise; plain values.
    """

    grid: Grid
    chi_ppm: torch.Tensor
    r2star_hz: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    total_field_hz: torch.Tensor
    local_field_hz: torch.Tensor
    conditions: dict[str, Any]


@dataclass(frozen=True, eq=False)
class SignalSource:
    """All that makes the signal, on the part of the fine grid where there is any; ``box`` says which part."""

    box: tuple[slice, slice, slice]
    amplitude: torch.Tensor
    r2star_hz: torch.Tensor
    field_hz: torch.Tensor
    field_steps_hz: torch.Tensor
    phase_rad: torch.Tensor


@dataclass(frozen=True, eq=False)
class _FineView:
    """The fine grid with planes beyond the slab for the field, and how the field of view is cut from it."""

    protocol: Protocol

    @property
    def margin(self) -> int:
        """Planes beyond each end of the slab: tissue goes on there, and its field reaches in."""
        return math.ceil(SPLIT_RANGE_MM / self.protocol.fine_grid().voxel_size_mm[2])

    @property
    def grid(self) -> Grid:
        """The fine grid with its margin."""
        return self.protocol.fine_grid(self.margin)

    @property
    def matrices(self) -> Matrices:
        """The k-space crop from the fine field of view to the acquired grid."""
        return crop_matrices(self.protocol.fine_grid().shape, self.protocol.shape)

    def inside(self, volume: torch.Tensor) -> torch.Tensor:
        """The field of view of a volume on `grid`."""
        return volume[..., self.margin : -self.margin]


def place(
    tissue: TissueSource, protocol: Protocol, conditions: Conditions, draws: Generator, phase: Generator
) -> tuple[SignalSource, Truth, torch.Tensor]:
    """Put a head into the scanner.

    Parameters
    ----------
    tissue
        Gives the head's tissue on any grid.
    protocol
        The scan protocol.
    conditions
        Pose and drift of this scan.
    draws, phase
        Sources of the shim error and of the transmit phase.

    Returns
    -------
    What makes the signal, the truth, and where white matter is on the acquired grid.
    """
    view = _FineView(protocol)
    maps = tissue(view.grid, conditions.pose)
    brain, matrices = view.inside(maps.brain), view.matrices
    mask = fraction_of_voxels(brain, matrices) >= 0.5
    mask &= slab_profile(protocol.shape[2], protocol.slab_edge, maps.chi_ppm) >= 0.5

    outer_ppm, outer_acquired_ppm, error = _outer_field(maps, tissue, view, conditions.pose, mask, draws)
    chi_ppm = view.inside(maps.chi_ppm) * brain
    inner_ppm = susceptibility_to_field(chi_ppm, protocol.fine_grid(), protocol.grid.b0_direction())
    hz_per_ppm = protocol.scan.hz_per_ppm
    # Tapered as the excitation is: the k-space of the slab is periodic, and a cut through the brain would ring.
    profile = slab_profile(chi_ppm.shape[2], protocol.slab_edge, chi_ppm)
    local_hz = resample(inner_ppm * profile, matrices) * hz_per_ppm
    truth = Truth(
        grid=protocol.grid,
        chi_ppm=resample(chi_ppm * profile, matrices),
        r2star_hz=resample(view.inside(maps.r2star_hz) * brain * profile, matrices),
        labels=_labels(view.inside(maps.labels), matrices),
        mask=mask,
        total_field_hz=local_hz + outer_acquired_ppm * hz_per_ppm,
        local_field_hz=local_hz,
        conditions={
            "rotation_deg": conditions.pose.rotation_deg,
            "translation_mm": conditions.pose.translation_mm,
            "drift_hz_per_s": conditions.drift_hz_per_s,
            "shim_error_ppm": error.coefficients,
        },
    )
    view.inside(outer_ppm).add_(inner_ppm)
    white_matter = fraction_of_voxels(view.inside(maps.tissue_labels) == TISSUE_NUMBERS["WM"], matrices)
    source = _fine_source(maps, outer_ppm * hz_per_ppm, view, phase)
    return source, truth, mask & (white_matter >= WHITE_MATTER_SHARE)


def _outer_field(
    maps: TissueMaps, tissue: TissueSource, view: _FineView, pose: Pose, mask: torch.Tensor, draws: Generator
) -> tuple[torch.Tensor, torch.Tensor, SmoothMap]:
    """Shimmed field [ppm] of all but the brain's own susceptibility: fine, acquired; and the shim's error."""
    protocol = view.protocol
    extent_mm = max(n * v for n, v in zip(protocol.shape, protocol.voxel_size_mm, strict=True)) + 2 * WIDE_BORDER_MM
    wide = protocol.wide_grid(max(WIDE_EXTENT_MM, extent_mm), WIDE_VOXEL_MM)
    fine_ppm = wide_field(_outer_sources(maps), view.grid, _outer_sources(tissue(wide, pose)), wide)
    acquired_ppm = at_voxel_centres(view.inside(fine_ppm), protocol.shape)
    shim = fit_shim(acquired_ppm, mask, protocol.grid)
    error = shim_error(mask, protocol.grid, protocol.shim_sd_ppm, draws)
    added = SmoothMap(tuple(b - a for a, b in zip(shim.coefficients, error.coefficients, strict=True)))
    return fine_ppm + added.on(view.grid, fine_ppm), acquired_ppm + added.on(protocol.grid, fine_ppm), error


def _outer_sources(maps: TissueMaps) -> torch.Tensor:
    """Susceptibility relative to air, so that it is zero outside the head; the brain is plain soft tissue."""
    return maps.chi_ppm.masked_fill(maps.brain, 0.0) - AIR_PPM


def _labels(cells: torch.Tensor, matrices: Matrices) -> torch.Tensor:
    labels = torch.zeros([len(matrix) for matrix in matrices], dtype=torch.uint8)
    for number in label_table():
        labels[fraction_of_voxels(cells == number, matrices) >= 0.5] = number
    return labels


def _fine_source(maps: TissueMaps, field_hz: torch.Tensor, view: _FineView, phase: Generator) -> SignalSource:
    protocol = view.protocol
    amplitude = ernst_signal(
        view.inside(maps.proton_density), view.inside(maps.t1_s), protocol.repetition_time_s, protocol.flip_angle_deg
    )
    amplitude *= slab_profile(amplitude.shape[2], protocol.slab_edge, amplitude)
    box = bounding_box(amplitude > 0, 0.0, (1.0, 1.0, 1.0))
    smooth = SmoothMap(tuple(float(value) for value in phase.standard_normal(9) * PHASE_RAD))
    return SignalSource(
        box=box,
        amplitude=amplitude[box],
        r2star_hz=view.inside(maps.r2star_hz)[box],
        field_hz=view.inside(field_hz)[box],
        field_steps_hz=view.inside(central_differences(field_hz))[:, *box],
        phase_rad=smooth.on(protocol.fine_grid(), amplitude)[box],
    )
