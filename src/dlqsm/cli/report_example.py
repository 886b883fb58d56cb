"""The picture of one participant in all arms: kept beside the tables, and one of them shown on the group page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pandas as pd

import dlqsm
from dlqsm.cli.report_reading import read_report
from dlqsm.core.checks import InputError
from dlqsm.io.bids_names import unit_of
from dlqsm.io.derivatives import unit_folder
from dlqsm.io.manifest import NAME, read_manifest
from dlqsm.io.outputs import read_json, whole_file, write_json
from dlqsm.report.arms_picture import arms_picture
from dlqsm.report.group import GroupFigure
from dlqsm.report.participant import ParticipantReport

PICTURE_SUFFIX: Final = "qsmfigure"
_FOLDER: Final = "figures"
"""Of a participant; .bidsignore names it."""


def picture_path(folder: Path) -> Path:
    """Where the picture of the participant of a folder ``sub-XX`` lies, or of a session in ``sub-XX/ses-YY``."""
    label = unit_of(folder.parent.name, folder.name) if folder.name.startswith("ses-") else folder.name
    return folder / _FOLDER / f"{label}_desc-arms_{PICTURE_SUFFIX}.webp"


def write_picture(folder: Path, report: ParticipantReport) -> None:
    """Draw the picture of a participant, and write beside it what it shows; without a second arm there is none."""
    picture, path = arms_picture(report), picture_path(folder)
    if picture is None:
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)
        return
    path.parent.mkdir(exist_ok=True)
    arms = [arm.name for arm in report.arms]
    about = {"Description": picture.about, "Arms": arms, "GeneratedBy": f"dlqsm {dlqsm.__version__}"}
    write_json(path.with_suffix(".json"), about)
    with whole_file(path) as partial:
        partial.write_bytes(picture.image)


def example_of(
    out: Path, labels: Sequence[str], similarity: pd.DataFrame | None, session: str | None = None
) -> GroupFigure | None:
    """The picture of the participant in the middle; drawn now where the maps are there and it was not drawn before.

    Parameters
    ----------
    out
        Folder of the derivatives.
    labels
        Participants that were measured.
    similarity
        Table ``participant_id rmse_ppb ...`` by which they are ordered; without it the first is shown.
    session
        Session whose pictures are meant; None where there are no sessions.

    Returns
    -------
    None where neither pictures nor maps of anyone are there.
    """
    folders = {label: unit_folder(out, unit_of(label, session)) for label in labels}
    drawn = [label for label, folder in folders.items() if picture_path(folder).is_file()]
    mapped = [label for label, folder in folders.items() if (folder / NAME).is_file()]
    known = [label for label in labels if label in {*drawn, *mapped}]
    label, why = _middle(known, similarity)
    if label not in drawn and label in mapped:
        try:
            write_picture(folders[label], read_report(folders[label], read_manifest(folders[label])))
        except InputError:  # some of the maps were removed since
            label, why = _middle(drawn, similarity)
    if label not in folders or not picture_path(folders[label]).is_file():
        return None
    path = picture_path(folders[label])
    told = path.with_suffix(".json")
    about = str(read_json(told).get("Description", label)) if told.is_file() else f"{label} in all arms."
    return GroupFigure(f"{label} in all arms", f"{about} {why}", about, path.read_bytes(), topic="maps")


def _middle(labels: Sequence[str], similarity: pd.DataFrame | None) -> tuple[str, str]:
    """The participant whose maps differ from the reference as much as those of the others do, and how it was chosen."""
    among = f"of {len(labels)} participants whose maps or picture are kept"
    if len(labels) < 2:
        return (labels[0] if labels else ""), ""
    means = pd.Series(dtype=float)
    if similarity is not None and "rmse_ppb" in similarity:
        means = similarity.groupby("participant_id")["rmse_ppb"].mean().reindex(list(labels)).dropna()
    if means.empty:
        return labels[0], f"It is the first {among}."
    order = means.sort_values(kind="stable").index
    return str(
        order[(len(order) - 1) // 2]
    ), f"It was chosen by rule: the middle {among}, by the mean RMSE of its arms."
