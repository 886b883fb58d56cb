"""What ``dlqsm qsm --strength-curve`` writes: loaded on request only, as a command is."""

from __future__ import annotations

from pathlib import Path

import torch

from dlqsm.cohort.chain_input import ChainInput
from dlqsm.config import QsmConfig
from dlqsm.io.outputs import whole_file
from dlqsm.io.tables import write_table
from dlqsm.pipeline import QsmMaps
from dlqsm.pipeline.strength import COLUMNS, strength_table
from dlqsm.qsm.inversion.strength import NEAR
from dlqsm.report.strength_figure import strength_picture

STEM = "strength_curve"


def save_curve(folder: Path, maps: QsmMaps, source: ChainInput, config: QsmConfig, device: torch.device) -> None:
    """Write the table and the picture of what other strengths would fit and foretell."""
    magnitude = source.sums.power.to(device).sum(0).sqrt()
    table = strength_table(maps, magnitude, source.scan, config)
    chosen = "strength_ppm" in maps.summary["convergence"]["inversion"]["chosen"]
    about: dict[str, object] = {"Strength": "chosen from the data" if chosen else "given"}
    write_table(folder / f"{STEM}.tsv", table, about, columns=COLUMNS)
    with whole_file(folder / f"{STEM}.png") as partial:
        partial.write_bytes(strength_picture(table, chosen=chosen, near=NEAR))
