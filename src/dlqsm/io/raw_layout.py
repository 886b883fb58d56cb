"""What reading and writing of ISMRMRD share: the record, flag bits, names of user parameters, LPS geometry."""

from typing import Final

import numpy as np
from ismrmrd import constants
from ismrmrd.hdf5 import acquisition_dtype
from numpy.typing import NDArray

from dlqsm.core.scan import Grid, Vector

GROUP: Final = "dataset"
RECORD: Final = acquisition_dtype
HEAD: Final = acquisition_dtype["head"]
SAMPLE_LIMIT: Final = np.iinfo(np.uint16).max
"""The format counts samples, lines and channels in 16 bits."""

ACCELERATION_NAME: Final = "dlqsm_acceleration"
"""Net acceleration: the schema has integers for each axis only, which irregular sampling does not fit."""
PHASE_NAME: Final = "dlqsm_phase_convention"
PHASE_CONVENTION: Final = "signal ~ exp(+i 2 pi f TE)"

LPS_FROM_RAS: Final = np.array([-1.0, -1.0, 1.0])


def bit(name: str) -> np.uint64:
    """The flag called ``ACQ_<name>`` in the standard, which counts bits from 1."""
    return np.uint64(1 << (getattr(constants, f"ACQ_{name}") - 1))


NOISE: Final = bit("IS_NOISE_MEASUREMENT")
CALIBRATION_ONLY: Final = bit("IS_PARALLEL_CALIBRATION")
CALIBRATION_AND_IMAGING: Final = bit("IS_PARALLEL_CALIBRATION_AND_IMAGING")
REVERSE: Final = bit("IS_REVERSE")
NOT_IMAGING: Final = np.bitwise_or.reduce(
    [
        bit("IS_NAVIGATION_DATA"),
        bit("IS_PHASECORR_DATA"),
        bit("IS_HPFEEDBACK_DATA"),
        bit("IS_DUMMYSCAN_DATA"),
        bit("IS_RTFEEDBACK_DATA"),
        bit("IS_SURFACECOILCORRECTIONSCAN_DATA"),
        bit("IS_PHASE_STABILIZATION_REFERENCE"),
        bit("IS_PHASE_STABILIZATION"),
    ]
)
"""Acquisitions that are neither image nor noise."""


def grid_to_lps(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """LPS position [mm] of voxel ``n // 2`` (the centre of the FFT), and read, phase and slice directions as rows."""
    centre = grid.affine[:3, :3] @ (np.asarray(grid.shape) // 2) + grid.affine[:3, 3]
    return centre * LPS_FROM_RAS, np.asarray(grid.rotation).T * LPS_FROM_RAS


def grid_from_lps(
    shape: tuple[int, int, int], voxel_size_mm: Vector, position: NDArray[np.float64], directions: NDArray[np.float64]
) -> Grid:
    """Inverse of `grid_to_lps`."""
    columns = (directions * LPS_FROM_RAS).T
    affine = np.eye(4)
    affine[:3, :3] = columns / np.linalg.norm(columns, axis=0) * np.asarray(voxel_size_mm)
    affine[:3, 3] = position * LPS_FROM_RAS - affine[:3, :3] @ (np.asarray(shape) // 2)
    return Grid.from_affine(shape, affine)
