"""What a page says of alarms: which arms have them, and the sentences, equal ones once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dlqsm.core.alarms import STOP
from dlqsm.report.participant import ParticipantReport


@dataclass(frozen=True)
class AlarmRow:
    """One alarm of one arm or of all.

    Parameters
    ----------
    name
        Its name in words.
    arms
        Arms that raise it with this sentence.
    is_stop
        Whether it stops where it is not accepted: it was.
    seen, advice
        What was seen, and what it means and asks for.
    """

    name: str
    arms: tuple[str, ...]
    is_stop: bool
    seen: str
    advice: str


def alarm_rows(report: ParticipantReport) -> list[AlarmRow]:
    """Alarms of all arms, those that stop first; of the atlas, which all arms share, once."""
    found: dict[tuple[str, str], list[str]] = {}
    levels: dict[str, str] = {}
    for arm in report.arms:
        registered = arm.registration.alarms if arm.registration is not None else ()
        for alarm in (*_of(arm.summary), *registered):
            name, text = str(alarm.get("name", "")), str(alarm.get("text", ""))
            levels[name] = str(alarm.get("level", ""))
            found.setdefault((name, text), []).append(arm.name)
    rows = [_row(name, text, arms, levels[name]) for (name, text), arms in found.items()]
    return sorted(rows, key=lambda row: not row.is_stop)


def _of(summary: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    told = summary.get("alarms")
    return [alarm for alarm in told if isinstance(alarm, Mapping)] if isinstance(told, list) else []


def _row(name: str, text: str, arms: Sequence[str], level: str) -> AlarmRow:
    seen, _, advice = text.partition(": ")
    return AlarmRow(name.replace("_", " "), tuple(arms), level == STOP, seen, advice)
