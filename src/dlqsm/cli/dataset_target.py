"""The names in a BIDS dataset that arguments ask for, and what may be written there."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path

from dlqsm.core.checks import InputError
from dlqsm.io.bids import DESCRIPTION
from dlqsm.io.bids_names import label_of
from dlqsm.io.bids_write import participants_of, require_raw_dataset
from dlqsm.io.outputs import read_json

FIRST_LABEL = "01"


def target_entities(arguments: argparse.Namespace, root: Path) -> dict[str, str | None]:
    """Entities of the scan that is to be written; nothing is written yet.

    Raises
    ------
    InputError
        If a label cannot be one, or the participant is not named in a dataset that has some.
    """
    if root.exists() and not root.is_dir():
        raise InputError(f"{root}: expected the folder of a BIDS dataset; this is a file")
    require_raw_dataset(root)
    return {
        "sub": _participant(arguments.participant_label, root),
        "ses": _label("--session-label", arguments.session_label, "ses-"),
        "acq": _label("--acq", arguments.acq, "acq-"),
        "run": _run_number(arguments.run),
    }


def require_own(root: Path, own_name: str, option: str) -> None:
    """Raise `InputError` where a folder holds a dataset whose name is not as the glob ``own_name``.

    Results replace those of the same command, and no other dataset, whatever ``--overwrite`` says.
    """
    if not (root / DESCRIPTION).is_file():
        return
    name = str(read_json(root / DESCRIPTION).get("Name", ""))
    if not fnmatchcase(name, own_name):
        raise InputError(f"{root}: holds another dataset, named '{name}'; give another folder for {option}")


def require_new(present: list[Path], *, overwrite: bool) -> None:
    """Raise `InputError` where files of the scan exist and may not be replaced."""
    if present and not overwrite:
        raise InputError(
            f"{present[0]}: exists already; give --overwrite to replace this scan, or tell it apart with "
            "--participant-label, --session-label, --acq or --run"
        )


def _participant(given: str | None, root: Path) -> str:
    if given is not None:
        return str(_label("--participant-label", given, "sub-"))
    present = participants_of(root)
    if present:
        named = ", ".join(present[:3]) + (" ..." if len(present) > 3 else "")
        raise InputError(f"{root}: has participants already ({named}); say whose scan this is with --participant-label")
    return FIRST_LABEL


def _label(option: str, given: str | None, prefix: str) -> str | None:
    if given is None:
        return None
    text = given.removeprefix(prefix)
    if not text or text != label_of(text):
        raise InputError(f"{option} must be letters and digits only, as BIDS demands; got '{given}'")
    return text


def _run_number(given: int | None) -> str | None:
    if given is not None and given < 1:
        raise InputError(f"--run must be at least 1; got {given}")
    return None if given is None else str(given)
