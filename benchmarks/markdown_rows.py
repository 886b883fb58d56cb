"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with a line of heads."""
    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])


def line(cells: Sequence[str]) -> str:
    """One row; a bar within a cell would end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(value: float, digits: int = 3) -> str:
    """A number of so many digits; nothing where it was not measured."""
    if value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 10**digits / 10 else f"{value:.{digits}g}"
