"""Pairs of values: of every nucleus, side and arm the participants who have both the arm and the reference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlqsm.agreement.sample import Values
from dlqsm.core.arm_names import by_name
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, SIDES

BOTH: Final = "both"
MIN_PAIRS: Final = 5
"""Fewer pairs than these give counts and means alone: an interval of four people tells nothing that they do not."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """One nucleus, side and arm beside the reference, over all participants of a table.

    ``every_arm_ppb`` and ``every_reference_ppb`` are ``(participants,)`` with NaN where a value is missing;
    ``arm_ppb`` and ``reference_ppb`` hold the ``n`` pairs alone.
    """

    arm: str
    roi: str
    side: str
    participants: tuple[str, ...]
    every_arm_ppb: Values
    every_reference_ppb: Values

    @cached_property
    def is_pair(self) -> NDArray[np.bool_]:
        """Which participants have both values, ``(participants,)``."""
        return np.isfinite(self.every_arm_ppb) & np.isfinite(self.every_reference_ppb)

    @property
    def n(self) -> int:
        """Number of pairs."""
        return int(self.is_pair.sum())

    @cached_property
    def arm_ppb(self) -> Values:
        """Values of the arm, ``(n,)``."""
        return self.every_arm_ppb[self.is_pair]

    @cached_property
    def reference_ppb(self) -> Values:
        """Values of the reference, ``(n,)``."""
        return self.every_reference_ppb[self.is_pair]


def make_pairs(table: pd.DataFrame, reference: str) -> list[Pairs]:
    """Pair every arm of a table with the reference.

    A participant or nucleus that one arm lacks makes no pair; it is never filled in. Every arm gets every nucleus
    and side of the table, with no pairs where there are none.

    Parameters
    ----------
    table
        As `check_table` returns it.
    reference
        Name of the arm that the others are compared with.

    Returns
    -------
    Arms by name (DL3 before DL10), then nuclei in their own order, then both sides, left, right: the order of the rows
    of the table changes nothing.

    Raises
    ------
    InputError
        If the reference is not among the arms, there is no other arm, or no arm shares a participant with it.
    """
    arms = by_name(table["arm"])
    require_reference(arms, reference)
    wide = table.pivot(index="participant_id", columns=["arm", "roi", "side"], values="mean_ppb")
    people = tuple(map(str, wide.index))
    missing = np.full(len(people), np.nan)
    columns = {tuple(name): wide[name].to_numpy(np.float64) for name in wide.columns}
    pairs = [
        Pairs(
            arm, roi, side, people, columns.get((arm, roi, side), missing), columns.get((reference, roi, side), missing)
        )
        for arm in arms
        if arm != reference
        for roi, side in regions(table)
    ]
    if not any(one.n for one in pairs):
        raise InputError(
            f"no participant has both {reference} and another arm with a measured nucleus; "
            "the arms belong to different people, or participant_id is spelt differently in them"
        )
    return pairs


def require_reference(arms: list[str], reference: str) -> None:
    """Raise `InputError` unless the reference is an arm and another arm is there to compare with it."""
    if reference not in arms:
        raise InputError(f"the reference arm '{reference}' is not in the table; it has {', '.join(arms)}")
    if len(arms) < 2:
        raise InputError(f"the table has the arm {reference} alone; expected another arm to compare with it")


def regions(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Nucleus and side of all rows: nuclei in the order of `NUCLEI`, then others; both sides, left, right."""
    present = set(zip(table["roi"], table["side"], strict=True))
    rois = [*NUCLEI, *(roi for roi in by_name(table["roi"]) if roi not in NUCLEI)]
    return [(roi, side) for roi in rois for side in (BOTH, *SIDES) if (roi, side) in present]


def in_order(names: Iterable[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))
