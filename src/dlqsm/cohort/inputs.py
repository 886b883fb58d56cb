"""What each stage of a participant was made of, as BIDS URIs: what its record tells, and provenance is made from."""

from __future__ import annotations

from dlqsm.cohort.family_files import Family
from dlqsm.cohort.plan import Arm, Plan
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import derivative_path, unit_folder, uri
from dlqsm.io.manifest import NAME

_MEASURED = ("Chimap", "magnitude", "mask", "mask_desc-eroded")
"""Maps of an arm that the nuclei are found and measured in."""


def inputs_of_arm(arm: Arm, plan: Plan) -> list[str]:
    """The scan: raw data of a reconstruction, or echo images of maps."""
    return [uri(path, plan.out, plan.bids) for path in arm.source.files]


def inputs_of_family(family: Family, plan: Plan) -> list[str]:
    """Maps of all arms, and the T1w image."""
    maps = [derivative_path(plan.out, arm.label, arm.entities, kind) for arm in family.arms for kind in _MEASURED]
    t1w = [family.person.t1w] if family.person.t1w else []
    return [uri(path, plan.out, plan.bids) for path in (*maps, *t1w)]


def inputs_of_page(person: ParticipantSource, plan: Plan) -> list[str]:
    """The manifest, which names all that the page shows."""
    return [uri(unit_folder(plan.out, person.label) / NAME, plan.out, plan.bids)]
