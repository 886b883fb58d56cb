"""Who has what, and how good it is: participants, missing arms, registration, similarity of images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from dlqsm.core.alarms import STOP
from dlqsm.report.comparison import Comparison
from dlqsm.report.group import GroupReport
from dlqsm.report.group_tables import Row, in_order, known_value, row_of
from dlqsm.report.numbers import UNKNOWN, number
from dlqsm.report.page import MEASURES
from dlqsm.report.registration_warnings import finding_and_remark, split_warnings, warnings_of

SPREADS: Final = 3.0
FEWEST: Final = 5
"""Fewer scores than this have no spread to judge by."""
OUTLIER_RULE: Final = (
    f"Flagged: a score more than {SPREADS:g} robust standard deviations (1.4826 × median absolute deviation) below the "
    f"median of its arm, judged from {FEWEST} participants on; a nucleus that lies by less than 95 % inside the valid "
    "mask; and every warning of the registration."
)
LOWEST_COVERAGE: Final = 0.95
MOST_ALIKE: Final = 3
"""Up to as many participants without any arm have lines of their own."""


@dataclass(frozen=True)
class Participant:
    """One line of the list of participants: what each arm has, and where it leads."""

    label: str
    page: str | None
    age: str
    sex: str
    n_measured: int
    arms: tuple[tuple[str, bool], ...]
    problem: str | None


@dataclass(frozen=True)
class Score:
    """Registration of one arm of one participant."""

    text: str
    motion: str
    flags: tuple[str, ...]


@dataclass(frozen=True)
class AlarmGroup:
    """An alarm, what it means, and who raises it in which arms."""

    name: str
    is_stop: bool
    means: str
    who: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Absent:
    """Participants without any arm who lack it for one reason: too many alike for a line each."""

    labels: tuple[str, ...]
    problem: str


def arm_rows(report: GroupReport) -> list[tuple[str, str, int, list[str]]]:
    """Arm, its part in the study, how many participants have it, and who has others but lacks it."""
    measured = set(map(str, report.values["participant_id"]))
    everyone = [str(name) for name in report.participants["participant_id"] if str(name) in measured]
    rows = []
    for arm in report.arms:
        has = _who(report, arm)
        part = (
            "reference"
            if arm == report.reference_arm
            else "repeat of the reference"
            if arm == report.repeat_arm
            else ""
        )
        rows.append((arm, part, len(has), [name for name in everyone if name not in has]))
    return rows


def absent_groups(report: GroupReport) -> list[Absent]:
    """Participants without any arm, by what is said of them, where that is the same of more than `MOST_ALIKE`."""
    measured, reasons = set(map(str, report.values["participant_id"])), dict[str, list[str]]()
    for label in map(str, report.participants["participant_id"]):
        if label not in measured:
            reasons.setdefault(report.problems.get(label, "has no values"), []).append(label)
    return [Absent(tuple(who), why) for why, who in reasons.items() if len(who) > MOST_ALIKE]


def participant_rows(report: GroupReport) -> list[Participant]:
    """All participants but those of `absent_groups`."""
    folded = {label for group in absent_groups(report) for label in group.labels}
    has = {arm: _who(report, arm) for arm in report.arms}
    rows = []
    for row in report.participants.to_dict("records"):
        label = str(row["participant_id"])
        if label in folded:
            continue
        arms = tuple((arm, label in has[arm]) for arm in report.arms)
        age, sex = row.get("age"), row.get("sex")
        rows.append(
            Participant(
                label,
                report.pages.get(label),
                UNKNOWN if age is None or pd.isna(age) else f"{age:.4g}" if isinstance(age, int | float) else str(age),
                UNKNOWN if sex is None or pd.isna(sex) else str(sex),
                sum(there for _, there in arms),
                arms,
                report.problems.get(label),
            )
        )
    return rows


def alarm_groups(report: GroupReport) -> list[AlarmGroup]:
    """Each alarm with the participants whose arms raise it, the most frequent first."""
    table = report.alarms
    if table is None or table.empty:
        return []
    groups = []
    for (name, level), own in table.groupby(["alarm", "level"], sort=False):
        who = {
            str(label): ", ".join(dict.fromkeys(map(str, arms["arm"])))
            for label, arms in own.groupby("participant_id", sort=False)
        }
        means = str(own["text"].iloc[0]).partition(": ")[2]
        groups.append(AlarmGroup(str(name).replace("_", " "), level == STOP, means, tuple(who.items())))
    return sorted(groups, key=lambda group: -len(group.who))


def similarity_rows(report: GroupReport) -> Comparison | None:
    """Arm to mean ± SD over participants of each measure; None where nothing was compared."""
    table = report.similarity
    if table is None or table.empty:
        return None
    keys = ["arm", *(["reference"] if "reference" in table else [])]
    known = [key for key in MEASURES if key in table]
    head = [f"{MEASURES[key][0]}" + (f" [{MEASURES[key][1]}]" if MEASURES[key][1] else "") for key in known]
    rows = []
    for arm in in_order(table["arm"], report.arms):
        of_arm = table[table["arm"] == arm]
        for told, group in of_arm.groupby(keys[1:], sort=False) if keys[1:] else [((), of_arm)]:
            texts = [_mean_sd(group[key], MEASURES[key][2]) for key in known]
            rows.append((arm, [*map(str, told), str(len(group)), *texts]))
    return Comparison([*(["compared with"] if keys[1:] else []), "n", *head], rows)


def registration_rows(report: GroupReport) -> list[tuple[str, list[Score | None]]]:
    """Participant to the registration of each arm, the outliers flagged; None where an arm has none."""
    table = report.registration
    if table is None or table.empty:
        return []
    kinds = _kinds_of_score(table)
    judged = table.assign(fence=kinds.map({kind: _fence(alike) for kind, alike in table.groupby(kinds)}))
    rows: list[tuple[str, list[Score | None]]] = []
    for label in dict.fromkeys(str(name) for name in table["participant_id"]):
        own = judged[judged["participant_id"].astype(str) == label]
        rows.append((label, [_score(row_of(own, arm), arm) for arm in report.arms]))
    return rows


def registered_otherwise(report: GroupReport) -> list[str]:
    """Participants without the reference arm, whose first arm was registered to the atlas in its place."""
    table = report.registration
    if table is None or table.empty:
        return []
    whole = set(table.loc[table["arm"] == report.reference_arm, "participant_id"].astype(str))
    return [label for label in dict.fromkeys(table["participant_id"].astype(str)) if label not in whole]


def _kinds_of_score(table: pd.DataFrame) -> pd.Series[str]:
    """Arm and what its score is of: scores with the atlas and with an arm have nothing to do with each other."""
    return table["arm"].astype(str) + "\t" + (table["score_of"].astype(str) if "score_of" in table else "")


def registration_remarks(report: GroupReport) -> list[str]:
    """What the warnings of all registrations remark, each once: it stands under the table."""
    if report.registration is None or "warnings" not in report.registration:
        return []
    remarks: dict[str, None] = {}
    for row in report.registration.to_dict("records"):
        for sentence in _warnings(row, str(row["arm"])):
            finding, remark = finding_and_remark(sentence)
            remarks |= {f"{finding.partition(': ')[0]}: {remark}": None} if remark else {}
    return list(remarks)


def _warnings(row: Row, arm: str) -> list[str]:
    told = row.get("warnings")
    return warnings_of(arm, split_warnings(told)) if isinstance(told, str) else []


def _fence(alike: pd.DataFrame) -> float:
    """Score below which a registration among its like is an outlier."""
    scores = alike["score"].dropna().to_numpy(float) if "score" in alike else np.empty(0)
    if scores.size < FEWEST:
        return -math.inf
    middle = float(np.median(scores))
    return middle - SPREADS * 1.4826 * float(np.median(np.abs(scores - middle)))


def _score(row: Row, arm: str) -> Score | None:
    if not row:
        return None
    score, shift, turn = (known_value(row, key) for key in ("score", "shift_mm", "rotation_deg"))
    coverage = known_value(row, "coverage")
    flags = ["low score"] if score is not None and score < row["fence"] else []
    if coverage is not None and coverage < LOWEST_COVERAGE:
        # Rounded down: what is below the threshold must not read as being at it.
        flags.append(f"coverage {math.floor(100 * coverage)} %")
    flags += [finding_and_remark(sentence)[0] for sentence in _warnings(row, arm)]
    moved = [f"{number(shift, 2)} mm"] * (shift is not None) + [f"{number(turn, 2)}°"] * (turn is not None)
    return Score(number(score, 3), ", ".join(moved), tuple(flags))


def _mean_sd(values: pd.Series, decimals: int) -> str:
    known = values.dropna().to_numpy(float)
    if known.size == 0:
        return UNKNOWN
    if known.size == 1 or not np.isfinite(known).all():
        return number(float(known.mean()), decimals)
    return f"{number(float(known.mean()), decimals)} ± {number(float(known.std(ddof=1)), decimals)}"


def _who(report: GroupReport, arm: str) -> set[str]:
    measured = report.values[(report.values["arm"] == arm) & report.values["mean_ppb"].notna()]
    return {str(name) for name in measured["participant_id"]}
