"""One reading of what `pipeline.nuclei.locate_nuclei` tells of an arm, for the group's table and the pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RegistrationFigures:
    """Figures of the registration of one arm; None or empty where the account does not tell them.

    Parameters
    ----------
    shift_mm, rotation_deg
        Rigid motion against the reference arm: of the brain's centre, and angle.
    score, score_of
        Mean local correlation after registration, at most 1; and of what: the arm with the reference arm, or, for the
        reference arm itself, with the atlas.
    coverage
        Region to the share of its volume inside the arm's valid mask, the lower of both sides.
    told
        Further facts in words: what the atlas was registered on, whether transforms were reused.
    warnings
        One sentence each.
    alarms
        As `core.alarms.Alarm` writes them.
    """

    shift_mm: float | None = None
    rotation_deg: float | None = None
    score: float | None = None
    score_of: str = ""
    coverage: Mapping[str, float] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    alarms: tuple[Mapping[str, Any], ...] = ()

    @property
    def lowest_coverage(self) -> float | None:
        """The lowest share of all regions."""
        return min(self.coverage.values(), default=None)


def registration_figures(account: Mapping[str, Any]) -> RegistrationFigures:
    """Figures of one arm's account."""
    placement = _mapping(account.get("placement"))
    own, atlas = (_number(_mapping(part.get("local_correlation")).get("after")) for part in (account, placement))
    told = {
        "atlas": _mapping(placement.get("atlas")).get("name"),
        "atlas registered on": placement.get("channels"),
        "motion": account.get("transform"),
        "resampled": account.get("resampled"),
    }
    return RegistrationFigures(
        shift_mm=_number(account.get("translation_mm")),
        rotation_deg=_number(account.get("rotation_deg")),
        score=atlas if own is None else own,
        score_of="local correlation with the atlas" if own is None else "local correlation with the reference arm",
        coverage=_coverage(_mapping(account.get("coverage"))),
        told={name: str(value) for name, value in told.items() if value},
        warnings=tuple(map(str, account.get("warnings") or ())),
        alarms=alarms_told(account),
    )


def alarms_told(account: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """Alarms of an account of maps or of a registration; none where an older version wrote it."""
    told = account.get("alarms")
    return tuple(alarm for alarm in told if isinstance(alarm, dict)) if isinstance(told, list) else ()


def _coverage(told: Mapping[str, Any]) -> dict[str, float]:
    """Region to the lower share of its sides; keys are ``Pu_left``, values hold ``valid``."""
    found: dict[str, float] = {}
    for key, parts in told.items():
        share = _number(parts.get("valid") if isinstance(parts, Mapping) else parts)
        region = str(key).removesuffix("_left").removesuffix("_right")
        if share is not None:
            found[region] = min(share, found.get(region, share))
    return found


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
