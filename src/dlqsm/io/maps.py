"""The maps of ``dlqsm qsm``: file names, units and sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import dlqsm
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import write_json

UNITS = {
    "Chimap": "ppm",
    "fieldmap_desc-total": "Hz",
    "fieldmap_desc-local": "Hz",
    "fieldmap_desc-noise": "Hz",
    "mask": "1",
    "mask_desc-eroded": "1",
    "R2starmap": "1/s",
    "quality": "1",
}
"""File stem to unit; the stems are the contract with every later step."""

SUMMARY = "qsm.json"


def write_maps(
    folder: Path, maps: Mapping[str, torch.Tensor], grid: Grid, sidecars: Mapping[str, dict[str, Any]]
) -> None:
    """Write each map with its JSON sidecar; stems are keys of `UNITS`."""
    for stem, values in maps.items():
        write_volume(folder / f"{stem}.nii.gz", values, grid)
        content = {"Units": UNITS[stem], **sidecars.get(stem, {}), "SkullStripped": stem != "fieldmap_desc-total"}
        write_json(folder / f"{stem}.json", {**content, "Software": {"dlqsm": dlqsm.__version__}})


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``qsm.json``, last of all: its presence says that the folder is complete."""
    write_json(folder / SUMMARY, summary)
