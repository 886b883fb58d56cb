"""What the name of an arm tells: its acceleration, and what is left of the name without it."""

from __future__ import annotations

import re
from typing import Final

FULLY_SAMPLED: Final = "FULL"
_FACTOR: Final = re.compile(r"(?:PI|DL|AF)(\d+(?:[.p]\d+)?)")
"""A point of the factor is a p in labels of BIDS, which have letters and digits only."""
_MASKED: Final = "#"


def named_acceleration(arm: str) -> float | None:
    """Acceleration factor in the name of an arm; None where it tells none.

    ``PI2``, ``DL3``, ``PI2rep``, ``DL3_joint`` and ``FULL_recAF5joint`` tell 2, 3, 2, 3 and 5: of several factors the
    last, since the reconstruction is named behind the scan. ``FULL`` alone is 1.
    """
    found = _FACTOR.findall(arm)
    if found:
        return float(found[-1].replace("p", "."))
    return 1.0 if arm.startswith(FULLY_SAMPLED) else None


def family_of(arm: str) -> str:
    """Name with its factor masked: arms of one family differ in acceleration alone."""
    factors = list(_FACTOR.finditer(arm))
    if not factors:
        return arm
    start, end = factors[-1].span(1)
    return f"{arm[:start]}{_MASKED}{arm[end:]}"
