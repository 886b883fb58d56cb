"""Raw data to echo images: calibrate, make hybrid data, reconstruct slab by slab, gather what the field map needs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums, lag_sums
from dlqsm.core.methods import Reconstruction, choose, resolved_options
from dlqsm.core.raw import RawData, RawHeader
from dlqsm.core.sampling_kind import sampling_facts
from dlqsm.reconstruction import ECHO_BY_ECHO, FIELD_UNCERTAINTY, LINEAR, NETWORKS, RECONSTRUCTIONS
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.hybrid import HYBRID_BYTES, Calibration, HybridData, calibrate, to_hybrid
from dlqsm.reconstruction.learned.weights import describe_weights
from dlqsm.reconstruction.noise import (
    field_change,
    field_sd_hz,
    image_change,
    local_noise_sd,
    local_rms,
    reliability,
    replica_slab,
    with_more_noise,
    zero_filled_noise,
)
from dlqsm.reconstruction.sensitivity import CoilMaps, espirit
from dlqsm.reconstruction.slabs import SLAB_BYTES, SlabPlan, plan_slabs

NOISE_SD = 1.0
"""Of one component of the hybrid data, by whitening."""
_PREPARED = 0.25

Progress = Callable[[float], None]


@dataclass(frozen=True)
class ReconstructedImages:
    """Images of all echoes, in units of the noise of one whitened channel.

    Parameters
    ----------
    images
        Combined, phase-true, ``(echo, x, y, z)`` complex64.
    lag_sums
        `LagSums` over the channels that the method leaves (coils for ``zero``, one for ``sense``); their noise is
        ``noise_sd``, or `reliability` where the method is not linear.
    noise_sd
        Standard deviation of one component of one such channel, ``(x, y, z)``.
    uncombined
        ``(echo, coil, x, y, z)`` where asked for and the method leaves coils apart; else None.
    decisions
        What was decided and assumed, with timings [s]; plain values for a JSON file.
    field_uncertainty_hz
        Standard uncertainty of the field that the echoes give [Hz], ``(x, y, z)``, where asked for; else None.
    """

    images: torch.Tensor
    lag_sums: LagSums
    noise_sd: torch.Tensor
    uncombined: torch.Tensor | None
    decisions: dict[str, Any]
    field_uncertainty_hz: torch.Tensor | None = None


def reconstruct(
    raw: RawData,
    method: str = "sense",
    options: Mapping[str, Any] | None = None,
    *,
    virtual_coils: int | None = None,
    seed: int = 0,
    uncombined: bool = False,
    uncertainty: bool = False,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    scratch_folder: Path | None = None,
    slab_bytes: int = SLAB_BYTES,
    hybrid_bytes: int = HYBRID_BYTES,
) -> ReconstructedImages:
    """Reconstruct raw data with a method of the table `RECONSTRUCTIONS`.

    Memory holds one slab with all echoes and coils, the combined images and the lag sums; large hybrid data go to a
    scratch file.

    Parameters
    ----------
    raw
        Raw data, in memory or a file.
    method, options
        Name in the table, and values of that method's keyword-only parameters.
    virtual_coils
        Channels after compression; 12 (or all, if fewer) where None.
    seed
        Of the noise replica that the noise map of combining methods is made from.
    uncombined
        Keep the image of each virtual coil, if the method leaves coils apart.
    uncertainty
        Estimate the field's uncertainty, from how noise added once more changes the field, times a factor that was
        measured on held-out virtual heads (`FIELD_UNCERTAINTY`).
    progress
        Called with the fraction done.
    device
        Where slabs are reconstructed; results are on the CPU.
    scratch_folder
        Where a scratch file goes if one is needed; the system's temporary folder where None.
    slab_bytes
        Memory for the planes of one slab; `plan_slabs` tells what a scan needs in all.
    hybrid_bytes
        Larger hybrid data go to a scratch file.

    Raises
    ------
    InputError
        If the method, an option or the number of virtual coils is unknown or out of range, calibration lines are
        absent, the weights of a network cannot be used, or the uncertainty is asked for of a method for which none was
        measured or of data without two echo times.
    """
    if uncertainty:
        require_uncertainty(method, raw.header)
    run = choose("reconstruction", RECONSTRUCTIONS, method, options)
    report: Progress = progress or (lambda fraction: None)
    place = torch.device(device)
    slabs = plan_slabs(
        raw.header, method, options, virtual_coils=virtual_coils, slab_bytes=slab_bytes, device_type=place.type
    )
    watch = _Watch()
    calibration = calibrate(raw, virtual_coils=virtual_coils)
    watch.lap("calibration")
    maps = espirit(calibration.kspace, calibration.lines, raw.header.grid.shape)
    watch.lap("sensitivities")
    report(_PREPARED / 2)
    hybrid = to_hybrid(raw, calibration, scratch_folder=scratch_folder, memory_bytes=hybrid_bytes)
    watch.lap("hybrid")
    report(_PREPARED)
    times = raw.header.echo_times_s if uncertainty else None
    plan = _Plan(method, run, maps, hybrid, slabs, uncombined, times, seed, place)
    whole = _reconstruct_slabs(plan, report)
    watch.lap("reconstruction")
    decisions = _decisions(raw, method, run, calibration, whole.sums.n_channels) | {"seconds": watch.seconds}
    if method in NETWORKS:
        decisions["network"] = describe_weights(method, (options or {}).get("weights"))
    uncertainty_hz = None
    if whole.change is not None:
        field_hz = field_sd_hz(whole.images, raw.header.echo_times_s)
        uncertainty_hz = FIELD_UNCERTAINTY[method] * local_rms(whole.change) * field_hz
    return ReconstructedImages(whole.images, whole.sums, whole.noise_sd, whole.coil_images, decisions, uncertainty_hz)


def require_uncertainty(method: str, header: RawHeader) -> None:
    """Raise `InputError` unless the uncertainty of the field can be told of a method and of data with this header."""
    if method not in FIELD_UNCERTAINTY:
        raise InputError(
            f"the uncertainty of the field was measured for {' and '.join(FIELD_UNCERTAINTY)}; got method '{method}'"
        )
    if header.n_echoes < 2 or len(header.echo_times_s) != header.n_echoes:
        raise InputError(
            f"the uncertainty of the field needs the times of two echoes or more; the raw data have {header.n_echoes} "
            f"echoes and {len(header.echo_times_s)} echo times"
        )


@dataclass(frozen=True)
class _Plan:
    method: str
    run: Reconstruction
    maps: CoilMaps
    hybrid: HybridData
    cut: SlabPlan
    keep_coils: bool
    echo_times_s: tuple[float, ...] | None
    seed: int
    device: torch.device


@dataclass(frozen=True)
class _Slab:
    """Channels and maps of planes, the replica of their noise where no formula gives it, the field's change by it."""

    channels: torch.Tensor
    maps: torch.Tensor
    noise: torch.Tensor | None
    change: torch.Tensor | None


@dataclass(frozen=True)
class _Whole:
    """All slabs: combined images, lag sums, noise; coil images and the field's change by noise where asked for."""

    images: torch.Tensor
    sums: LagSums
    noise_sd: torch.Tensor
    coil_images: torch.Tensor | None
    change: torch.Tensor | None


def _reconstruct_slabs(plan: _Plan, report: Progress) -> _Whole:
    """Reconstruct slab by slab."""
    hybrid, keep = plan.hybrid, plan.hybrid.sampling_mask.to(plan.device)
    shape = (hybrid.n_planes, *hybrid.plane_shape)
    n_echoes = hybrid.samples.shape[1]
    images = torch.empty((n_echoes, *shape), dtype=torch.complex64)
    lags = torch.empty((n_echoes - 1, *shape), dtype=torch.complex64)
    power = torch.empty((n_echoes, *shape))
    replica = torch.zeros(shape, dtype=torch.complex64)
    change = None if plan.echo_times_s is None else torch.zeros(shape)
    coil_images: torch.Tensor | None = None
    n_channels = 1
    for planes in plan.cut.slabs:
        where = slice(planes.start, planes.stop)
        slab = _reconstruct_slab(plan, planes, keep)
        channels = slab.channels
        n_channels = channels.shape[1]
        sums = lag_sums(channels, None)
        lags[:, where], power[:, where] = sums.lags.cpu(), sums.power.cpu()
        images[:, where] = (channels[:, 0] if n_channels == 1 else roemer(channels, slab.maps)).cpu()
        if slab.noise is not None:
            replica[where] = slab.noise.cpu()
        if change is not None and slab.change is not None:
            change[where] = slab.change.cpu()
        if plan.keep_coils and n_channels > 1:
            coil_images = (
                torch.empty((n_echoes, n_channels, *shape), dtype=torch.complex64)
                if coil_images is None
                else coil_images
            )
            coil_images[:, :, where] = channels.cpu()
        report(_PREPARED + (1.0 - _PREPARED) * planes.stop / hybrid.n_planes)
    exact = torch.full(shape, zero_filled_noise(keep, NOISE_SD))
    noise_sd = exact if plan.method == "zero" else local_noise_sd(replica)
    stated = noise_sd if plan.method in LINEAR else reliability(noise_sd, power[0])
    return _Whole(images, LagSums(lags, power, stated, n_channels), noise_sd, coil_images, change)


def _reconstruct_slab(plan: _Plan, planes: range, keep: torch.Tensor) -> _Slab:
    wide = plan.cut.with_halo(planes)
    inner = slice(planes.start - wide.start, planes.stop - wide.start)
    maps = plan.maps.slab(wide.start, wide.stop).to(plan.device)
    samples = plan.hybrid.slab(wide.start, wide.stop).to(plan.device)
    channels = plan.run(samples, keep, maps, NOISE_SD)
    noise: torch.Tensor | None = None
    change: torch.Tensor | None = None
    if plan.method not in LINEAR:
        some = _replica_echoes(plan.method, len(samples))
        again = with_more_noise(plan.run, samples[some], keep, maps, NOISE_SD, wide, plan.seed)
        noise = image_change(again, channels[some], maps)[inner]
        if plan.echo_times_s is not None:
            change = field_change(again, channels, maps, plan.echo_times_s)[inner]
    elif plan.method != "zero":
        noise = replica_slab(plan.run, keep, maps, NOISE_SD, wide, plan.seed)[inner]
    return _Slab(channels[:, :, inner], maps[:, inner], noise, change)


def _replica_echoes(method: str, n_echoes: int) -> slice | list[int]:
    """First, middle and last echo where a method treats each by itself: a replica of all would double its time."""
    return sorted({0, n_echoes // 2, n_echoes - 1}) if method in ECHO_BY_ECHO else slice(None)


def _decisions(
    raw: RawData, method: str, run: Reconstruction, calibration: Calibration, n_channels: int
) -> dict[str, Any]:
    header, options = raw.header, resolved_options(run)
    if options.get("weights") is not None:
        options["weights"] = Path(options["weights"]).name
    return {
        "method": method,
        "options": options,
        "acceleration": header.acceleration,
        "n_lines": len(header.lines),
        **sampling_facts(header.sampling_mask),
        "n_calibration_lines": int(header.calibration.sum()),
        "n_coils": header.n_coils,
        "n_silent_coils": calibration.n_silent_coils,
        "n_virtual_coils": len(calibration.matrix),
        "energy_kept": calibration.energy_kept,
        "n_channels": n_channels,
        "whitening": calibration.noise_source,
        "image_unit": "noise SD of one component of one whitened channel",
        "missing": list(header.missing),
    }


class _Watch:
    """Seconds between laps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = now - self._last, now
