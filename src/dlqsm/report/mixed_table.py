"""The mixed model as the group page shows it: means of arms, trends, tests, spreads, and whether it converged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dlqsm.core.arm_names import family_of
from dlqsm.core.labels import FULL_NAMES
from dlqsm.report.group import GroupReport
from dlqsm.report.group_tables import Row, known_value
from dlqsm.report.numbers import UNKNOWN, interval, number, p_value, signed

_EFFECTS: Final = {"arm": "arms differ", "nucleus": "nuclei differ", "arm:nucleus": "arms differ by nucleus"}
_SPREADS: Final = {
    "participant": "between people, shared by all nuclei and arms",
    "participant:nucleus": "of a nucleus in a person, shared by all arms",
    "residual": "the rest",
}


@dataclass(frozen=True)
class MixedSummary:
    """Texts: model, convergence, and lines of a name, an estimate, its interval and p."""

    model: str
    fit: str
    is_doubtful: bool
    lines: list[tuple[str, str, str, str]]


def mixed_summary(report: GroupReport) -> MixedSummary | None:
    """The model of the page; None where it was not made."""
    table = report.mixed
    if table is None or table.empty:
        return None
    lines = [line for row in table.to_dict("records") if (line := _line(row, report))]
    account = report.mixed_account
    is_doubtful = not account.get("Converged", False)
    zero = ", ".join(map(str, account.get("VariancesAtZero") or ()))
    fit = "It did not converge: do not rely on it." if is_doubtful else "It converged."
    fit += f" Variances at zero: {zero}." if zero else ""
    return MixedSummary(str(account.get("Model", "not told")), fit, is_doubtful, lines)


def _line(row: Row, report: GroupReport) -> tuple[str, str, str, str] | None:
    """One line of the table; None for what the page leaves to the file (nuclei and cells)."""
    kind, estimate = row["kind"], known_value(row, "estimate")
    ends = interval(known_value(row, "low"), known_value(row, "high"), 2, with_sign=True)
    p = p_value(known_value(row, "p"))
    if kind == "arm":
        return f"{row['arm']} − {report.reference_arm}, all nuclei", f"{signed(estimate, 2)} ppb", ends, p
    if kind == "against_repeat":
        return f"{row['arm']} − {report.repeat_arm}, all nuclei", f"{signed(estimate, 2)} ppb", ends, p
    if kind == "trend":
        roi = row.get("roi")
        where = FULL_NAMES.get(roi, roi) if isinstance(roi, str) else "all nuclei"
        arms = ", ".join(arm for arm in report.compared_arms if family_of(arm) == row["arm"])
        return f"trend over {arms}, {where}", f"{signed(estimate, 2)} ppb per unit of acceleration", ends, p
    if kind == "test":
        return (
            f"F test: {_EFFECTS.get(row['effect'], row['effect'])}",
            number(known_value(row, "statistic"), 2),
            UNKNOWN,
            p,
        )
    if kind == "sd":
        return f"SD {_SPREADS.get(row['effect'], row['effect'])}", f"{number(estimate, 2)} ppb", UNKNOWN, UNKNOWN
    return None
