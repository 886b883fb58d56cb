"""What the group page says of methods: sentences of what ran in which arms, of the statistics, and the checklist."""

from __future__ import annotations

from typing import Final

import pandas as pd

from dlqsm.report.arm_methods import arm_checklist, arm_sentences
from dlqsm.report.checklist import account_checklist
from dlqsm.report.comparison import Comparison
from dlqsm.report.group import GroupReport
from dlqsm.report.methods_text import Sentence, method_sentences

_STATISTICS: Final = (
    (
        "Values of a nucleus were compared with those of the reference arm in the same participants by Pearson "
        "correlation, a paired t test, and the bias with limits of agreement (bias ± 1.96 SD)",
        ("10.1016/S0140-6736(86)90837-8", "10.1097/OPX.0000000000000513"),
    ),
    (
        "ICC is the intraclass correlation of single measurements for absolute agreement, ICC(A,1), CCC the "
        "concordance correlation coefficient; the table beside this page adds intervals by resampling (BCa)",
        ("10.1037/1082-989X.1.1.30", "10.2307/2532051", "10.1080/01621459.1987.10478410"),
    ),
    (
        "Equivalence within the margin was tested by two one-sided t tests (TOST)",
        ("10.1007/BF01068419",),
    ),
    (
        "The spread of each arm was compared with that of the repeat in the same people by the test of Pitman and "
        "Morgan",
        ("10.1093/biomet/31.1-2.9", "10.1093/biomet/31.1-2.13"),
    ),
)
_ADJUSTED: Final = (
    "P values were adjusted by Holm's rule over all nuclei and arms of a side{}; the table beside this page adds those "
    "of Benjamini and Hochberg",
    ("10.1111/j.2517-6161.1995.tb02031.x",),
)
_BUT_THE_REPEAT: Final = " but the repeat, whose nuclei were adjusted for by themselves"
_MIXED: Final = (
    "All differences from the reference were put into one linear model with arm and nucleus as fixed effects, "
    "participant and nucleus within participant as random effects, fitted by restricted maximum likelihood; standard "
    "errors are by the scatter over participants",
    ("10.2307/2529876", "10.1093/biomet/58.3.545", "10.1093/biomet/73.1.13"),
)
_REGISTRATION: Final = (
    "Arms were registered rigidly to the reference arm, the atlas by symmetric normalisation (ANTs), and its nuclei "
    "moved as probabilities to the grid where they were measured",
    ("10.1016/j.media.2007.06.004",),
)
_SIMILARITY: Final = (
    "Maps were compared in 3-D inside the mask that all arms share, by RMSE, SSIM and PSNR with a fixed window of "
    "0.5 ppm, XSIM, the high-frequency error norm (HFEN) and the slope across edges",
    ("10.1109/TIP.2003.819861", "10.1002/mrm.30271"),
)
_AGE: Final = (
    "Correlations with age are Pearson's; that of each arm was compared with that of the reference by Williams' test "
    "of correlations that share a variable, since one being significant and the other not is no difference; "
    "slopes were compared by regressing the paired difference on age, and tested for equality within a margin by TOST",
    ("10.1037/0033-2909.87.2.245",),
)
MOST_NAMED: Final = 12
"""Participants named in one sentence."""


def group_sentences(report: GroupReport) -> list[Sentence]:
    """Sentences on what ran and on what the tables of the page were computed by; none for a table that is absent."""
    accounts = {arm: report.accounts[arm] for arm in report.arms if arm in report.accounts}
    found = arm_sentences(accounts) if report.accounts else method_sentences(report.methods)
    if report.registration is not None:
        found.append(Sentence("registration", *_REGISTRATION))
    if report.similarity is not None:
        found.append(Sentence("similarity", *_SIMILARITY))
    if is_tested(report.agreement, "p_holm"):
        has_floor = report.repeat_arm is not None
        found += [Sentence("agreement", *words) for words in _STATISTICS if has_floor or "repeat" not in words[0]]
        adjusted, sources = _ADJUSTED
        found.append(Sentence("agreement", adjusted.format(_BUT_THE_REPEAT if has_floor else ""), sources))
    if report.mixed is not None:
        found.append(Sentence("mixed", *_MIXED))
    return [*found, *([Sentence("age", *_AGE)] if is_tested(report.age, "pearson_r") else [])]


def group_paragraphs(report: GroupReport) -> list[list[Sentence]]:
    """The sentences in three paragraphs: from data to maps, from maps to values, statistics."""
    found = group_sentences(report)
    measured, tested = ("registration", "similarity"), ("agreement", "mixed", "age")
    parts = [
        [s for s in found if s.step not in (*measured, *tested)],
        [s for s in found if s.step in measured],
        [s for s in found if s.step in tested],
    ]
    return [part for part in parts if part]


def is_tested(table: pd.DataFrame | None, column: str) -> bool:
    """Whether a table of statistics holds any: too few people leave counts and means alone."""
    return table is not None and column in table and bool(table[column].notna().any())


def group_checklist(report: GroupReport) -> dict[str, Comparison]:
    """Tables 3 to 5 of the consensus, an arm a column; what all arms share stands once. Empty without accounts."""
    arms = [arm for arm in report.arms if arm in report.accounts]
    if not arms:
        return {}
    tables = arm_checklist(arms, [account_checklist(report.accounts[arm], report.software) for arm in arms])
    *_, processing = tables.values()
    processing.rows.append(("Inclusion and exclusion", [_participants(report)]))
    return tables


def _participants(report: GroupReport) -> str:
    """Who was measured and who was not; the criteria themselves are not in the data."""
    measured = set(map(str, report.values["participant_id"]))
    lacking = [str(label) for label in report.participants["participant_id"] if str(label) not in measured]
    listed = f"{len(report.participants)} participants, {len(measured)} measured"
    some = ", ".join(lacking[:MOST_NAMED]) + (f" and {len(lacking) - MOST_NAMED} more" if lacking[MOST_NAMED:] else "")
    out = f"; not measured: {some}" if lacking else ""
    return f"{listed}{out}; the criteria of the study are not in the data, add them"
