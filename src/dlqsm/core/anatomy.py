"""Template anatomy that the virtual head is made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Brain-only T1 contrast and tissue fractions in MNI space.

    Parameters
    ----------
    t1
        T1-weighted contrast in [0, 1], zero outside the brain.
    gm, wm
        Fractions of grey and white matter in [0, 1]; what the brain has beside them is CSF.
    grid
        Their common grid; its affine gives MNI positions [mm].

    Raises
    ------
    InputError
        If an array does not have the shape of the grid.
    """

    t1: NDArray[np.float32]
    gm: NDArray[np.float32]
    wm: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        for name in ("t1", "gm", "wm"):
            shape = getattr(self, name).shape
            if shape != self.grid.shape:
                raise InputError(
                    f"anatomy: {name} has shape {shape}; expected {self.grid.shape}, the shape of its grid"
                )
