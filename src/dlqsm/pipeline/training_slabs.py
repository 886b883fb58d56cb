"""Where training slabs come from: virtual heads under varied protocols, and measured raw data."""

from __future__ import annotations

import functools
import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from dlqsm.acquisition.coils import Receiver, helmet
from dlqsm.acquisition.conditions import Conditions
from dlqsm.acquisition.head import Participant, Pose, make_head, tissue_maps
from dlqsm.acquisition.measured_coils import measured_coils
from dlqsm.acquisition.participants import AGE_RANGE_YEARS, SEXES
from dlqsm.acquisition.placement import Truth
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.sampling import full, poisson
from dlqsm.acquisition.virtual_scan import CleanScan, scan_clean
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.checks import InputError
from dlqsm.core.raw import MemoryRaw, RawData, RawHeader
from dlqsm.core.scan import Vector
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.hybrid import Calibration, calibrate, to_hybrid
from dlqsm.reconstruction.linear import zero
from dlqsm.reconstruction.sensitivity import CoilMaps, espirit
from dlqsm.reconstruction.training.slabs import SUFFIX, TrainingSlab, write_slab

_MATRICES: Final = (
    ((160, 64), (1.4, 2.5), 3),
    ((128, 48), (1.7, 3.2), 3),
    ((176, 72), (1.25, 2.2), 2),
    ((160, 72), (1.4, 2.0), 2),
    ((144, 64), (1.5, 2.4), 3),
    ((150, 54), (1.5, 3.0), 3),
)
"""Matrix along y and z, voxel edges there [mm], and simulated cells per voxel along z."""
_READOUT_MM: Final = 200.0
_SIGNAL_SHARE: Final = 0.2
_LEAST_SIGNAL: Final = 0.05
"""Share of its voxels that must have signal for a measured slab to be used."""


@dataclass(frozen=True)
class SlabSettings:
    """How slabs are cut from scans.

    Parameters
    ----------
    planes
        x-planes of a slab.
    virtual_coils
        Most channels after compression.
    slabs_a_head
        Slabs of a virtual head: two of every three through the deep nuclei, the others anywhere in the brain.
    coil_maps
        Measured sensitivities ``(coil, row, column)`` that some virtual heads are scanned with; see `measured_coils`.
    measured_share
        Share of those heads.
    """

    planes: int = 16
    virtual_coils: int = 8
    slabs_a_head: int = 3
    coil_maps: NDArray[np.complexfloating] | None = None
    measured_share: float = 0.25


def draw_protocol(rng: Generator) -> Protocol:
    """Draw a protocol: matrix, voxels, echoes, flip angle, coils and SNR all vary."""
    (ny, nz), (vy, vz), fine_z = _MATRICES[int(rng.integers(len(_MATRICES)))]
    vx = float(rng.choice([1.2, 1.4, 1.6]))
    n_echoes = int(rng.choice([4, 5, 6, 8, 8]))
    first_ms, spacing_ms = rng.uniform(2.5, 5.0), rng.uniform(2.4, 4.5 if n_echoes < 8 else 3.3)
    times = tuple(round(1e-3 * float(first_ms + spacing_ms * k), 6) for k in range(n_echoes))
    return Protocol(
        "training",
        (2 * round(_READOUT_MM / vx / 2), ny, nz),
        (vx, vy, vz),
        (2, 2, fine_z),
        int(rng.choice([8, 8, 12, 16])),
        times,
        max(30.2e-3, times[-1] + 4e-3),
        float(rng.uniform(8.0, 25.0)),
        snr=float(math.exp(rng.uniform(math.log(40.0), math.log(140.0)))),
    )


def virtual_slabs(
    anatomy: Anatomy, seeds: tuple[int, ...], settings: SlabSettings, protocol: Protocol | None = None
) -> list[TrainingSlab]:
    """Scan a virtual head that follows from the seeds, fully and without noise, and cut slabs from it.

    Whitening, coil compression and sensitivities are made from the noisy calibration region, as a reconstruction would
    make them; the protocol is drawn where None is given.
    """
    rng = np.random.default_rng(seeds)
    protocol = protocol or draw_protocol(rng)
    age, sex = float(rng.uniform(*AGE_RANGE_YEARS)), str(rng.choice(SEXES))
    head = make_head(anatomy, Participant("training", age, sex, int(rng.integers(2**31))))
    pose = Pose(_normal(rng, 8.0), _normal(rng, 4.0))
    draws, phase, noise, cuts = rng.spawn(4)
    coils = _draw_coils(protocol, settings, rng)
    tissue = functools.partial(tissue_maps, head)
    sampling = full(protocol.shape[1:])
    scan = scan_clean(tissue, protocol, Conditions(pose, 0.0), sampling, coils, (draws, phase))
    calibration, maps = _calibrate(scan, noise, settings.virtual_coils)
    hybrid = to_hybrid(MemoryRaw(scan.header(None), scan.samples), calibration, memory_bytes=2**32)
    source = f"virtual head {' '.join(map(str, seeds))}, {age:.0f} years, {sex}, {coils.n_coils} coils"
    plain = TrainingSlab(
        kspace=torch.empty(0),
        maps=torch.empty(0),
        brain=scan.truth.mask,
        nuclei=scan.truth.labels > 0,
        echo_times_s=protocol.echo_times_s,
        voxel_size_mm=protocol.voxel_size_mm,
        snr=protocol.snr,
        field_hz=scan.truth.total_field_hz,
        source=source,
    )
    firsts = _first_planes(scan.truth, settings, cuts)
    return [_cut(plain, hybrid.slab(n, n + settings.planes), maps, n, settings.planes) for n in firsts]


def measured_slabs(raw: RawData, settings: SlabSettings, source: str) -> Iterator[TrainingSlab]:
    """Cut all slabs with signal from measured raw data, fully sampled or not; ``brain`` is where there is signal.

    Raises
    ------
    InputError
        If the raw data have no echo times or no calibration lines.
    """
    header = raw.header
    require_echo_times(header, source)
    calibration = calibrate(raw, virtual_coils=min(settings.virtual_coils, header.n_coils))
    maps = espirit(calibration.kspace, calibration.lines, header.grid.shape)
    hybrid = to_hybrid(raw, calibration)
    mask = None if bool(header.sampling_mask.all()) else torch.from_numpy(header.sampling_mask)
    n = min(settings.planes, hybrid.n_planes)
    for first in range(0, hybrid.n_planes - n + 1, n):
        kspace, here = hybrid.slab(first, first + n), maps.slab(first, first + n)
        signal = _signal(kspace[:1], here)
        if float(signal.float().mean()) < _LEAST_SIGNAL:
            continue
        yield TrainingSlab(
            kspace=kspace,
            maps=here,
            brain=signal,
            nuclei=torch.zeros_like(signal),
            echo_times_s=header.echo_times_s,
            voxel_size_mm=header.grid.voxel_size_mm,
            sampling_mask=mask,
            noise_sd=1.0,
            source=f"{source}, planes {first} to {first + n - 1}",
        )


def require_echo_times(header: RawHeader, source: str) -> None:
    """Raise `InputError` unless there is an echo time for every echo."""
    if len(header.echo_times_s) != header.n_echoes:
        raise InputError(
            f"{source}: has {header.n_echoes} echoes but {len(header.echo_times_s)} echo times; training needs one per "
            "echo, so add them to the header of the file"
        )


def write_virtual_slabs(
    anatomy: Anatomy, folder: Path, seed: int, numbers: Sequence[int], settings: SlabSettings, processes: int = 1
) -> Iterator[int]:
    """Write the slabs of some virtual heads into a folder, and yield the number of each head when it is there.

    Heads whose slabs are all there are not made again; so a call that was cut goes on where it was.
    """
    wanted = [number for number in numbers if not _is_made(folder, number, settings)]
    yield from (number for number in numbers if number not in set(wanted))
    make = functools.partial(_write_head, anatomy, folder, seed, settings)
    if processes <= 1:
        yield from map(make, wanted)
        return
    # Forked children would inherit locks of threads, and a CUDA context that they cannot use.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_on_one_thread) as pool:
        for done in as_completed([pool.submit(make, number) for number in wanted]):
            yield done.result()


def write_measured_slabs(
    folder: Path, name: str, raw: RawData, settings: SlabSettings, report: Callable[[Path], None] | None = None
) -> int:
    """Write all slabs of measured raw data into a folder as ``NAME_k``; return how many there are."""
    n = 0
    for n, slab in enumerate(measured_slabs(raw, settings, name), start=1):
        path = folder / f"{name}_{n - 1}{SUFFIX}"
        write_slab(path, slab)
        if report is not None:
            report(path)
    return n


def _write_head(anatomy: Anatomy, folder: Path, seed: int, settings: SlabSettings, number: int) -> int:
    for path, slab in zip(
        _paths(folder, number, settings), virtual_slabs(anatomy, (seed, number), settings), strict=True
    ):
        write_slab(path, slab)
    return number


def _paths(folder: Path, number: int, settings: SlabSettings) -> list[Path]:
    return [folder / f"head{number:04d}_{k}{SUFFIX}" for k in range(settings.slabs_a_head)]


def _is_made(folder: Path, number: int, settings: SlabSettings) -> bool:
    return all(path.is_file() for path in _paths(folder, number, settings))


def _on_one_thread() -> None:
    torch.set_num_threads(1)


def _calibrate(scan: CleanScan, rng: Generator, virtual_coils: int) -> tuple[Calibration, CoilMaps]:
    """Whitening, compression and maps as the scan's noisy calibration region gives them."""
    protocol = scan.protocol
    region = poisson(protocol.shape[1:], 4.0, 0).calibration
    chosen = np.flatnonzero(region[tuple(scan.sampling.lines.T)])
    samples = scan.samples[chosen]
    n_lines, n_echoes, n_coils, n_x = samples.shape
    noise = scan.noise(n_lines * n_echoes * n_x, rng).reshape(n_coils, n_lines, n_echoes, n_x).transpose(1, 2, 0, 3)
    header = replace(
        scan.header(scan.noise(16384, rng)),
        lines=scan.sampling.lines[chosen],
        calibration=np.ones(n_lines, dtype=bool),
    )
    raw = MemoryRaw(header, (samples + noise).astype(np.complex64))
    calibration = calibrate(raw, virtual_coils=min(virtual_coils, n_coils))
    return calibration, espirit(calibration.kspace, calibration.lines, protocol.shape)


def _first_planes(truth: Truth, settings: SlabSettings, rng: Generator) -> list[int]:
    """First x-plane of each slab of a head."""
    n, most = settings.planes, truth.mask.shape[0] - settings.planes
    nuclei, brain = _extent(truth.labels > 0), _extent(truth.mask)
    ranges = [(brain if k % 3 == 2 else nuclei) for k in range(settings.slabs_a_head)]
    # A slab holds at least half its planes of what it is meant for.
    firsts = [int(rng.integers(low - n // 2, max(high - n // 2, low - n // 2) + 1)) for low, high in ranges]
    return [int(np.clip(first, 0, most)) for first in firsts]


def _extent(mask: torch.Tensor) -> tuple[int, int]:
    planes = torch.nonzero(mask.flatten(1).any(1)).flatten()
    return int(planes[0]), int(planes[-1])


def _cut(plain: TrainingSlab, kspace: torch.Tensor, maps: CoilMaps, first: int, n: int) -> TrainingSlab:
    where = slice(first, first + n)
    return replace(
        plain,
        kspace=kspace,
        maps=maps.slab(first, first + n),
        brain=plain.brain[where].clone(),
        nuclei=plain.nuclei[where].clone(),
        field_hz=None if plain.field_hz is None else plain.field_hz[where].clone(),
    )


def _signal(first_echo: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Voxels of the linear image brighter than a share of the bright ones and than the noise."""
    magnitude = roemer(zero(first_echo, maps, maps, 1.0), maps)[0].abs()
    bright = float(np.percentile(magnitude.numpy(), 99))
    return magnitude > max(_SIGNAL_SHARE * bright, 5.0)


def _draw_coils(protocol: Protocol, settings: SlabSettings, rng: Generator) -> Receiver:
    if settings.coil_maps is not None and rng.random() < settings.measured_share:
        return measured_coils(settings.coil_maps, int(rng.integers(8)))
    return helmet(protocol.n_coils, rng)


def _normal(rng: Generator, sd: float) -> Vector:
    x, y, z = (float(value) for value in rng.normal(0.0, sd, 3))
    return x, y, z
