"""Memory that a stage of a study needs, and memory that there is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
from dask.utils import parse_bytes
from distributed.system import MEMORY_LIMIT

from dlqsm.cohort.plan import FOR_RANDOM, Plan
from dlqsm.core.checks import InputError
from dlqsm.io.bids_sources import ArmSource, ParticipantSource
from dlqsm.io.nifti import read_shape
from dlqsm.io.raw import read_raw
from dlqsm.reconstruction.slabs import plan_slabs

PROCESS_BYTES: Final = int(0.9e9)
"""A process with its libraries and an atlas, before it has read a scan: peaks of benchmarks, rounded up."""
MAP_BYTES_A_VOXEL: Final = 900
"""From lag sums to susceptibility, with eight echoes: peaks of benchmarks, rounded up."""
COIL_BYTES_A_SAMPLE: Final = 32
"""Of images of single coils: magnitude and phase as read, stacked, and as tensors; counted, not measured."""
UNKNOWN_BYTES: Final = 4 * 2**30
"""Assumed where no scan can be read."""


def stage_bytes(people: Sequence[ParticipantSource], plan: Plan) -> int:
    """Memory [bytes] of one stage of a study, at most, estimated from the header of the scan with the largest files.

    The sum of what a process takes by itself and the larger of two: the plan of the reconstruction's slabs (for raw
    data), and `MAP_BYTES_A_VOXEL` for the steps to the susceptibility map.
    """
    largest = max((arm for person in people for arm in person.arms), key=_file_bytes, default=None)
    if largest is None:
        return UNKNOWN_BYTES
    try:
        return PROCESS_BYTES + _scan_bytes(largest, plan)
    except (InputError, OSError):
        return UNKNOWN_BYTES  # its own stage tells what is wrong with it


def available_bytes() -> int:
    """Memory [bytes] that is free here, within what a container or the system grants this process."""
    return int(min(psutil.virtual_memory().available, MEMORY_LIMIT))


def bytes_of_text(text: str) -> int:
    """Bytes of a text such as ``32 GB``.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        return int(parse_bytes(text))
    except ValueError:
        raise InputError(f'[cluster] memory = "{text}": expected a number with a unit, such as "32 GB"') from None


def _scan_bytes(arm: ArmSource, plan: Plan) -> int:
    if arm.raw is None:
        shape = read_shape(arm.magnitude[0])
        of_coils = COIL_BYTES_A_SAMPLE * len(arm.magnitude) if arm.n_coils > 1 else 0
        return (MAP_BYTES_A_VOXEL + of_coils) * math.prod(shape[:3])
    header = read_raw(arm.raw).header
    maps = MAP_BYTES_A_VOXEL * math.prod(header.grid.shape)
    methods = plan.methods or (FOR_RANDOM,)
    slabs = [plan_slabs(header, m, device_type=plan.device, slab_bytes=plan.slab_bytes) for m in methods]
    return max(maps, *(slab.slab_bytes + slab.hybrid_bytes + slab.result_bytes for slab in slabs))


def _file_bytes(arm: ArmSource) -> int:
    return sum(_size(path) for path in arm.files) if arm.problem is None else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
