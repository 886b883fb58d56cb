"""Tables that set the arms side by side: seconds, convergence, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlqsm.report.participant import ParticipantReport
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
