"""Siemens raw data (twix, meas.dat) to ISMRMRD: imaging, calibration and noise readouts, nothing of the patient."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray
from twixtools import read_twix as parse_twix

from dlqsm.core.checks import InputError
from dlqsm.io import raw_layout as layout
from dlqsm.io.files import require_file
from dlqsm.io.raw_write import write_acquisitions
from dlqsm.io.twix_protocol import Protocol, ismrmrd_header, read_protocol
from dlqsm.io.twix_walk import require_walkable

_NOT_IMAGING: Final = (
    "RTFEEDBACK", "HPFEEDBACK", "SYNCDATA", "REFPHASESTABSCAN", "PHASESTABSCAN", "PHASCOR", "RETRO_DUMMYSCAN",
)  # fmt: skip
"""Readouts that are neither image, calibration nor noise; they are left out."""
_FLAGS: Final = {
    "NOISEADJSCAN": layout.NOISE,
    "PATREFANDIMASCAN": layout.CALIBRATION_AND_IMAGING,
    "REFLECT": layout.REVERSE,
}
_COUNTERS: Final = {
    "kspace_encode_step_1": "Lin",
    "kspace_encode_step_2": "Par",
    "slice": "Sli",
    "average": "Ave",
    "contrast": "Eco",
    "phase": "Phs",
    "repetition": "Rep",
    "set": "Set",
    "segment": "Seg",
}
_NOISE_READOUT_US: Final = 7680.0
"""Duration of a noise readout within a measurement, since software VD, as siemens_to_ismrmrd takes it."""


@dataclass(frozen=True)
class TwixScan:
    """Raw data of the last measurement in a file, and the noise of those before it.

    Parameters
    ----------
    path
        The file.
    header
        XML header for ISMRMRD.
    heads
        Acquisition headers.
    blocks
        The measured data blocks of twixtools, one each; their samples are read later.
    n_left_out
        Readouts that are neither image, calibration nor noise.
    """

    path: Path
    header: xsd.ismrmrdHeader
    heads: NDArray[np.void]
    blocks: list[Any]
    n_left_out: int


def is_twix(path: Path) -> bool:
    """Whether a file is named as Siemens raw data are."""
    return path.suffix.lower() == ".dat"


def read_twix(path: Path) -> TwixScan:
    """Read protocol and readout headers of a Siemens raw data file, VB to XA.

    Raises
    ------
    InputError
        If it is no such file, ends too early, or is of a sequence whose readouts are no lines of k-space.
    """
    try:
        return _scan_of(path, _measurements(path))
    except (InputError, MemoryError):
        raise
    except Exception as error:  # of the parser's objects, whose fields are read when they are asked for
        raise InputError(
            f"{path}: its readouts or its protocol are damaged ({type(error).__name__}); copy it from the scanner again"
        ) from None


def _scan_of(path: Path, measurements: list[dict[str, Any]]) -> TwixScan:
    last = measurements[-1]
    protocol = read_protocol(path, last["hdr"])
    blocks = [b for b in last["mdb"] if not b.is_flag_set("ACQEND")]
    used = [b for b in blocks if not any(b.is_flag_set(name) for name in _NOT_IMAGING)]
    imaging = [b for b in used if not b.is_flag_set("NOISEADJSCAN")]
    if not imaging:
        raise InputError(f"{path}: its last measurement holds no imaging readouts; expected a gradient-echo scan")
    earlier = _earlier_noise(measurements[:-1], n_coils=int(imaging[0].mdh.UsedChannels))
    all_blocks = [block for block, _ in earlier] + used
    dwell_us = [dwell for _, dwell in earlier] + [_dwell_us(block, protocol) for block in used]
    _require_stored(path, all_blocks)
    heads = _heads(all_blocks, dwell_us, imaging[0])
    return TwixScan(path, ismrmrd_header(path, protocol, heads, imaging), heads, all_blocks, len(blocks) - len(used))


def write_twix(target: Path, scan: TwixScan) -> None:
    """Write the readouts as an ISMRMRD file."""
    write_acquisitions(target, scan.header, scan.heads, _samples(scan))


def _samples(scan: TwixScan) -> Iterator[NDArray[np.complex64]]:
    with scan.path.open("rb") as file:
        for block in scan.blocks:
            block.fid = file
            try:
                samples = block.data
            except Exception as error:  # as in `read_twix`
                raise InputError(
                    f"{scan.path}: the samples of a readout cannot be read ({type(error).__name__}); copy it from the "
                    "scanner again"
                ) from None
            yield samples


def _measurements(path: Path) -> list[dict[str, Any]]:
    require_file(path, "Siemens raw data (meas.dat)")
    require_walkable(path)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), np.errstate(all="ignore"):
            found = parse_twix(
                str(path), parse_pmu=False, parse_geometry=False, verbose=False, keep_acqend=True, keep_syncdata=False
            )
    except Exception as error:  # the parser has no exception class of its own for what is no twix file
        raise InputError(
            f"{path}: expected Siemens raw data (twix, meas.dat), but it cannot be read ({type(error).__name__}); copy "
            "it from the scanner again"
        ) from None
    if not found or not found[-1]["mdb"]:
        raise InputError(f"{path}: expected Siemens raw data (twix, meas.dat); it holds no readouts")
    return list(found)


def _require_stored(path: Path, blocks: list[Any]) -> None:
    """The samples that headers of readouts declare must be in the file."""
    declared = sum(8 * int(block.mdh.SamplesInScan) * int(block.mdh.UsedChannels) for block in blocks)
    size = path.stat().st_size
    if declared > size:
        raise InputError(
            f"{path}: its readouts declare {declared} bytes of samples; the file has {size}: copy it from the scanner "
            "again"
        )


def _earlier_noise(measurements: list[dict[str, Any]], n_coils: int) -> list[tuple[Any, float]]:
    """Noise readouts, with their dwell times [us], of the adjustments before the scan."""
    found = []
    for measurement in measurements:
        dwell_us = float(measurement["hdr"]["MeasYaps"]["sRXSPEC"]["alDwellTime"][0]) / 1000.0
        for block in measurement["mdb"]:
            if block.is_flag_set("NOISEADJSCAN") and int(block.mdh.UsedChannels) == n_coils:
                found.append((block, dwell_us))
    return found


def _dwell_us(block: Any, protocol: Protocol) -> float:
    if not block.is_flag_set("NOISEADJSCAN"):
        return protocol.dwell_us
    return _NOISE_READOUT_US / int(block.mdh.SamplesInScan)


def _heads(blocks: list[Any], dwell_us: list[float], imaging: Any) -> NDArray[np.void]:
    heads = np.zeros(len(blocks), layout.HEAD)
    position, directions = _geometry(imaging)
    heads["version"] = 1
    heads["scan_counter"] = np.arange(len(blocks))
    heads["sample_time_us"] = dwell_us
    heads["position"] = position
    heads["read_dir"], heads["phase_dir"], heads["slice_dir"] = directions
    for head, block in zip(heads, blocks, strict=True):
        mdh = block.mdh
        head["flags"] = _flags(block)
        head["number_of_samples"] = mdh.SamplesInScan
        head["available_channels"] = head["active_channels"] = mdh.UsedChannels
        head["discard_pre"], head["discard_post"] = mdh.CutOff.Pre, mdh.CutOff.Post
        head["center_sample"] = mdh.CenterCol
        for name, counter in _COUNTERS.items():
            head["idx"][name] = getattr(mdh.Counter, counter)
    return heads


def _flags(block: Any) -> np.uint64:
    flags = np.uint64(0)
    for name, bit in _FLAGS.items():
        if block.is_flag_set(name):
            flags |= bit
    if block.is_flag_set("PATREFSCAN") and not block.is_flag_set("PATREFANDIMASCAN"):
        flags |= layout.CALIBRATION_ONLY
    return flags


def _geometry(block: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Position of the central voxel and directions along which voxels count, in LPS mm.

    The quaternion's rotation has the directions of phase, read and slice gradients as columns. Siemens' signal turns
    with +2 pi k x, so that an inverse FFT counts voxels against the gradients: each direction is turned round. (By a
    forward FFT, as Siemens takes it, they would count along them; compare MRpro, issue 828.)
    """
    data = block.mdh.SliceData
    w, x, y, z = (float(v) for v in data.Quaternion)
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    phase, read, along_slice = rotation.T
    position = np.array([data.SlicePos.Sag, data.SlicePos.Cor, data.SlicePos.Tra], np.float64)
    return position, -np.array([read, phase, along_slice])
