"""The maps of ``dlqsm qsm``: file names, units and sidecars."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from dlqsm.core.scan import Grid
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import write_json
from dlqsm.io.version import full_version

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

UNCERTAINTY_UNITS = {"Chimap_desc-noise": "ppm", "Chimap_desc-realisations": "ppm"}
"""Further stems, of maps that are made when asked for."""
LEAST_PPM = 2.0**-17
"""Realisations are rounded to 0.008 ppb, so that they compress; rounding is averaged away in any nucleus."""

SUMMARY = "qsm.json"


def write_maps(
    folder: Path, maps: Mapping[str, torch.Tensor], grid: Grid, sidecars: Mapping[str, dict[str, Any]]
) -> None:
    """Write each map with its JSON sidecar; stems are keys of `UNITS` or `UNCERTAINTY_UNITS`."""
    units = UNITS | UNCERTAINTY_UNITS
    for stem, values in maps.items():
        write_volume(folder / f"{stem}.nii.gz", values, grid)
        content = {"Units": units[stem], **sidecars.get(stem, {}), "SkullStripped": stem != "fieldmap_desc-total"}
        write_json(folder / f"{stem}.json", {**content, "Software": {"dlqsm": full_version()}})


def rounded_realisations(errors_ppm: torch.Tensor) -> torch.Tensor:
    """Realisations ``(n, x, y, z)`` as they are written: ``(x, y, z, n)``, rounded to `LEAST_PPM`."""
    return (errors_ppm / LEAST_PPM).round_().mul_(LEAST_PPM).movedim(0, -1)


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``qsm.json``, last of all: its presence says that the folder is complete."""
    write_json(folder / SUMMARY, summary)
