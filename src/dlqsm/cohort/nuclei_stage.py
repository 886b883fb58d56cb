"""The stage that needs all arms of a participant: registration, nuclei, and similarity with the reference arm."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dlqsm.cohort.accounts import registration_figures
from dlqsm.cohort.arm_stages import qsm_key
from dlqsm.cohort.family_alarms import family_alarms
from dlqsm.cohort.family_files import Family, image_path, page_manifest, truth_files
from dlqsm.cohort.journal import Journal
from dlqsm.cohort.nuclei_sign import doubtful_signs
from dlqsm.cohort.plan import Arm, Plan, by_content
from dlqsm.cohort.records import Fingerprints, content_hash, key_of
from dlqsm.cohort.similarity_stage import write_similarity
from dlqsm.core.arm_names import USUAL_REFERENCE
from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import label_table
from dlqsm.io.bids_names import label_of, participant_of
from dlqsm.io.derivatives import (
    registration_path,
    sidecar_of,
    table_path,
    unit_folder,
    uri,
    write_derivative,
)
from dlqsm.io.files import visible
from dlqsm.io.images import AS_STORED
from dlqsm.io.manifest import NAME as MANIFEST
from dlqsm.io.manifest import write_manifest
from dlqsm.io.nifti import read_mask, read_series, read_volume, require_same_grid
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import write_label_names, write_table
from dlqsm.nuclei.regions import measure_regions
from dlqsm.pipeline.alignment import SAME_HEAD
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei, measure_arm, small_labels
from dlqsm.pipeline.transform_store import forget


def nuclei_key(family: Family, plan: Plan, prints: Fingerprints) -> str:
    """Key of everything that is made of all arms together."""
    person = family.person
    truth = [path for arm in family.arms for path in truth_files(arm, plan) if path.is_file()]
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
    if plan.reference != USUAL_REFERENCE:
        content["reference"] = plan.reference
    if plan.reconstruction:
        content["reconstruction"] = {
            method: by_content(options, prints.of) for method, options in plan.reconstruction.items()
        }
    phase = plan.phase
    asked = {"bipolar": phase.bipolar, "invert_phase": phase.invert, phase.coils: phase.coils != AS_STORED.coils}
    return content_hash({**content, **{name: True for name, wanted in asked.items() if wanted}})


def measure_family(family: Family, plan: Plan, journal: Journal) -> list[Path]:
    """Find the nuclei in all arms and measure them; write labels, tables and the page's manifest; return the files."""
    label, atlas = family.person.label, known_atlas(plan.atlas)
    own, aligned, warned = _locate(family, atlas, plan, journal)
    nuclei = pd.concat(
        [_measure(a, f, atlas, family, plan) for a, f in zip(family.arms, own, strict=True)], ignore_index=True
    )
    told = _accounts(family, own, nuclei, warned, atlas, plan, journal)
    written = [
        path
        for arm, found in zip(family.arms, own, strict=True)
        for path in _write_arm(arm, found, atlas, family, plan)
    ]
    aligned_arms = [arm for arm in family.arms if arm.name != family.reference]
    moved = {found.name: found for found in aligned}
    written += [_write_aligned(arm, moved[arm.name], family, plan) for arm in aligned_arms]
    written += [sidecar_of(path) for path in written if path.name.endswith(".nii.gz")]
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
    write_json(accounts, told)
    folder = unit_folder(plan.out, label)
    write_manifest(folder, page_manifest(family, atlas, plan))
    return [*written, path, sidecar_of(path), *similar, accounts, folder / MANIFEST]


def _accounts(
    family: Family,
    own: Sequence[ArmNuclei],
    nuclei: pd.DataFrame,
    warned: Mapping[str, list[str]],
    atlas: Atlas,
    plan: Plan,
    journal: Journal,
) -> dict[str, Any]:
    """How each arm was registered, with figures, alarms and warnings; those that nothing has told are told here."""
    doubts = doubtful_signs(nuclei, {found.name: found.account for found in own}, plan)
    alarms = family_alarms(family.arms, own, family.reference, atlas, plan)
    accounts = {}
    for found in own:
        sentences = list(warned[found.name])
        if found.name in doubts:
            journal.tell(f"warning: {doubts[found.name]}; accepted")
            sentences.append(doubts[found.name])
        for alarm in alarms[found.name].unwarned:
            journal.tell(f"warning: arm {found.name}: {alarm.level} {alarm.name}: {alarm.text}")
        accounts[found.name] = _plain({**found.account, **alarms[found.name].as_dict(), "warnings": sentences})
    return accounts


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
    if plan.overwrite:
        forget(store)

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
    return own, aligned, {found.name: [s for s in sentences if is_about(found.name, s)] for found in own}


def is_about(name: str, sentence: str) -> bool:
    """Whether a sentence names an arm before it says anything of it; PI2 is not named in PI2rep."""
    return re.search(rf"\barm {re.escape(name)}\b", re.split(r"[:;,(]", sentence)[0]) is not None


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
    path = image_path(arm, plan, "Chimap")
    chi_ppm, grid = read_volume(path)
    magnitude, _ = read_volume(image_path(arm, plan, "magnitude"))
    brain = read_mask(image_path(arm, plan, "mask"), grid, str(path))
    return ArmMap(
        arm.name, grid, magnitude, chi_ppm, brain, read_mask(image_path(arm, plan, "mask_desc-eroded"), grid, str(path))
    )


def _write_arm(arm: Arm, found: ArmNuclei, atlas: Atlas, family: Family, plan: Plan) -> list[Path]:
    """Labels with the meaning of their numbers, and the mask that all arms share."""
    chi = uri(image_path(arm, plan, "Chimap"), plan.out, plan.bids)
    dseg = image_path(arm, plan, "dseg", atlas=label_of(atlas.name))
    common = image_path(arm, plan, "mask_desc-common")
    sidecar = {"Sources": [chi], **(_on_reference(family, plan) if plan.like_paper else {})}
    write_derivative(dseg, found.labels, found.grid, "dseg", {**sidecar, "Atlas": atlas.name})
    write_derivative(common, found.common, found.grid, "mask_desc-common", sidecar)
    return [dseg, write_label_names(sidecar_of(dseg).with_suffix(".tsv"), atlas.names), common]


def _write_aligned(arm: Arm, found: ArmNuclei, family: Family, plan: Plan) -> Path:
    """Susceptibility on the reference arm's grid, its mean over the common mask zero."""
    sidecar = {
        "Sources": [uri(image_path(arm, plan, "Chimap"), plan.out, plan.bids)],
        "ReferenceValue": found.reference_ppm,
        **_on_reference(family, plan),
    }
    return write_derivative(
        image_path(arm, plan, "Chimap_aligned"), found.chi_ppm, found.grid, "Chimap_aligned", sidecar
    )


def _on_reference(family: Family, plan: Plan) -> dict[str, str]:
    """Sidecar entry of images on the reference arm's grid."""
    return {"SpatialReference": uri(image_path(family.leading, plan, "Chimap"), plan.out, plan.bids)}


def _measure(arm: Arm, found: ArmNuclei, atlas: Atlas, family: Family, plan: Plan) -> pd.DataFrame:
    """Region table of one arm; beside it, for virtual scans, the truth on the grid where it is measured."""
    realisations = image_path(arm, plan, "Chimap_desc-realisations")
    errors_ppm = read_series(realisations)[0] if plan.uncertainty is not None else None
    whose = participant_of(arm.label)
    table = measure_arm(found, atlas.names, participant=whose, errors_ppm=errors_ppm)
    chi_path, dseg_path = truth_files(family.leading if plan.like_paper else arm, plan)
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


def _atlas_identity(atlas: str, prints: Fingerprints) -> Any:
    """What the values depend on: the content of the files of a folder; the name of an atlas that dlqsm brings."""
    folder = Path(atlas).expanduser()
    if not folder.is_dir():
        return atlas
    return {path.name: prints.of(path) for path in visible(folder.iterdir()) if path.is_file()}


def _plain(value: Any) -> Any:
    """The value with numbers that JSON lacks (NaN, infinity) as None."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
