"""Similarity of the arms' susceptibility maps with that of the reference arm, inside the mask that all arms share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pandas as pd

from dlqsm.agreement.similarity import compare_maps
from dlqsm.agreement.similarity_definitions import all_definitions
from dlqsm.io.bids_names import participant_of, session_of
from dlqsm.io.derivatives import sidecar_of, table_path
from dlqsm.io.tables import COLUMNS, write_table
from dlqsm.pipeline.nuclei import ArmNuclei

SIMILARITY: Final = "similarity"
DEFINITIONS: Final = "similaritydefinitions"
"""Labels of the two tables of a participant."""
_SESSION: Final = "session_id"
_KEYS: Final = ("participant_id", "arm", "reference")
_WHOSE: Final = {name: COLUMNS[name] for name in ("participant_id", _SESSION, "arm")} | {
    "reference": "Arm it is compared with"
}
SIMILARITY_COLUMNS: Final = {
    **_WHOSE,
    "rmse_ppb": "Root mean square difference inside the mask that all arms share [ppb]",
    "nrmse_percent": "The same relative to the reference [percent]",
    "ssim": "Structural similarity, 3-D, window 0.5 ppm, mean over the mask",
    "xsim": "Structural similarity with the constants made for susceptibility",
    "psnr_db": "20 log10(0.5 ppm / RMSE) [dB]",
    "hfen_percent": "High-frequency error relative to the reference [percent]",
    "sharpness_ratio": "Slope across the edges of the reference, over that of the reference; below 1 is blur",
}
DEFINITION_COLUMNS: Final = {
    **_WHOSE,
    "measure": "ssim, or psnr_db [dB]; in the group's table also xsim, rmse_ppb [ppb] and sharpness_ratio",
    "scale": "Peak of PSNR and data range of SSIM: window 0.5 ppm; one 1 ppm; max, range: of the reference arm's map",
    "domain": "volume: the whole array, zero outside the brain; brain: the mask; box: the smallest box round the mask",
    "dimension": "2d: slice by slice along the last axis; 3d: the volume at once",
    "value": "What the definition gives",
}


def write_similarity(out: Path, label: str, reference: str, aligned: Sequence[ArmNuclei]) -> list[Path]:
    """Write both tables of a participant, and return the files.

    Parameters
    ----------
    out
        Folder of the derivatives.
    label
        Participant, with ``sub-``, or one of its sessions.
    reference
        Name of the arm that the others are compared with.
    aligned
        Maps of all arms on the grid of the reference arm.
    """
    figures, definitions = similarity_tables(label, reference, aligned)
    paths = [table_path(out, label, SIMILARITY), table_path(out, label, DEFINITIONS)]
    write_table(paths[0], figures, {"Reference": reference}, columns=SIMILARITY_COLUMNS)
    write_table(paths[1], definitions, {"Reference": reference}, columns=DEFINITION_COLUMNS)
    return [*paths, *map(sidecar_of, paths)]


def similarity_tables(label: str, reference: str, aligned: Sequence[ArmNuclei]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Figures of `agreement.similarity`, one row an arm; and SSIM and PSNR in all definitions, one row each."""
    target = next(found for found in aligned if found.name == reference)
    figures, definitions = [], []
    for found in aligned:
        if found.name == reference:
            continue
        key = dict(zip(_KEYS, (participant_of(label), found.name, reference), strict=True))
        maps = found.chi_ppm, target.chi_ppm, target.common & found.common
        figures.append({**key, **compare_maps(*maps, target.grid)})
        definitions += [{**key, **asdict(one)} for one in all_definitions(*maps)]
    told = [name for name in DEFINITION_COLUMNS if name != _SESSION]
    tables = (
        pd.DataFrame(figures, columns=None if figures else list(_KEYS)),
        pd.DataFrame(definitions, columns=None if definitions else told),
    )
    if session_of(label):
        for table in tables:
            table.insert(1, _SESSION, session_of(label))
    return tables
