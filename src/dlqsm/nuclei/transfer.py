"""Labels of an atlas on a scan's own grid, moved as probabilities; and how much of them the scan covers."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from dlqsm.core.atlas import LABEL_PROBABILITY, Atlas
from dlqsm.core.scan import Grid
from dlqsm.nuclei.transforms import Chain, move, points_per_axis, positions, resample, sample, slice_grid, to_index


def transfer_labels(atlas: Atlas, chain: Chain, grid: Grid, near_mm: torch.Tensor) -> torch.Tensor:
    """Probability of each label on a grid: its mean over each voxel, never the label of a nearest neighbour.

    Parameters
    ----------
    atlas
        Labels as probabilities.
    chain
        Takes points of the grid's space to the atlas's.
    grid
        The scan's own grid.
    near_mm
        Points ``(n, 3)`` of the grid's space at the labels [mm]: only the voxels round them are computed.

    Returns
    -------
    ``(label, *grid.shape)`` float32 in [0, 1]; zero elsewhere.
    """
    out = torch.zeros((len(atlas.names), *grid.shape))
    box = _box_round(near_mm, grid)
    part = slice_grid(grid, box)
    if min(part.shape) > 0:
        per_axis = points_per_axis(grid, atlas.grid)
        out[:, *box] = resample(atlas.probabilities, atlas.grid, part, chain, per_axis=per_axis)
    return out


def labels_of(probabilities: torch.Tensor, names: Mapping[int, tuple[str, str]]) -> torch.Tensor:
    """The label with the largest probability where that is at least `LABEL_PROBABILITY`, uint8, 0 elsewhere."""
    largest, index = probabilities.max(0)
    numbers = torch.tensor(list(names), dtype=torch.uint8)
    return torch.where(largest >= LABEL_PROBABILITY, numbers[index], 0).to(torch.uint8)


def coverage(
    probabilities: torch.Tensor, box: Grid, valid: torch.Tensor, grid: Grid, to_scan: Chain
) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of each label's volume inside a scan's field of view, and inside its valid mask.

    Parameters
    ----------
    probabilities
        Labels on a grid that holds them whole, ``(label, *box.shape)``.
    box
        That grid.
    valid
        Where the scan's map is valid, bool on ``grid``.
    grid
        The scan's grid.
    to_scan
        Takes points of the box's space to the scan's.

    Returns
    -------
    Two vectors, one value a label.
    """
    weights = probabilities.flatten(1)
    points = move(positions(box).reshape(-1, 3), to_scan)
    inside = sample(valid[None].float(), grid, points)[0] >= 0.5
    index = to_index(grid).move(points)
    limits = torch.tensor(grid.shape) - 0.5
    seen = ((index >= -0.5) & (index <= limits)).all(-1)
    total = weights.sum(1).clamp_min(1e-6)
    return (weights * seen).sum(1) / total, (weights * (inside & seen)).sum(1) / total


def _box_round(points_mm: torch.Tensor, grid: Grid, margin_mm: float = 4.0) -> tuple[slice, slice, slice]:
    index = to_index(grid).move(points_mm)
    margin = margin_mm / torch.tensor(grid.voxel_size_mm)
    low, high = (index.amin(0) - margin).floor().int().tolist(), (index.amax(0) + margin).ceil().int().tolist()
    first = [min(max(a, 0), n) for a, n in zip(low, grid.shape, strict=True)]
    last = [min(max(b + 1, a), n) for a, b, n in zip(first, high, grid.shape, strict=True)]
    x, y, z = (slice(a, b) for a, b in zip(first, last, strict=True))
    return x, y, z
