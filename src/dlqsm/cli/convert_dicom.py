"""DICOM images to a BIDS dataset: read, checked to the end, then written."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dlqsm.cli.console import Talk
from dlqsm.cli.convert_echoes import read_echo, three_axes
from dlqsm.cli.dataset_target import require_new, target_entities
from dlqsm.cli.memory import state_memory
from dlqsm.core.checks import InputError
from dlqsm.core.scan import check_echo_times
from dlqsm.io.bids_arms import SUFFIX
from dlqsm.io.bids_write import describe_raw_dataset, image_path, images_of_scan, safe_sidecar, write_image
from dlqsm.io.dicom_files import Study, read_study
from dlqsm.io.dicom_header import Person, Series
from dlqsm.io.dicom_volumes import Volume, convert_series
from dlqsm.io.images import PhaseOptions
from dlqsm.io.megre import Megre, find_megre
from dlqsm.io.nifti import read_volume
from dlqsm.io.outputs import output_folder
from dlqsm.io.phase_header import filtered_by_header, vendor_of
from dlqsm.io.staging import staged
from dlqsm.pipeline.memory import step_bytes
from dlqsm.pipeline.phase_trust import FILTERED
from dlqsm.qsm.slice_sign import slice_sign, without_alternation

Entities = Mapping[str, str | None]


def convert_dicom(arguments: argparse.Namespace, talk: Talk) -> None:
    """Run the command for DICOM images."""
    if arguments.reverse_echoes:
        raise InputError(f"--reverse-echoes is for raw data; {arguments.source} is taken for DICOM images")
    entities = target_entities(arguments, arguments.out)
    require_new(images_of_scan(arguments.out, entities), overwrite=arguments.overwrite)
    with tempfile.TemporaryDirectory(prefix="dlqsm-convert-") as folder:
        scratch = Path(folder)
        with talk.working("read headers"):
            study = read_study(arguments.source, scratch)
        chosen = _chosen(study, arguments, talk)
        volumes: list[Volume] = []
        with talk.working("dcm2niix") as advance:
            for number, series in enumerate(chosen):
                volumes += convert_series(series, scratch / f"series{number}")
                advance((number + 1) / len(chosen))
        megre = find_megre(arguments.source, volumes, with_t1w=not arguments.no_t1w)
        for note in megre.notes:
            talk.say(f"  note: {note}")
        state_memory(arguments, talk, step_bytes("convert images", (*megre.leading[0].grid.shape, len(megre.leading))))
        options = PhaseOptions(arguments.phase_unit, arguments.invert_phase, accept=tuple(arguments.accept_phase))
        alternates = _check(megre, options, talk)
        with output_folder(arguments.out, overwrite=True, produces=()) as root, talk.working("write"):
            present = images_of_scan(root, entities)
            require_new(present, overwrite=arguments.overwrite)  # another process may have ended since
            earlier = [str(path.relative_to(root)) for path in present]
            with staged(root, overwrite=True, last=(), replaces=earlier) as new:
                _write(new, entities, megre, options, study.person, alternates=alternates)
                _write_t1w(root, new, entities, megre.t1w, study.person, arguments.overwrite, talk)
            describe_raw_dataset(root, f"sub-{entities['sub']}", study.person)


def _chosen(study: Study, arguments: argparse.Namespace, talk: Talk) -> list[Series]:
    """Series to convert: those of --series, without echo-planar ones, which are no gradient-echo scans for QSM."""
    for series in study.series:
        talk.say(f"  {series}: {len(series.files)} files{', echo-planar, not used' if series.is_echo_planar else ''}")
    if study.n_other:
        talk.say(f"  note: {study.n_other} files are no MR images and are not used")
    numbers = {series.number for series in study.series}
    absent = sorted(set(arguments.series or ()) - numbers)
    if absent:
        known = ", ".join(map(str, sorted(numbers)))
        raise InputError(f"{arguments.source}: holds no series {absent[0]}; --series can be of {known}")
    usable = [s for s in study.series if not s.is_echo_planar]
    chosen = [s for s in usable if arguments.series is None or s.number in arguments.series]
    if not chosen:
        raise InputError(
            f"{study.series[0].shown}: expected a gradient-echo scan; {arguments.source} holds echo-planar "
            "series only: give the folder of the multi-echo scan"
        )
    return chosen


def _check(megre: Megre, options: PhaseOptions, talk: Talk) -> bool:
    """See that all echoes can be had in radian before anything is written; tell whether slices alternate in sign."""
    check_echo_times(tuple(float(v.echo_time_s or 0.0) for v in megre.leading))
    _require_unfiltered(megre, options, talk)
    decisions: dict[str, str] = {}
    first, *_ = [read_echo(megre, number, options, decisions) for number in range(len(megre.leading))]
    grid, vendor = megre.leading[0].grid, vendor_of(megre.leading[0].sidecar)
    found = slice_sign(*first)
    direction = ", ".join(f"{v:.4f}" for v in grid.b0_direction())
    times = " ".join(f"{1000 * float(v.echo_time_s or 0.0):g}" for v in megre.leading)
    kinds = ("magnitude", "phase") if megre.phase else ("real", "imaginary")
    talk.say(f"  {kinds[0]}: {megre.beside[0].series}; {kinds[1]}: {megre.leading[0].series}")
    talk.say(f"  {len(megre.leading)} echoes at {times} ms, {grid.shape} voxels")
    sign = "turned by --invert-phase" if options.invert else "as stored"
    talk.say(f"  phase unit: {decisions['phase_unit']}; sign: {sign}")
    if words := found.words(vendor):
        talk.say(f"  sign of slices: {words}")
    if vendor == "GE":
        talk.say(
            "  note: GE headers do not tell the sign of the phase, and some GE scanners store the opposite one; "
            "dlqsm qsm and dlqsm run see from the maps whether --invert-phase is needed"
        )
    talk.say(f"  B0 direction: ({direction}) along the array axes, from the affine")
    talk.say(f"  T1w: {megre.t1w.series if megre.t1w else 'none'}")
    return found.alternates


def _require_unfiltered(megre: Megre, options: PhaseOptions, talk: Talk) -> None:
    reason = filtered_by_header(megre.leading[0].sidecar)
    if reason is None:
        return
    shown, series = megre.leading[0].series.shown, megre.leading[0].series
    if FILTERED not in options.accept:
        raise InputError(
            f"{shown}: the phase of {series} was high-pass filtered, as for SWI ({reason}); expected the phase as "
            f"measured: export the unfiltered phase, or give --accept-phase {FILTERED} to go on all the same"
        )
    talk.say(f"  warning: the phase of {series} was filtered ({reason}); accepted by --accept-phase {FILTERED}")


def _write(
    root: Path, entities: Entities, megre: Megre, options: PhaseOptions, person: Person, *, alternates: bool
) -> None:
    for number, (beside, leading) in enumerate(zip(megre.beside, megre.leading, strict=True)):
        echo_time_s = round(float(leading.echo_time_s or 0.0), 9)
        magnitude, phase_rad = read_echo(megre, number, options, {})
        phase_rad = without_alternation(phase_rad) if alternates else phase_rad
        for volume, part, values, unit in (
            (beside, "mag", magnitude, "arbitrary"),
            (leading, "phase", phase_rad, "rad"),
        ):
            path = image_path(root, {**entities, "echo": str(number + 1), "part": part}, SUFFIX)
            about = _sidecar(volume, person) | {"EchoTime": echo_time_s, "Units": unit}
            if part == "phase":
                about |= _what_was_turned(options, alternates=alternates)
            write_image(path, values, megre.leading[0].grid, about)


def _what_was_turned(options: PhaseOptions, *, alternates: bool) -> dict[str, str]:
    """Entries of the sidecar where the phase is not as the scanner stored it."""
    turned = {"PhaseSign": "turned by dlqsm convert --invert-phase"} if options.invert else {}
    return turned | ({"SliceSign": "alternated, turned back by dlqsm convert"} if alternates else {})


def _write_t1w(
    root: Path, new: Path, entities: Entities, t1w: Volume | None, person: Person, overwrite: bool, talk: Talk
) -> None:
    """The T1w image belongs to the session, not to one scan of it."""
    if t1w is None:
        return
    path = image_path(root, {key: entities.get(key) for key in ("sub", "ses")}, "T1w")
    if path.exists() and not overwrite:
        talk.say(f"  note: {path} exists and is kept")
        return
    values = three_axes(read_volume(t1w.path)[0])
    write_image(new / path.relative_to(root), values, t1w.grid, safe_sidecar(t1w.sidecar, person))


def _sidecar(volume: Volume, person: Person) -> dict[str, Any]:
    about = safe_sidecar(volume.sidecar, person)
    if "RepetitionTime" in about:
        about["RepetitionTimeExcitation"] = about["RepetitionTime"]
    return about
