"""The protocol of Siemens raw data as an XML header of ISMRMRD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from ismrmrd import xsd
from numpy.typing import NDArray

from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.io import raw_layout as layout

_CARTESIAN, _THREE_D = 1, 4
_MS_PER_US: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Protocol:
    """What of the protocol the header of raw data needs.

    Parameters
    ----------
    matrix
        Encoded samples along readout (oversampled), phase and slice.
    fov_mm
        Encoded field of view, with all oversampling.
    n_readout
        Samples of the image along the readout.
    """

    matrix: tuple[int, int, int]
    fov_mm: tuple[float, float, float]
    n_readout: int
    echo_times_ms: tuple[float, ...]
    repetition_time_ms: float | None
    flip_angle_deg: float | None
    frequency_hz: int
    field_strength_t: float | None
    dwell_us: float


def read_protocol(path: Path, header: Mapping[str, Any]) -> Protocol:
    """Read the protocol, or refuse a sequence that is no Cartesian line-by-line scan."""
    try:
        return _protocol(path, header["MeasYaps"], header.get("Meas", {}))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path}: its protocol lacks what is needed for a header ({error!s}); expected that of a gradient-echo scan"
        ) from None


def ismrmrd_header(path: Path, protocol: Protocol, heads: NDArray[np.void], imaging: list[Any]) -> xsd.ismrmrdHeader:
    """XML header: sizes, limits with the centre that each readout names, times, field."""
    nx, ny, nz = protocol.matrix
    fov = protocol.fov_mm
    lines, partitions = ([int(getattr(b.mdh.Counter, name)) for b in imaging] for name in ("Lin", "Par"))
    centre_line, centre_partition = (_the_centre(path, imaging, name) for name in ("CenterLin", "CenterPar"))
    n_echoes = 1 + max(int(b.mdh.Counter.Eco) for b in imaging)
    return xsd.ismrmrdHeader(
        version=1,
        experimentalConditions=xsd.experimentalConditionsType(H1resonanceFrequency_Hz=protocol.frequency_hz),
        acquisitionSystemInformation=xsd.acquisitionSystemInformationType(
            systemFieldStrength_T=protocol.field_strength_t, receiverChannels=int(heads["active_channels"][-1])
        ),
        encoding=[
            xsd.encodingType(
                encodedSpace=_space((nx, ny, nz), fov),
                reconSpace=_space((protocol.n_readout, ny, nz), (fov[0] * protocol.n_readout / nx, fov[1], fov[2])),
                encodingLimits=xsd.encodingLimitsType(
                    kspace_encoding_step_0=xsd.limitType(minimum=0, maximum=nx - 1, center=nx // 2),
                    kspace_encoding_step_1=xsd.limitType(minimum=0, maximum=max(lines), center=centre_line),
                    kspace_encoding_step_2=xsd.limitType(minimum=0, maximum=max(partitions), center=centre_partition),
                    contrast=xsd.limitType(minimum=0, maximum=n_echoes - 1, center=0),
                ),
                trajectory=xsd.trajectoryType.CARTESIAN,
                echoTrainLength=n_echoes,
            )
        ],
        sequenceParameters=xsd.sequenceParametersType(
            TE=list(protocol.echo_times_ms),
            TR=[] if protocol.repetition_time_ms is None else [protocol.repetition_time_ms],
            flipAngle_deg=[] if protocol.flip_angle_deg is None else [protocol.flip_angle_deg],
        ),
        userParameters=xsd.userParametersType(
            userParameterString=[
                xsd.userParameterStringType(name=layout.PHASE_NAME, value=layout.PHASE_CONVENTION),
                xsd.userParameterStringType(name="dlqsm_converted_from", value="Siemens twix"),
            ]
        ),
    )


def _protocol(path: Path, yaps: Mapping[str, Any], meas: Mapping[str, Any]) -> Protocol:
    kspace, slices = yaps["sKSpace"], yaps["sSliceArray"]["asSlice"]
    _require_cartesian(path, yaps)
    is_3d = int(kspace["ucDimension"]) == _THREE_D
    if not is_3d and len(slices) > 1:
        raise InputError(
            f"{path}: holds {len(slices)} slices of 2-D data; expected 3-D data of one slab, which susceptibility "
            "needs: use the DICOM images of this scan"
        )
    oversampling = float(meas.get("flReadoutOSFactor") or 2.0)
    base, n_echoes = int(kspace["lBaseResolution"]), int(yaps.get("lContrasts", 1))
    one, frequency = slices[0], int(yaps["sTXSPEC"]["asNucleusInfo"][0]["lFrequency"])
    field_t = meas.get("flMagneticFieldStrength")
    return Protocol(
        matrix=(
            round(base * oversampling),
            int(kspace["lPhaseEncodingLines"]),
            int(kspace["lPartitions"]) if is_3d else 1,
        ),
        fov_mm=(
            float(one["dReadoutFOV"]) * oversampling,
            float(one["dPhaseFOV"]) * (1.0 + float(kspace.get("dPhaseOversamplingForDialog", 0.0))),
            float(one["dThickness"]) * (1.0 + float(kspace.get("dSliceOversamplingForDialog", 0.0))),
        ),
        n_readout=base,
        echo_times_ms=tuple(float(t) * _MS_PER_US for t in yaps["alTE"][:n_echoes]),
        repetition_time_ms=float(yaps["alTR"][0]) * _MS_PER_US if yaps.get("alTR") else None,
        flip_angle_deg=float(yaps["adFlipAngleDegree"][0]) if yaps.get("adFlipAngleDegree") else None,
        frequency_hz=frequency,
        field_strength_t=float(field_t) if field_t else frequency / units.GAMMA_BAR_HZ_PER_T,
        dwell_us=float(yaps["sRXSPEC"]["alDwellTime"][0]) * _MS_PER_US,
    )


def _require_cartesian(path: Path, yaps: Mapping[str, Any]) -> None:
    trajectory = int(yaps["sKSpace"].get("ucTrajectory", _CARTESIAN))
    factor = int(yaps.get("sFastImaging", {}).get("lEPIFactor", 1))
    if trajectory != _CARTESIAN or factor > 1:
        what = (
            f"echo-planar (factor {factor})" if trajectory == _CARTESIAN else f"not Cartesian (trajectory {trajectory})"
        )
        raise InputError(
            f"{path}: its sequence is {what}; expected a Cartesian gradient-echo scan, read line by line: use the "
            "DICOM images of this scan"
        )


def _the_centre(path: Path, imaging: list[Any], name: str) -> int:
    found = {int(getattr(b.mdh, name)) for b in imaging}
    if len(found) > 1:
        raise InputError(
            f"{path}: its readouts name several centres of k-space ({name} {min(found)} to {max(found)}); expected one"
        )
    return found.pop()


def _space(matrix: tuple[int, int, int], fov_mm: tuple[float, float, float]) -> xsd.encodingSpaceType:
    return xsd.encodingSpaceType(
        matrixSize=xsd.matrixSizeType(x=matrix[0], y=matrix[1], z=matrix[2]),
        fieldOfView_mm=xsd.fieldOfViewMm(x=fov_mm[0], y=fov_mm[1], z=fov_mm[2]),
    )
