"""Sequential kernels of region growing, on flat C-ordered arrays whose outermost layer of voxels is outside the mask.

Edge ``(axis, i)`` joins voxel ``i`` and voxel ``i + strides[axis]``; its cost is 1 (best) to 255, or 0 where there is
none. Numbers of turns are kept apart from the phase, so that the result differs from the input by whole turns exactly.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dlqsm.core.units import TWO_PI

N_COSTS = 256
Array = NDArray[Any]


@numba.njit(cache=True, nogil=True)
def _wrapped(difference: float) -> float:
    return difference - TWO_PI * np.round(difference / TWO_PI)


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def edge_costs(phase: Array, mask: Array, quality: Array, strides: Array) -> Array:
    """Cost of each edge from phase difference, its change along the line, and the quality of both ends."""
    n = phase.size
    costs = np.zeros((3, n), np.uint8)
    for axis in range(3):
        s = strides[axis]
        for i in range(n - s):
            j = i + s
            if not (mask[i] and mask[j]):
                continue
            d = _wrapped(phase[j] - phase[i])
            bend = 0.0
            ends = 0
            if i >= s and mask[i - s]:
                bend += abs(_wrapped(d - _wrapped(phase[i] - phase[i - s])))
                ends += 1
            if j + s < n and mask[j + s]:
                bend += abs(_wrapped(_wrapped(phase[j + s] - phase[j]) - d))
                ends += 1
            if ends == 2:
                bend *= 0.5
            q = (1.0 - abs(d) / np.pi) * (1.0 - bend / np.pi) ** 2 * np.sqrt(quality[i] * quality[j])
            costs[axis, i] = 1 + int(np.round(254.0 * (1.0 - q)))
    return costs


@numba.njit(cache=True, nogil=True, fastmath={"contract"})
def romeo_costs(phase: Array, mask: Array, quality: Array, strides: Array) -> Array:
    """Cost of each edge by the weights of ROMEO: coherence and linearity of the phase, coherence of the quality."""
    n = phase.size
    costs = np.zeros((3, n), np.uint8)
    for axis in range(3):
        s = strides[axis]
        for i in range(n - s):
            j = i + s
            if not (mask[i] and mask[j]):
                continue
            d = _wrapped(phase[j] - phase[i])
            q = _floored(1.0 - abs(d) / np.pi)
            linear = 1.0
            if i >= s and mask[i - s]:
                linear *= max(0.0, 1.0 - abs(_wrapped(d - _wrapped(phase[i] - phase[i - s]))) / 2.0)
            if j + s < n and mask[j + s]:
                linear *= max(0.0, 1.0 - abs(_wrapped(_wrapped(phase[j + s] - phase[j]) - d)) / 2.0)
            lower, higher = min(quality[i], quality[j]), max(quality[i], quality[j])
            q *= _floored(linear) * _floored((lower / higher) ** 2 if higher > 0.0 else 0.0)
            costs[axis, i] = 1 + int(np.round(254.0 * (1.0 - q)))
    return costs


@numba.njit(cache=True, nogil=True)
def _floored(weight: float) -> float:
    """A weight of which a tenth is left at worst, so that no weight alone closes an edge."""
    return 0.1 + 0.9 * weight


@numba.njit(cache=True, nogil=True)
def seed_costs(costs: Array, mask: Array, strides: Array) -> Array:
    """Mean cost of the six edges of a voxel, missing ones counted worst; 255 for a voxel on its own."""
    n = mask.size
    out = np.zeros(n, np.uint8)
    for i in range(n):
        if mask[i]:
            total = 0
            for axis in range(3):
                s = strides[axis]
                a, b = costs[axis, i], costs[axis, i - s]
                total += (a if a else 255) + (b if b else 255)
            out[i] = total // 6
    return out


@numba.njit(cache=True, nogil=True)
def grow(
    phase: Array, mask: Array, costs: Array, seed_order: Array, seed_cost: Array, stages: Array, strides: Array
) -> tuple[Array, Array, int]:
    """Grow regions along the cheapest edges; returns turns to add, region numbers from 1, and how many regions.

    Edges wait in first-in first-out queues, one a cost. At each stage all regions grow along edges up to the stage's
    cost; then voxels not reached become seeds of new regions, best first, as long as their cost is within the stage.
    """
    n = phase.size
    turns = np.zeros(n, np.int16)
    region = np.zeros(n, np.int32)
    head, tail, queue = _empty_queues(costs)
    n_regions, next_seed = 0, 0
    for stage in stages:
        while True:
            cost = 1
            while cost <= stage:
                if head[cost] == tail[cost]:
                    cost += 1
                    continue
                voxel = queue[head[cost]]
                head[cost] += 1
                if region[voxel] == 0:
                    _join(voxel, phase, costs, strides, turns, region)
                    cost = min(cost, _push_edges(voxel, mask, costs, strides, region, tail, queue))
            while next_seed < seed_order.size and region[seed_order[next_seed]] != 0:
                next_seed += 1
            if next_seed == seed_order.size or seed_cost[seed_order[next_seed]] > stage:
                break
            n_regions += 1
            region[seed_order[next_seed]] = n_regions
            _push_edges(seed_order[next_seed], mask, costs, strides, region, tail, queue)
    return turns, region, n_regions


@numba.njit(cache=True, nogil=True)
def _empty_queues(costs: Array) -> tuple[Array, Array, Array]:
    """One stretch of a common array for each cost: an edge is pushed once at most, so the histogram is the capacity."""
    counts = np.zeros(N_COSTS + 1, np.int64)
    for cost in costs.flat:
        counts[cost + 1] += 1
    counts[1] = 0
    head = np.cumsum(counts)
    return head[:-1].copy(), head[:-1].copy(), np.empty(head[-1], np.int32)


@numba.njit(cache=True, nogil=True)
def _push_edges(voxel: int, mask: Array, costs: Array, strides: Array, region: Array, tail: Array, queue: Array) -> int:
    """Queue the neighbours that no region has reached; returns the lowest cost among them."""
    lowest = N_COSTS
    for axis in range(3):
        for sign in (-1, 1):
            j = voxel + sign * strides[axis]
            if mask[j] and region[j] == 0:
                cost = int(costs[axis, min(voxel, j)])
                queue[tail[cost]] = j
                tail[cost] += 1
                lowest = min(lowest, cost)
    return lowest


@numba.njit(cache=True, nogil=True)
def _join(voxel: int, phase: Array, costs: Array, strides: Array, turns: Array, region: Array) -> None:
    """Give a voxel the region of its cheapest reached neighbour and the turns that its neighbours there vote for."""
    best, best_cost = -1, N_COSTS
    for axis in range(3):
        for sign in (-1, 1):
            j = voxel + sign * strides[axis]
            if region[j] != 0 and costs[axis, min(voxel, j)] < best_cost:
                best, best_cost = j, int(costs[axis, min(voxel, j)])
    region[voxel] = region[best]
    first = turns[best] + int(np.round((phase[best] - phase[voxel]) / TWO_PI))
    votes = np.zeros(3)
    for axis in range(3):
        for sign in (-1, 1):
            j = voxel + sign * strides[axis]
            if region[j] == region[best]:
                choice = turns[j] + int(np.round((phase[j] - phase[voxel]) / TWO_PI)) - first
                if -1 <= choice <= 1:
                    votes[choice + 1] += (256.0 - costs[axis, min(voxel, j)]) ** 2
    turns[voxel] = first + np.argmax(votes) - 1


@numba.njit(cache=True, nogil=True)
def border_votes(phase: Array, turns: Array, region: Array, costs: Array, strides: Array) -> tuple[Array, Array]:
    """Edges between regions: ``(n, 3)`` of lower region, higher region and the turns the higher one lacks; weights."""
    n, count = phase.size, 0
    for axis in range(3):
        for i in range(n - strides[axis]):
            if costs[axis, i] and region[i] != region[i + strides[axis]]:
                count += 1
    votes, weights = np.empty((count, 3), np.int64), np.empty(count, np.float64)
    at = 0
    for axis in range(3):
        for i in range(n - strides[axis]):
            j = i + strides[axis]
            if costs[axis, i] and region[i] != region[j]:
                a, b = (i, j) if region[i] < region[j] else (j, i)
                votes[at, 0], votes[at, 1] = region[a], region[b]
                votes[at, 2] = turns[a] - turns[b] + int(np.round((phase[a] - phase[b]) / TWO_PI))
                weights[at] = ((256.0 - costs[axis, i]) / 255.0) ** 2
                at += 1
    return votes, weights


@numba.njit(cache=True, nogil=True)
def count_residues(phase: Array, mask: Array, strides: Array) -> tuple[int, int]:
    """Loops of four voxels whose wrapped differences do not add to zero, and all loops inside the mask."""
    n, residues, loops = phase.size, 0, 0
    for a in range(3):
        for b in range(a + 1, 3):
            s, t = strides[a], strides[b]
            for i in range(n - s - t):
                if mask[i] and mask[i + s] and mask[i + t] and mask[i + s + t]:
                    loops += 1
                    total = _wrapped(phase[i + s] - phase[i]) + _wrapped(phase[i + s + t] - phase[i + s])
                    total += _wrapped(phase[i + t] - phase[i + s + t]) + _wrapped(phase[i] - phase[i + t])
                    residues += abs(total) > np.pi
    return residues, loops


@numba.njit(cache=True, nogil=True)
def count_jumps(phase: Array, mask: Array, strides: Array) -> tuple[int, int]:
    """Neighbours inside the mask that differ by more than half a turn, and all neighbours there."""
    n, jumps, edges = phase.size, 0, 0
    for axis in range(3):
        for i in range(n - strides[axis]):
            if mask[i] and mask[i + strides[axis]]:
                edges += 1
                jumps += abs(phase[i + strides[axis]] - phase[i]) > np.pi
    return jumps, edges
