"""Siemens raw data made up from a small object: protocol as text, readouts by twixtools' own writer."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from twixtools import write_twix
from twixtools.mdb import Mdb_local

MATRIX = (16, 12, 10)
"""Readout without oversampling, lines, partitions."""
FOV_MM = (32.0, 24.0, 30.0)
N_COILS, N_ECHOES = 2, 2
CENTRE_LPS_MM = (5.0, -7.0, 11.0)
QUATERNION = (0.9, 0.1, -0.2, float(np.sqrt(1 - 0.81 - 0.01 - 0.04)))
"""W, X, Y, Z: phase, read and slice gradients are the columns of its rotation."""

PROTOCOL = """sKSpace.lBaseResolution = 16
sKSpace.lPhaseEncodingLines = 12
sKSpace.lPartitions = 10
sKSpace.ucDimension = {dimension}
sKSpace.ucTrajectory = {trajectory}
sSliceArray.lSize = {slices}
{slice_lines}
alTE[0] = 3000
alTE[1] = 7000
alTE[2] = 70000
alTR[0] = 20000
lContrasts = 2
adFlipAngleDegree[0] = 15.0
sTXSPEC.asNucleusInfo[0].lFrequency = 123263034
sRXSPEC.alDwellTime[0] = {dwell}
sFastImaging.lEPIFactor = {epi}
tPatientName = "Doe^Jane"
"""
SLICE = """sSliceArray.asSlice[{n}].dThickness = 30.0
sSliceArray.asSlice[{n}].dPhaseFOV = 24.0
sSliceArray.asSlice[{n}].dReadoutFOV = 32.0"""


@dataclass(frozen=True)
class Line:
    """One readout: counters, flags by twixtools' names, samples ``(coil, n)``."""

    samples: np.ndarray
    line: int = 0
    partition: int = 0
    echo: int = 0
    average: int = 0
    slice_number: int = 0
    flags: tuple[str, ...] = ()


def write_made_twix(path: Path, lines: list[Line], noise_before: np.ndarray | None = None, **changes: Any) -> Path:
    """A file of one measurement, or of two where noise is measured before the scan."""
    centre = changes.pop("centre", (6, 5))
    scans = (
        [] if noise_before is None else [_measurement([Line(noise_before, flags=("NOISEADJSCAN",))], {"dwell": 4000})]
    )
    write_twix([*scans, _measurement(lines, changes, centre)], str(path))
    return path


def point_readouts(offset_mm: tuple[float, float, float]) -> np.ndarray:
    """k-space ``(echo, coil, line, partition, 2 * read)`` of a point, offset along read, phase and slice gradients.

    The signal turns with +2 pi k x, as that of Siemens does, and +2 pi f TE.
    """
    counts = (2 * MATRIX[0], MATRIX[1], MATRIX[2])
    fov = (2 * FOV_MM[0], FOV_MM[1], FOV_MM[2])
    kx, ky, kz = ((np.arange(n) - n // 2) / f for n, f in zip(counts, fov, strict=True))
    x, y, z = offset_mm
    turns = kx[None, None] * x + ky[:, None, None] * y + kz[None, :, None] * z
    signal = np.exp(2j * np.pi * turns)
    coils = np.array([1.0, 0.5j])
    echoes = np.exp(2j * np.pi * 30.0 * np.array([0.003, 0.007]))
    return (echoes[:, None, None, None, None] * coils[:, None, None, None] * signal).astype(np.complex64)


def object_readouts(images: np.ndarray) -> np.ndarray:
    """k-space, as of `point_readouts`, of coil images ``(coil, 2 * read, line, partition)``, for two echoes alike."""
    axes = (1, 2, 3)
    kspace = np.fft.fftshift(np.fft.ifftn(np.fft.ifftshift(images, axes), axes=axes, norm="ortho"), axes)
    return np.repeat(np.moveaxis(kspace, 1, 3)[None], N_ECHOES, axis=0).astype(np.complex64)


def all_lines(kspace: np.ndarray, flags: tuple[str, ...] = ()) -> list[Line]:
    return [
        Line(kspace[echo, :, ky, kz], ky, kz, echo, flags=flags)
        for kz in range(kspace.shape[3])
        for ky in range(kspace.shape[2])
        for echo in range(kspace.shape[0])
    ]


def rotation() -> np.ndarray:
    """Directions of phase, read and slice gradients as columns, LPS."""
    w, x, y, z = QUATERNION
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _measurement(lines: list[Line], changes: dict[str, Any], centre: tuple[int, int] = (6, 5)) -> dict[str, Any]:
    header = _header({"dimension": 4, "trajectory": 1, "slices": 1, "dwell": 8000, "epi": 1} | changes)
    return {"hdr_str": np.frombuffer(header, "S1"), "mdb": [*(_block(line, centre) for line in lines)]}


def _block(line: Line, centre: tuple[int, int]) -> Mdb_local:
    block = Mdb_local(line.samples)
    mdh = block.mdh
    mdh.Counter.Lin, mdh.Counter.Par, mdh.Counter.Eco = line.line, line.partition, line.echo
    mdh.Counter.Ave, mdh.Counter.Sli = line.average, line.slice_number
    mdh.CenterCol, (mdh.CenterLin, mdh.CenterPar) = line.samples.shape[1] // 2, centre
    data = mdh.SliceData
    data.SlicePos.Sag, data.SlicePos.Cor, data.SlicePos.Tra = CENTRE_LPS_MM
    for n, value in enumerate(QUATERNION):
        data.Quaternion[n] = value
    for flag in ("ONLINE", *line.flags):
        block.add_flag(flag)
    return block


def _header(values: dict[str, Any]) -> bytes:
    slices = "\n".join(SLICE.format(n=n) for n in range(values["slices"]))
    text = PROTOCOL.format(**values, slice_lines=slices)
    buffers = {
        "MeasYaps": f"### ASCCONV BEGIN ###\n{text}\n### ASCCONV END ###\n",
        "Meas": '<ParamDouble."flReadoutOSFactor">  { <Precision> 6  2.0  }\n<ParamString."PatientName"> { "Doe" }\n',
        "Dicom": '<ParamString."SoftwareVersions">  { "syngo MR E11" }\n',
    }
    body = b"".join(
        name.encode() + b"\0" + struct.pack("<I", len(content)) + content.encode() for name, content in buffers.items()
    )
    length = 8 + len(body)
    padding = -length % 32
    return struct.pack("<II", length + padding, len(buffers)) + body + b"\0" * padding
