"""An atlas of the nuclei: a template image, the probability of each label, and what the labels mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from dlqsm.core.checks import InputError, require_shape
from dlqsm.core.scan import Grid

LABEL_PROBABILITY = 0.5
"""A voxel belongs to a label where its probability is at least this."""


@dataclass(frozen=True, slots=True, eq=False)
class Atlas:
    """Template and labels in one space.

    Parameters
    ----------
    name
        What the user calls it: ``virtual``, ``cit168``, or the folder's name.
    template
        T1-weighted contrast, ``(x, y, z)``, zero or more.
    skull_stripped
        Whether the template shows the brain only.
    probabilities
        One volume a label, ``(label, x, y, z)`` float32 in [0, 1], in the order of ``names``.
    names
        Label number to (region, side), side ``left`` or ``right``.
    grid
        Grid of all volumes.
    brain
        Brain mask of the template, ``(x, y, z)`` bool.
    chi_ppm
        Susceptibility of the template [ppm], for a second channel; None where the atlas has none.
    source
        Where it comes from, version and hashes, for the record.

    Raises
    ------
    InputError
        If shapes or the number of labels disagree.
    """

    name: str
    template: torch.Tensor
    skull_stripped: bool
    probabilities: torch.Tensor
    names: Mapping[int, tuple[str, str]]
    grid: Grid
    brain: torch.Tensor
    chi_ppm: torch.Tensor | None = None
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_shape(f"template of atlas {self.name}", self.template, self.grid.shape, "the atlas's grid")
        require_shape(f"brain mask of atlas {self.name}", self.brain, self.grid.shape, "the atlas's grid")
        if tuple(self.probabilities.shape) != (len(self.names), *self.grid.shape):
            raise InputError(
                f"atlas {self.name}: probabilities have shape {tuple(self.probabilities.shape)}; expected "
                f"{(len(self.names), *self.grid.shape)}, one volume a label on the template's grid"
            )
