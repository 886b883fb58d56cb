"""The arms of a participant that are measured together, and where their files lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dlqsm.cohort.plan import Arm, Plan
from dlqsm.cohort.similarity_stage import SIMILARITY
from dlqsm.core.atlas import Atlas
from dlqsm.io.bids import TRUTH
from dlqsm.io.bids_names import join_name, label_of, participant_of
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import account_path, derivative_path, registration_path, table_path, unit_folder
from dlqsm.io.manifest import ArmFolders, Manifest
from dlqsm.io.outputs import read_json

PAGE_FILES: Final = (
    "Chimap",
    "R2starmap",
    "mask",
    "mask_desc-eroded",
    "mask_desc-common",
    "fieldmap_desc-total",
    "fieldmap_desc-local",
    "fieldmap_desc-noise",
    "quality",
    "magnitude",
    "Chimap_aligned",
)


@dataclass(frozen=True, slots=True)
class Family:
    """The arms of one participant that have maps, and the one that the others are registered to."""

    person: ParticipantSource
    arms: tuple[Arm, ...]
    reference: str

    @property
    def leading(self) -> Arm:
        """The reference arm."""
        return next(arm for arm in self.arms if arm.name == self.reference)


def image_path(arm: Arm, plan: Plan, kind: str, **more: str) -> Path:
    """A derivative image of an arm."""
    return derivative_path(plan.out, arm.label, arm.entities, kind, **more)


def truth_files(arm: Arm, plan: Plan) -> tuple[Path, Path]:
    """True susceptibility and labels of an acquisition; whether they exist is another question."""
    # Undersampled afterwards (rec-AF3), a scan still shows what it showed.
    of_scan = {key: label for key, label in arm.source.entities if key != "rec"}
    whose = participant_of(arm.label)
    entities = {"sub": whose.removeprefix("sub-"), **of_scan}
    folder = plan.bids / TRUTH / whose / (arm.source.session or "") / "anat"
    return folder / join_name(entities, "Chimap"), folder / join_name(entities, "dseg")


def page_manifest(family: Family, atlas: Atlas, plan: Plan) -> Manifest:
    """What the page of the participant shows."""
    label = family.person.label
    folder = unit_folder(plan.out, label)
    arms = tuple(_arm_files(arm, atlas, plan, folder) for arm in family.arms)
    names = {what: table_path(plan.out, label, what).name for what in ("nuclei", SIMILARITY)}
    accounts = registration_path(plan.out, label).name
    page = Path(os.path.relpath(plan.out / f"{label}.html", folder)).as_posix()
    return Manifest(label, arms, names["nuclei"], names[SIMILARITY], family.reference, accounts, page)


def _arm_files(arm: Arm, atlas: Atlas, plan: Plan, folder: Path) -> ArmFolders:
    """The files of one arm, relative to the participant's folder."""
    paths = {kind: image_path(arm, plan, kind) for kind in PAGE_FILES}
    paths["summary"] = account_path(plan.out, arm.label, arm.entities)
    scan = read_json(paths["summary"]).get("scan") if paths["summary"].is_file() else None
    shown_echo = scan.get("shown_echo") if isinstance(scan, dict) else None
    if isinstance(shown_echo, int):
        paths["phase"] = image_path(arm, plan, "phase", echo=str(shown_echo + 1))
    truth, _ = truth_files(arm, plan)
    labels = image_path(arm, plan, "dseg", atlas=label_of(atlas.name))
    return ArmFolders(
        arm.name,
        labels=labels.relative_to(folder).as_posix(),
        truth_chi=os.path.relpath(truth, folder) if truth.is_file() else None,
        files={kind: path.relative_to(folder).as_posix() for kind, path in paths.items() if path.is_file()},
    )
