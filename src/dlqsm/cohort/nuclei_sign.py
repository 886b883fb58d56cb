"""The sign by the nuclei: the pallidum, richest in iron, must be paramagnetic against the brain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from dlqsm.cohort.family_alarms import ArmRefusedError
from dlqsm.cohort.plan import Plan
from dlqsm.pipeline.alignment import LOW_CORRELATION
from dlqsm.pipeline.phase_trust import SIGN

PALLIDUM: Final = ("GPe", "GPi")
CLEAR_PPB: Final = 20.0
"""Mean of the pallidum beyond which its sign is clear [ppb]: 30 maps of 6 virtual heads have 34 or more everywhere."""


def doubtful_signs(nuclei: pd.DataFrame, accounts: Mapping[str, Mapping[str, Any]], plan: Plan) -> dict[str, str]:
    """Arm to a sentence where the pallidum, both sides and parts alike, comes out clearly below the brain's mean.

    Only arms whose account tells that the atlas lies well are looked at: elsewhere the labels are in doubt first.

    Raises
    ------
    ArmRefusedError
        If there is such an arm, unless a user accepts it.
    """
    placed = nuclei[nuclei["arm"].map(lambda arm: _lies_well(accounts[arm])).astype(bool)]
    pallidum = placed[placed["roi"].isin(PALLIDUM)].groupby("arm", sort=False)["mean_ppb"].mean()
    remedy = "leave out --invert-phase" if plan.phase.invert else "give --invert-phase to turn it"
    doubtful = {
        str(arm): f"arm {arm}: the phase seems to have the opposite sign, since the pallidum comes out at {value:.0f} "
        f"ppb against the mean of the brain (expected above {CLEAR_PPB:g}, since iron is paramagnetic)"
        for arm, value in pallidum.items()
        if value < -CLEAR_PPB
    }
    if doubtful and SIGN not in plan.phase.accept:
        arm, sentence = next(iter(doubtful.items()))
        raise ArmRefusedError(arm, f"{sentence}; {remedy}, or --accept-phase {SIGN} to go on all the same")
    return doubtful


def _lies_well(account: Mapping[str, Any]) -> bool:
    score = account.get("placement", {}).get("local_correlation", {}).get("after")
    return score is not None and score >= LOW_CORRELATION
