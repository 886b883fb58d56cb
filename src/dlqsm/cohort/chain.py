"""From the input of one scan to its susceptibility maps: what ``dlqsm qsm`` and ``dlqsm run`` share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from dlqsm.cohort.chain_input import ChainInput
from dlqsm.config import QsmConfig
from dlqsm.core.alarms import ARM, alarms_of, require_no_stop
from dlqsm.core.lags import LagSums
from dlqsm.core.methods import resolved_options
from dlqsm.core.scan import Scan
from dlqsm.io.memory import peak_memory_mb
from dlqsm.io.version import full_version
from dlqsm.pipeline import QsmMaps, Report, map_susceptibility
from dlqsm.pipeline.map_figures import map_figures
from dlqsm.pipeline.phase_trust import phase_trust, require_trust
from dlqsm.pipeline.uncertainty import ChiNoise, susceptibility_noise
from dlqsm.qsm.relaxation import r2star


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
        estimate=None if source.estimate is None else source.estimate.to(device),
        external_mask=None if external is None else external.to(device),
        reference_region=None if region is None else region.to(device),
        fill_holes=fill_holes,
        report=report,
    )


def examined(
    maps: QsmMaps, source: ChainInput, accept: Sequence[str] = (), *, external: torch.Tensor | None = None
) -> ChainInput:
    """The input with what its maps say of the phase, in figures and words, and with its alarms.

    Parameters
    ----------
    maps, source
        The maps, and what they were made of.
    accept
        Names of checks of the phase and of alarms in spite of which to go on.
    external
        Brain mask made elsewhere, where one was given.

    Raises
    ------
    InputError
        If the maps clearly contradict the sign of the phase, show that it was filtered, or raise an alarm that stops,
        and that is not accepted.
    """
    found, of_what = source.poles or (None, "")
    trust = phase_trust(maps, source.scan, found, of_what)
    figures = {**source.figures, **map_figures(maps, source.sums, source.scan, trust, external)}
    alarms = alarms_of(figures, ARM)
    inverted = bool(source.sources.get("invert_phase"))
    doubtful_axis = any(alarm.name == "b0_axis" for alarm in alarms)
    accepted = require_trust(
        trust, _first_file(source), inverted=inverted, doubtful_axis=doubtful_axis, accepted=accept
    )
    require_no_stop(alarms, _first_file(source), accept)
    decisions = {**source.decisions, **trust.decisions(), **accepted}
    return replace(source, trust=trust, decisions=decisions, figures=figures, alarms=alarms)


def _first_file(source: ChainInput) -> str:
    """The file that a sentence about the phase names."""
    phase = source.sources.get("phase") or source.sources.get("real") or source.sources.get("recon") or "the phase"
    return str(phase[0] if isinstance(phase, list) else phase)


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
    quality = {**common, "EstimationAlgorithm": methods["field"]}
    total = {**quality, "Unwrapping": methods["unwrap"]}
    local = {**total, "BackgroundRemoval": methods["background"]}
    mask = {"Masking": maps.summary["mask"]}
    fit = {name: value for name, value in resolved_options(r2star).items() if name != "n_channels"}
    decay = {"method": "r2star", "parameters": fit}
    return {
        "quality": quality,
        "mask": {**total, **mask},
        "mask_desc-eroded": {**local, **mask},
        "R2starmap": {**common, "EstimationAlgorithm": decay},
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
        "phase_trust": None if source.trust is None else source.trust.as_dict(),
        "figures": source.figures,
        "alarms": [alarm.as_dict() for alarm in source.alarms],
        "peak_memory_mb": round(peak_memory_mb()),
        "threads": torch.get_num_threads(),
    }
    return {**maps.summary, **about}
