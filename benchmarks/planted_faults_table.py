"""What the table of planted_faults.py tells: false alarms with exact intervals, and what found each fault."""

from __future__ import annotations

import math

import pandas as pd
from scipy.stats import beta

from dlqsm.core.alarms import ALARMS, ARM, FAMILY, alarms_of

COLUMNS = ("participant", "case", "arm", "figure", "value", "refused")
CLEAN = "clean"


def summary(table: pd.DataFrame) -> str:
    """False alarms of the clean participants by alarm, and what found each fault."""
    return "\n".join([*false_alarm_lines(table), "", *fault_lines(table)])


def false_alarm_lines(table: pd.DataFrame) -> list[str]:
    """Participants with a false alarm of each kind, with the exact interval of its rate (Clopper and Pearson, 95 %)."""
    clean = table[table["case"] == CLEAN]
    lines = [
        f"false alarms on {clean['participant'].nunique()} clean participants of {clean['arm'].nunique()} arms",
        "alarm\tlowest\thighest\tparticipants\trate",
    ]
    for name, limit in ALARMS.items():
        own = clean[clean["figure"] == name]
        values = own["value"].astype(float)
        if not len(values):
            continue
        n = own["participant"].nunique()
        broken = own[[limit.broken_by(value) is not None for value in values]]["participant"].nunique()
        ends = interval(broken, n)
        told = f"{values.min():.3g}\t{values.max():.3g}"
        lines.append(f"{name}\t{told}\t{broken} of {n}\t{broken / n:.1%} ({ends[0]:.1%} to {ends[1]:.1%})")
    return lines


def interval(k: int, n: int) -> tuple[float, float]:
    """Exact binomial interval of k of n, 95 %."""
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    return low, 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))


def fault_lines(table: pd.DataFrame) -> list[str]:
    """Each fault: in how many participants it was stopped or flagged, and by what."""
    lines = ["fault\tfound\tby"]
    for case in (case for case in table["case"].unique() if case != CLEAN):
        own = table[table["case"] == case]
        who = own["participant"].unique()
        told = [_found(own[own["participant"] == label]) for label in who]
        lines.append(f"{case}\t{sum(map(bool, told))} of {len(who)}\t{'; '.join(_by(told)) or 'nothing'}")
    return lines


def _by(told: list[dict[str, list[float]]]) -> list[str]:
    """What found a fault, in how many participants and with which values."""
    words = []
    for what in dict.fromkeys(name for found in told for name in found):
        values = [value for found in told for value in found.get(what, [])]
        told_by = sum(what in found for found in told)
        ends = " to ".join(dict.fromkeys(f"{end:.3g}" for end in (min(values), max(values)))) if values else ""
        words.append(f"{what} {ends} ({told_by})" if values else f"{what} ({told_by})")
    return words


def _found(own: pd.DataFrame) -> dict[str, list[float]]:
    """What stops or flags one planted fault in one participant, with its values."""
    found: dict[str, list[float]] = {f"refused: {text}": [] for text in own["refused"] if text}
    figures = own[own["figure"] != ""]
    for arm in figures["arm"].unique():
        values = figures[figures["arm"] == arm]
        known = {name: float(v) for name, v in zip(values["figure"], values["value"], strict=True)}
        known = {name: value for name, value in known.items() if math.isfinite(value)}
        for alarm in (a for of in (ARM, FAMILY) for a in alarms_of(known, of)):
            found.setdefault(f"{alarm.level} {alarm.name}", []).append(alarm.value)
    return found
