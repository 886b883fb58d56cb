"""The arms of a study, and what differs between two scans of one person: pose, drift and shim."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dlqsm.acquisition.participants import Pose
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol
from dlqsm.acquisition.sampling import Sampling, full, poisson, uniform
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.scan import Vector
from dlqsm.core.units import hz_per_ppm

STRAIGHT: Final = Pose()
DRIFT_TIME_S: Final = 420.0
"""Seven minutes: the time that drifts are quoted for."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One scan of a study.

    Parameters
    ----------
    name
        Its name.
    acceleration
        Net acceleration factor.
    kind
        ``full``, ``uniform`` or ``poisson``.
    moved
        Whether the head has moved since the reference scan.
    """

    name: str
    acceleration: float
    kind: str
    moved: bool

    def sampling(self, shape: tuple[int, int], seed: int) -> Sampling:
        """The lines it acquires of a ``(ny, nz)`` grid."""
        if self.kind == "full":
            return full(shape)
        return (uniform if self.kind == "uniform" else poisson)(shape, self.acceleration, seed)


ARMS: Final = {
    arm.name: arm
    for arm in (
        Arm("FULL", 1.0, "full", moved=False),
        Arm("PI2", 2.0, "uniform", moved=False),
        Arm("PI2rep", 2.0, "uniform", moved=True),
        *(Arm(f"DL{factor}", float(factor), "poisson", moved=True) for factor in range(3, 9)),
    )
}
"""FULL is fully sampled; PI is parallel imaging, PI2rep its repetition; DL is Poisson-disk sampling."""


AF_MODES: Final = ("nominal", "time-matched", "central")
"""``nominal``: the acceleration that the arm's name says; ``time-matched``: the one that gives the paper's scan time
on the paper's matrix, where it tells one; ``central``: that of the name at the paper's voxel size, of whose matrix the
scan holds the central part. A low resolution needs that part alone, which a density that falls towards the edge samples
far better than the whole."""
PAPER_TIMES_S: Final = {"PI2": 406.0, "PI2rep": 406.0, "DL3": 275.0, "DL4": 195.0, "DL5": 131.0}
"""Scan times of Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227."""


def parse_arm(name: str, af_mode: str = "nominal") -> Arm:
    """Return the arm of that name; raises `InputError` where there is none.

    Parameters
    ----------
    name
        One of `ARMS`.
    af_mode
        One of `AF_MODES`.
    """
    require_choice("arm", name, ARMS)
    require_choice("af_mode", af_mode, AF_MODES)
    arm = ARMS[name]
    if af_mode != "time-matched" or name not in PAPER_TIMES_S:
        return arm
    return replace(arm, acceleration=time_matched(name))


def lines_of(arm: Arm, protocol: Protocol, seed: int, af_mode: str = "nominal") -> Sampling:
    """Lines that an arm acquires of a protocol's matrix.

    Parameters
    ----------
    arm, protocol
        From `parse_arm` with the same mode; and what is scanned.
    seed
        Of the mask.
    af_mode
        One of `AF_MODES`.

    Raises
    ------
    InputError
        If the mode is central and the protocol's voxels are smaller than the paper's.
    """
    if af_mode != "central":
        return arm.sampling(protocol.shape[1:], seed)
    if not is_coarse(protocol):
        raise InputError(
            f"central samples are those of the paper's voxels, {PROTOCOLS['paper'].voxel_size_mm} mm; expected a "
            f"protocol of no smaller ones, got {protocol.voxel_size_mm} mm"
        )
    return arm.sampling(_matrix_of_paper_voxels(protocol), seed).centre(protocol.shape[1:])


def is_coarse(protocol: Protocol) -> bool:
    """Whether no voxel edge across the readout is smaller than the paper's, so that there are central samples."""
    return all(n >= own for n, own in zip(_matrix_of_paper_voxels(protocol), protocol.shape[1:], strict=True))


def _matrix_of_paper_voxels(protocol: Protocol) -> tuple[int, int]:
    _, ny, nz = (
        round(n * own / paper)
        for n, own, paper in zip(protocol.shape, protocol.voxel_size_mm, PROTOCOLS["paper"].voxel_size_mm, strict=True)
    )
    return ny, nz


def time_matched(name: str) -> float:
    """Acceleration that acquires the paper's matrix in the paper's scan time of an arm: Ny Nz TR / T."""
    paper = PROTOCOLS["paper"]
    return paper.shape[1] * paper.shape[2] * paper.repetition_time_s / PAPER_TIMES_S[name]


@dataclass(frozen=True, slots=True)
class Conditions:
    """What one scan has of its own.

    Parameters
    ----------
    pose
        How the head lies in the scanner.
    drift_hz_per_s
        Linear drift of the field [Hz/s].
    """

    pose: Pose
    drift_hz_per_s: float

    def drift_hz(self, n_lines: int, repetition_time_s: float) -> np.ndarray:
        """Field offset [Hz] when each line is acquired, one a TR, from zero on; ``(n_lines,)``."""
        return np.arange(n_lines) * repetition_time_s * self.drift_hz_per_s


def draw_lying(protocol: Protocol, rng: np.random.Generator) -> Pose:
    """Draw how a person lies in the scanner: rotation vector and translation normal with the protocol's rms length."""
    return Pose(_vector(rng, protocol.lying_rotation_sd_deg), _vector(rng, protocol.lying_translation_sd_mm))


def draw_conditions(
    protocol: Protocol, arm: Arm, rng: np.random.Generator, pose: Pose | None, lying: Pose = STRAIGHT
) -> Conditions:
    """Draw pose and drift of one scan from the protocol's spreads; a given pose is taken as it is.

    A person who lies as ``lying`` has moved in the arms that tell so, by a rotation vector and a translation that are
    normal with the protocol's root mean square length.
    """
    moved = Pose(_vector(rng, protocol.pose_rotation_sd_deg), _vector(rng, protocol.pose_translation_sd_mm))
    if pose is None:
        pose = moved.after(lying) if arm.moved else lying
    drift_ppm = float(rng.uniform(*protocol.drift_ppm) * rng.choice((-1.0, 1.0)))
    return Conditions(pose, drift_ppm * hz_per_ppm(protocol.field_strength_t) / DRIFT_TIME_S)


def _vector(rng: np.random.Generator, rms_length: float) -> Vector:
    x, y, z = (float(value) for value in rng.standard_normal(3) * rms_length / math.sqrt(3.0))
    return x, y, z
