"""``report.json``: which folders and tables a participant's page is made of, by paths relative to it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import read_json, write_json

NAME = "report.json"


@dataclass(frozen=True, slots=True)
class ArmFolders:
    """Where the results of one arm lie; what does not exist is None."""

    name: str
    qsm: str
    recon: str | None = None
    truth_chi: str | None = None
    labels: str | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """Content of ``report.json``."""

    participant: str
    arms: tuple[ArmFolders, ...]
    regions: str | None = None
    similarity: str | None = None
    reference_arm: str | None = None


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
