"""How the images of coils become what the field is estimated from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from dlqsm.core.scan import Scan
from dlqsm.qsm.mcpc3ds import mcpc3ds

Combination = Callable[[torch.Tensor, torch.Tensor, Scan], tuple[torch.Tensor, torch.Tensor]]
"""Magnitude and phase ``(echo, coil, x, y, z)`` to magnitude and phase of as many coils, or of one."""


def apart(magnitude: torch.Tensor, phase_rad: torch.Tensor, scan: Scan) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave the coils apart: the lag sums of MDI run over them, and their phases cancel there."""
    del scan
    return magnitude, phase_rad


COIL_COMBINATIONS: Final[dict[str, Combination]] = {"mdi": apart, "mcpc3ds": mcpc3ds}
