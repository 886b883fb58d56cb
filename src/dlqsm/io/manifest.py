"""``report.json``: which folders and files a participant's page is made of, by paths relative to it.

An arm is told in one of two ways: ``qsm`` (and ``recon``) name folders that ``dlqsm qsm`` and ``dlqsm recon`` wrote,
or ``files`` names each file, as ``dlqsm run`` does for its BIDS derivatives. `arm_file` knows both.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import read_json, write_json

NAME = "report.json"
GROUP_NAME = "group.json"
_GROUP_NAMES = re.compile(r"group(_ses-[0-9a-zA-Z+]+)?\.json")
IMAGES = ("Chimap", "fieldmap_desc-total", "fieldmap_desc-local", "mask", "mask_desc-eroded", "R2starmap")
"""Images that both ways of telling an arm know, by file stem."""
FILE_KEYS = (
    *IMAGES,
    "fieldmap_desc-noise",
    "quality",
    "magnitude",
    "phase",
    "mask_desc-common",
    "Chimap_aligned",
    "summary",
)
"""Keys of ``files``: stems of `io.maps.UNITS`; ``magnitude`` (3-D, combined over echoes) and ``phase`` (3-D, one echo
[rad]); the mask that all arms share; ``Chimap_aligned``, the susceptibility moved to the reference arm's grid; and
``summary``, the JSON that `dlqsm qsm` calls qsm.json, with the content of scan.json under ``scan``."""


@dataclass(frozen=True, slots=True)
class ArmFolders:
    """Where the results of one arm lie; what does not exist is None.

    Parameters
    ----------
    name
        Arm, as in the tables.
    qsm, recon
        Folders that ``dlqsm qsm`` and ``dlqsm recon`` wrote; ``qsm`` is empty where ``files`` tells all.
    truth_chi, labels
        True susceptibility [ppm], and nuclei by the numbers of `core.labels.label_table`, on the arm's grid.
    files
        File by file, keys of `FILE_KEYS`.
    shown_echo_s
        Echo time of ``phase`` [s].
    """

    name: str
    qsm: str = ""
    recon: str | None = None
    truth_chi: str | None = None
    labels: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    shown_echo_s: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of ``report.json``.

    Parameters
    ----------
    participant
        Name on the page.
    arms
        In the order shown.
    regions, similarity
        Tables: nuclei of all arms, and similarity of maps.
    reference_arm
        Arm that the others are compared with.
    registration
        JSON with the account of the registration of each arm, by arm name.
    page
        Where the page goes.
    """

    participant: str
    arms: tuple[ArmFolders, ...]
    regions: str | None = None
    similarity: str | None = None
    reference_arm: str | None = None
    registration: str | None = None
    page: str = "report.html"


def arm_file(folder: Path, arm: ArmFolders, key: str) -> Path | None:
    """Path of one file of an arm, for a key of `FILE_KEYS`; None where the manifest does not tell it.

    Parameters
    ----------
    folder
        Folder of the manifest.
    arm
        One of its arms.
    key
        What is wanted.
    """
    if key in arm.files:
        return folder / arm.files[key]
    if arm.files or not arm.qsm or key not in (*IMAGES, "fieldmap_desc-noise", "quality", "summary"):
        return None
    path = folder / arm.qsm / ("qsm.json" if key == "summary" else f"{key}.nii.gz")
    return path if path.is_file() else None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``report.json`` into the folder that its paths are relative to."""
    write_json(folder / NAME, asdict(manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read ``report.json``, or raise `InputError` naming what is wrong with it."""
    content = read_json(folder / NAME)
    try:
        arms = content.pop("arms")
        return Manifest(arms=tuple(ArmFolders(**arm) for arm in arms), **content)  # type: ignore[arg-type, attr-defined]
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{folder / NAME}: expected a manifest written by dlqsm, but it cannot be used ({error})"
        ) from None


@dataclass(frozen=True, slots=True)
class GroupManifest:
    """Content of ``group.json``: what the group page is made of, by paths relative to its folder.

    Parameters
    ----------
    dataset
        Name on the page.
    arms, reference_arm, margin_ppb
        Arms in the order shown, the one that the others are compared with, and the margin of equivalence [ppb].
    values
        Long table ``participant_id age sex arm roi side mean_ppb ...`` of all participants.
    agreement, age, similarity, registration
        Tables; None where they were not made. ``similarity`` and ``registration`` have the columns
        ``participant_id arm`` and those that `report.group.GroupReport` names.
    mixed, definitions
        Tables of the mixed model, and of SSIM and PSNR in all definitions.
    alarms
        Table of the alarms of all arms; None where there is none.
    figures
        Pictures in the order shown.
    pages
        Participant to page.
    problems
        Participant or step to the sentence that says what went wrong or is missing.
    notes
        Sentences on how the tables are to be read.
    methods
        Step to method and parameters.
    page
        Where the page goes.
    session
        Session that the group was measured in, with ``ses-``; None where there are no sessions, or all are together.
    """

    dataset: str
    arms: tuple[str, ...]
    reference_arm: str
    margin_ppb: float
    values: str
    agreement: str | None = None
    age: str | None = None
    similarity: str | None = None
    registration: str | None = None
    mixed: str | None = None
    definitions: str | None = None
    alarms: str | None = None
    figures: tuple[str, ...] = ()
    pages: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    methods: dict[str, object] = field(default_factory=dict)
    page: str = "group.html"
    session: str | None = None


def group_manifests(folder: Path) -> list[str]:
    """Names of the manifests of groups in a folder: ``group.json``, or ``group_ses-1.json`` of each session."""
    return sorted(path.name for path in folder.glob("group*.json") if _GROUP_NAMES.fullmatch(path.name))


def write_group_manifest(folder: Path, manifest: GroupManifest, name: str = GROUP_NAME) -> None:
    """Write ``group.json``, or what it is called for a session."""
    write_json(folder / name, asdict(manifest))


def read_group_manifest(folder: Path, name: str = GROUP_NAME) -> GroupManifest:
    """Read ``group.json``, or raise `InputError` naming what is wrong with it."""
    content: dict[str, Any] = dict(read_json(folder / name))
    try:
        sequences: dict[str, Any] = {key: tuple(content.pop(key, ())) for key in ("arms", "figures", "notes")}
        return GroupManifest(**content, **sequences)
    except TypeError as error:
        raise InputError(
            f"{folder / name}: expected a manifest written by dlqsm, but it cannot be used ({error})"
        ) from None
