"""Metadata of an image by the inheritance principle of BIDS: files nearer to the image override those above."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.bids_names import split_name
from dlqsm.io.outputs import read_json

_DESCRIPTION = "dataset_description.json"
_DEEPEST = 5
SAME_TIME_S: Final = 5e-6
"""Echo times of the images of an echo agree up to this; scanners and programs round them differently."""


def inherited_sidecar(path: Path) -> dict[str, object]:
    """All metadata that applies to an image; empty where nothing does.

    In a BIDS dataset these are the JSON files from the dataset's root down to the image's folder whose suffix is the
    image's and whose entities are all among the image's; elsewhere the JSON of the same name beside the image.

    References
    ----------
    Brain Imaging Data Structure 1.11, "The inheritance principle".
    """
    own = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    content: dict[str, object] = {}
    for sidecar in [*_above(path), own]:
        if sidecar.is_file():
            content.update(read_json(sidecar))
    return content


def _above(path: Path) -> list[Path]:
    """Sidecars that apply, the most general first; none outside a dataset."""
    try:
        entities, suffix, _ = split_name(path)
    except InputError:
        return []
    folders = [path.parent, *path.parent.parents][:_DEEPEST]
    roots = [n for n, folder in enumerate(folders) if (folder / _DESCRIPTION).is_file()]
    found: list[Path] = []
    for folder in reversed(folders[: roots[0] + 1] if roots else []):
        applying = [p for p in folder.glob(f"*{glob.escape(suffix)}.json") if _applies(p, entities, suffix)]
        found += sorted(applying, key=lambda p: p.name.count("_"))
    return found


def _applies(sidecar: Path, entities: dict[str, str], suffix: str) -> bool:
    try:
        own, own_suffix, _ = split_name(sidecar)
    except InputError:
        return False
    return own_suffix == suffix and own.items() <= entities.items()


def is_same_time(one: object, other: object) -> bool:
    """Whether two entries EchoTime [s], or lists of them, agree within `SAME_TIME_S`."""
    if one is other:
        return True  # what is wrong with it, not a number for one, is told by who reads it
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same_time, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= SAME_TIME_S
    return one == other
