"""One self-contained HTML page for a whole dataset."""

from __future__ import annotations

import pandas as pd

import dlqsm
from dlqsm.core.labels import COLOURS, FULL_NAMES, NUCLEI
from dlqsm.report import group_quality, group_tables
from dlqsm.report.definition_table import definition_tables
from dlqsm.report.group import GroupReport
from dlqsm.report.group_methods import group_checklist, group_paragraphs
from dlqsm.report.mixed_table import mixed_summary
from dlqsm.report.numbers import number
from dlqsm.report.page import TEMPLATES, policy
from dlqsm.report.paper import published
from dlqsm.report.paper_figure import paper_figure
from dlqsm.report.paper_tables import beside_paper, parts_of_page


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
        values=group_tables.value_rows(report),
        agreement=group_tables.agreement_sides(report),
        age=group_tables.age_rows(report),
        slope_margin=group_tables.slope_margin(report),
        participants=group_quality.participant_rows(report),
        absent=group_quality.absent_groups(report),
        alarms=group_quality.alarm_groups(report),
        registration=group_quality.registration_rows(report),
        registered_otherwise=group_quality.registered_otherwise(report),
        registration_remarks=group_quality.registration_remarks(report),
        outlier_rule=group_quality.OUTLIER_RULE,
        similarity=group_quality.similarity_rows(report),
        mixed=mixed_summary(report),
        definitions=definition_tables(report),
        paper=published(),
        legend=[(name, FULL_NAMES[name], COLOURS[name]) for name in NUCLEI],
        paragraphs=group_paragraphs(report),
        checklist=group_checklist(report),
        beside=beside_paper(report),
        parts=parts_of_page(report),
        beside_figure=paper_figure(report),
        number=number,
        policy=policy(),
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
