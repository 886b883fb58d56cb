"""The virtual scanner: a head and a protocol become raw data, with the truth beside them."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import scipy.fft
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dlqsm.acquisition.coils import (
    Receiver,
    correlated_noise,
    helmet,
    receive_gain,
    sensitivities_at,
    sensitivity_map,
)
from dlqsm.acquisition.conditions import Conditions, draw_conditions, draw_lying, lines_of, parse_arm
from dlqsm.acquisition.head import Head, Pose, tissue_maps
from dlqsm.acquisition.placement import SignalSource, TissueSource, Truth, place
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.resampling import Matrices, apply_along, crop_matrices, resample
from dlqsm.acquisition.sampling import Sampling
from dlqsm.acquisition.signal import gradient_echo
from dlqsm.core.checks import InputError
from dlqsm.core.fourier import crop_kspace, fftc
from dlqsm.core.raw import MemoryRaw, RawHeader, Readouts
from dlqsm.core.scan import Grid

__all__ = ["CleanScan", "Truth", "VirtualScan", "acquire", "coil_grid_images", "encode", "scan_clean", "scan_tissue"]

COIL_BANDWIDTH: Final = 1.5
"""Size of the grid on which coils are multiplied, over the acquired one: see `encode`."""
NOISE_SAMPLES: Final = 16384


@dataclass(frozen=True, eq=False)
class VirtualScan:
    """One scan: raw data and truth."""

    raw: MemoryRaw
    truth: Truth


@dataclass(frozen=True, eq=False)
class CleanScan:
    """What a scan would measure without drift and noise, and what its noise is.

    Parameters
    ----------
    samples
        ``(line, echo, coil, x)``.
    protocol, sampling, coils
        How they were acquired.
    noise_sd
        SD of one component of the noise of one channel.
    truth
        What the scan should show.
    """

    samples: Readouts
    protocol: Protocol
    sampling: Sampling
    coils: Receiver
    noise_sd: float
    truth: Truth

    def noise(self, n: int, rng: Generator) -> NDArray[np.complex64]:
        """Draw ``n`` samples of the noise of all channels, ``(coil, n)``."""
        return np.asarray(self.noise_sd * correlated_noise(self.coils.covariance, n, rng))

    def header(self, noise: NDArray[np.complex64] | None) -> RawHeader:
        """Header of raw data with the scan's lines; ``noise`` is its noise scan, ``(coil, n)``."""
        protocol, sampling = self.protocol, self.sampling
        return RawHeader(
            grid=protocol.grid,
            n_readout=protocol.shape[0],
            n_coils=self.coils.n_coils,
            n_echoes=len(protocol.echo_times_s),
            lines=sampling.lines,
            calibration=sampling.calibration[tuple(sampling.lines.T)],
            echo_times_s=protocol.echo_times_s,
            repetition_time_s=protocol.repetition_time_s,
            flip_angle_deg=protocol.flip_angle_deg,
            field_strength_t=protocol.field_strength_t,
            noise=noise,
        )


def acquire(
    head: Head, protocol: Protocol, arm: str, seed: int, *, pose: Pose | None = None, af_mode: str = "nominal"
) -> VirtualScan:
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
        How the head lies; by default drawn for the participant, and moved from there but in FULL and PI2.
    af_mode
        One of `conditions.AF_MODES`.

    Returns
    -------
    Raw data and truth.

    Raises
    ------
    InputError
        If the arm is unknown.
    """
    source = functools.partial(tissue_maps, head)
    return scan_tissue(source, protocol, arm, (head.participant.seed, seed), pose=pose, af_mode=af_mode)


def scan_tissue(
    tissue: TissueSource,
    protocol: Protocol,
    arm: str,
    seeds: tuple[int, int],
    *,
    pose: Pose | None = None,
    af_mode: str = "nominal",
) -> VirtualScan:
    """Scan anything that gives tissue maps on a grid; see `acquire`. ``seeds`` are the participant's and the scan's."""
    chosen = parse_arm(arm, af_mode)
    draws, lines, noise, phase = np.random.default_rng([*seeds, *chosen.name.encode()]).spawn(4)
    lying = draw_lying(protocol, np.random.default_rng([seeds[0], *b"lying"]))
    conditions = draw_conditions(protocol, chosen, draws, pose, lying)
    sampling = lines_of(chosen, protocol, int(lines.integers(2**31)), af_mode)
    coils = helmet(protocol.n_coils, np.random.default_rng(seeds[0]))
    clean = scan_clean(tissue, protocol, conditions, sampling, coils, (draws, phase))
    _apply_drift(clean.samples, conditions, protocol)
    header = clean.header(clean.noise(NOISE_SAMPLES, noise) if clean.noise_sd > 0 else None)
    _add_noise(clean, noise)
    drawn = {"arm": chosen.name, "acceleration": sampling.acceleration, "noise_sd": clean.noise_sd}
    truth = replace(clean.truth, conditions=clean.truth.conditions | drawn)
    return VirtualScan(MemoryRaw(header, clean.samples), truth)


def scan_clean(
    tissue: TissueSource,
    protocol: Protocol,
    conditions: Conditions,
    sampling: Sampling,
    coils: Receiver,
    draws: tuple[Generator, Generator],
) -> CleanScan:
    """Scan anything that gives tissue maps on a grid, without drift and noise.

    Parameters
    ----------
    tissue
        Gives the head's tissue on any grid.
    protocol
        How it is scanned.
    conditions
        Pose of the head; the drift is not applied.
    sampling
        Lines that are acquired.
    coils
        The receive array.
    draws
        Sources of the shim error and of the transmit phase.
    """
    source, truth, white_matter = place(tissue, protocol, conditions, *draws)
    images = coil_grid_images(source, protocol)
    del source  # Gigabytes of fine cells, that encoding would keep.
    noise_sd = _noise_sd(images[0], white_matter, coils, protocol)
    return CleanScan(encode(images, coils, sampling, protocol), protocol, sampling, coils, noise_sd, truth)


def coil_grid_images(source: SignalSource, protocol: Protocol) -> list[torch.Tensor]:
    """Images of all echoes before the coils, on the grid on which the coils are multiplied."""
    whole = crop_matrices(protocol.fine_grid().shape, _coil_shape(protocol))
    x, y, z = (matrix[:, part] for matrix, part in zip(whole, source.box, strict=True))
    return [_echo_image(source, (x, y, z), echo_time_s) for echo_time_s in protocol.echo_times_s]


def encode(images: list[torch.Tensor], coils: Receiver, sampling: Sampling, protocol: Protocol) -> Readouts:
    """Multiply by the coils, transform, and keep the acquired lines: ``(line, echo, coil, x)``.

    A coil spreads a spatial frequency of the image by the coil's own, low frequencies only. The acquired k-space thus
    needs the image's up to a little beyond its own edge, and the grid of `coil_grid_images`, `COIL_BANDWIDTH` times
    finer than the acquired one, holds it: frequencies that are missing are a quarter of the matrix away from the edge.
    Against coils on the fine grid (virtual head, protocol small) samples differ by at most 1.4e-3 of the largest one,
    3.6e-3 with 1.25.
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


def _echo_image(source: SignalSource, matrices: Matrices, echo_time_s: float) -> torch.Tensor:
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


def _noise_sd(image: torch.Tensor, white_matter: torch.Tensor, coils: Receiver, protocol: Protocol) -> float:
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


def _add_noise(scan: CleanScan, rng: Generator) -> None:
    if scan.noise_sd == 0.0:
        return
    n_lines, n_echoes, n_coils, n_x = scan.samples.shape
    for first in range(0, n_lines, 64):
        part = scan.samples[first : first + 64]
        noise = correlated_noise(scan.coils.covariance, part.shape[0] * n_echoes * n_x, rng)
        part += np.float32(scan.noise_sd) * noise.reshape(n_coils, -1, n_echoes, n_x).transpose(1, 2, 0, 3)


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
