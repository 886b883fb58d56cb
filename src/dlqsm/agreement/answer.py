"""The answer in words: up to which acceleration every nucleus stays what the reference measures."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from scipy import stats

from dlqsm.agreement.equivalence import ALPHA
from dlqsm.agreement.pairs import BOTH
from dlqsm.core.arm_names import family_of, named_acceleration, scan_of_family

MOST_PEOPLE: Final = 10_000
"""Beyond this no number of people is told."""
BIAS, SPREAD, FEW, UNTESTED = "bias", "spread", "too few people", "not tested"
_NOWHERE: Final = "at no acceleration that was tried is it shown that"
Row = Mapping[Hashable, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """A nucleus that is not shown to stay: name, people, why (`BIAS`, `SPREAD`, `FEW`, `UNTESTED`), that in words."""

    roi: str
    n: int
    reason: str
    words: str


@dataclass(frozen=True, slots=True)
class ArmAnswer:
    """One arm: its acceleration, its nuclei, those that fail, and those whose scatter was not tested."""

    arm: str
    acceleration: float
    rois: tuple[str, ...]
    failures: tuple[Failure, ...]
    scatter_untested: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """Arms of one family by rising acceleration, what is asked of them, and the largest factor up to which none fails.

    ``largest`` is None where already the first one fails.
    """

    arms: tuple[ArmAnswer, ...]
    condition: str
    largest: float | None
    sentences: tuple[str, ...]


def answers(
    agreement: pd.DataFrame,
    *,
    reference: str,
    margin_ppb: float,
    repeat: str | None = None,
    accelerations: Mapping[str, float] | None = None,
) -> list[Answer]:
    """Largest acceleration at which every nucleus stays equivalent and scatters no more than the repeat.

    Arms of a family are judged from the lowest factor on until one fails. Each has to pass in every nucleus, and the
    order is fixed before the data are seen: so no p-value needs an adjustment. "Scatters more than the repeat" is a
    one-sided test after Holm over the nuclei of an arm; that it is not shown is no proof of the contrary.

    Parameters
    ----------
    agreement
        As `agreement_table` returns it; side ``both`` is used.
    reference, repeat
        The arm that the others were compared with, and its second scan.
    margin_ppb
        Margin of equivalence [ppb].
    accelerations
        Arm to acceleration factor; the name tells it where an arm is missing here.

    Returns
    -------
    One answer a family of arms (`family_of`) whose factors are known; empty where none is.

    References
    ----------
    Berger, Technometrics 24:295 (1982): all of several tests need no adjustment. Maurer, Hothorn
    & Lehmacher, in Vollmar (ed.), Biometrie in der chemisch-pharmazeutischen Industrie 6:3 (1995): nor do tests in a
    fixed order.
    """
    both = agreement[agreement["side"] == BOTH]
    families: dict[str, list[ArmAnswer]] = {}
    for arm in dict.fromkeys(both["arm"]):
        factor = (accelerations or {}).get(arm, named_acceleration(arm))
        if arm != repeat and factor is not None:
            rows = both[both["arm"] == arm].to_dict("records")
            families.setdefault(family_of(arm), []).append(_arm_answer(arm, factor, rows, margin_ppb, repeat))
    about_repeat = _about_repeat(both, reference, margin_ppb, repeat)
    return [
        _answer(sorted(arms, key=lambda one: one.acceleration), reference, margin_ppb, repeat, about_repeat)
        for arms in families.values()
    ]


def in_words(found: Sequence[Answer]) -> tuple[str, ...]:
    """All sentences: of one scan under several sampling masks first what holds with each, at the end what all share."""
    shared = [s for s in found[0].sentences if all(s in one.sentences for one in found)] if len(found) > 1 else []
    scans: dict[str, list[Answer]] = {}
    for one in found:
        scans.setdefault(scan_of_family(family_of(one.arms[0].arm)), []).append(one)
    told: list[str] = []
    for masks in scans.values():
        told += [_with_each(masks)] if len(masks) > 1 else []
        told += [sentence for one in masks for sentence in one.sentences if sentence not in shared]
    return (*told, *shared)


def _with_each(masks: Sequence[Answer]) -> str:
    known = [one.largest for one in masks if one.largest is not None]
    least = f"up to an acceleration of AF {min(known):.3g}," if len(known) == len(masks) else _NOWHERE
    return f"With each of {len(masks)} sampling masks: {least} {masks[0].condition}."


def people_needed(bias_ppb: float, sd_ppb: float, margin_ppb: float) -> int | None:
    """Fewest people with |bias| + t_{0.95, n-1} SD / sqrt(n) below the margin; None where none suffice."""
    room = (margin_ppb - abs(bias_ppb)) / sd_ppb
    if room <= 0:
        return None
    n = max(2, math.ceil((float(stats.norm.ppf(1 - ALPHA)) / room) ** 2))
    while n <= MOST_PEOPLE and float(stats.t.ppf(1 - ALPHA, n - 1)) / math.sqrt(n) >= room:
        n += 1
    return n if n <= MOST_PEOPLE else None


def _arm_answer(
    arm: str, factor: float, rows: list[dict[Hashable, Any]], margin_ppb: float, repeat: str | None
) -> ArmAnswer:
    failures = tuple(found for row in rows if (found := _failure(row, margin_ppb, repeat)))
    untested = tuple(str(row["roi"]) for row in rows if math.isnan(float(row["sd_over_repeat_p_holm"])))
    return ArmAnswer(arm, factor, tuple(str(row["roi"]) for row in rows), failures, untested)


def _failure(row: Row, margin_ppb: float, repeat: str | None) -> Failure | None:
    """Why a nucleus of an arm does not pass; None where it does."""
    roi, n = str(row["roi"]), int(row["n"])
    tost_p, bias, sd = (float(row[name]) for name in ("tost_p", "bias_ppb", "sd_ppb"))
    ratio, ratio_p = float(row["sd_over_repeat"]), float(row["sd_over_repeat_p_holm"])
    is_wide = repeat is not None and ratio_p < ALPHA
    wide = f"SD {sd:.1f} ppb, {ratio:.1f} times that of {repeat}"
    if math.isnan(tost_p):
        return Failure(roi, n, UNTESTED, f"{n} pairs allow no test")
    if tost_p < ALPHA:
        return Failure(roi, n, SPREAD, wide) if is_wide else None
    mean = f"mean difference {_signed(bias)} ppb"
    if is_wide and abs(bias) < margin_ppb:
        return Failure(roi, n, SPREAD, f"{wide}; {mean}")
    if abs(bias) >= margin_ppb or float(row["p_holm"]) < ALPHA:
        return Failure(roi, n, BIAS, mean)
    needed = people_needed(bias, sd, margin_ppb)
    more = f"at this bias and spread {needed} would be needed" if needed else "no number of people would be enough"
    return Failure(roi, n, FEW, f"{n} people, {mean}, SD {sd:.1f} ppb; {more}")


def _answer(
    arms: list[ArmAnswer], reference: str, margin_ppb: float, repeat: str | None, about_repeat: list[str]
) -> Answer:
    passed: list[ArmAnswer] = []
    for one in arms:
        if one.failures:
            break
        passed.append(one)
    condition = f"every nucleus stays within ±{margin_ppb:g} ppb of {reference} on average (TOST, p < {ALPHA:g})"
    floor = _about_scatter(passed, f"{repeat}, the repeat of {reference}") if repeat else ""
    if passed:
        best = passed[-1]
        first = f"Up to an acceleration of {_named(best)}, {condition}{floor}."
    else:
        tried = ", ".join(_named(one) for one in arms)
        first = f"At no acceleration that was tried ({tried}) is it shown that {condition}{floor}."
    sentences = [first, *(_failed(one) for one in arms if one.failures)]
    later = [one for one in arms[len(passed) :] if not one.failures]
    if later:
        names = " and ".join(_named(one) for one in later)
        sentences.append(f"{names} would pass, but a lower acceleration does not, so that this may be chance.")
    sentences += about_repeat
    return Answer(tuple(arms), condition, passed[-1].acceleration if passed else None, tuple(sentences))


def _failed(one: ArmAnswer) -> str:
    named = "; ".join(f"{failure.roi} ({failure.reason}: {failure.words})" for failure in one.failures)
    return f"{_named(one)}: not shown in {len(one.failures)} of {len(one.rois)} nuclei: {named}."


def _about_scatter(passed: list[ArmAnswer], repeat: str) -> str:
    """That no nucleus of the arms that pass is shown to scatter more than the repeat, as far as it was tested."""
    untested = list(dict.fromkeys(roi for one in passed for roi in one.scatter_untested))
    if passed and all(set(one.rois) == set(one.scatter_untested) for one in passed):
        return f"; whether any scatters more than {repeat}, could not be tested"
    where = f", where that could be tested (not in {', '.join(untested)})" if untested else ""
    return f" and none is shown to scatter more than {repeat}{where}"


def _about_repeat(both: pd.DataFrame, reference: str, margin_ppb: float, repeat: str | None) -> list[str]:
    """In which nuclei the repeat is not shown to stay: since two scans differ, or since few were scanned again."""
    if repeat is None:
        unknown = f"how much two scans by {reference} itself differ is not known"
        return [f"No arm is known to be a repeat of {reference}: {unknown}."]
    rows = both[both["arm"] == repeat].to_dict("records")
    failures = [found for row in rows if (found := _failure(row, margin_ppb, None))]
    people = both[both["arm"] != repeat].groupby("roi")["n"].max()
    few = [one for one in failures if one.reason == UNTESTED or (one.reason == FEW and one.n < people.get(one.roi, 0))]
    unsteady = [one.roi for one in failures if one not in few]
    told = []
    if unsteady:
        told.append(f"Even {repeat}, {reference} measured again, is not shown to stay within the margin in "
                    f"{', '.join(unsteady)}: there the scans themselves set the limit.")  # fmt: skip
    if few:
        names = ", ".join(f"{one.roi} ({one.n})" for one in few)
        told.append(f"{repeat}, {reference} measured again, is of too few people to show that it stays within the "
                    f"margin itself in {names}.")  # fmt: skip
    return told


def _named(one: ArmAnswer) -> str:
    return f"AF {one.acceleration:.3g} ({one.arm})"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
