"""From files of one scan to its susceptibility maps: what ``dlqsm qsm`` and ``dlqsm run`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Scan
from dlqsm.io.images import EchoSeries, read_echo_series
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.memory import peak_memory_mb
from dlqsm.io.scan_json import ScanFile, read_scan
from dlqsm.io.version import full_version
from dlqsm.pipeline import QsmMaps, Report, map_susceptibility, sums_of_images
from dlqsm.pipeline.uncertainty import ChiNoise, susceptibility_noise
from dlqsm.qsm.bipolar import OddEvenPhase, odd_even_correction, odd_even_phase
from dlqsm.qsm.mdi import FieldEstimate, single_echo


@dataclass(frozen=True, slots=True)
class ChainInput:
    """What the chain starts from, and what was decided on the way.

    Parameters
    ----------
    sums, scan
        Lag sums, and grid, echo times and field of the scan.
    decisions
        What was decided, by what, in words.
    usable
        Voxels that may enter the mask; all where None.
    estimate
        Field of a single echo; None where the configured estimator makes it.
    sources
        Files it was read from, and options that their reading took.
    odd_even
        Phase between odd and even echoes; None where it was not measured.
    """

    sums: LagSums
    scan: Scan
    decisions: dict[str, Any]
    usable: torch.Tensor | None = None
    estimate: FieldEstimate | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    odd_even: OddEvenPhase | None = None


def read_recon(folder: Path) -> ChainInput:
    """Read what ``dlqsm recon`` wrote."""
    sums, grid = read_lag_sums(folder / "mdi.h5")
    told = read_scan(folder / "scan.json")
    scan = told.scan(grid)
    decisions = {
        "phase_unit": "rad, from the reconstruction",
        "phase_sign": told.about.get("phase_sign", "unknown"),
        "echo_times": f"{len(scan.echo_times_s)} echoes, from scan.json",
        "b0_direction": f"({', '.join(f'{v:.4f}' for v in scan.b0_direction)}) along the array axes, from scan.json",
    }
    return ChainInput(sums, scan, decisions, sources={"recon": str(folder.resolve())})


def read_images(
    magnitude: Sequence[Path],
    phase: Sequence[Path],
    told: ScanFile,
    phase_unit: str | None,
    *,
    bipolar: bool = False,
    n_coils: int = 1,
    is_cartesian: bool = False,
) -> tuple[ChainInput, EchoSeries]:
    """Read magnitude and phase images, one file an echo (and coil) or one 4-D file.

    Parameters
    ----------
    magnitude, phase
        NIfTI files in the same order.
    told
        What is known of the scan beside the sidecars; it overrides them.
    phase_unit
        Unit of the phase; from the headers where None.
    bipolar
        Whether echoes were read with alternating polarity: the phase between odd and even ones is taken out.
    n_coils, is_cartesian
        As for `io.images.read_echo_series`.

    Raises
    ------
    InputError
        As `io.images.read_echo_series`; and for one echo of several coils, which nothing can combine.
    """
    series = read_echo_series(
        magnitude,
        phase,
        phase_unit=phase_unit,
        echo_times_s=told.echo_times_s,
        field_strength_t=told.field_strength_t,
        b0_direction=told.b0_direction,
        n_coils=n_coils,
        is_cartesian=is_cartesian,
    )
    told.scan(series.scan.grid)  # raises where the scan file is of other images
    decisions: dict[str, Any] = dict(series.decisions)
    if series.n_not_finite:
        decisions["not_finite"] = f"{series.n_not_finite} voxels hold NaN or infinity in some echo and leave the mask"
    sources = {
        "magnitude": [str(f.resolve()) for f in magnitude],
        "phase": [str(f.resolve()) for f in phase],
        "phase_unit": phase_unit,
        "echo_times_s": told.echo_times_s,
        "bipolar": bipolar,
    }
    series, odd_even = _of_one_polarity(series, decisions, bipolar=bipolar)
    sums = sums_of_images(series.magnitude, series.phase_rad)
    if len(series.scan.echo_times_s) > 1:
        return ChainInput(sums, series.scan, decisions, ~series.not_finite, None, sources, odd_even), series
    if series.magnitude.shape[1] > 1:
        raise InputError(f"{phase[0]}: one echo of several coils cannot be combined; give two echoes or more")
    decisions["single_echo"] = "field from the phase of one echo over its echo time; its offset counts as background"
    estimate = single_echo(torch.polar(series.magnitude, series.phase_rad)[0, 0], series.scan)
    return ChainInput(sums, series.scan, decisions, ~series.not_finite, estimate, sources), series


def _of_one_polarity(
    series: EchoSeries, decisions: dict[str, Any], *, bipolar: bool
) -> tuple[EchoSeries, OddEvenPhase | None]:
    """Measure the phase between odd and even echoes where it can be, say so, and take it out where asked for."""
    if not bipolar and not series.scan.has_even_echoes(3):
        return series, None
    if not bipolar:
        found = odd_even_phase(series.magnitude, series.phase_rad, series.scan)
        left = "left, since --bipolar was not given"
    else:
        phase_rad, found = odd_even_correction(series.magnitude, series.phase_rad, series.scan)
        series, left = replace(series, phase_rad=phase_rad), "taken out"
    decisions["odd_even_phase"] = f"{found.rms_rad:.4f} rad rms between odd and even echoes, {left}"
    return series, found


def run_chain(
    source: ChainInput,
    config: QsmConfig,
    device: torch.device,
    report: Report,
    *,
    external: torch.Tensor | None = None,
    region: torch.Tensor | None = None,
    fill_holes: bool = True,
) -> QsmMaps:
    """Run the chain on ``device``; ``external`` is a brain mask, ``region`` the region of mean zero."""
    sums = LagSums(
        source.sums.lags.to(device),
        source.sums.power.to(device),
        None if source.sums.noise_sd is None else source.sums.noise_sd.to(device),
        source.sums.n_channels,
    )
    return map_susceptibility(
        sums,
        source.scan,
        config,
        usable=None if source.usable is None else source.usable.to(device),
        estimate=source.estimate,
        external_mask=None if external is None else external.to(device),
        reference_region=None if region is None else region.to(device),
        fill_holes=fill_holes,
        report=report,
    )


def run_uncertainty(
    source: ChainInput,
    maps: QsmMaps,
    config: QsmConfig,
    device: torch.device,
    *,
    n_realisations: int,
    seed: int,
    region: torch.Tensor | None = None,
) -> ChiNoise:
    """Noise of the susceptibility that `run_chain` made of ``source``; ``region`` as there."""
    return susceptibility_noise(
        maps,
        source.sums.power.to(device).sum(0).sqrt(),
        source.scan,
        config,
        n_realisations=n_realisations,
        seed=seed,
        reference_region=None if region is None else region.to(device),
    )


def volumes_of(maps: QsmMaps) -> dict[str, torch.Tensor]:
    """The maps by the stems of `io.maps.UNITS`."""
    volumes = {
        "Chimap": maps.chi_ppm,
        "fieldmap_desc-total": maps.total_field_hz,
        "fieldmap_desc-local": maps.local_field_hz,
        "fieldmap_desc-noise": maps.noise_hz,
        "mask": maps.mask,
        "mask_desc-eroded": maps.eroded_mask,
        "quality": maps.quality,
    }
    return volumes if maps.r2star_hz is None else {**volumes, "R2starmap": maps.r2star_hz}


def sidecars_of(maps: QsmMaps, scan: Scan, config: QsmConfig) -> dict[str, dict[str, Any]]:
    """What the sidecar of each map tells of scan and methods, by the stems of `io.maps.UNITS`."""
    methods, common = config.resolved(), scan_facts(scan)
    total = {**common, "EstimationAlgorithm": methods["field"], "Unwrapping": methods["unwrap"]}
    local = {**total, "BackgroundRemoval": methods["background"]}
    return {stem: dict(common) for stem in volumes_of(maps)} | {
        "fieldmap_desc-total": total,
        "fieldmap_desc-noise": total,
        "fieldmap_desc-local": local,
        "Chimap": {**local, "DipoleInversion": methods["inversion"], "Reference": maps.summary["references"]},
    }


def scan_facts(scan: Scan) -> dict[str, Any]:
    """Echo times, field strength and B0 direction by the keys of sidecars."""
    return {
        "EchoTime": list(scan.echo_times_s),
        "MagneticFieldStrength": scan.field_strength_t,
        "B0_dir": list(scan.b0_direction),
    }


def account_of(maps: QsmMaps, source: ChainInput) -> dict[str, Any]:
    """Everything that was decided and measured on the way, as plain values: the content of qsm.json."""
    grid = source.scan.grid
    about = {
        "software": {"dlqsm": full_version(), "torch": torch.__version__},
        "scan": {**scan_facts(source.scan), "voxel_size_mm": list(grid.voxel_size_mm), "shape": list(grid.shape)},
        "decisions": source.decisions,
        "sources": source.sources,
        "odd_even_phase": None if source.odd_even is None else source.odd_even.as_dict(),
        "peak_memory_mb": round(peak_memory_mb()),
        "threads": torch.get_num_threads(),
    }
    return {**maps.summary, **about}
