"""File names by BIDS: entities in their order, read from a name and put together to one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError

ENTITIES: Final = (
    "sub", "ses", "sample", "task", "acq", "ce", "rec", "dir", "run", "mod", "echo", "flip", "inv", "mt", "part",
    "proc", "space", "split", "chunk", "atlas", "seg", "scale", "res", "den", "label", "desc",
)  # fmt: skip
"""Order of the entities that names of MR files may hold.

References
----------
Brain Imaging Data Structure 1.11, appendix "Entities"; Gorgolewski et al., Sci Data 3:160044 (2016),
doi:10.1038/sdata.2016.44.
"""
COIL: Final = "coil"
"""Entity of images of one receiver coil, behind ``rec``: BIDS has none, and this is what programs write."""
_KNOWN: Final = tuple(e for key in ENTITIES for e in ((key, COIL) if key == "rec" else (key,)))
_EXTENSIONS: Final = (".nii.gz", ".nii", ".json", ".tsv", ".h5")
_LABEL: Final = re.compile(r"[0-9a-zA-Z+]+")
_NUMBERED: Final = ("run", "echo", COIL)


def split_name(path: Path) -> tuple[dict[str, str], str, str]:
    """Entities, suffix and extension of a file name.

    Raises
    ------
    InputError
        If the name does not follow BIDS; the sentence tells the part that does not.
    """
    extension = next((e for e in _EXTENSIONS if path.name.endswith(e)), path.suffix)
    *pairs, suffix = path.name.removesuffix(extension).split("_")
    entities: dict[str, str] = {}
    for pair in pairs:
        key, dash, label = pair.partition("-")
        if not dash or not _LABEL.fullmatch(label):
            raise InputError(
                f"{path}: '{pair}' in its name is no BIDS entity; expected key-label with a label of letters and digits"
            )
        if key not in _KNOWN or key in entities:
            what = "twice in" if key in entities else "an unknown entity of"
            raise InputError(f"{path}: '{key}' is {what} its name; expected each of {', '.join(_KNOWN)} at most once")
        if key in _NUMBERED and not label.isdigit():
            raise InputError(f"{path}: '{pair}' in its name must be a whole number, as in {key}-1; got '{label}'")
        entities[key] = label
    if [key for key in _KNOWN if key in entities] != list(entities):
        right = "_".join(f"{key}-{entities[key]}" for key in _KNOWN if key in entities)
        raise InputError(f"{path}: the entities of its name are out of order; expected {right}_{suffix}{extension}")
    return entities, suffix, extension


def join_name(entities: Mapping[str, str | None], suffix: str, extension: str = ".nii.gz") -> str:
    """A file name; entities without a label are left out, the others come in the order of `ENTITIES`."""
    unknown = [key for key in entities if key not in ENTITIES]
    if unknown:
        raise ValueError(f"unknown entity {unknown[0]}")
    pairs = [f"{key}-{entities[key]}" for key in ENTITIES if entities.get(key)]
    return "_".join([*pairs, f"{suffix}{extension}"])


def is_participant(label: str) -> bool:
    """Whether a label is ``sub-`` with letters and digits: such a one leads out of no folder."""
    key, _, name = label.partition("-")
    return key == "sub" and _LABEL.fullmatch(name) is not None


def participant_of(label: str) -> str:
    """``sub-01`` of ``sub-01_ses-1``, or of itself."""
    return label.partition("_")[0]


def session_of(label: str) -> str | None:
    """``ses-1`` of ``sub-01_ses-1``; None where a label has no session."""
    return label.partition("_")[2] or None


def unit_of(participant: str, session: str | None) -> str:
    """``sub-01_ses-1`` of a participant and a session, both with their prefix."""
    return f"{participant}_{session}" if session else participant


def label_of(text: str) -> str:
    """``text`` as an entity's label: letters and digits only."""
    return re.sub(r"[^0-9a-zA-Z]", "", text)
