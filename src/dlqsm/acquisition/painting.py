"""From template positions to tissue: which tissue a voxel holds, and the values of mixed ones."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

import numpy as np
import torch

from dlqsm.acquisition.deformation import Volumes, invert
from dlqsm.acquisition.nuclei_shapes import STRUCTURES, Structure
from dlqsm.acquisition.surroundings import MENINGES_MM, SCALP_MM
from dlqsm.acquisition.tissue import TISSUE_NUMBERS, TISSUES, TissueValues
from dlqsm.core.labels import NUCLEI
from dlqsm.core.scan import Affine
from dlqsm.core.units import PPB_PER_PPM

Block = tuple[slice, slice, slice]
PlacedStructure = tuple[Structure, float, Block]

PARENCHYMA: Final = torch.tensor([TISSUE_NUMBERS[name] for name in ("GM", "WM", "CSF")], dtype=torch.uint8)
"""Tissue numbers in the order of `fractions.sharpened_fractions`."""


def classify(distances: torch.Tensor) -> torch.Tensor:
    """Tissue number of each voxel from the signed distances of `surroundings.CHANNELS`; CSF inside the meninges."""
    hull, skin, air, bone, eye = distances
    tissue = torch.full(hull.shape, TISSUE_NUMBERS["muscle"], dtype=torch.uint8)
    tissue[skin > -0.6 * SCALP_MM] = TISSUE_NUMBERS["fat"]
    tissue[eye < 4.0] = TISSUE_NUMBERS["fat"]
    tissue[eye < 0.0] = TISSUE_NUMBERS["eye"]
    tissue[bone < 0.0] = TISSUE_NUMBERS["bone"]
    tissue[(air < 0.0) | (skin > 0.0)] = TISSUE_NUMBERS["air"]
    tissue[hull < MENINGES_MM] = TISSUE_NUMBERS["CSF"]
    return tissue


def place_structures(displacement: Volumes, to_template: Affine) -> list[PlacedStructure]:
    """Every structure on each side with the voxels that it may reach, in the order of painting."""
    to_index = np.linalg.inv(to_template).astype(np.float64)
    return [
        (structure, side, _voxel_block(structure, side, displacement, to_index))
        for structure in STRUCTURES
        for side in structure.sides
    ]


def paint_structures(
    placed: list[PlacedStructure], position: torch.Tensor, first: int, structures: torch.Tensor, nuclei: torch.Tensor
) -> None:
    """Write structures into the slab that begins at plane ``first``: tissue numbers, and labels of nuclei."""
    for structure, side, (x, y, z) in placed:
        block = (slice(max(x.start - first, 0), max(min(x.stop - first, len(position)), 0)), y, z)
        if structures[block].numel() == 0:
            continue
        level = structure.level(position[block], side)
        if structure.lamina_mm:
            rim = (level > -structure.lamina_mm) & (nuclei[block] > 0)
            structures[block][rim], nuclei[block][rim] = TISSUE_NUMBERS["WM"], 0
        structures[block][level > 0] = TISSUE_NUMBERS[structure.tissue]
        if structure.tissue in NUCLEI:
            nuclei[block][level > 0] = NUCLEI.index(structure.tissue) + 1 + (len(NUCLEI) if side > 0 else 0)


def value_table(values: Mapping[str, TissueValues]) -> torch.Tensor:
    """Rows chi [ppm], R2* [1/s], R1 [1/s], proton density; columns by `TISSUE_NUMBERS`."""
    columns = [(v.chi_ppm, v.r2star_hz, 1.0 / v.t1_s, v.proton_density) for v in (values[name] for name in TISSUES)]
    return torch.tensor(columns, dtype=torch.float32).T.contiguous()


def mixed_values(
    values: Mapping[str, TissueValues], shares: torch.Tensor, texture: torch.Tensor, structures: torch.Tensor
) -> torch.Tensor:
    """Values of brain voxels: a structure's own where there is one, else the mean over shares; texture added to chi."""
    table = value_table(values)
    texture_ppm = torch.tensor([row.texture_ppb for row in TISSUES.values()]) / PPB_PER_PPM
    found = table[:, PARENCHYMA.long()] @ shares
    amplitude = texture_ppm[PARENCHYMA.long()] @ shares
    within = structures > 0
    found[:, within] = table[:, structures[within].long()]
    amplitude[within] = texture_ppm[structures[within].long()]
    found[0] += amplitude * texture
    return found


def _voxel_block(
    structure: Structure, side: float, displacement: Volumes, to_index: Affine, margin_mm: float = 1.5
) -> Block:
    """Voxel ranges of a structure's box, its lattice of 27 points carried back through the deformation."""
    lower, upper = structure.box(side)
    ticks = [(a - margin_mm, 0.5 * (a + b), b + margin_mm) for a, b in zip(lower, upper, strict=True)]
    points = invert(displacement, np.array(list(itertools.product(*ticks))))
    index = points @ to_index[:3, :3].T + to_index[:3, 3]
    starts, stops = np.floor(index.min(0)).astype(int), np.ceil(index.max(0)).astype(int) + 1
    x, y, z = (slice(max(int(a), 0), max(int(b), 0)) for a, b in zip(starts, stops, strict=True))
    return x, y, z
