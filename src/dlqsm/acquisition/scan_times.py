"""How long each arm of a study takes: samples times TR, by nominal and by time-matched acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dlqsm.acquisition.conditions import AF_MODES, PAPER_TIMES_S, is_coarse, lines_of, parse_arm
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol


@dataclass(frozen=True, slots=True)
class ScanTime:
    """Duration of one arm.

    Parameters
    ----------
    arm, af_mode
        Which arm, and how its acceleration is meant: one of `conditions.AF_MODES`.
    acceleration
        Net acceleration factor over the whole matrix; for ``central`` over the part that is scanned.
    n_samples, scan_time_s
        Lines on the protocol's own matrix, and their time at one line a TR [s].
    paper_matrix_scan_time_s
        Time of the same acceleration (of the name's, for ``central``) on the paper's matrix, at the protocol's TR [s].
    published_s
        What the paper says its arm took [s]; None where it had none.
    """

    arm: str
    af_mode: str
    acceleration: float
    n_samples: int
    scan_time_s: float
    paper_matrix_scan_time_s: float
    published_s: float | None


def scan_times(protocol: Protocol, arms: Sequence[str]) -> list[ScanTime]:
    """Durations of all arms, nominal ones first.

    The paper's times imply a matrix of 280 x 96 lines at AF 2, and net accelerations of 2.95, 4.16 and 6.20 where it
    says 3, 4 and 5 (Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227).
    """
    modes = [mode for mode in AF_MODES if mode != "central" or is_coarse(protocol)]
    return [_scan_time(protocol, arm, mode) for mode in modes for arm in arms]


def _scan_time(protocol: Protocol, arm: str, af_mode: str) -> ScanTime:
    chosen, repetition_time_s = parse_arm(arm, af_mode), protocol.repetition_time_s
    n, n_paper = (round(p.shape[1] * p.shape[2] / chosen.acceleration) for p in (protocol, PROTOCOLS["paper"]))
    if af_mode == "central":
        n = len(lines_of(chosen, protocol, 0, af_mode).lines)
    return ScanTime(
        arm,
        af_mode,
        protocol.shape[1] * protocol.shape[2] / n if af_mode == "central" else chosen.acceleration,
        n,
        n * repetition_time_s,
        n_paper * repetition_time_s,
        PAPER_TIMES_S.get(arm),
    )
