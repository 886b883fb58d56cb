"""ISMRMRD raw data, written in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.core.raw import RawData, RawHeader, iterate_readouts
from dlqsm.io import raw_layout as layout
from dlqsm.io.hdf5 import written_hdf5
from dlqsm.io.raw_mend import IDENTITY

_CHUNK_RECORDS = 256
_NO_TRAJECTORY = np.empty(0, np.float32)


def write_raw(
    path: Path | str,
    raw: RawData,
    *,
    extra: Mapping[str, float | str] | None = None,
    states_phase: bool = True,
    identity: xsd.ismrmrdHeader | None = None,
) -> None:
    """Write raw data as an ISMRMRD file: one acquisition for each line and echo, in the order of acquisition.

    The phase convention, signal ~ exp(+i 2 pi f TE), and the net acceleration are user parameters; ``position`` is
    that of voxel ``n // 2``, where the FFT has its centre. Acceleration factors of the axes stay 1: irregular sampling
    has none.

    Parameters
    ----------
    path
        File to write, whole or not at all; replaced where it exists.
    raw
        Raw data; read in pieces.
    extra
        More user parameters: numbers go to ``userParameterDouble``, text to ``userParameterString``.
    states_phase
        Whether the phase convention is known, and stated.
    identity
        Header whose subject, study and measurement are written too; nothing of them where None.

    Raises
    ------
    InputError
        If a size does not fit into the 16 bits that the format has for it.
    """
    header = raw.header
    if max(header.n_readout, header.n_coils, *header.grid.shape) > layout.SAMPLE_LIMIT:
        raise InputError(f"{path}: ISMRMRD counts in 16 bits; grid {header.grid.shape} is too large for it")
    with written_hdf5(Path(path)) as (file, require_written):
        group = file.create_group(layout.GROUP)
        xml = _xml(header, dict(extra or {}), states_phase=states_phase)
        if identity is not None:
            for name in IDENTITY:
                setattr(xml, name, getattr(identity, name))
        _write_xml(group, xml)
        noise = _noise_records(header)
        reference = _reference_records(header)
        n_imaging = len(header.lines) * header.n_echoes
        n_records = len(noise) + n_imaging + len(reference)
        data = group.create_dataset(
            "data", (n_records,), layout.RECORD, maxshape=(None,), chunks=(min(_CHUNK_RECORDS, max(n_records, 1)),)
        )
        data[: len(noise)] = noise
        heads = _image_heads(header, first_counter=len(noise))
        for first, samples in iterate_readouts(raw):
            start = first * header.n_echoes
            block = _records(heads[start : start + samples.shape[0] * header.n_echoes], samples)
            data[len(noise) + start : len(noise) + start + len(block)] = block
            require_written()
        data[len(noise) + n_imaging :] = reference


def write_acquisitions(
    path: Path, header: xsd.ismrmrdHeader, heads: NDArray[np.void], samples: Iterable[NDArray[np.complex64]]
) -> None:
    """Write acquisitions as they are, each ``(coil, sample)``, with the header given; an old file is replaced."""
    with written_hdf5(path) as (file, require_written):
        group = file.create_group(layout.GROUP)
        _write_xml(group, header)
        data = group.create_dataset(
            "data", (len(heads),), layout.RECORD, maxshape=(None,), chunks=(min(_CHUNK_RECORDS, max(len(heads), 1)),)
        )
        coming = iter(samples)
        for first in range(0, len(heads), _CHUNK_RECORDS):
            some = heads[first : first + _CHUNK_RECORDS]
            data[first : first + len(some)] = np.concatenate(
                [_records(some[i : i + 1], next(coming)[None]) for i in range(len(some))]
            )
            require_written()


def _write_xml(group: h5py.Group, header: xsd.ismrmrdHeader) -> None:
    group.create_dataset("xml", (1,), dtype=h5py.special_dtype(vlen=bytes))[0] = xsd.ToXML(header).encode()


def _records(heads: NDArray[np.void], samples: NDArray[np.complex64]) -> NDArray[np.void]:
    records = np.empty(len(heads), layout.RECORD)
    records["head"] = heads
    flat = np.ascontiguousarray(samples, np.complex64).view(np.float32).reshape(len(heads), -1)
    for index in range(len(heads)):
        records["traj"][index] = _NO_TRAJECTORY
        records["data"][index] = flat[index]
    return records


def _noise_records(header: RawHeader) -> NDArray[np.void]:
    if header.noise is None:
        return np.empty(0, layout.RECORD)
    pieces = np.array_split(header.noise, -(-header.noise.shape[1] // layout.SAMPLE_LIMIT), axis=1)
    records = []
    for counter, piece in enumerate(pieces):
        head = _blank_heads(header, 1)
        head["flags"], head["scan_counter"], head["number_of_samples"] = layout.NOISE, counter, piece.shape[1]
        head["center_sample"] = 0
        records.append(_records(head, piece[None]))
    return np.concatenate(records)


def _reference_records(header: RawHeader) -> NDArray[np.void]:
    """The separate calibration scan, as an echo of its own kind after the imaging lines."""
    if header.reference is None:
        return np.empty(0, layout.RECORD)
    heads = _blank_heads(header, len(header.reference.lines))
    heads["flags"] = layout.CALIBRATION_ONLY
    heads["idx"]["kspace_encode_step_1"], heads["idx"]["kspace_encode_step_2"] = header.reference.lines.T
    return _records(heads, header.reference.samples)


def _image_heads(header: RawHeader, first_counter: int) -> NDArray[np.void]:
    n_lines, n_echoes = len(header.lines), header.n_echoes
    heads = _blank_heads(header, n_lines * n_echoes)
    heads["scan_counter"] = first_counter + np.arange(len(heads))
    heads["idx"]["kspace_encode_step_1"] = np.repeat(header.lines[:, 0], n_echoes)
    heads["idx"]["kspace_encode_step_2"] = np.repeat(header.lines[:, 1], n_echoes)
    heads["idx"]["contrast"] = np.tile(np.arange(n_echoes), n_lines)
    flags = np.where(np.repeat(header.calibration, n_echoes), layout.CALIBRATION_AND_IMAGING, np.uint64(0))
    if n_lines:
        flags[:n_echoes] |= layout.bit("FIRST_IN_CONTRAST")
        flags[-n_echoes:] |= layout.bit("LAST_IN_CONTRAST")
        flags[0] |= layout.bit("FIRST_IN_SLICE") | layout.bit("FIRST_IN_REPETITION")
        flags[-1] |= layout.bit("LAST_IN_SLICE") | layout.bit("LAST_IN_REPETITION") | layout.bit("LAST_IN_MEASUREMENT")
    heads["flags"] = flags
    return heads


def _blank_heads(header: RawHeader, n: int) -> NDArray[np.void]:
    heads = np.zeros(n, layout.HEAD)
    position, directions = layout.grid_to_lps(header.grid)
    heads["version"] = 1
    heads["number_of_samples"] = header.n_readout
    heads["center_sample"] = header.n_readout // 2
    heads["available_channels"] = heads["active_channels"] = header.n_coils
    heads["position"] = position
    heads["read_dir"], heads["phase_dir"], heads["slice_dir"] = directions
    return heads


def _xml(header: RawHeader, extra: dict[str, float | str], *, states_phase: bool) -> xsd.ismrmrdHeader:
    field_t = header.field_strength_t
    numbers = {layout.ACCELERATION_NAME: header.acceleration} if len(header.lines) else {}
    numbers |= {name: value for name, value in extra.items() if not isinstance(value, str)}
    texts = {layout.PHASE_NAME: layout.PHASE_CONVENTION} if states_phase else {}
    texts |= {name: value for name, value in extra.items() if isinstance(value, str)}
    return xsd.ismrmrdHeader(
        version=1,
        experimentalConditions=xsd.experimentalConditionsType(
            H1resonanceFrequency_Hz=round(units.GAMMA_BAR_HZ_PER_T * field_t) if field_t else 0
        ),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemFieldStrength_T=field_t, receiverChannels=header.n_coils
        ),
        encoding=[_encoding(header)],
        sequenceParameters=_sequence(header),
        userParameters=xsd.userParametersType(
            userParameterDouble=[
                xsd.userParameterDoubleType(name=name, value=float(value)) for name, value in numbers.items()
            ],
            userParameterString=[xsd.userParameterStringType(name=name, value=value) for name, value in texts.items()],
        ),
    )


def _sequence(header: RawHeader) -> xsd.sequenceParametersType:
    return xsd.sequenceParametersType(
        TE=[time / units.S_PER_MS for time in header.echo_times_s],
        TR=[] if header.repetition_time_s is None else [header.repetition_time_s / units.S_PER_MS],
        flipAngle_deg=[] if header.flip_angle_deg is None else [header.flip_angle_deg],
    )


def _encoding(header: RawHeader) -> xsd.encodingType:
    (nx, ny, nz), (vx, vy, vz) = header.grid.shape, header.grid.voxel_size_mm

    def space(n_x: int) -> xsd.encodingSpaceType:
        return xsd.encodingSpaceType(
            matrixSize=xsd.matrixSizeType(x=n_x, y=ny, z=nz),
            fieldOfView_mm=xsd.fieldOfViewMm(x=n_x * vx, y=ny * vy, z=nz * vz),
        )

    return xsd.encodingType(
        encodedSpace=space(header.n_readout),
        reconSpace=space(nx),
        encodingLimits=xsd.encodingLimitsType(
            kspace_encoding_step_0=_limit(header.n_readout),
            kspace_encoding_step_1=_limit(ny),
            kspace_encoding_step_2=_limit(nz),
            contrast=xsd.limitType(minimum=0, maximum=header.n_echoes - 1, center=0),
        ),
        trajectory=xsd.trajectoryType.CARTESIAN,
        parallelImaging=xsd.parallelImagingType(
            accelerationFactor=xsd.accelerationFactorType(kspace_encoding_step_1=1, kspace_encoding_step_2=1),
            calibrationMode=xsd.calibrationModeType.EMBEDDED,
        ),
        echoTrainLength=header.n_echoes,
    )


def _limit(n: int) -> xsd.limitType:
    return xsd.limitType(minimum=0, maximum=n - 1, center=n // 2)
