"""The XML header of ISMRMRD raw data: sizes, centre of k-space, protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ismrmrd import xsd

from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Vector, check_echo_times
from dlqsm.io import raw_layout as layout

_FIELD_AGREEMENT = 1e-3
"""Relative difference up to which nominal field and resonance frequency say the same."""


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
    """Sizes of the encoded data: the grid's shape and voxels, the readout, both phase axes."""

    n_readout: int
    shape: tuple[int, int, int]
    voxel_size_mm: Vector
    limits: tuple[Limit, Limit]
    missing: tuple[str, ...]


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
    if min(n.x, n.y, n.z) < 1 or min(fov.x, fov.y, fov.z, recon.fieldOfView_mm.x) <= 0:
        raise InputError(f"{path}: its encoded matrix {n.x} x {n.y} x {n.z} or field of view is not above zero")
    if n.z == 1:
        raise InputError(f"{path}: holds 2-D data (encoded matrix {n.x} x {n.y} x 1); only 3-D data can be used")
    nx = min(n.x, max(1, round(n.x * recon.fieldOfView_mm.x / fov.x)))
    if (recon.matrixSize.y, recon.matrixSize.z) != (n.y, n.z):
        missing.append(
            f"The header asks for {recon.matrixSize.y} x {recon.matrixSize.z} phase-encoded voxels; the encoded "
            f"{n.y} x {n.z} are reconstructed, neither cut nor interpolated."
        )
    limits = encoding.encodingLimits
    first = _limit("kspace_encode_step_1", limits.kspace_encoding_step_1, n.y, missing)
    second = _limit("kspace_encode_step_2", limits.kspace_encoding_step_2, n.z, missing)
    voxel = (fov.x / n.x, fov.y / n.y, fov.z / n.z)
    return Encoding(n.x, (nx, n.y, n.z), voxel, (first, second), tuple(missing))


def read_protocol(path: Path, header: xsd.ismrmrdHeader, n_echoes: int) -> Protocol:
    """Echo times [s], repetition time [s], flip angle [degrees] and main field [T]."""
    missing: list[str] = []
    sequence = header.sequenceParameters or xsd.sequenceParametersType()
    times = tuple(time * units.S_PER_MS for time in sequence.TE)
    if not times:
        missing.append("The raw data give no echo times.")
    elif len(times) != n_echoes:
        raise InputError(
            f"{path}: its header gives {len(times)} echo times, its acquisitions hold {n_echoes} echoes (contrasts); "
            "correct sequenceParameters/TE"
        )
    try:
        check_echo_times(times)
    except InputError as error:
        raise InputError(f"{path}: sequenceParameters/TE must be in milliseconds: {error}") from error
    field_t = _field_strength(header, missing)
    _check_phase_convention(path, header, missing)
    tr = sequence.TR[0] * units.S_PER_MS if sequence.TR else None
    flip = sequence.flipAngle_deg[0] if sequence.flipAngle_deg else None
    return Protocol(times, tr, flip, field_t, tuple(missing))


def _limit(name: str, limit: xsd.limitType | None, size: int, missing: list[str]) -> Limit:
    if limit is None:
        missing.append(f"The header has no encoding limits for {name}; its centre is taken as {size // 2}.")
        return Limit(name, 0, size - 1, size // 2, size)
    return Limit(name, limit.minimum, limit.maximum, limit.center, size)


def _field_strength(header: xsd.ismrmrdHeader, missing: list[str]) -> float | None:
    system = header.acquisitionSystemInformation
    nominal = system.systemFieldStrength_T if system is not None else None
    conditions = header.experimentalConditions
    frequency_hz = conditions.H1resonanceFrequency_Hz if conditions is not None else 0
    measured = frequency_hz / units.GAMMA_BAR_HZ_PER_T if frequency_hz else None
    if nominal and measured and abs(measured - nominal) > _FIELD_AGREEMENT * nominal:
        missing.append(
            f"The header says {nominal} T, its resonance frequency {measured:.4f} T; the frequency is believed."
        )
        return measured
    if not (nominal or measured):
        missing.append("The raw data give no field strength.")
    return nominal or measured or None


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
