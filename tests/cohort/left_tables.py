"""What the participant stage leaves, made up: tables of arms that no image was ever taken of."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dlqsm.cohort.participant import RECORDS
from dlqsm.cohort.records import write_record
from dlqsm.core.labels import NUCLEI
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import registration_path, table_path
from dlqsm.io.outputs import write_json
from dlqsm.io.tables import write_table


def measured(
    out: Path, label: str, arms: tuple[str, ...], *, settings: str = "same", rois: Sequence[str] = NUCLEI
) -> ParticipantSource:
    """A participant whose stages left their tables, with made-up values."""
    person, _, session = label.partition("_")
    key = {"participant_id": person, **({"session_id": session} if session else {})}
    rows = [{**key, "arm": arm, "roi": roi, "side": "both", "mean_ppb": 10.0 * i} for arm in arms
            for i, roi in enumerate(rois)]  # fmt: skip
    table_path(out, label, "nuclei").parent.mkdir(parents=True, exist_ok=True)
    write_table(table_path(out, label, "nuclei"), pd.DataFrame(rows))
    compared = [{**key, "arm": arm, "reference": arms[0], "ssim": 0.8} for arm in arms[1:]]
    columns = [*key, "arm", "reference", "ssim"]
    write_table(table_path(out, label, "similarity"), pd.DataFrame(compared, columns=columns))
    write_json(registration_path(out, label), {arm: {"rotation_deg": 0.0} for arm in arms})
    write_record(out / RECORDS / label / "all_nuclei.json", "k", out, [], 1.0, settings=settings, code="1")
    return ParticipantSource(label, ())


def scanned(bids: Path, label: str, arms: Sequence[str]) -> None:
    """Files by whose names a dataset has these arms; none is opened by the group stage."""
    person, _, session = label.partition("_")
    folder = bids / person / session / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    for arm in arms:
        for part in ("mag", "phase"):
            (folder / f"{label}_acq-{arm}_echo-1_part-{part}_MEGRE.nii.gz").touch()
