"""The built-in atlas: the virtual head without deformation, its nuclei as probabilities on a 1 mm grid."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import torch
from torch.nn import functional

import dlqsm
from dlqsm.acquisition.head import ISOCENTRE_MNI_MM, Head, Pose, tissue_maps
from dlqsm.acquisition.t1w import inversion_recovery
from dlqsm.acquisition.undeformed import undeformed_head
from dlqsm.core.atlas import Atlas
from dlqsm.core.fourier import bounding_box
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy

SHAPE: Final = (160, 196, 180)
"""Voxels of 1 mm: holds brain and scalp above the neck."""
FINE: Final = 2
"""Cells along each edge of a voxel near the nuclei."""
MARGIN_MM: Final = 4.0


@functools.cache
def virtual_atlas() -> Atlas:
    """The virtual head's own atlas, in MNI152 positions; made once in a process.

    T1-weighted contrast, brain and susceptibility come from the undeformed head with mean tissue values. Near the
    nuclei each voxel is the mean of 2 x 2 x 2 cells, so that labels are shares of the voxel.
    """
    head = undeformed_head(load_anatomy())
    grid = Grid.centred(SHAPE, (1.0, 1.0, 1.0), np.eye(3))
    maps = tissue_maps(head, grid, Pose())
    template, chi_ppm = inversion_recovery(maps), maps.chi_ppm * maps.brain
    names = label_table()
    probabilities = torch.zeros((len(names), *grid.shape))
    box = bounding_box(maps.labels > 0, MARGIN_MM, grid.voxel_size_mm)
    template[box], chi_ppm[box], probabilities[:, *box] = _fine(head, grid, box)
    x, y, z = (a + b for a, b in zip(grid.origin_mm, ISOCENTRE_MNI_MM, strict=True))
    return Atlas(
        name="virtual",
        template=template,
        skull_stripped=False,
        probabilities=probabilities,
        names=names,
        grid=Grid(grid.shape, grid.voxel_size_mm, origin_mm=(x, y, z)),
        brain=maps.brain,
        chi_ppm=chi_ppm,
        source={"atlas": "the virtual head without deformation", "version": dlqsm.__version__},
    )


def _fine(head: Head, grid: Grid, box: tuple[slice, slice, slice]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Template, susceptibility and label shares of a box, averaged over its cells."""
    maps = tissue_maps(head, _cells(grid, box), Pose())
    shares = [_averaged((maps.labels == number).float()) for number in label_table()]
    return _averaged(inversion_recovery(maps)), _averaged(maps.chi_ppm * maps.brain), torch.stack(shares)


def _cells(grid: Grid, box: tuple[slice, slice, slice]) -> Grid:
    ex, ey, ez = (edge / FINE for edge in grid.voxel_size_mm)
    first = np.array([part.start for part in box]) - 0.5 + 0.5 / FINE
    x, y, z = (float(v) for v in (grid.affine @ np.append(first, 1.0))[:3])
    nx, ny, nz = ((part.stop - part.start) * FINE for part in box)
    return Grid((nx, ny, nz), (ex, ey, ez), grid.rotation, (x, y, z))


def _averaged(cells: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool3d(cells[None, None], FINE)[0, 0]
