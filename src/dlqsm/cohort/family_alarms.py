"""Alarms of a participant's arms beside each other and of the atlas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dlqsm.cohort.plan import Arm, Plan
from dlqsm.core.alarms import FAMILY, Alarm, alarms_of, require_no_stop
from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.io.derivatives import account_path
from dlqsm.io.outputs import read_json
from dlqsm.pipeline.arm_figures import ScanFacts, figures_beside, least_side_distance_mm, registration_alarm_figures
from dlqsm.pipeline.nuclei import ArmNuclei

WARNED: Final = ("atlas_score", "arm_score", "coverage")
"""Alarms of which the registration warns by itself, in sentences that name the nuclei."""


class ArmRefusedError(InputError):
    """One arm must not be measured beside the others; ``arm`` is its name."""

    def __init__(self, arm: str, sentence: str) -> None:
        super().__init__(sentence)
        self.arm = arm


@dataclass(frozen=True, slots=True)
class ArmAlarms:
    """What was looked at in one arm, and what is beyond its limits."""

    figures: Mapping[str, float]
    alarms: tuple[Alarm, ...]

    @property
    def unwarned(self) -> tuple[Alarm, ...]:
        """Those of which nothing else has warned."""
        return tuple(alarm for alarm in self.alarms if alarm.name not in WARNED)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the arm's account."""
        return {"figures": dict(self.figures), "alarms": [alarm.as_dict() for alarm in self.alarms]}


def family_alarms(
    arms: Sequence[Arm], found: Sequence[ArmNuclei], reference: str, atlas: Atlas, plan: Plan
) -> dict[str, ArmAlarms]:
    """Alarms of each arm by its name.

    Raises
    ------
    ArmRefusedError
        If one of them stops, unless a user accepts it.
    """
    facts = {arm.name: _facts(account_path(plan.out, arm.label, arm.entities)) for arm in arms}
    told = {}
    for nuclei in found:
        figures = {
            **registration_alarm_figures(nuclei.account),
            **least_side_distance_mm(nuclei.labels, nuclei.grid, atlas.names),
            **figures_beside(nuclei.name, facts, reference),
        }
        alarms = alarms_of(figures, FAMILY)
        try:
            require_no_stop(alarms, f"arm {nuclei.name}", plan.phase.accept)
        except InputError as error:
            raise ArmRefusedError(nuclei.name, str(error)) from None
        told[nuclei.name] = ArmAlarms(figures, alarms)
    return told


def _facts(path: Path) -> ScanFacts:
    """Acceleration and noise, as far as the account of an arm's maps tells them."""
    account = read_json(path) if path.is_file() else {}
    scan, figures = (account.get(key) for key in ("scan", "figures"))
    return ScanFacts(_number(scan, "acceleration"), _number(figures, "noise"))


def _number(part: object, key: str) -> float | None:
    value = part.get(key) if isinstance(part, dict) else None
    return float(value) if isinstance(value, int | float) else None
