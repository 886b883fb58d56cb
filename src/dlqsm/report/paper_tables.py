"""The study beside Zhou et al. 2025: the same quantities for arms of the same names, and for the repeat it lacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from dlqsm.core.labels import FULL_NAMES
from dlqsm.report.checklist import echo_times_text
from dlqsm.report.group import GroupReport
from dlqsm.report.group_tables import SIGNIFICANT, known_value, row_of
from dlqsm.report.numbers import UNKNOWN, number
from dlqsm.report.paper import matching_arms, published
from dlqsm.report.summary import Known, scan_of, scan_time_s

OURS: Final = "this study"
THEIRS: Final = "published"
Line = tuple[str, str, list[str]]


@dataclass(frozen=True)
class BesideTable:
    """Caption, arms, and lines of a quantity, whose it is, and a text an arm; one text holds for all arms."""

    caption: str
    arms: tuple[str, ...]
    lines: tuple[Line, ...]


def beside_paper(report: GroupReport) -> list[BesideTable]:
    """Tables of people and scans, similarity, agreement and age; empty where no arm is the paper's."""
    matched = matching_arms(report.arms, report.reference_arm)
    if not matched:
        return []
    compared = (*matched, report.repeat_arm) if report.repeat_arm else matched
    every = (report.reference_arm, *compared)
    tables = [
        BesideTable("Participants and scans", every, tuple(_scans(report, every))),
        BesideTable("Similarity of maps, mean (lowest–highest)", compared, tuple(_similarity(report, compared))),
        BesideTable("Agreement over the nuclei, both sides pooled", compared, tuple(_agreement(report, compared))),
        BesideTable("Correlation with age", every, tuple(_age(report, every))),
    ]
    return [table for table in tables if table.lines]


def parts_of_page(report: GroupReport) -> list[tuple[str, str]]:
    """What else the paper shows, and the place of the page with the same of this study, as far as it is there."""
    drawn = {figure.name for figure in report.figures}
    tables = [
        (report.example is not None, "one participant in all arms", "maps"),
        (report.agreement is not None, "values of the nuclei, their differences and paired t tests", "agreement"),
        (report.age is not None, "correlation of each nucleus with age", "age"),
    ]
    figures = [
        ("correlation", "correlation of the arms"),
        ("bland_altman", "Bland-Altman plots"),
        ("age", "plots of values and age"),
    ]
    found = [(words, place) for is_there, words, place in tables if is_there]
    return found + [(words, f"figure-{name}") for name, words in figures if name in drawn]


def _scans(report: GroupReport, arms: tuple[str, ...]) -> list[Line]:
    told = published()
    people = told["participants"]
    theirs = (
        f"{people['n']} ({people['n_men']} men, {people['n_women']} women), "
        f"{people['age_low_years']}–{people['age_high_years']} years, mean {people['age_mean_years']}"
    )
    times = [scan_time_s(report.accounts[arm]) if arm in report.accounts else None for arm in arms]
    return [
        ("Participants", OURS, [_people(report)]),
        ("", THEIRS, [theirs]),
        *_sequence(report, arms),
        ("Scan time [min:s]", OURS, [_clock(seconds) for seconds in times]),
        ("", THEIRS, [_clock(told["scan_time_s"].get(arm)) for arm in arms]),
    ]


def _sequence(report: GroupReport, arms: tuple[str, ...]) -> list[Line]:
    """Field, coils, echoes, repetition, flip angle and voxel, as far as the accounts of the arms tell them."""
    scans = [scan_of(report.accounts.get(arm, {})) for arm in arms]
    lines: list[Line] = []
    for name, write in _SEQUENCE.items():
        ours = [write(scan) or UNKNOWN for scan in scans]
        if set(ours) != {UNKNOWN}:
            lines.append((name, OURS, ours[:1] if len(set(ours)) == 1 else ours))
            lines.append(("", THEIRS, [write(published()["sequence"]) or UNKNOWN]))
    return lines


def _voxel(scan: Known) -> str | None:
    edges = scan.get("voxel_size_mm")
    return " × ".join(f"{edge:.4g}" for edge in edges) if edges else None


def _plain(key: str, factor: float = 1.0) -> Callable[[Known], str | None]:
    def write(scan: Known) -> str | None:
        value = scan.get(key)
        return f"{factor * value:.4g}" if isinstance(value, int | float) else None

    return write


_SEQUENCE: Final[dict[str, Callable[[Known], str | None]]] = {
    "Field strength [T]": _plain("field_strength_t"),
    "Receive channels": _plain("n_coils"),
    "Echoes, TE1 : spacing : TEmax": echo_times_text,
    "Repetition time [ms]": _plain("repetition_time_s", 1e3),
    "Flip angle [degrees]": _plain("flip_angle_deg"),
    "Voxel size [mm]": _voxel,
}


def _people(report: GroupReport) -> str:
    """Those who were measured: of the others neither age nor sex enters anything."""
    listed, measured = report.participants, report.values["participant_id"].unique()
    table = listed[listed["participant_id"].isin(measured)]
    parts = [str(len(table)) if len(table) == len(listed) else f"{len(table)} of {len(listed)}"]
    if "sex" in table and table["sex"].notna().any():
        sexes = table["sex"].astype(str).str.upper().str[:1]
        parts[0] += f" ({_counted(int((sexes == 'M').sum()), int((sexes == 'F').sum()), len(sexes))})"
    ages = table["age"].dropna() if "age" in table else pd.Series(dtype=float)
    if not ages.empty:
        parts.append(f"{ages.min():.0f}–{ages.max():.0f} years, mean {ages.mean():.0f}")
    return ", ".join(parts)


def _counted(n_men: int, n_women: int, n: int) -> str:
    """Men, women, and those of whom the table tells neither."""
    parts = [f"{n_men} {'man' if n_men == 1 else 'men'}", f"{n_women} {'woman' if n_women == 1 else 'women'}"]
    told = parts if n_men + n_women else []
    rest = n - n_men - n_women
    return ", ".join([*told, f"{rest} of other or unknown sex"] if rest else told)


def _similarity(report: GroupReport, arms: tuple[str, ...]) -> list[Line]:
    if report.similarity is None or report.similarity.empty:
        return []
    table, lines = report.against_reference(report.similarity), []
    for key, name, decimals in (("ssim", "SSIM", 2), ("psnr_db", "PSNR [dB]", 2)):
        if key in table:
            ours = [_range(table.loc[table["arm"] == arm, key], decimals) for arm in arms]
            lines.append((name, f"{OURS}, window of 0.5 ppm, in the brain", ours))
            theirs = [_told(published()[key].get(arm, []), decimals) for arm in arms]
            lines.append(("", f"{THEIRS}, definition not told", theirs))
    return lines


def _range(values: pd.Series, decimals: int) -> str:
    known = values.dropna()
    return UNKNOWN if known.empty else _told([known.mean(), known.min(), known.max()], decimals)


def _told(figures: list[float], decimals: int) -> str:
    """Mean, lowest and highest; what the paper has none of is unknown."""
    if not figures:
        return UNKNOWN
    mean, low, high = (number(float(value), decimals) for value in figures)
    return f"{mean} ({low}–{high})"


def _agreement(report: GroupReport, arms: tuple[str, ...]) -> list[Line]:
    if report.agreement is None:
        return []
    both = report.agreement[report.agreement["side"] == "both"].dropna(subset=["pearson_r"])
    told = published()
    theirs = f"{told['pearson_r']['lowest']:.3f} to {told['pearson_r']['highest']:.3f} over all arms"
    return [
        ("Pearson r", OURS, [_over_nuclei(both, arm, _correlations) for arm in arms]),
        ("", THEIRS, [theirs]),
        ("Largest difference of means [%]", OURS, [_over_nuclei(both, arm, _largest) for arm in arms]),
        ("", THEIRS, [number(told["largest_percent_difference"].get(arm), 2) for arm in arms]),
    ]


def _over_nuclei(both: pd.DataFrame, arm: str, write: Callable[[pd.DataFrame], str]) -> str:
    return write(both[both["arm"] == arm])


def _correlations(rows: pd.DataFrame) -> str:
    known = rows["pearson_r"].dropna()
    return UNKNOWN if known.empty else f"{number(known.min(), 3)} to {number(known.max(), 3)}"


def _largest(rows: pd.DataFrame) -> str:
    known = rows.dropna(subset=["percent_difference"]).sort_values("percent_difference").to_dict("records")
    return f"{number(float(known[-1]['percent_difference']), 2)} ({known[-1]['roi']})" if known else UNKNOWN


def _age(report: GroupReport, arms: tuple[str, ...]) -> list[Line]:
    lines: list[Line] = []
    if report.age is None:
        return lines
    if "p" in report.age and report.age["p"].notna().any():
        ours = [_not_significant(report.age[report.age["arm"] == arm]) for arm in arms]
        lines.append((f"No correlation with age shown (p ≥ {SIGNIFICANT:g})", OURS, ours))
        lines.append(("", THEIRS, [f"{', '.join(published()['age_not_significant'])}; of Ca see below"]))
    for roi, told in published()["age_r"].items():
        of_roi = report.age[report.age["roi"] == roi]
        ours = [number(known_value(row_of(of_roi, arm), "pearson_r"), 3) for arm in arms]
        lines.append((f"{FULL_NAMES[roi]}, r", OURS, ours))
        lines.append(("", THEIRS, [number(told.get(arm), 3) for arm in arms]))
    return lines


def _not_significant(rows: pd.DataFrame) -> str:
    tested = rows.dropna(subset=["p"])
    found = list(tested.loc[tested["p"] >= SIGNIFICANT, "roi"])
    if len(tested) == 0:
        return UNKNOWN
    return f"all {len(found)}" if len(found) == len(tested) else ", ".join(found) or "none"


def _clock(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
