"""``report.json``: which folders and files a participant's page is made of, by paths relative to it.

An arm is told in one of two ways: ``qsm`` (and ``recon``) name folders that ``dlqsm qsm`` and ``dlqsm recon`` wrote,
or ``files`` names each file, as ``dlqsm run`` does for its BIDS derivatives. `arm_file` knows both.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import read_json, write_json

NAME = "report.json"
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
