"""Quality figures of a participant's arms beside each other and of the atlas: what `core.alarms` has limits for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dlqsm.core.arm_names import family_of, named_acceleration
from dlqsm.core.scan import Grid


@dataclass(frozen=True, slots=True)
class ScanFacts:
    """What an arm's own account tells, as far as it does.

    Parameters
    ----------
    acceleration
        Net acceleration of the raw data.
    noise_ppb
        Median noise of the field [ppb].
    """

    acceleration: float | None = None
    noise_ppb: float | None = None


def registration_alarm_figures(account: Mapping[str, Any]) -> dict[str, float]:
    """Score, motion and coverage by the names of `core.alarms.ALARMS`, from the account of `locate_nuclei`."""
    placed = account.get("placement", {}).get("local_correlation", {})
    own = account.get("local_correlation", {})
    coverage = [parts["valid"] for parts in account.get("coverage", {}).values()]
    known = {
        "atlas_score": placed.get("after"),
        "arm_score": own.get("after"),
        "rotation": account.get("rotation_deg"),
        "translation": account.get("translation_mm"),
        "coverage": min(coverage, default=None),
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def least_side_distance_mm(labels: torch.Tensor, grid: Grid, names: Mapping[int, tuple[str, str]]) -> dict[str, float]:
    """How far each right nucleus lies right of the left one in scanner space, the least of all: ``sides`` [mm].

    Empty where no nucleus has voxels on both sides.
    """
    rightward = torch.tensor(grid.affine[0, :3])
    centre_mm: dict[tuple[str, str], float] = {}
    for number, (roi, side) in names.items():
        where = torch.nonzero(labels == number)
        if len(where):
            centre_mm[roi, side] = float((where.double() @ rightward).mean())
    apart = [
        centre_mm[roi, "right"] - left_mm
        for (roi, side), left_mm in centre_mm.items()
        if side == "left" and (roi, "right") in centre_mm
    ]
    return {"sides": min(apart)} if apart else {}


def figures_beside(arm: str, facts: Mapping[str, ScanFacts], reference: str) -> dict[str, float]:
    """Acceleration against what the names of the arms say, and noise against the reference arm's.

    Parameters
    ----------
    arm
        The arm.
    facts
        All arms of the participant.
    reference
        The arm that the others are compared with.

    Returns
    -------
    Ratios without unit, ``acceleration`` and ``noise_over_plan``, as far as they are known.
    """
    own, leading = facts[arm], facts.get(reference)
    found = {}
    lower = _accelerations_below(arm, facts)
    if own.acceleration and lower:
        found["acceleration"] = max(lower) / own.acceleration
    if arm == reference or leading is None:
        return found
    if own.noise_ppb and leading.noise_ppb and own.acceleration and leading.acceleration:
        planned = math.sqrt(own.acceleration / leading.acceleration)
        found["noise_over_plan"] = own.noise_ppb / leading.noise_ppb / planned
    return found


def _accelerations_below(arm: str, facts: Mapping[str, ScanFacts]) -> Sequence[float]:
    """Accelerations of the arms whose names differ from this one's by a lower factor alone."""
    named = named_acceleration(arm)
    if named is None:
        return []
    return [
        one.acceleration
        for name, one in facts.items()
        if one.acceleration and family_of(name) == family_of(arm) and (named_acceleration(name) or named) < named
    ]
