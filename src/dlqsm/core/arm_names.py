"""What the name of an arm tells: its acceleration, what is left of it without that, and which arm is the reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from dlqsm.core.checks import InputError

USUAL_REFERENCE: Final = "PI2"
FULLY_SAMPLED: Final = "FULL"
_FACTOR: Final = re.compile(r"(?:PI|DL|AF)(\d+(?:[.p]\d+)?)")
"""A point of the factor is a p in labels of BIDS, which have letters and digits only."""
_MASKED: Final = "#"


def reference_among(arms: Sequence[str], wanted: str | None) -> str:
    """The reference arm: what was asked for, else PI2, else the first; ``PI2`` means the first ``PI2_*`` too.

    Raises
    ------
    InputError
        If no participant has the arm that was asked for.
    """
    for name in (wanted,) if wanted else (USUAL_REFERENCE, arms[0]):
        found = [arm for arm in arms if arm == name or arm.startswith(f"{name}_")]
        if found:
            return name if name in found else found[0]
    raise InputError(f"no participant has the reference arm '{wanted}'; choose one of {', '.join(arms)}")


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
