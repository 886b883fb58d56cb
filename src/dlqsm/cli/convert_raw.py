"""Raw data of Siemens or of other converters to ISMRMRD as dlqsm reads it: a file, or a BIDS dataset's sourcedata."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from dlqsm.cli.console import Talk
from dlqsm.cli.dataset_target import require_new, target_entities
from dlqsm.cli.memory import state_memory
from dlqsm.core.checks import InputError
from dlqsm.core.raw import RawHeader, ReversedEchoes
from dlqsm.io.bids_write import describe_raw_dataset, raw_data_path
from dlqsm.io.dicom_header import Person
from dlqsm.io.outputs import output_files, output_folder, remove_partial_files, whole_file
from dlqsm.io.raw import read_raw, write_raw
from dlqsm.io.steady import require_unchanged, stamps_of
from dlqsm.io.twix import is_twix, read_twix, write_twix
from dlqsm.pipeline.memory import raw_copy_bytes

_ISMRMRD = (".h5", ".hdf5", ".mrd")


def is_raw(source: Path) -> bool:
    """Whether a path is that of raw data by its name."""
    return is_twix(source) or source.suffix.lower() in _ISMRMRD


def convert_raw(arguments: argparse.Namespace, talk: Talk) -> None:
    """Run the command for raw data."""
    _require_no_dicom_options(arguments)
    if arguments.source.is_file():
        state_memory(arguments, talk, raw_copy_bytes(arguments.source.stat().st_size))
    if arguments.out.suffix.lower() in _ISMRMRD:
        with output_files(arguments.out, overwrite=arguments.overwrite):
            _convert_to(arguments.out, arguments, talk)
        return
    entities = target_entities(arguments, arguments.out)
    target = raw_data_path(arguments.out, entities)
    require_new([target] if target.exists() else [], overwrite=arguments.overwrite)
    with output_folder(arguments.out, overwrite=True, produces=()) as root:
        require_new([target] if target.exists() else [], overwrite=arguments.overwrite)
        remove_partial_files(target.parent)
        _convert_to(target, arguments, talk)
        describe_raw_dataset(root, f"sub-{entities['sub']}", Person())


def _convert_to(target: Path, arguments: argparse.Namespace, talk: Talk) -> None:
    """Write an ISMRMRD file that `dlqsm recon` can read, whole or not at all."""
    stamps = stamps_of(arguments.source)
    with whole_file(target) as written:
        with talk.working("convert"):
            header = _convert(arguments.source, written, arguments.reverse_echoes, talk)
        require_unchanged(stamps)
        _tell(header, talk)


def _convert(source: Path, written: Path, reverse_echoes: list[int] | None, talk: Talk) -> RawHeader:
    if not is_twix(source):
        return _rewrite(source, written, reverse_echoes)
    if reverse_echoes:
        raise InputError(f"--reverse-echoes is for ISMRMRD files; {source} tells itself which readouts are reversed")
    scan = read_twix(source)
    write_twix(written, scan)
    if scan.n_left_out:
        talk.say(f"  note: {scan.n_left_out} readouts for feedback or phase correction are left out")
    try:
        return read_raw(written).header
    except InputError as error:
        raise InputError(str(error).replace(str(written), str(source))) from None


def _rewrite(source: Path, written: Path, reverse_echoes: list[int] | None) -> RawHeader:
    """ISMRMRD in dlqsm's own order, with what it holds of people left behind."""
    raw = read_raw(source)
    echoes = tuple(sorted({number - 1 for number in reverse_echoes or ()}))
    if echoes and not (echoes[0] >= 0 and echoes[-1] < raw.header.n_echoes):
        raise InputError(f"--reverse-echoes must be of 1 to {raw.header.n_echoes}, the echoes of {source}")
    stated = not any("sign of their phase" in sentence for sentence in raw.header.missing)
    write_raw(written, ReversedEchoes(raw.header, raw, echoes) if echoes else raw, states_phase=stated)
    return replace(raw.header, missing=read_raw(written).header.missing) if echoes else raw.header


def _tell(header: RawHeader, talk: Talk) -> None:
    nx, ny, nz = header.grid.shape
    times = " ".join(f"{1000 * t:g}" for t in header.echo_times_s) or "not told"
    field = "not told" if header.field_strength_t is None else f"{header.field_strength_t:.4f} T"
    noise = "none" if header.noise is None else f"{header.noise.shape[1]} samples"
    direction = ", ".join(f"{v:.4f}" for v in header.scan.b0_direction)
    talk.say(f"  {nx} x {ny} x {nz} voxels of {' x '.join(f'{v:.3g}' for v in header.grid.voxel_size_mm)} mm")
    talk.say(f"  {header.n_coils} coils, {header.n_echoes} echoes (ms: {times}), {field}, noise scan: {noise}")
    talk.say(f"  {len(header.lines)} lines, net acceleration {header.acceleration:.3f}")
    talk.say(f"  B0 direction: ({direction}) along the array axes, from the directions of the gradients")
    for sentence in header.missing:
        talk.say(f"  note: {sentence}")


def _require_no_dicom_options(arguments: argparse.Namespace) -> None:
    for option, given in (
        ("--series", arguments.series),
        ("--phase-unit", arguments.phase_unit),
        ("--no-t1w", arguments.no_t1w),
        ("--invert-phase", arguments.invert_phase),
        ("--accept-phase", arguments.accept_phase),
    ):
        if given:
            raise InputError(f"{option} is for DICOM images; {arguments.source} is raw data")
