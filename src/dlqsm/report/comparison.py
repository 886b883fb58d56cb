"""Tables that set the arms side by side: registration, seconds, convergence, decisions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlqsm.report.numbers import UNKNOWN, number
from dlqsm.report.participant import ParticipantReport, Registration
from dlqsm.report.registration_warnings import warnings_of
from dlqsm.report.summary import decisions_of, seconds_of


@dataclass(frozen=True)
class Comparison:
    """Head of the columns, and rows of a name and one text a column; one text alone holds for all columns."""

    head: list[str]
    rows: list[tuple[str, list[str]]]


def seconds_rows(report: ParticipantReport) -> Comparison | None:
    """Seconds of each step in each arm, and their sum; None where nothing was timed."""
    timings: list[Mapping[str, float]] = [seconds_of(arm.summary) for arm in report.arms]
    steps = list(dict.fromkeys(step for timing in timings for step in timing))
    if not steps:
        return None
    rows = [(step.replace("_", " "), [_seconds(timing.get(step)) for timing in timings]) for step in steps]
    rows.append(("total", [_seconds(sum(timing.values()) if timing else None) for timing in timings]))
    return Comparison(_names(report), rows)


def convergence_rows(report: ParticipantReport) -> Comparison | None:
    """How each solver ended in each arm; None where nothing iterated."""
    found: list[Mapping[str, Any]] = [arm.summary.get("convergence", {}) for arm in report.arms]
    steps = list(dict.fromkeys(step for convergence in found for step in convergence))
    rows = [(step, [_ended(convergence.get(step)) for convergence in found]) for step in steps]
    return Comparison(_names(report), rows) if rows else None


def decision_rows(report: ParticipantReport) -> Comparison | None:
    """What was decided on units, sign, direction, noise, masks and reference; equal decisions stand once."""
    decided = [decisions_of(arm.summary) for arm in report.arms]
    keys = list(dict.fromkeys(key for decisions in decided for key in decisions))
    rows = [(key.replace("_", " "), _once([decisions.get(key, "–") for decisions in decided])) for key in keys]
    return Comparison(_names(report), rows) if rows else None


def registration_rows(report: ParticipantReport) -> Comparison | None:
    """Motion, score, coverage of each nucleus and warnings of each arm; None where nothing was registered."""
    found = [arm.registration or Registration() for arm in report.arms]
    if all(arm.registration is None for arm in report.arms):
        return None
    reference = report.leading.name
    moved = [
        "reference" if arm is report.reference else _motion(one) for arm, one in zip(report.arms, found, strict=True)
    ]
    rows = [(f"head moved against {reference}", moved)]
    rows += [
        (score, [number(one.score, 3) if one.score_name == score else UNKNOWN for one in found])
        for score in dict.fromkeys(one.score_name for one in found if one.score is not None)
    ]
    for nucleus in dict.fromkeys(name for one in found for name in one.coverage):
        shares = [one.coverage.get(nucleus) for one in found]
        rows.append((f"{nucleus} inside the valid mask", [_percent(share) for share in shares]))
    for fact in dict.fromkeys(name for one in found for name in one.told):
        rows.append((fact, _once([one.told.get(fact, UNKNOWN) for one in found])))
    if any(one.warnings for one in found):
        told = [warnings_of(arm.name, one.warnings) for arm, one in zip(report.arms, found, strict=True)]
        rows.append(("warnings", ["; ".join(sentences) or "none" for sentences in told]))
    return Comparison(_names(report), [row for row in rows if set(row[1]) != {UNKNOWN}])


def _motion(registration: Registration) -> str:
    shift, turn = number(registration.shift_mm, 2), number(registration.rotation_deg, 2)
    return UNKNOWN if {shift, turn} == {UNKNOWN} else f"{shift} mm, {turn}°"


def _percent(share: float | None) -> str:
    # Rounded down: a nucleus that lost a voxel must not read as whole.
    return UNKNOWN if share is None else "100 %" if share >= 1 else f"{math.floor(1000 * share) / 10:.1f} %"


def _names(report: ParticipantReport) -> list[str]:
    return [arm.name for arm in report.arms]


def _once(values: list[str]) -> list[str]:
    return values[:1] if len(set(values)) == 1 else values


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _ended(convergence: Mapping[str, Any] | None) -> str:
    if not convergence:
        return "–"
    n = int(convergence.get("n_iterations", 0))
    if n == 0:
        return "closed form"
    word = "converged" if convergence.get("converged") else "NOT converged"
    return f"{word}, {n} iterations, residual {float(convergence.get('residual', 0.0)):.1e}"
