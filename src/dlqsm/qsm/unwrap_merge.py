"""Joining grown regions: how many whole turns each has to be shifted, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csgraph, csr_array

from dlqsm.core.units import TWO_PI
from dlqsm.qsm import unwrap_kernels as kernels

Array = NDArray[Any]
MAX_FIT_VOXELS = 20_000
"""Voxels of the largest part to which the quadratic for detached parts is fitted: plenty for ten unknowns."""


@dataclass(frozen=True, slots=True)
class Growth:
    """Flat arrays of the grown regions.

    Parameters
    ----------
    shape, strides
        Of the box that was flattened, with its empty outer layer.
    phase, costs
        Wrapped phase [rad]; cost of each edge ``(3, n)``, 0 where there is none.
    turns, region
        Whole turns to add, relative to the seed of the voxel's region; region number, 0 outside the mask.
    n_regions
        The highest region number.
    """

    shape: tuple[int, int, int]
    strides: Array
    phase: Array
    costs: Array
    turns: Array
    region: Array
    n_regions: int


@dataclass(frozen=True, slots=True)
class Merge:
    """Turns to add to each region (index 0 unused), which regions are uncertain, and how many parts were detached."""

    shift: Array
    uncertain: Array
    n_detached: int


@dataclass(frozen=True, slots=True)
class _Borders:
    """One entry a pair of touching regions a < b: turns that b lacks, votes for and against, edges."""

    a: Array
    b: Array
    turns: Array
    strength: Array
    agreement: Array
    n_edges: Array


def merge_regions(growth: Growth, least_agreement: float, least_border: int) -> Merge:
    """Join regions along the spanning tree of strongest borders, then place what touches nothing."""
    n = growth.n_regions + 1
    shift, uncertain = np.zeros(n, np.int64), np.zeros(n, np.bool_)
    if growth.n_regions < 2:
        return Merge(shift, uncertain, 0)
    sizes = np.bincount(growth.region, minlength=n)
    borders = _borders(growth)
    smaller = np.minimum(sizes[borders.a], sizes[borders.b])
    doubtful = (borders.agreement < least_agreement) | (borders.n_edges < np.minimum(least_border, smaller))
    # The spanning tree of least 1 / strength is that of greatest strength; SciPy before 1.16 wants 32-bit indices.
    places = borders.a.astype(np.int32), borders.b.astype(np.int32)
    graph = csr_array((1.0 / borders.strength, places), shape=(n, n))
    tree = csgraph.minimum_spanning_tree(graph)
    of_pair = {(int(a), int(b)): i for i, (a, b) in enumerate(zip(borders.a, borders.b, strict=True))}
    parts = _parts_by_size(tree, sizes)
    for members in parts:
        root = members[np.argmax(sizes[members])]
        order, before = csgraph.breadth_first_order(tree, root, directed=False)
        for region in order[1:]:
            previous = before[region]
            i = of_pair[int(min(region, previous)), int(max(region, previous))]
            shift[region] = shift[previous] + (1 if region > previous else -1) * borders.turns[i]
            uncertain[region] = uncertain[previous] or doubtful[i]
    for members in parts[1:]:
        turns, agreement = _extrapolated_turns(growth, shift, parts[0], members)
        shift[members] += turns
        uncertain[members] |= agreement < least_agreement
    return Merge(shift, uncertain, len(parts) - 1)


def _borders(growth: Growth) -> _Borders:
    """Add up the votes of each pair of regions; the most voted number of turns wins."""
    votes, weights = kernels.border_votes(growth.phase, growth.turns, growth.region, growth.costs, growth.strides)
    choices, at = np.unique(votes, axis=0, return_inverse=True)
    choice_weight = np.bincount(at.ravel(), weights, minlength=len(choices))
    choice_edges = np.bincount(at.ravel(), minlength=len(choices))
    pairs, of_choice = np.unique(choices[:, :2], axis=0, return_inverse=True)
    of_choice = of_choice.ravel()
    total = np.bincount(of_choice, choice_weight, minlength=len(pairs))
    n_edges = np.bincount(of_choice, choice_edges, minlength=len(pairs))
    by_weight = np.argsort(choice_weight, kind="stable")
    best = np.zeros(len(pairs), np.int64)
    best[of_choice[by_weight]] = by_weight  # the last one written has the greatest weight
    won = choice_weight[best]
    strength = np.maximum(2.0 * won - total, 1e-6 * (won + 1.0))
    agreement = won / np.maximum(total, np.finfo(np.float64).tiny)
    return _Borders(pairs[:, 0], pairs[:, 1], choices[best, 2], strength, agreement, n_edges)


def _parts_by_size(tree: csr_array, sizes: Array) -> list[Array]:
    """Region numbers of each connected part of the mask, largest part first."""
    n_parts, part = csgraph.connected_components(tree, directed=False)
    part_sizes = np.bincount(part[1:], sizes[1:], minlength=n_parts)
    by_size = np.argsort(-part_sizes, kind="stable")
    return [1 + np.flatnonzero(part[1:] == p) for p in by_size if part_sizes[p] > 0]


def _extrapolated_turns(growth: Growth, shift: Array, main: Array, part: Array) -> tuple[int, float]:
    """Turns that bring a detached part nearest to a quadratic through the largest part, and the share that agrees.

    The fit weighs voxels by 1 / (1 + (distance / extent of the part)^2)^2, so that what is near decides.
    """
    chosen = np.isin(growth.region, part).nonzero()[0]
    others = np.isin(growth.region, main).nonzero()[0]
    others = others[:: max(1, others.size // MAX_FIT_VOXELS)]
    centre = _positions(chosen, growth.shape).mean(0)
    here, there = _positions(chosen, growth.shape) - centre, _positions(others, growth.shape) - centre
    extent = max(float(np.sqrt((here**2).sum(1).mean())), float(np.sqrt((there**2).sum(1).min())), 1.0)
    weight = 1.0 / (1.0 + (there**2).sum(1) / extent**2)
    solution = np.linalg.lstsq(
        weight[:, None] * _quadratic(there / extent), weight * _unwrapped(growth, shift, others), rcond=1e-8
    )
    gap = (_quadratic(here / extent) @ solution[0] - _unwrapped(growth, shift, chosen)) / TWO_PI
    turns = int(np.round(np.median(gap)))
    return turns, float((np.abs(gap - turns) < 0.5).mean())


def _unwrapped(growth: Growth, shift: Array, voxels: Array) -> Array:
    return growth.phase[voxels] + TWO_PI * (growth.turns[voxels] + shift[growth.region[voxels]])


def _positions(voxels: Array, shape: tuple[int, int, int]) -> Array:
    return np.stack(np.unravel_index(voxels, shape), axis=1).astype(np.float64)


def _quadratic(r: Array) -> Array:
    """The ten monomials of second order in the columns of ``r``."""
    x, y, z = r.T
    return np.stack([np.ones_like(x), x, y, z, x * x, y * y, z * z, x * y, y * z, x * z], axis=1)
