"""Rows of the group page: every figure is taken from a table of the study, none is computed twice."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI, SIDES
from dlqsm.report.group import GroupReport
from dlqsm.report.numbers import UNKNOWN, interval, number, p_value, signed

SIGNIFICANT: Final = 0.05
OTHER_COLOUR: Final = "#888888"
"""Of a region that is none of the nuclei."""
Row = Mapping[Hashable, Any]
VERDICTS: Final = {
    (True, False): ("equivalent", "good"),
    (True, True): ("shifted", "fair"),
    (False, True): ("differs", "bad"),
    (False, False): ("undecided", "open"),
}
"""(equivalence shown by TOST, difference shown by the t test after Holm) to word and look."""


@dataclass(frozen=True)
class AgreementRow:
    """One arm of one nucleus as texts.

    ``spread`` is half the width of the limits of agreement, ``times_floor`` the SD over that of the repeat
    in the people who have both, ``floor_interval`` the interval of that ratio.
    """

    arm: str
    is_repeat: bool
    n: str
    pearson_r: str
    bias: str
    bias_interval: str
    sd: str
    limits: str
    spread: str
    percent_difference: str
    icc: str
    icc_interval: str
    ccc: str
    tost_p: str
    tost_p_holm: str
    p: str
    p_holm: str
    times_floor: str
    floor_interval: str
    verdict: str
    look: str


@dataclass(frozen=True)
class Nucleus:
    """One nucleus with the rows of its arms."""

    name: str
    full_name: str
    colour: str
    rows: tuple[AgreementRow, ...]


def agreement_sides(report: GroupReport) -> list[tuple[str, list[Nucleus]]]:
    """Side to its nuclei, both sides pooled first; empty without a table."""
    if report.agreement is None:
        return []
    table = report.agreement
    sides = [side for side in ("both", *SIDES) if (table["side"] == side).any()]
    return [(side, _nuclei(report, table[table["side"] == side])) for side in sides]


def overview(report: GroupReport) -> list[Nucleus]:
    """Nuclei of both sides pooled, for the small table at the top."""
    found = agreement_sides(report)
    return found[0][1] if found else []


def value_rows(report: GroupReport) -> list[tuple[str, str, str, list[str]]]:
    """Nucleus, its full name, its colour, and mean ± SD over the participants in each arm, both sides pooled."""
    both = report.values[report.values["side"] == "both"]
    found = []
    for roi in _order(both["roi"]):
        of_roi = both[both["roi"] == roi]
        texts = [_mean_sd(of_roi.loc[of_roi["arm"] == arm, "mean_ppb"].dropna()) for arm in report.arms]
        found.append((roi, FULL_NAMES.get(roi, roi), COLOURS.get(roi, OTHER_COLOUR), texts))
    return found


def age_rows(report: GroupReport) -> list[tuple[str, str, list[tuple[str, list[str]]]]]:
    """Nucleus, its full name, and per arm the texts of `_age_texts`; empty where no correlation is known."""
    if report.age is None or report.age["pearson_r"].isna().all():
        return []
    found = []
    for roi in _order(report.age["roi"]):
        of_roi = report.age[report.age["roi"] == roi]
        rows = [(arm, _age_texts(row_of(of_roi, arm))) for arm in report.arms if (of_roi["arm"] == arm).any()]
        found.append((roi, FULL_NAMES.get(roi, roi), rows))
    return found


def _nuclei(report: GroupReport, of_side: pd.DataFrame) -> list[Nucleus]:
    found = []
    for roi in _order(of_side["roi"]):
        of_roi = of_side[of_side["roi"] == roi]
        rows = [_agreement_row(arm, report, row_of(of_roi, arm)) for arm in report.compared_arms]
        found.append(Nucleus(roi, FULL_NAMES.get(roi, roi), COLOURS.get(roi, OTHER_COLOUR), tuple(rows)))
    return found


def _agreement_row(arm: str, report: GroupReport, row: Row) -> AgreementRow:
    def known(key: str) -> float | None:
        return known_value(row, key)

    is_repeat, times = arm == report.repeat_arm, known("sd_over_repeat")
    verdict, look = _verdict(known("tost_p"), known("p_holm"))
    n, low, high = known("n"), known("loa_low_ppb"), known("loa_high_ppb")
    return AgreementRow(
        arm=arm,
        is_repeat=is_repeat,
        n=UNKNOWN if n is None else f"{n:.0f}",
        pearson_r=number(known("pearson_r"), 3),
        bias=signed(known("bias_ppb"), 2),
        bias_interval=interval(known("bias_low_ppb"), known("bias_high_ppb"), 2, with_sign=True),
        sd=number(known("sd_ppb"), 2),
        limits=interval(low, high, with_sign=True),
        spread=number(None if low is None or high is None else (high - low) / 2),
        percent_difference=number(known("percent_difference")),
        icc=number(known("icc"), 3),
        icc_interval=interval(known("icc_low"), known("icc_high"), 3),
        ccc=number(known("ccc"), 3),
        tost_p=p_value(known("tost_p")),
        tost_p_holm=p_value(known("tost_p_holm")),
        p=p_value(known("p")),
        p_holm=p_value(known("p_holm")),
        floor_interval=interval(known("sd_over_repeat_low"), known("sd_over_repeat_high"), 2),
        times_floor="floor" if is_repeat else UNKNOWN if times is None else f"{number(times)} ×",
        verdict=verdict,
        look=look,
    )


def _mean_sd(values: pd.Series) -> str:
    if values.empty:
        return UNKNOWN
    mean = number(float(values.mean()))
    return mean if len(values) == 1 else f"{mean} ± {number(float(values.std(ddof=1)))}"


def _verdict(tost_p: float | None, p_holm: float | None) -> tuple[str, str]:
    if tost_p is None or p_holm is None:
        return "not tested", "open"
    return VERDICTS[(tost_p < SIGNIFICANT, p_holm < SIGNIFICANT)]


def _age_texts(row: Row) -> list[str]:
    """n, r, p, slope with interval, p against the reference, difference of slopes with interval, p of its equality."""
    n, slope = known_value(row, "n"), known_value(row, "slope_ppb_per_year")
    return [
        UNKNOWN if n is None else f"{n:.0f}",
        number(known_value(row, "pearson_r"), 3),
        p_value(known_value(row, "p")),
        signed(slope, 3),
        interval(known_value(row, "low"), known_value(row, "high"), 3, with_sign=True),
        p_value(known_value(row, "p_against_reference")),
        signed(known_value(row, "slope_difference_ppb_per_year"), 3),
        interval(
            known_value(row, "slope_difference_low"), known_value(row, "slope_difference_high"), 3, with_sign=True
        ),
        p_value(known_value(row, "slope_tost_p")),
    ]


def slope_margin(report: GroupReport) -> str:
    """Margin of the equality of slopes [ppb/year], empty where it was not tested."""
    if report.age is None or "slope_margin" not in report.age or report.age["slope_margin"].isna().all():
        return ""
    return f"{report.age['slope_margin'].max():g}"


def row_of(table: pd.DataFrame, arm: str | None) -> Row:
    """The row of an arm; empty where it has none."""
    found = table[table["arm"] == arm]
    return found.iloc[0].to_dict() if len(found) else {}


def known_value(row: Row, key: str) -> float | None:
    """A number of a row; None where it is absent or not known."""
    value = row.get(key)
    return None if value is None or pd.isna(value) else float(value)


def _order(rois: pd.Series) -> list[str]:
    return in_order(rois, NUCLEI)


def in_order(found: pd.Series, known: tuple[str, ...]) -> list[str]:
    """What is found, the known ones first and in their order."""
    names = list(dict.fromkeys(map(str, found)))
    return [*(name for name in known if name in names), *(name for name in names if name not in known)]
