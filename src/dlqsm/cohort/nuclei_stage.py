"""The stage that needs all arms of a participant: registration, nuclei, and similarity with the reference arm."""

from __future__ import annotations

import math
import os
import re
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dlqsm.cohort.accounts import registration_figures
from dlqsm.cohort.arm_stages import qsm_key
from dlqsm.cohort.family_alarms import family_alarms
from dlqsm.cohort.journal import Journal
from dlqsm.cohort.nuclei_sign import doubtful_signs
from dlqsm.cohort.plan import Arm, Plan
from dlqsm.cohort.records import Fingerprints, content_hash, key_of
from dlqsm.cohort.similarity_stage import SIMILARITY, write_similarity
from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import label_table
from dlqsm.io.bids import TRUTH
from dlqsm.io.bids_names import join_name, label_of, participant_of
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import (
    account_path,
    derivative_path,
    registration_path,
    sidecar_of,
    table_path,
    unit_folder,
    uri,
    write_derivative,
    write_dseg_names,
)
from dlqsm.io.images import AS_STORED
from dlqsm.io.manifest import NAME as MANIFEST
from dlqsm.io.manifest import ArmFolders, Manifest, write_manifest
from dlqsm.io.nifti import read_mask, read_series, read_volume, require_same_grid
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import write_table
from dlqsm.nuclei.regions import measure_regions
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei, measure_arm, small_labels

PAGE_FILES = (
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


SAME_HEAD = 0.85
"""Local correlation of the magnitudes of two arms, after rigid registration, below which they may show two heads.

Measured on virtual heads: one head 0.99 at 1.6 mm and at least 0.886 at 4 mm voxels (AF 2 with AF 3), two heads at most
0.81 there.
"""


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


def nuclei_key(family: Family, plan: Plan, prints: Fingerprints) -> str:
    """Key of everything that is made of all arms together."""
    person = family.person
    truth = [path for arm in family.arms for path in _truth_files(arm, plan) if path.is_file()]
    content = {
        "arms": {arm.name: qsm_key(arm, plan, prints) for arm in family.arms},
        "reference": family.reference,
        "atlas": _atlas_identity(plan.atlas, prints),
        "t1w": prints.of(person.t1w) if person.t1w else None,
        "truth": [prints.of(path) for path in truth],
        "like_paper": plan.like_paper,
        "seed": plan.seed,
    }
    return key_of("nuclei", content)


def settings_hash(plan: Plan, prints: Fingerprints) -> str:
    """Hash of the settings that values of different participants must share to be compared; code is told apart."""
    content = {
        "config": plan.config.resolved(),
        "methods": plan.methods,
        "atlas": _atlas_identity(plan.atlas, prints),
        "like_paper": plan.like_paper,
    }
    phase = plan.phase
    asked = {"bipolar": phase.bipolar, "invert_phase": phase.invert, phase.coils: phase.coils != AS_STORED.coils}
    return content_hash({**content, **{name: True for name, wanted in asked.items() if wanted}})


def measure_family(family: Family, plan: Plan, journal: Journal) -> list[Path]:
    """Find the nuclei in all arms and measure them; write labels, tables and the page's manifest; return the files."""
    label, atlas = family.person.label, known_atlas(plan.atlas)
    own, aligned, warned = _locate(family, atlas, plan, journal)
    written = [
        path
        for arm, found in zip(family.arms, own, strict=True)
        for path in _write_arm(arm, found, atlas, family, plan)
    ]
    aligned_arms = [arm for arm in family.arms if arm.name != family.reference]
    moved = {found.name: found for found in aligned}
    written += [_write_aligned(arm, moved[arm.name], family, plan) for arm in aligned_arms]
    written += [sidecar_of(path) for path in written if path.name.endswith(".nii.gz")]
    nuclei = pd.concat(
        [_measure(a, f, atlas, family, plan) for a, f in zip(family.arms, own, strict=True)], ignore_index=True
    )
    for name, sentence in doubtful_signs(nuclei, {found.name: found.account for found in own}, plan).items():
        journal.tell(f"warning: {sentence}; accepted")
        warned[name] = [*warned[name], sentence]
    told = {found.name: found.account for found in own}
    alarms = family_alarms(family.arms, own, family.reference, atlas, plan)
    for name, figures in alarms.items():
        told[name] = {**told[name], **figures.as_dict()}
        for alarm in figures.unwarned:
            journal.tell(f"warning: arm {name}: {alarm.level} {alarm.name}: {alarm.text}")
    about = {
        "Reference": "mean over the mask in which the susceptibility of all arms is valid",
        "ReferenceArm": family.reference,
        "Atlas": {"name": atlas.name, **atlas.source},
        "LikePaper": plan.like_paper,
    }
    if family.person.session:
        nuclei.insert(1, "session_id", family.person.session)
    path = table_path(plan.out, label, "nuclei")
    write_table(path, nuclei, about)
    similar = write_similarity(plan.out, label, family.reference, aligned)
    accounts = registration_path(plan.out, label)
    write_json(accounts, {name: _plain({**account, "warnings": warned[name]}) for name, account in told.items()})
    folder = unit_folder(plan.out, label)
    write_manifest(folder, _manifest(family, atlas, plan))
    return [*written, path, sidecar_of(path), *similar, accounts, folder / MANIFEST]


@cache
def known_atlas(name: str) -> Atlas:
    """The atlas of a name or folder, loaded once in a process."""
    return find_atlas(name)


def _locate(
    family: Family, atlas: Atlas, plan: Plan, journal: Journal
) -> tuple[list[ArmNuclei], list[ArmNuclei], dict[str, list[str]]]:
    """Nuclei on the grids that are asked for, all maps on the reference arm's grid, and warnings by arm."""
    maps = [_arm_map(arm, plan) for arm in family.arms]
    t1w = read_volume(family.person.t1w) if family.person.t1w else None
    store = unit_folder(plan.out, family.person.label) / "xfm"

    def on(like_paper: bool) -> list[ArmNuclei]:
        return locate_nuclei(
            maps,
            atlas,
            reference=family.reference,
            t1w=t1w,
            store=store,
            like_paper=like_paper,
            seed=plan.seed,
            report=lambda step, seconds: journal.log(f"nuclei: {step} {seconds:.1f} s"),
        )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        own = on(plan.like_paper)
        aligned = own if plan.like_paper or len(maps) == 1 else on(True)
    sentences = list(dict.fromkeys(str(warning.message) for warning in caught))
    sentences += [sentence for found in own for sentence in _strangers(found, family.reference)]
    sentences += [sentence for found in own if (sentence := small_labels(found, atlas.names))]
    for sentence in sentences:
        journal.tell(f"warning: {sentence}")
    return own, aligned, {f.name: [s for s in sentences if f"arm {f.name}" in re.split(r"[:;,(]", s)[0]] for f in own}


def _strangers(found: ArmNuclei, reference: str) -> list[str]:
    """A sentence where an arm looks like another head than the reference arm."""
    score = registration_figures(found.account).score
    if found.name == reference or score is None or score >= SAME_HEAD:
        return []
    return [
        f"arm {found.name}: may show another head than {reference} (local correlation after registration {score:.2f}, "
        f"of one head at least {SAME_HEAD}); check that the files are of one participant"
    ]


def _arm_map(arm: Arm, plan: Plan) -> ArmMap:
    """Maps of an arm as they are on disk, so that a resumed run sees the same numbers as an undisturbed one."""
    path = _image(arm, plan, "Chimap")
    chi_ppm, grid = read_volume(path)
    magnitude, _ = read_volume(_image(arm, plan, "magnitude"))
    brain = read_mask(_image(arm, plan, "mask"), grid, str(path))
    return ArmMap(
        arm.name, grid, magnitude, chi_ppm, brain, read_mask(_image(arm, plan, "mask_desc-eroded"), grid, str(path))
    )


def _image(arm: Arm, plan: Plan, kind: str, **more: str) -> Path:
    return derivative_path(plan.out, arm.label, arm.entities, kind, **more)


def _write_arm(arm: Arm, found: ArmNuclei, atlas: Atlas, family: Family, plan: Plan) -> list[Path]:
    """Labels with the meaning of their numbers, and the mask that all arms share."""
    chi = uri(_image(arm, plan, "Chimap"), plan.out, plan.bids)
    dseg = _image(arm, plan, "dseg", atlas=label_of(atlas.name))
    common = _image(arm, plan, "mask_desc-common")
    sidecar = {"Sources": [chi], **(_on_reference(family, plan) if plan.like_paper else {})}
    write_derivative(dseg, found.labels, found.grid, "dseg", {**sidecar, "Atlas": atlas.name})
    write_derivative(common, found.common, found.grid, "mask_desc-common", sidecar)
    return [dseg, write_dseg_names(dseg, atlas.names), common]


def _write_aligned(arm: Arm, found: ArmNuclei, family: Family, plan: Plan) -> Path:
    """Susceptibility on the reference arm's grid, its mean over the common mask zero."""
    sidecar = {
        "Sources": [uri(_image(arm, plan, "Chimap"), plan.out, plan.bids)],
        "ReferenceValue": found.reference_ppm,
        **_on_reference(family, plan),
    }
    return write_derivative(_image(arm, plan, "Chimap_aligned"), found.chi_ppm, found.grid, "Chimap_aligned", sidecar)


def _on_reference(family: Family, plan: Plan) -> dict[str, str]:
    """Sidecar entry of images on the reference arm's grid."""
    return {"SpatialReference": uri(_image(family.leading, plan, "Chimap"), plan.out, plan.bids)}


def _measure(arm: Arm, found: ArmNuclei, atlas: Atlas, family: Family, plan: Plan) -> pd.DataFrame:
    """Region table of one arm; beside it, for virtual scans, the truth on the grid where it is measured."""
    realisations = _image(arm, plan, "Chimap_desc-realisations")
    errors_ppm = read_series(realisations)[0] if plan.uncertainty is not None else None
    whose = participant_of(arm.label)
    table = measure_arm(found, atlas.names, participant=whose, errors_ppm=errors_ppm)
    chi_path, dseg_path = _truth_files(family.leading if plan.like_paper else arm, plan)
    if not (chi_path.is_file() and dseg_path.is_file()):
        return table
    truth_ppm, grid = read_volume(chi_path)
    require_same_grid(chi_path, grid, found.grid, f"arm {arm.name}")
    truth_ppm = truth_ppm - truth_ppm[found.common].mean()
    labels = torch.where(found.common, read_volume(dseg_path)[0], 0.0)
    names = label_table()
    true, seen = (
        measure_regions(chi_ppm, labels, names, grid, participant=whose, arm=arm.name)[["roi", "side", "mean_ppb"]]
        for chi_ppm in (truth_ppm, found.chi_ppm)
    )
    beside = true.rename(columns={"mean_ppb": "truth_ppb"}).assign(mean_true_labels_ppb=seen["mean_ppb"])
    return table.merge(beside, on=["roi", "side"], how="left")


def _truth_files(arm: Arm, plan: Plan) -> tuple[Path, Path]:
    """True susceptibility and labels of an acquisition; whether they exist is another question."""
    # Undersampled afterwards (rec-AF3), a scan still shows what it showed.
    of_scan = {key: label for key, label in arm.source.entities if key != "rec"}
    whose = participant_of(arm.label)
    entities = {"sub": whose.removeprefix("sub-"), **of_scan}
    folder = plan.bids / TRUTH / whose / (arm.source.session or "") / "anat"
    return folder / join_name(entities, "Chimap"), folder / join_name(entities, "dseg")


def _manifest(family: Family, atlas: Atlas, plan: Plan) -> Manifest:
    label = family.person.label
    folder = unit_folder(plan.out, label)
    arms = tuple(_arm_files(arm, atlas, plan, folder) for arm in family.arms)
    names = {what: table_path(plan.out, label, what).name for what in ("nuclei", SIMILARITY)}
    accounts = registration_path(plan.out, label).name
    page = Path(os.path.relpath(plan.out / f"{label}.html", folder)).as_posix()
    return Manifest(label, arms, names["nuclei"], names[SIMILARITY], family.reference, accounts, page)


def _arm_files(arm: Arm, atlas: Atlas, plan: Plan, folder: Path) -> ArmFolders:
    """The files of one arm, relative to the participant's folder."""
    paths = {kind: _image(arm, plan, kind) for kind in PAGE_FILES}
    paths["summary"] = account_path(plan.out, arm.label, arm.entities)
    phase = sorted(paths["Chimap"].parent.glob(_image(arm, plan, "phase", echo="0").name.replace("echo-0", "echo-*")))
    if phase:
        paths["phase"] = phase[0]
    truth, _ = _truth_files(arm, plan)
    labels = _image(arm, plan, "dseg", atlas=label_of(atlas.name))
    return ArmFolders(
        arm.name,
        labels=labels.relative_to(folder).as_posix(),
        truth_chi=os.path.relpath(truth, folder) if truth.is_file() else None,
        files={kind: path.relative_to(folder).as_posix() for kind, path in paths.items() if path.is_file()},
    )


def _atlas_identity(atlas: str, prints: Fingerprints) -> Any:
    """What the values depend on: the content of the files of a folder; the name of an atlas that dlqsm brings."""
    folder = Path(atlas).expanduser()
    if not folder.is_dir():
        return atlas
    return {path.name: prints.of(path) for path in sorted(folder.iterdir()) if path.is_file()}


def _plain(value: Any) -> Any:
    """The value with numbers that JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
