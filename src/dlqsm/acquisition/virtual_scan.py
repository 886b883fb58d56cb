"""The virtual scanner: a head and a protocol become raw data, with the truth beside them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.fft
import torch

from dlqsm.acquisition.coils import CoilArray, correlated_noise, helmet, receive_gain, sensitivities_at, sensitivity_map
from dlqsm.acquisition.conditions import Conditions, draw_conditions, parse_arm
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
from dlqsm.acquisition.head import Head, Pose, TissueMaps, tissue_maps
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.resampling import (
    Matrices,
    apply_along,
    at_voxel_centres,
    crop_matrices,
    fraction_of_voxels,
    resample,
)
from dlqsm.acquisition.sampling import Sampling
from dlqsm.acquisition.signal import central_differences, ernst_signal, gradient_echo, slab_profile
from dlqsm.acquisition.tissue import TISSUE_NUMBERS, TISSUES
from dlqsm.core.checks import InputError
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.fourier import crop_kspace, fftc
from dlqsm.core.labels import label_table
from dlqsm.core.raw import MemoryRaw, RawHeader, Readouts
from dlqsm.core.scan import Grid
from dlqsm.core.units import PPB_PER_PPM

AIR_PPM: Final = TISSUES["air"].chi_ppb / PPB_PER_PPM
COIL_BANDWIDTH: Final = 1.25
"""Size of the grid on which coils are multiplied, over the acquired one: see `encode`."""
NOISE_SAMPLES: Final = 16384
WHITE_MATTER_SHARE: Final = 0.9
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
class VirtualScan:
    """One scan: raw data and truth."""

    raw: MemoryRaw
    truth: Truth


@dataclass(frozen=True, eq=False)
class _FineSource:
    """All that makes the signal, on the fine grid inside the field of view."""

    amplitude: torch.Tensor
    r2star_hz: torch.Tensor
    field_hz: torch.Tensor
    field_steps_hz: torch.Tensor
    phase_rad: torch.Tensor


def acquire(head: Head, protocol: Protocol, arm: str, seed: int, *, pose: Pose | None = None) -> VirtualScan:
    """Scan a head once.

    Every arm is a scan of its own: lines, noise, pose, drift and shim error follow from participant, arm and seed.

    Parameters
    ----------
    head
        Who is scanned.
    protocol
        How; ``protocol.without_motion()`` switches the spreads between scans off.
    arm
        One of `conditions.ARMS`: FULL, PI2, PI2rep, DL3 to DL8.
    seed
        Seed of the scan.
    pose
        Position of the head; by default none for FULL and PI2, drawn for the others.

    Returns
    -------
    Raw data and truth.

    Raises
    ------
    InputError
        If the arm is unknown.
    """
    source = functools.partial(tissue_maps, head)
    return scan_tissue(source, protocol, arm, (head.participant.seed, seed), pose=pose)


def scan_tissue(
    tissue: TissueSource, protocol: Protocol, arm: str, seeds: tuple[int, int], *, pose: Pose | None = None
) -> VirtualScan:
    """Scan anything that gives tissue maps on a grid; see `acquire`. ``seeds`` are the participant's and the scan's."""
    chosen = parse_arm(arm)
    draws, lines, noise, phase = np.random.default_rng([*seeds, *chosen.name.encode()]).spawn(4)
    conditions = draw_conditions(protocol, chosen, draws, pose)
    sampling = chosen.sampling(protocol.shape[1:], int(lines.integers(2**31)))
    coils = helmet(protocol.n_coils, np.random.default_rng(seeds[0]))
    source, truth, white_matter = _place(tissue, protocol, conditions, draws, phase)
    images = coil_grid_images(source, protocol)
    noise_sd = _noise_sd(images[0], white_matter, coils, protocol)
    samples = encode(images, coils, sampling, protocol)
    _apply_drift(samples, conditions, protocol)
    scan_noise = noise_sd * correlated_noise(coils.covariance, NOISE_SAMPLES, noise)
    _add_noise(samples, coils, noise_sd, noise)
    header = RawHeader(
        grid=protocol.grid,
        n_readout=protocol.shape[0],
        n_coils=coils.n_coils,
        n_echoes=len(protocol.echo_times_s),
        lines=sampling.lines,
        calibration=sampling.calibration[tuple(sampling.lines.T)],
        echo_times_s=protocol.echo_times_s,
        repetition_time_s=protocol.repetition_time_s,
        flip_angle_deg=protocol.flip_angle_deg,
        field_strength_t=protocol.field_strength_t,
        noise=scan_noise,
    )
    drawn = truth.conditions | {"arm": chosen.name, "acceleration": sampling.acceleration, "noise_sd": noise_sd}
    return VirtualScan(MemoryRaw(header, samples), replace(truth, conditions=drawn))


def coil_grid_images(source: _FineSource, protocol: Protocol) -> list[torch.Tensor]:
    """Images of all echoes before the coils, on the grid on which the coils are multiplied."""
    matrices = crop_matrices(source.amplitude.shape, _coil_shape(protocol))
    return [_echo_image(source, matrices, echo_time_s) for echo_time_s in protocol.echo_times_s]


def encode(images: list[torch.Tensor], coils: CoilArray, sampling: Sampling, protocol: Protocol) -> Readouts:
    """Multiply by the coils, transform, and keep the acquired lines: ``(line, echo, coil, x)``.

    A coil spreads a spatial frequency of the image by the coil's own, low frequencies only. The acquired k-space thus
    needs the image's up to a little beyond its own edge, and the grid of `coil_grid_images`, `COIL_BANDWIDTH` times
    finer than the acquired one, holds it: frequencies that are missing are an eighth of the matrix away from the edge.
    """
    nx, ny, nz = protocol.shape
    grid = _same_view(protocol.grid, _coil_shape(protocol))
    scale = math.sqrt(math.prod(protocol.shape) / grid.n_voxels)
    ky, kz = torch.from_numpy(sampling.lines.astype(np.int64)).T
    samples = np.empty((len(sampling.lines), len(images), coils.n_coils, nx), dtype=np.complex64)
    for coil in range(coils.n_coils):
        sensitivity = sensitivity_map(coils, coil, grid) * scale
        for echo, image in enumerate(images):
            planes = crop_kspace(fftc(image * sensitivity, (1, 2)), (ny, nz))
            # Only the acquired lines go through the transform along the readout.
            readouts = crop_kspace(fftc(planes[:, ky, kz].T, (1,)), (nx,))
            samples[:, echo, coil] = readouts.numpy()
    return samples


def _place(
    tissue: TissueSource,
    protocol: Protocol,
    conditions: Conditions,
    draws: np.random.Generator,
    phase: np.random.Generator,
) -> tuple[_FineSource, Truth, torch.Tensor]:
    """Put the head into the scanner: what makes the signal, the truth, and where white matter is."""
    margin = math.ceil(SPLIT_RANGE_MM / protocol.fine_grid().voxel_size_mm[2])
    inside = slice(margin, -margin)
    maps = tissue(protocol.fine_grid(margin), conditions.pose)
    outer_ppm = _outer_field(maps, tissue, protocol, conditions.pose, margin)
    matrices = crop_matrices(protocol.fine_grid().shape, protocol.shape)
    brain = maps.brain[..., inside].contiguous()
    truth = _tissue_truth(maps, brain, inside, matrices, protocol)

    outer_acquired = at_voxel_centres(outer_ppm[..., inside], protocol.shape)
    shim = fit_shim(outer_acquired, truth.mask, protocol.grid)
    error = shim_error(truth.mask, protocol.grid, protocol.shim_sd_ppm, draws)
    left = SmoothMap(tuple(b - a for a, b in zip(shim.coefficients, error.coefficients, strict=True)))
    outer_ppm += left.on(protocol.fine_grid(margin), outer_ppm)
    outer_acquired = outer_acquired + left.on(protocol.grid, outer_ppm)

    inner_ppm = susceptibility_to_field(
        maps.chi_ppm[..., inside] * brain, protocol.fine_grid(), protocol.grid.b0_direction()
    )
    hz_per_ppm = protocol.scan.hz_per_ppm
    local_hz = resample(inner_ppm, matrices) * hz_per_ppm
    truth = replace(
        truth,
        local_field_hz=local_hz,
        total_field_hz=local_hz + outer_acquired * hz_per_ppm,
        conditions={
            "rotation_deg": conditions.pose.rotation_deg,
            "translation_mm": conditions.pose.translation_mm,
            "drift_hz_per_s": conditions.drift_hz_per_s,
            "shim_error_ppm": error.coefficients,
        },
    )
    outer_ppm[..., inside] += inner_ppm
    source = _fine_source(maps, outer_ppm * hz_per_ppm, inside, protocol, phase)
    white_matter = fraction_of_voxels(maps.tissue_labels[..., inside] == TISSUE_NUMBERS["WM"], matrices)
    return source, truth, truth.mask & (white_matter >= WHITE_MATTER_SHARE)


def _outer_field(maps: TissueMaps, tissue: TissueSource, protocol: Protocol, pose: Pose, margin: int) -> torch.Tensor:
    """Field [ppm] of everything but the brain's own susceptibility, on the fine grid with its margin."""
    view_mm = max(n * v for n, v in zip(protocol.shape, protocol.voxel_size_mm, strict=True))
    wide = protocol.wide_grid(max(WIDE_EXTENT_MM, view_mm + 2 * WIDE_BORDER_MM), WIDE_VOXEL_MM)
    wide_chi = _outer_sources(tissue(wide, pose))
    return wide_field(_outer_sources(maps), protocol.fine_grid(margin), wide_chi, wide)


def _outer_sources(maps: TissueMaps) -> torch.Tensor:
    """Susceptibility relative to air, so that it is zero outside the head; the brain is plain soft tissue."""
    return maps.chi_ppm.masked_fill(maps.brain, 0.0) - AIR_PPM


def _tissue_truth(
    maps: TissueMaps, brain: torch.Tensor, inside: slice, matrices: Matrices, protocol: Protocol
) -> Truth:
    """The part of the truth that does not need the field."""
    labels = torch.zeros(protocol.shape, dtype=torch.uint8)
    for number in label_table():
        labels[fraction_of_voxels(maps.labels[..., inside] == number, matrices) >= 0.5] = number
    mask = fraction_of_voxels(brain, matrices) >= 0.5
    mask &= slab_profile(protocol.shape[2], protocol.slab_edge, maps.chi_ppm) >= 0.5
    chi_ppm = resample(maps.chi_ppm[..., inside] * brain, matrices)
    r2star_hz = resample(maps.r2star_hz[..., inside] * brain, matrices)
    nothing = torch.zeros(0)
    return Truth(protocol.grid, chi_ppm, r2star_hz, labels, mask, nothing, nothing, {})


def _fine_source(
    maps: TissueMaps, field_hz: torch.Tensor, inside: slice, protocol: Protocol, phase: np.random.Generator
) -> _FineSource:
    fine = protocol.fine_grid()
    amplitude = ernst_signal(
        maps.proton_density[..., inside], maps.t1_s[..., inside], protocol.repetition_time_s, protocol.flip_angle_deg
    )
    amplitude *= slab_profile(fine.shape[2], protocol.slab_edge, amplitude)
    smooth = SmoothMap(tuple(float(value) for value in phase.standard_normal(9) * PHASE_RAD))
    return _FineSource(
        amplitude,
        maps.r2star_hz[..., inside],
        field_hz[..., inside],
        central_differences(field_hz)[..., inside],
        smooth.on(fine, amplitude),
    )


def _echo_image(source: _FineSource, matrices: Matrices, echo_time_s: float) -> torch.Tensor:
    """One echo, cropped; slab by slab along x, so that the fine complex image is never whole in memory."""
    n_x = source.amplitude.shape[0]
    slabs = []
    for first in range(0, n_x, 32):
        part = slice(first, min(first + 32, n_x))
        signal = gradient_echo(
            source.amplitude[part],
            source.r2star_hz[part],
            source.field_hz[part],
            source.field_steps_hz[:, part],
            source.phase_rad[part],
            echo_time_s,
        )
        slabs.append(apply_along(apply_along(signal, matrices[2], 2), matrices[1], 1))
    return apply_along(torch.cat(slabs), matrices[0], 0)


def _noise_sd(image: torch.Tensor, white_matter: torch.Tensor, coils: CoilArray, protocol: Protocol) -> float:
    """Noise SD of one component of one channel for which white matter has the protocol's SNR at the first echo."""
    if math.isinf(protocol.snr):
        return 0.0
    if not bool(white_matter.any()):
        raise InputError(
            "the field of view holds no white matter, so that the protocol's SNR says nothing; set snr to inf"
        )
    magnitude = resample(image, crop_matrices(image.shape, protocol.shape)).abs()[white_matter]
    affine = torch.from_numpy(protocol.grid.affine)
    positions_mm = torch.nonzero(white_matter).to(torch.float64) @ affine[:3, :3].T + affine[:3, 3]
    gain = receive_gain(sensitivities_at(coils, positions_mm), coils.covariance)
    return float((magnitude * gain).mean()) / protocol.snr


def _apply_drift(samples: Readouts, conditions: Conditions, protocol: Protocol) -> None:
    """Multiply each line and echo by exp(i 2 pi df(t) TE), t being when the line is acquired."""
    drift_hz = conditions.drift_hz(len(samples), protocol.repetition_time_s)
    phase = np.exp(2j * np.pi * np.outer(drift_hz, protocol.echo_times_s)).astype(np.complex64)
    samples *= phase[:, :, None, None]


def _add_noise(samples: Readouts, coils: CoilArray, noise_sd: float, rng: np.random.Generator) -> None:
    if noise_sd == 0.0:
        return
    n_lines, n_echoes, n_coils, n_x = samples.shape
    for first in range(0, n_lines, 64):
        part = samples[first : first + 64]
        noise = correlated_noise(coils.covariance, part.shape[0] * n_echoes * n_x, rng)
        part += np.float32(noise_sd) * noise.reshape(n_coils, -1, n_echoes, n_x).transpose(1, 2, 0, 3)


def _coil_shape(protocol: Protocol) -> tuple[int, int, int]:
    """A size that transforms fast, at least `COIL_BANDWIDTH` times the acquired one and at most the fine one."""
    x, y, z = (
        min(int(scipy.fft.next_fast_len(math.ceil(COIL_BANDWIDTH * n))), n * f)
        for n, f in zip(protocol.shape, protocol.fine_factor, strict=True)
    )
    return x, y, z


def _same_view(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """The grid of another shape with the same field of view."""
    x, y, z = (v * a / b for v, a, b in zip(grid.voxel_size_mm, grid.shape, shape, strict=True))
    return Grid.centred(shape, (x, y, z), np.asarray(grid.rotation))
