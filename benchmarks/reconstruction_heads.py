"""Held-out virtual heads for `reconstruction.py`: scans that no training has seen, and the problems made of them.

Disjoint from training: everything of a virtual head follows from its participant's seed, and training draws that seed
below 2**31 (`training_slabs.virtual_slabs`); here head n has the seed 2**31 + n. Coils, pose and noise come from seeds
of three words whose first is that seed and whose others are not zero; training's have two words (and NumPy pads with
zeros, so that a third of zero would be none). Masks have seeds of 2**31 and above, training's lie below.
`require_held_out` asks training's own code whom it would scan and compares.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dlqsm.acquisition.coils import Receiver, helmet
from dlqsm.acquisition.conditions import Conditions
from dlqsm.acquisition.head import Participant, Pose, make_head, tissue_maps
from dlqsm.acquisition.measured_coils import measured_coils
from dlqsm.acquisition.participants import AGE_RANGE_YEARS, SEXES
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.sampling import full, poisson
from dlqsm.acquisition.virtual_scan import NOISE_SAMPLES, CleanScan, scan_clean
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.fourier import ifftc
from dlqsm.core.labels import label_table
from dlqsm.core.raw import MemoryRaw, RawHeader
from dlqsm.io.coil_maps import read_coil_maps
from dlqsm.pipeline import training_slabs
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.hybrid import (
    Calibration,
    HybridData,
    calibrate,
    noise_covariance,
    to_hybrid,
    whitening_matrix,
)
from dlqsm.reconstruction.sensitivity import espirit
from dlqsm.reconstruction.training.slabs import TrainingSlab

FIRST_SEED = 2**31
PLANES = 24
_COILS, _POSE, _PLACE, _NOISE, _MOTION = range(1, 6)
_LINES_AT_ONCE = 1024
STANDARD = Protocol("held-out", (144, 160, 64), (1.4, 1.4, 2.5), (2, 2, 3), 8, snr=70.0)
CONDITIONS = {
    "standard": STANDARD,
    "noise doubled": replace(STANDARD, snr=35.0),
    "4 echoes to 40 ms": replace(STANDARD, echo_times_s=(4e-3, 16e-3, 28e-3, 40e-3), repetition_time_s=45e-3),
    "1.1 x 1.1 x 2 mm": replace(STANDARD, shape=(182, 200, 72), voxel_size_mm=(1.1, 1.1, 2.0), fine_factor=(2, 2, 2)),
    "1.6 mm isotropic": replace(STANDARD, shape=(126, 140, 90), voxel_size_mm=(1.6, 1.6, 1.6), fine_factor=(2, 2, 2)),
    "12 coils": replace(STANDARD, n_coils=12),
    "64 coils": replace(STANDARD, n_coils=64),
    "measured coils": STANDARD,
    "lines moved": STANDARD,
    "tiny": replace(STANDARD, shape=(72, 96, 40), voxel_size_mm=(2.8, 2.3, 4.0), fine_factor=(2, 2, 2)),
}
"""Protocols by name. ``lines moved``: a tenth of the lines outside the calibration region is measured with the head
1.5 mm from where it was along y and 0.5 mm along z. ``measured coils``: the 16 channels of `MEASURED_MAPS`,
an array that a training with ``--coil-maps`` has met on other heads. ``tiny`` is for trying the script."""
ROBUST = [name for name in CONDITIONS if name not in ("standard", "tiny")]
MEASURED_MAPS = "emory_coil_maps_16ch/sensitivity_map_2d.mat"
"""In the folder that ``DLQSM_SHARED_DATA`` names."""
_MOVED_SHARE, _MOVED_MM = 0.1, (1.5, 0.5)


@dataclass(frozen=True, eq=False)
class Problem:
    """One undersampled slab, and what it should give.

    Parameters
    ----------
    samples, mask, maps
        As a reconstruction takes them; the noise of the samples has an SD of 1 a component.
    noisy
        Fully sampled coil images of the same noisy scan.
    clean_coils, clean
        Coil images without noise and, by ``maps``, their combination ``(echo, 1, x, y, z)``.
    slab
        Where and against what the field is judged; without samples.
    labels
        Nuclei by number, ``(x, y, z)``.
    """

    samples: torch.Tensor
    mask: torch.Tensor
    maps: torch.Tensor
    noisy: torch.Tensor
    clean_coils: torch.Tensor
    clean: torch.Tensor
    slab: TrainingSlab
    labels: torch.Tensor


@dataclass(frozen=True, eq=False)
class SlabScan:
    """A slab of a fully sampled scan, whitened: the samples and their noise apart, and raw calibration lines.

    Parameters
    ----------
    clean, noise
        ``(echo, coil, x, ky, kz)``.
    whitening
        Matrix that was applied.
    centre
        Raw noisy lines of the largest calibration region.
    scan
        Protocol and truth; its samples are gone.
    planes
        Those of the slab.
    """

    clean: torch.Tensor
    noise: torch.Tensor
    whitening: NDArray[np.complex128]
    centre: MemoryRaw
    scan: CleanScan
    planes: range

    def problem(self, acceleration: float, mask_number: int) -> Problem:
        """Undersample; the maps come from the noisy calibration region that this acceleration has."""
        protocol = self.scan.protocol
        sampling = poisson(protocol.shape[1:], acceleration, FIRST_SEED + mask_number)
        clean, noisy, maps = self._calibrated(sampling.calibration.tobytes())
        mask = torch.from_numpy(sampling.mask)
        clean_coils = ifftc(clean, (-2, -1))
        truth, where = self.scan.truth, slice(self.planes.start, self.planes.stop)
        labels, seen = truth.labels[where], (maps != 0).any(0)
        slab = TrainingSlab(
            kspace=torch.empty(0),
            maps=torch.empty(0),
            brain=truth.mask[where] & seen,
            nuclei=(labels > 0) & seen,
            echo_times_s=protocol.echo_times_s,
            voxel_size_mm=protocol.voxel_size_mm,
            field_hz=truth.total_field_hz[where],
        )
        combined = roemer(clean_coils, maps).unsqueeze(1)
        return Problem(noisy * mask, mask, maps, ifftc(noisy, (-2, -1)), clean_coils, combined, slab, labels)

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def _calibrated(self, region: bytes) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Clean and noisy samples in compressed coils, and maps, for the calibration region with these bytes."""
        protocol = self.scan.protocol
        cells = np.frombuffer(region, dtype=bool).reshape(protocol.shape[1:])
        calibration = calibrate(_some_lines(self.centre, cells[tuple(self.centre.header.lines.T)]))
        maps = espirit(calibration.kspace, calibration.lines, protocol.shape).slab(self.planes.start, self.planes.stop)
        turn = torch.from_numpy((calibration.matrix @ np.linalg.inv(self.whitening)).astype(np.complex64))
        clean, noise = (torch.einsum("vc,ecxyz->evxyz", turn, samples) for samples in (self.clean, self.noise))
        return clean, clean + noise, maps


def held_out_participant(number: int) -> Participant:
    """Draw head ``number``."""
    rng = np.random.default_rng([FIRST_SEED + number, _POSE, 1])
    age = round(float(rng.uniform(*AGE_RANGE_YEARS)), 1)
    return Participant(f"held-out-{number}", age, str(rng.choice(SEXES)), FIRST_SEED + number)


def require_held_out(numbers: Iterable[int], training_seeds: Iterable[int], n_heads: int = 1000) -> None:
    """Stop unless these heads are none of those that training with these seeds would scan."""
    mine = {held_out_participant(number).seed for number in numbers}
    theirs = {seed for training in training_seeds for seed in training_participants(training, n_heads)}
    if mine & theirs or max(theirs) >= FIRST_SEED:
        raise SystemExit(f"training scans heads with seeds up to {max(theirs)}; those here begin at {FIRST_SEED}")


class _Met(Exception):  # noqa: N818
    """Carries the participant out of training's code before anything is scanned."""


def training_participants(seed: int, n_heads: int) -> Iterator[int]:
    """Participants' seeds of the first heads, and of the first to validate on, of training with this seed."""
    numbers = [*range(n_heads), *range(100_000, 100_010)]

    def stop(anatomy: object, participant: Participant) -> None:
        raise _Met(participant.seed)

    with mock.patch.object(training_slabs, "make_head", stop):
        for number in numbers:
            try:
                training_slabs.virtual_slabs(None, (seed, number), training_slabs.SlabSettings())  # type: ignore[arg-type]
            except _Met as met:
                yield int(met.args[0])


def scan_head(anatomy: Anatomy, number: int, condition: str) -> CleanScan:
    """Scan head ``number`` fully and without noise."""
    protocol = CONDITIONS[condition]
    participant = held_out_participant(number)
    draws = [np.random.default_rng([participant.seed, part, 2]) for part in (_PLACE, _POSE, _COILS)]
    head = make_head(anatomy, participant)
    turn, shift = (tuple(float(v) for v in draws[1].normal(0.0, 4.0, 3)) for _ in range(2))
    coils = _coils(condition, protocol, draws[2])
    tissue = functools.partial(tissue_maps, head)
    places = (draws[0], draws[0].spawn(1)[0])
    return scan_clean(tissue, protocol, Conditions(Pose(turn, shift), 0.0), full(protocol.shape[1:]), coils, places)


def _coils(condition: str, protocol: Protocol, rng: Generator) -> Receiver:
    if condition != "measured coils":
        return helmet(protocol.n_coils, rng)
    folder = os.environ.get("DLQSM_SHARED_DATA")
    if not folder:
        raise SystemExit("the condition 'measured coils' needs DLQSM_SHARED_DATA, the folder of the measured maps")
    return measured_coils(read_coil_maps(Path(folder) / MEASURED_MAPS))


def noise_source(number: int, realisation: int = 1) -> Generator:
    """Noise of a scan of head ``number``; realisations count from 1."""
    return np.random.default_rng([FIRST_SEED + number, _NOISE, realisation])


def noisy_raw(scan: CleanScan, rng: Generator) -> MemoryRaw:
    """Raw data of the whole volume with noise."""
    header = _header(scan, rng)
    samples = np.empty_like(scan.samples)
    for part, noise in _noise_of_lines(scan, rng):
        samples[part] = scan.samples[part] + noise
    return MemoryRaw(header, samples)


def cut_slab(scan: CleanScan, number: int, *, moved: bool = False) -> SlabScan:
    """Cut the slab through the nuclei from a scan, with noise; ``moved`` is the condition ``lines moved``."""
    rng = noise_source(number)
    header, planes = _header(scan, rng), planes_through_nuclei(scan.truth.labels)
    whitening = whitening_matrix(noise_covariance(header.noise))
    region = poisson(scan.protocol.shape[1:], 2.0, FIRST_SEED).calibration
    centre, kept = region[tuple(header.lines.T)], []
    parts: tuple[list[NDArray[np.complex64]], ...] = ([], [])
    for part, noise in _noise_of_lines(scan, rng):
        kept.append((scan.samples[part] + noise)[centre[part]])
        for found, samples in zip(parts, (scan.samples[part], noise), strict=True):
            found.append(_hybrid(replace(header, lines=header.lines[part]), samples, whitening, planes))
    clean, noise = (_on_grid(np.concatenate(found, -1), header) for found in parts)
    if moved:
        noise = noise + clean * (_ramp(scan.protocol, region, number) - 1)
    centre_header = replace(header, lines=header.lines[centre], calibration=np.ones(int(centre.sum()), dtype=bool))
    raw = MemoryRaw(centre_header, np.concatenate(kept))
    return SlabScan(clean, noise, whitening, raw, replace(scan, samples=scan.samples[:0]), planes)


def planes_through_nuclei(labels: torch.Tensor, n_planes: int = PLANES) -> range:
    """The neighbouring x-planes that hold most of every nucleus, of whichever side they hold more."""
    n = min(n_planes, len(labels))
    held: dict[str, torch.Tensor] = {}
    for number, (nucleus, _) in label_table().items():
        here = (labels == number).sum((1, 2)).double()
        share = (here / here.sum().clamp_min(1.0)).unfold(0, n, 1).sum(1)
        held[nucleus] = torch.maximum(held.get(nucleus, share), share)
    first = int(torch.stack(list(held.values())).sum(0).argmax())
    return range(first, first + n)


def _header(scan: CleanScan, rng: Generator) -> RawHeader:
    return scan.header(scan.noise(NOISE_SAMPLES, rng))


def _noise_of_lines(scan: CleanScan, rng: Generator) -> Iterator[tuple[slice, NDArray[np.complex64]]]:
    """Noise ``(line, echo, coil, x)`` for some lines after the other."""
    n_lines, n_echoes, n_coils, n_x = scan.samples.shape
    for first in range(0, n_lines, _LINES_AT_ONCE):
        part = slice(first, min(first + _LINES_AT_ONCE, n_lines))
        n = part.stop - part.start
        noise = scan.noise(n * n_echoes * n_x, rng).reshape(n_coils, n, n_echoes, n_x)
        yield part, noise.transpose(1, 2, 0, 3).astype(np.complex64)


def _hybrid(
    header: RawHeader, samples: NDArray[np.complex64], whitening: NDArray[np.complex128], planes: range
) -> NDArray[np.complex64]:
    """Whitened planes ``(x, echo, coil, line)`` of some lines."""
    no_lines = np.zeros((0, 2), np.int32)
    alone = Calibration(whitening, 1.0, "noise scan", np.zeros((len(whitening), 0, 0), np.complex64), no_lines)
    raw = MemoryRaw(replace(header, calibration=np.zeros(len(header.lines), dtype=bool)), samples)
    return to_hybrid(raw, alone, memory_bytes=2**40).samples[planes.start : planes.stop].copy()


def _on_grid(samples: NDArray[np.complex64], header: RawHeader) -> torch.Tensor:
    return HybridData(samples, header.lines, header.grid.shape[1:]).slab(0, len(samples))


def _some_lines(raw: MemoryRaw, chosen: NDArray[np.bool_]) -> MemoryRaw:
    header = raw.header
    return MemoryRaw(
        replace(header, lines=header.lines[chosen], calibration=header.calibration[chosen]), raw.samples[chosen]
    )


def _ramp(protocol: Protocol, still: NDArray[np.bool_], number: int) -> torch.Tensor:
    """Factor ``(ky, kz)`` that moves the head for some of the lines."""
    rng = np.random.default_rng([FIRST_SEED + number, _MOTION, 1])
    moved = (rng.random(still.shape) < _MOVED_SHARE) & ~still
    turns = np.zeros(still.shape)
    for axis, (shift_mm, n, voxel_mm) in enumerate(
        zip(_MOVED_MM, protocol.shape[1:], protocol.voxel_size_mm[1:], strict=True)
    ):
        cells = np.expand_dims(np.arange(n) - n // 2, 1 - axis)
        turns = turns + cells * shift_mm / (n * voxel_mm)
    return torch.from_numpy(np.where(moved, np.exp(-2j * math.pi * turns), 1.0).astype(np.complex64))
