"""One self-contained HTML page for a whole dataset."""

from __future__ import annotations

from typing import Final

import pandas as pd

import dlqsm
from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI
from dlqsm.report import group_quality, group_tables
from dlqsm.report.definition_table import definition_tables
from dlqsm.report.group import GroupReport
from dlqsm.report.methods_text import Sentence, method_sentences
from dlqsm.report.mixed_table import mixed_summary
from dlqsm.report.numbers import number
from dlqsm.report.page import TEMPLATES
from dlqsm.report.paper import published


def group_page(report: GroupReport) -> str:
    """The page of a dataset: tables, figures and text in one HTML file without outside parts.

    Parameters
    ----------
    report
        Tables and pictures; pieces that are absent are named on the page as absent.

    Returns
    -------
    HTML text.
    """
    return TEMPLATES.get_template("group.html.j2").render(
        report=report,
        version=dlqsm.__version__,
        facts=_facts(report),
        arms=group_quality.arm_rows(report),
        overview=group_tables.overview(report),
        agreement=group_tables.agreement_sides(report),
        age=group_tables.age_rows(report),
        slope_margin=group_tables.slope_margin(report),
        participants=group_quality.participant_rows(report),
        registration=group_quality.registration_rows(report),
        outlier_rule=group_quality.OUTLIER_RULE,
        similarity=group_quality.similarity_rows(report),
        mixed=mixed_summary(report),
        definitions=definition_tables(report),
        paper=published(),
        legend=[(name, FULL_NAMES[name], COLOURS[name]) for name in NUCLEI],
        sentences=[*method_sentences(report.methods), *_statistics(report)],
        number=number,
    )


def _facts(report: GroupReport) -> list[str]:
    measured = report.values["participant_id"].nunique()
    listed = len(report.participants)
    people = f"{listed} participants" if measured == listed else f"{measured} of {listed} participants measured"
    found = [people, f"{len(report.arms)} arms", f"reference {report.reference_arm}"]
    ages = report.participants["age"].dropna() if "age" in report.participants else pd.Series(dtype=float)
    if not ages.empty:
        found.insert(1, f"age {ages.min():.0f}–{ages.max():.0f} years")
    return [*found, f"margin ±{report.margin_ppb:g} ppb"]


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
        "P values were adjusted by Holm's rule over all nuclei and arms of a side; the table beside this page adds "
        "those of Benjamini and Hochberg",
        ("10.1111/j.2517-6161.1995.tb02031.x",),
    ),
)
_AGE: Final = (
    "Correlations with age are Pearson's; that of each arm was compared with that of the reference by Williams' test "
    "of correlations that share a variable, since one being significant and the other not is no difference",
    ("10.1037/0033-2909.87.2.245",),
)


def _statistics(report: GroupReport) -> list[Sentence]:
    """Sentences on what the tables of the page were computed by; none for a table that is absent."""
    found = [Sentence("agreement", *words) for words in _STATISTICS] if report.agreement is not None else []
    return [*found, *([Sentence("age", *_AGE)] if report.age is not None else [])]
