"""The XML header of ISMRMRD raw data: sizes, centre of k-space, protocol."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ismrmrd import xsd

from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Vector, check_echo_times, check_field_strength
from dlqsm.io import raw_layout as layout
from dlqsm.io.field_strength import believed_field_t
from dlqsm.io.files import shown

_LARGEST_NUMBER = 1e12
_SHORTEST_TIME_S = 2e-4
"""The longest echo time of a scan is longer than this; one below is seconds taken for milliseconds."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Smallest, largest and central index of a phase axis, and its encoded size."""

    name: str
    minimum: int
    maximum: int
    centre: int
    size: int


@dataclass(frozen=True, slots=True)
class Encoding:
    """Sizes of the encoded data: the grid's shape and voxels, the readout, both phase axes.

    ``counts_against_gradients`` tells that the directions of the acquisitions are those of the gradients, and that the
    signal turns with +2 pi k x, so that an inverse FFT counts voxels the other way round.
    """

    n_readout: int
    shape: tuple[int, int, int]
    voxel_size_mm: Vector
    limits: tuple[Limit, Limit]
    missing: tuple[str, ...]
    counts_against_gradients: bool = False


@dataclass(frozen=True, slots=True)
class Protocol:
    """Echo times and the like; None or empty where the header does not say."""

    echo_times_s: tuple[float, ...]
    repetition_time_s: float | None
    flip_angle_deg: float | None
    field_strength_t: float | None
    missing: tuple[str, ...]


def parse_xml(path: Path, text: bytes) -> xsd.ismrmrdHeader:
    """Parse the header and see that it describes one Cartesian encoding."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that it leaves as text; those that are used are checked
            header = xsd.CreateFromDocument(text)
    except Exception as error:  # the parser has no exception class of its own for text that is not the schema's
        raise InputError(f"{path}: its XML header does not follow the ISMRMRD schema ({error})") from error
    if not header.encoding:
        raise InputError(f"{path}: its XML header has no encoding; expected one with matrix size and field of view")
    trajectory = header.encoding[0].trajectory
    if trajectory is not xsd.trajectoryType.CARTESIAN:
        raise InputError(
            f"{path}: its trajectory is '{getattr(trajectory, 'value', trajectory)}'; only Cartesian data can be "
            "reconstructed"
        )
    return header


def read_encoding(path: Path, header: xsd.ismrmrdHeader) -> Encoding:
    """Sizes of the first encoding."""
    encoding, missing = header.encoding[0], []
    encoded, recon = encoding.encodedSpace, encoding.reconSpace
    n, fov = encoded.matrixSize, encoded.fieldOfView_mm
    _require_numbers(path, "encodedSpace/matrixSize", n.x, n.y, n.z)
    _require_numbers(path, "reconSpace/matrixSize", recon.matrixSize.y, recon.matrixSize.z)
    _require_numbers(path, "fieldOfView_mm", fov.x, fov.y, fov.z, recon.fieldOfView_mm.x)
    if min(n.x, n.y, n.z) < 1 or min(fov.x, fov.y, fov.z, recon.fieldOfView_mm.x) <= 0:
        raise InputError(f"{path}: its encoded matrix {n.x} x {n.y} x {n.z} or field of view is not above zero")
    if max(n.x, n.y, n.z) > layout.SAMPLE_LIMIT:
        raise InputError(
            f"{path}: its encoded matrix {n.x} x {n.y} x {n.z} is larger than the {layout.SAMPLE_LIMIT} that "
            "ISMRMRD can count; correct encodedSpace"
        )
    if n.z == 1:
        missing.append("The raw data are one 2-D slice: images can be made of it, but no susceptibility.")
    nx = min(n.x, max(1, round(n.x * recon.fieldOfView_mm.x / fov.x)))
    if (recon.matrixSize.y, recon.matrixSize.z) != (n.y, n.z):
        missing.append(
            f"The header asks for {recon.matrixSize.y} x {recon.matrixSize.z} phase-encoded voxels; the encoded "
            f"{n.y} x {n.z} are reconstructed, neither cut nor interpolated."
        )
    limits = encoding.encodingLimits
    if limits is None:
        limits = xsd.encodingLimitsType()
    for limit in (limits.kspace_encoding_step_1, limits.kspace_encoding_step_2):
        if limit is not None:
            _require_numbers(path, "encodingLimits", limit.minimum, limit.maximum, limit.center)
    first = _limit("kspace_encode_step_1", limits.kspace_encoding_step_1, n.y, missing)
    second = _limit("kspace_encode_step_2", limits.kspace_encoding_step_2, n.z, missing)
    voxel = (fov.x / n.x, fov.y / n.y, fov.z / n.z)
    turned = _is_siemens(header)
    if turned:
        missing.append(
            "Directions of a Siemens scan are those of the gradients; voxels of an inverse FFT count against them."
        )
    return Encoding(n.x, (nx, n.y, n.z), voxel, (first, second), tuple(missing), turned)


def read_protocol(path: Path, header: xsd.ismrmrdHeader, n_echoes: int) -> Protocol:
    """Echo times [s], repetition time [s], flip angle [degrees] and main field [T]."""
    missing: list[str] = []
    sequence = header.sequenceParameters or xsd.sequenceParametersType()
    _require_numbers(path, "sequenceParameters", *sequence.TE, *sequence.TR, *sequence.flipAngle_deg)
    times = _echo_times(sequence, n_echoes, missing)
    if len(times) > n_echoes:
        raise InputError(
            f"{path}: its header gives {len(times)} echo times, its acquisitions hold {n_echoes} echoes (contrasts); "
            "correct sequenceParameters/TE"
        )
    try:
        check_echo_times(times)
        if times and max(times) < _SHORTEST_TIME_S:
            raise InputError(f"the longest is {max(times):g} s")
    except InputError as error:
        raise InputError(f"{path}: sequenceParameters/TE must be in milliseconds: {error}") from error
    field_t = _field_strength(path, header, missing)
    _check_phase_convention(path, header, missing)
    tr = sequence.TR[0] * units.S_PER_MS if sequence.TR else None
    flip = sequence.flipAngle_deg[0] if sequence.flipAngle_deg else None
    return Protocol(times, tr, flip, field_t, tuple(missing))


def _echo_times(sequence: xsd.sequenceParametersType, n_echoes: int, missing: list[str]) -> tuple[float, ...]:
    """Echo times [s]; none where the header gives fewer than there are echoes, as ge_to_ismrmrd does beyond two."""
    given = list(sequence.TE)
    while given and given[-1] == 0:
        given.pop()
    if not given:
        missing.append("The raw data give no echo times.")
    elif len(given) < n_echoes:
        missing.append(f"The header gives {len(given)} echo times for {n_echoes} echoes; they are not used.")
        given = []
    return tuple(time * units.S_PER_MS for time in given)


def _is_siemens(header: xsd.ismrmrdHeader) -> bool:
    """Whether siemens_to_ismrmrd wrote the header; compare MRpro, issue 828."""
    system = header.acquisitionSystemInformation
    return system is not None and "siemens" in str(system.systemVendor or "").lower()


def _limit(name: str, limit: xsd.limitType | None, size: int, missing: list[str]) -> Limit:
    if limit is None:
        missing.append(f"The header has no encoding limits for {name}; its centre is taken as {size // 2}.")
        return Limit(name, 0, size - 1, size // 2, size)
    if limit.center == limit.minimum < limit.maximum:
        centre = limit.minimum + size // 2
        missing.append(f"The header puts the centre of {name} at its first line; it is taken as {centre}.")
        return Limit(name, limit.minimum, limit.maximum, centre, size)
    return Limit(name, limit.minimum, limit.maximum, limit.center, size)


def _require_numbers(path: Path, where: str, *values: object) -> None:
    """Raise `InputError` unless all values are finite numbers: the parser leaves text as text."""
    for value in values:
        if not isinstance(value, int | float) or not abs(value) <= _LARGEST_NUMBER:
            raise InputError(f"{path}: its XML header gives {shown(value)} in {where}; expected a number")


def _field_strength(path: Path, header: xsd.ismrmrdHeader, missing: list[str]) -> float | None:
    system = header.acquisitionSystemInformation
    nominal = system.systemFieldStrength_T if system is not None else None
    conditions = header.experimentalConditions
    frequency_hz = conditions.H1resonanceFrequency_Hz if conditions is not None else 0
    _require_numbers(path, "systemFieldStrength_T", nominal or 0.0)
    _require_numbers(path, "H1resonanceFrequency_Hz", frequency_hz or 0)
    field_t, sentence = believed_field_t(nominal, frequency_hz)
    try:
        if field_t is not None:
            check_field_strength(field_t)
    except InputError as error:
        raise InputError(f"{path}: {error}; correct its XML header") from None
    if sentence:
        missing.append(sentence)
    elif field_t is None:
        missing.append("The raw data give no field strength.")
    return field_t


def _check_phase_convention(path: Path, header: xsd.ismrmrdHeader, missing: list[str]) -> None:
    stated = [
        parameter.value
        for parameter in (header.userParameters.userParameterString if header.userParameters else [])
        if parameter.name == layout.PHASE_NAME
    ]
    if not stated:
        missing.append(f"The raw data do not state the sign of their phase; '{layout.PHASE_CONVENTION}' is assumed.")
    elif stated[0] != layout.PHASE_CONVENTION:
        raise InputError(
            f"{path}: its phase convention is '{stated[0]}'; expected '{layout.PHASE_CONVENTION}': take the complex "
            "conjugate of the images, or correct the header"
        )
