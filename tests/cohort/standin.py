"""``dlqsm`` with a registration that takes no time: labels are blocks in the middle of the grid, nothing moves.

For tests of stages, records and interruptions, which are the same whatever the registration does. Run as a program it
is the command line with this registration in place.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch

from dlqsm.cli import main
from dlqsm.cli import run as run_command
from dlqsm.cohort import nuclei_stage
from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei

GRID = Grid((4, 4, 4), (1.0, 1.0, 1.0))


def find_atlas(name: str) -> Atlas:
    volume = torch.zeros(GRID.shape)
    probabilities = torch.zeros(len(label_table()), *GRID.shape)
    return Atlas(name, volume, False, probabilities, label_table(), GRID, volume > 0)


def locate_nuclei(arms: Sequence[ArmMap], atlas: Atlas, *, reference: str, **_: Any) -> list[ArmNuclei]:
    common = torch.stack([arm.valid for arm in arms]).all(0)
    found = []
    for arm in arms:
        labels = torch.zeros(arm.grid.shape, dtype=torch.uint8)
        x, y, z = (n // 2 for n in arm.grid.shape)
        for number in atlas.names:
            labels[x - 7 + number, y : y + 3, z : z + 3] = number
        mean_ppm = float(arm.chi_ppm[common].mean())
        account = {"is_reference": arm.name == reference, "warnings": []}
        shares = torch.stack([(labels == number).float() for number in atlas.names])
        found.append(ArmNuclei(arm.name, arm.grid, arm.chi_ppm - mean_ppm, labels, shares, common, mean_ppm, account))
    return found


def put_in_place(patch: Any) -> None:
    """Replace the registration by means of ``patch(module, name, value)``."""
    patch(nuclei_stage, "known_atlas", find_atlas)
    patch(run_command, "known_atlas", find_atlas)
    patch(nuclei_stage, "locate_nuclei", locate_nuclei)


if __name__ == "__main__":
    put_in_place(setattr)
    sys.exit(main(sys.argv[1:]))
