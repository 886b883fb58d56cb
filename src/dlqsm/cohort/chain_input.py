"""What the chain starts from: lag sums or echo images of one scan, read, with all that was decided on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch

from dlqsm.core.alarms import Alarm
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Scan, direction_text
from dlqsm.io.images import AS_STORED, EchoSeries, PhaseOptions, read_complex_series, read_echo_series
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.phase_header import filtered_image, vendor_of
from dlqsm.io.scan_json import NO_FILE, ScanFile, read_scan
from dlqsm.io.sidecars import inherited_sidecar
from dlqsm.io.staging import require_settled
from dlqsm.pipeline import sums_of_images
from dlqsm.pipeline.map_figures import coil_figures
from dlqsm.pipeline.phase_trust import FILTERED, PhaseTrust
from dlqsm.qsm.bipolar import OddEvenPhase, odd_even_correction, odd_even_phase
from dlqsm.qsm.coil_combination import COIL_COMBINATIONS
from dlqsm.qsm.mdi import FieldEstimate, single_echo
from dlqsm.qsm.poles import PoleMap, poles_of_echoes
from dlqsm.qsm.slice_sign import slice_sign, without_alternation

_TURNED: Final = "turned by --invert-phase: as stored, phase shrinks with time where the field is higher"


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
    poles
        Poles of the phase, and of which phase; None where they were not looked for.
    trust
        What the maps say of the phase; None before there are maps.
    figures
        Quality figures that are known: of the coils before there are maps, then of the maps too.
    alarms
        Figures beyond their limits.
    """

    sums: LagSums
    scan: Scan
    decisions: dict[str, Any]
    usable: torch.Tensor | None = None
    estimate: FieldEstimate | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    odd_even: OddEvenPhase | None = None
    poles: tuple[PoleMap, str] | None = None
    trust: PhaseTrust | None = None
    figures: dict[str, float] = field(default_factory=dict)
    alarms: tuple[Alarm, ...] = ()


def read_recon(folder: Path, *, invert: bool = False) -> ChainInput:
    """Read what ``dlqsm recon`` wrote; with ``invert`` the sign of its phase is turned."""
    require_settled(folder)
    sums, grid = read_lag_sums(folder / "mdi.h5")
    told = read_scan(folder / "scan.json")
    scan = told.scan(grid)
    decisions = {
        "phase_unit": "rad, from the reconstruction",
        "phase_sign": told.about.get("phase_sign", "unknown"),
        "echo_times": f"{len(scan.echo_times_s)} echoes, from scan.json",
        "b0_direction": f"{direction_text(scan.b0_direction)}, from scan.json",
    }
    sources: dict[str, Any] = {"recon": str(folder.resolve())}
    if invert:
        sums = replace(sums, lags=sums.lags.conj().resolve_conj())
        decisions["phase_sign"], sources["invert_phase"] = _TURNED, True
    reconstruction = told.about.get("decisions")
    figures = coil_figures(reconstruction if isinstance(reconstruction, dict) else {})
    return ChainInput(sums, scan, decisions, sources=sources, poles=_poles_of_lags(sums), figures=figures)


def overridden(source: ChainInput, told: ScanFile) -> ChainInput:
    """A reconstruction with what the options or ``--scan`` say of its scan, and that they did."""
    scan, by = source.scan, "from the options" if told.path == NO_FILE else f"from the options or {told.path.name}"
    times, strength = told.echo_times_s or scan.echo_times_s, told.field_strength_t or scan.field_strength_t
    scan = Scan(scan.grid, times, strength, told.b0_direction or scan.b0_direction)
    said = (
        {"field_strength": f"{strength:g} T, {by if told.field_strength_t else 'from scan.json'}"} if strength else {}
    )
    if told.echo_times_s:
        said["echo_times"] = f"{len(times)} echoes, {by}"
    if told.b0_direction:
        said["b0_direction"] = f"{direction_text(scan.b0_direction)}, {by}"
    return replace(source, scan=scan, decisions={**source.decisions, **said})


def read_images(
    magnitude: Sequence[Path],
    phase: Sequence[Path],
    told: ScanFile,
    options: PhaseOptions,
    *,
    n_coils: int = 1,
) -> tuple[ChainInput, EchoSeries]:
    """Read magnitude and phase images, one file an echo (and coil) or one 4-D file.

    Parameters
    ----------
    magnitude, phase
        NIfTI files in the same order.
    told
        What is known of the scan beside the sidecars; it overrides them.
    options
        What the user says of the phase. Of alternating polarity, the phase between odd and even echoes is taken out.
    n_coils
        As for `io.images.read_echo_series`.

    Raises
    ------
    InputError
        As `io.images.read_echo_series`; for phase that its header calls filtered; and for one echo of several coils,
        which nothing can combine.
    """
    accepted = _accepted_header(phase, options)
    series = read_echo_series(
        magnitude,
        phase,
        phase_unit=options.unit,
        echo_times_s=told.echo_times_s,
        field_strength_t=told.field_strength_t,
        b0_direction=told.b0_direction,
        n_coils=n_coils,
    )
    sources = {"magnitude": _names(magnitude), "phase": _names(phase), "phase_unit": options.unit}
    return _input_of_series(series, phase, told, options, accepted, sources)


def read_complex_images(
    real: Sequence[Path], imaginary: Sequence[Path], told: ScanFile, options: PhaseOptions, *, n_coils: int = 1
) -> tuple[ChainInput, EchoSeries]:
    """Read real and imaginary images, as GE stores them; else as `read_images`.

    Raises
    ------
    InputError
        As `read_images`; and for a phase unit, which these images do not need.
    """
    if options.unit is not None:
        raise InputError("--phase-unit is for phase images; real and imaginary images need none: leave it out")
    accepted = _accepted_header(real, options)
    series = read_complex_series(
        real,
        imaginary,
        echo_times_s=told.echo_times_s,
        field_strength_t=told.field_strength_t,
        b0_direction=told.b0_direction,
        n_coils=n_coils,
    )
    return _input_of_series(series, real, told, options, accepted, {"real": _names(real), "imag": _names(imaginary)})


def _input_of_series(
    series: EchoSeries,
    phase: Sequence[Path],
    told: ScanFile,
    options: PhaseOptions,
    accepted: dict[str, Any],
    sources: dict[str, Any],
) -> tuple[ChainInput, EchoSeries]:
    """What the chain starts from, once the files are read; ``phase`` names them in sentences."""
    told.scan(series.scan.grid)  # raises where the scan file is of other images
    decisions: dict[str, Any] = {**series.decisions, **accepted}
    series = _of_one_slice_sign(series, vendor_of(inherited_sidecar(phase[0])), decisions)
    if options.invert:
        series = replace(series, phase_rad=-series.phase_rad)
        decisions["phase_sign"] = _TURNED
    if series.n_not_finite:
        decisions["not_finite"] = f"{series.n_not_finite} voxels hold NaN or infinity in some echo and leave the mask"
    sources |= {"echo_times_s": told.echo_times_s, "bipolar": options.bipolar}
    if options.invert:
        sources["invert_phase"] = True
    series, odd_even = _of_one_polarity(series, decisions, bipolar=options.bipolar)
    series = _combined(series, phase[0], options, decisions, sources)
    sums = sums_of_images(series.magnitude, series.phase_rad)
    poles = _poles_of_images(series) if series.magnitude.shape[1] == 1 else _poles_of_lags(sums)
    if len(series.scan.echo_times_s) > 1:
        return ChainInput(sums, series.scan, decisions, ~series.not_finite, None, sources, odd_even, poles), series
    if series.magnitude.shape[1] > 1:
        raise InputError(f"{phase[0]}: one echo of several coils cannot be combined; give two echoes or more")
    decisions["single_echo"] = "field from the phase of one echo over its echo time; its offset counts as background"
    estimate = single_echo(torch.polar(series.magnitude, series.phase_rad)[0, 0], series.scan)
    return ChainInput(sums, series.scan, decisions, ~series.not_finite, estimate, sources, poles=poles), series


def _names(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]


def _of_one_slice_sign(series: EchoSeries, vendor: str, decisions: dict[str, Any]) -> EchoSeries:
    """Take out a sign that certainly alternates from slice to slice, and say so; say of GE how it is in any case."""
    found = slice_sign(series.magnitude[0], series.phase_rad[0])
    words = found.words(vendor)
    if words:
        decisions["slice_sign"] = words
    if vendor == "GE":
        decisions["phase_sign"] += (
            "; GE headers do not tell it, and some GE scanners store the opposite: see sign check"
        )
    return replace(series, phase_rad=without_alternation(series.phase_rad)) if found.alternates else series


def _accepted_header(phase: Sequence[Path], options: PhaseOptions) -> dict[str, Any]:
    """Refuse phase that its header calls filtered, or say that it was accepted."""
    found = filtered_image(phase)
    if found is None:
        return {}
    path, reason = found
    if FILTERED not in options.accept:
        raise InputError(
            f"{path}: the phase was high-pass filtered, as for SWI ({reason}); expected the phase as measured: export "
            f"the unfiltered phase of the scan, or give --accept-phase {FILTERED} to go on all the same"
        )
    return {"accepted_header": f"warning: the phase was filtered ({reason}); accepted by --accept-phase {FILTERED}"}


def _combined(
    series: EchoSeries, path: Path, options: PhaseOptions, decisions: dict[str, Any], sources: dict[str, Any]
) -> EchoSeries:
    """Images of one coil each as the options want them, and said."""
    n_coils = series.magnitude.shape[1]
    require_choice("coil combination", options.coils, COIL_COMBINATIONS)
    if n_coils == 1:
        if options.coils != AS_STORED.coils:
            raise InputError(f"{path}: holds combined images, no single coils; leave out --coil-combination")
        return series
    decisions["coil_combination"] = f"{n_coils} coils by {options.coils}"
    if options.coils == AS_STORED.coils:
        return series
    sources["coil_combination"] = options.coils
    combine = COIL_COMBINATIONS[options.coils]
    magnitude, phase_rad = combine(series.magnitude, series.phase_rad, series.scan)
    return replace(series, magnitude=magnitude, phase_rad=phase_rad)


def _poles_of_images(series: EchoSeries) -> tuple[PoleMap, str]:
    return poles_of_echoes(series.phase_rad[:, 0]), "the phase of each echo"


def _poles_of_lags(sums: LagSums) -> tuple[PoleMap, str] | None:
    """Poles of what the field is made of where coils are apart, each with a phase of its own."""
    if len(sums.lags) == 0:
        return None
    return poles_of_echoes(sums.lags[:1].angle()), "the phase between neighbouring echoes, over all coils"


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
