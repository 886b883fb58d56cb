"""Memory that a stage of a study needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dask.utils import parse_bytes

from dlqsm.cohort.plan import FOR_RANDOM, Plan
from dlqsm.core.checks import InputError
from dlqsm.io.bids_sources import ArmSource, ParticipantSource
from dlqsm.io.nifti import read_shape
from dlqsm.io.raw import read_raw
from dlqsm.pipeline.memory import arm_bytes

UNKNOWN_BYTES: Final = 4 * 2**30
"""Assumed where no scan can be read."""


def stage_bytes(people: Sequence[ParticipantSource], plan: Plan) -> int:
    """Memory [bytes] of one stage of a study, at most, estimated from the header of the scan with the largest files.

    The figures are those of `pipeline.memory`; `UNKNOWN_BYTES` where no scan can be read.
    """
    readable = (arm for person in people for arm in person.arms if arm.problem is None)
    largest = max(readable, key=_file_bytes, default=None)
    if largest is None:
        return UNKNOWN_BYTES
    try:
        return _scan_bytes(largest, plan, max(len(person.arms) for person in people))
    except (InputError, OSError):
        return UNKNOWN_BYTES  # its own stage tells what is wrong with it


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


def _scan_bytes(arm: ArmSource, plan: Plan, n_arms: int) -> int:
    more: dict[str, Any] = {"n_arms": n_arms, "n_realisations": plan.uncertainty}
    if arm.raw is None:
        shape, n_files = read_shape(arm.magnitude[0]), len(arm.magnitude)
        echoes = (n_files // arm.n_coils, arm.n_coils) if n_files > 1 else shape[3:]
        return arm_bytes(plan.config, (*shape[:3], *echoes), **more)
    methods = plan.methods or (FOR_RANDOM,)
    header = read_raw(arm.raw).header
    recon: dict[str, Any] = {"slab_bytes": plan.slab_bytes, "device_type": plan.device}
    return arm_bytes(plan.config, header, methods=methods, **more, **recon)


def _file_bytes(arm: ArmSource) -> int:
    return sum(_size(path) for path in arm.files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
