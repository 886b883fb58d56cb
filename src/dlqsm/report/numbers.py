"""Numbers as they stand on a page: true minus signs, dashes for what is not known."""

from __future__ import annotations

import math
from typing import Final

UNKNOWN: Final = "–"
SMALLEST_P: Final = 0.001
"""Below this, a p value is told as being below it."""


def signed(value: float | None, decimals: int = 1) -> str:
    """A number with its sign and a true minus; a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:+.{decimals}f}".replace("-", "−")


def number(value: float | None, decimals: int = 1) -> str:
    """A number with a true minus; a dash where it is not known, an infinity sign where it is infinite."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return "∞" if math.isinf(value) else f"{value:.{decimals}f}".replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int = 1, *, with_sign: bool = False) -> str:
    """``low to high``; a dash where neither end is known."""
    write = signed if with_sign else number
    ends = write(low, decimals), write(high, decimals)
    return UNKNOWN if set(ends) == {UNKNOWN} else f"{ends[0]} to {ends[1]}"


def p_value(value: float | None) -> str:
    """A p value with three decimals, ``< 0.001`` below; a dash where it is not known."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"< {SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"
