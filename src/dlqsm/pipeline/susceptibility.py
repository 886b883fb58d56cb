"""The flow on one page: no files, no command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums, lag_sums_of_polar, within_range
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.inversion.streaks import MEANING, streak_measure
from dlqsm.qsm.mask import phase_quality, processing_mask
from dlqsm.qsm.mdi import FieldEstimate
from dlqsm.qsm.noise import with_noise
from dlqsm.qsm.reference import Reference, csf_region, reference
from dlqsm.qsm.relaxation import r2star

Report = Callable[[str, float], None]
"""Called with the name of a step and its seconds when it ends."""


@dataclass(frozen=True, slots=True)
class QsmMaps:
    """What the chain from echo images to susceptibility makes; every map is ``(x, y, z)``.

    Parameters
    ----------
    total_field_hz, local_field_hz, noise_hz
        Fields and the standard deviation of the total field [Hz].
    chi_ppm
        Susceptibility, its mean over the reference region zero [ppm].
    mask, eroded_mask
        Voxels that entered, and those where the local field is valid.
    r2star_hz, quality
        Relaxation rate [1/s], None for one echo; phase quality in [0, 1].
    references
        Values of the regions that could be the reference, before referencing.
    summary
        Seconds of each step, convergence, and what was decided, as plain numbers and words.
    """

    total_field_hz: torch.Tensor
    local_field_hz: torch.Tensor
    noise_hz: torch.Tensor
    chi_ppm: torch.Tensor
    mask: torch.Tensor
    eroded_mask: torch.Tensor
    r2star_hz: torch.Tensor | None
    quality: torch.Tensor
    references: tuple[Reference, ...]
    summary: dict[str, Any] = field(default_factory=dict)


def sums_of_images(magnitude: torch.Tensor, phase_rad: torch.Tensor, noise_sd: torch.Tensor | None = None) -> LagSums:
    """`LagSums` of magnitude and phase images ``(echo, coil, x, y, z)`` or ``(echo, x, y, z)``."""
    if magnitude.ndim == 4:
        magnitude, phase_rad = magnitude.unsqueeze(1), phase_rad.unsqueeze(1)
    return lag_sums_of_polar(magnitude, phase_rad, noise_sd)


def map_susceptibility(
    sums: LagSums,
    scan: Scan,
    config: QsmConfig | None = None,
    *,
    estimate: FieldEstimate | None = None,
    usable: torch.Tensor | None = None,
    external_mask: torch.Tensor | None = None,
    reference_region: torch.Tensor | None = None,
    fill_holes: bool = True,
    report: Report = lambda step, seconds: None,
) -> QsmMaps:
    """Susceptibility from the lag sums of multi-echo images.

    Parameters
    ----------
    sums
        Lag sums on the scan's grid.
    scan
        Echo times [s] and field strength [T] must be known.
    config
        Methods and options; the defaults where absent.
    estimate
        Field estimated elsewhere; replaces the configured estimator.
    usable
        Voxels that may enter the mask, ``(x, y, z)`` bool; all where absent.
    external_mask
        Brain mask made elsewhere; replaces the brain extraction, not the check of phase quality.
    reference_region
        Region of mean zero instead of the configured one.
    fill_holes
        Whether voxels of low phase quality inside the brain, which weigh next to nothing, stay in the mask.
    report
        Called after each step.

    Returns
    -------
    All maps, and how each step went.

    Raises
    ------
    InputError
        If there is but one slice, echo times or field strength are unknown, CSF is to be the reference of one echo, or
        no voxel enters the mask.
    """
    if min(scan.grid.shape) == 1:
        raise InputError(f"the images have shape {scan.grid.shape}, one slice; susceptibility needs a volume")
    config, clock, hz_per_ppm = config or QsmConfig(), _Clock(report), scan.hz_per_ppm
    if config.reference == "csf" and reference_region is None and len(scan.echo_times_s) == 1:
        raise InputError("the reference csf is found by R2*, which one echo does not tell; give a mask of it, or brain")
    sums = with_noise(within_range(sums))
    magnitude = sums.power.sum(0).sqrt()
    with clock("field"):
        estimate = estimate or config.field.bound("field")(sums, scan)
        noise_ppm = estimate.noise_hz / hz_per_ppm
    with clock("mask"):
        quality = phase_quality(estimate)
        if usable is not None:
            quality = torch.where(usable, quality, torch.nan)
        r2star_hz = _r2star(sums, scan) if len(scan.echo_times_s) > 1 else None
        mask, mask_info = processing_mask(
            magnitude, quality, scan, external=external_mask, r2star_hz=r2star_hz, fill_holes=fill_holes
        )
    with clock("unwrap"):
        unwrap = config.unwrap.bound("unwrap")
        phase_rad, mask, unwrapping = unwrap(estimate.wrapped_phase_rad, mask, scan, quality)
        total_field_hz = phase_rad / (TWO_PI * estimate.spacing_s)
    with clock("background"):
        remove = config.background.bound("background")
        local_field_ppm, eroded, removal = remove(total_field_hz / hz_per_ppm, mask, scan, noise_ppm)
    with clock("inversion"):
        invert = config.inversion.bound("inversion")
        csf = csf_keyword(config, r2star_hz, eroded, scan.grid, quality)
        chi_ppm, inversion = invert(local_field_ppm, eroded, scan, noise_ppm, magnitude, **csf)
    with clock("reference"):
        csf_mask = None if r2star_hz is None else csf_region(r2star_hz, eroded, scan.grid, quality)
        chi_ppm, references = _referenced(chi_ppm, eroded, config, csf_mask, reference_region)
    summary = {
        "seconds": clock.seconds,
        "convergence": {"background": removal.as_dict(), "inversion": inversion.as_dict()},
        "mask": {"source": "magnitude" if external_mask is None else "given", **mask_info},
        "unwrapping": unwrapping.as_dict(),
        "streaks": {"cone_power_ratio": streak_measure(chi_ppm, eroded, scan), "meaning": MEANING},
        "references": [r.as_dict() for r in references],
        "methods": config.resolved(),
    }
    fields = (total_field_hz, local_field_ppm * hz_per_ppm, estimate.noise_hz)
    return QsmMaps(*fields, chi_ppm, mask, eroded, r2star_hz, quality.nan_to_num(0.0), references, summary)


def csf_keyword(
    config: QsmConfig,
    r2star_hz: torch.Tensor | None,
    mask: torch.Tensor,
    grid: Grid,
    quality: torch.Tensor | None,
) -> dict[str, torch.Tensor]:
    """The CSF as the keyword of an inversion that is to keep it uniform; nothing for one that is not.

    Nothing too where R2* is not known: the inversion says what it lacks.
    """
    wanted = config.inversion.resolved("inversion")["parameters"].get("csf_strength", 0.0)
    return {"csf_region": csf_region(r2star_hz, mask, grid, quality)} if wanted and r2star_hz is not None else {}


def _r2star(sums: LagSums, scan: Scan) -> torch.Tensor:
    return r2star(sums.power.sqrt(), scan.echo_times_s, sums.noise_sd, n_channels=sums.n_channels)


def _referenced(
    chi_ppm: torch.Tensor,
    mask: torch.Tensor,
    config: QsmConfig,
    csf_mask: torch.Tensor | None,
    region: torch.Tensor | None,
) -> tuple[torch.Tensor, tuple[Reference, ...]]:
    """Reference to the configured region; brain and CSF values are both told where they can be."""
    regions = {"brain": mask}
    if csf_mask is not None:
        regions["csf"] = csf_mask
    if region is not None:
        regions["external"] = region & mask
    name = "external" if region is not None else config.reference
    told = tuple(reference(chi_ppm, mask, r, name=n)[1] for n, r in regions.items() if bool(r.any()))
    referenced, _ = reference(chi_ppm, mask, regions[name], name=name)
    return referenced, told


class _Clock:
    """Seconds of each step."""

    def __init__(self, report: Report) -> None:
        self.seconds: dict[str, float] = {}
        self._report = report

    @contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start
        self._report(step, self.seconds[step])
