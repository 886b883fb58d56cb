"""Haar wavelets of volumes of any size at any shift, orthonormal, and the shrinkage of their coefficients.

An axis is cut into cells of 8 voxels whose borders lie at -shift, 8 - shift, ...; cells at the ends are cut off by the
edge of the volume, so that nothing wraps around. Three levels merge neighbours in pairs: nodes a and b of n_a and n_b
voxels become sqrt(n_a / n) a + sqrt(n_b / n) b and sqrt(n_b / n) a - sqrt(n_a / n) b with n = n_a + n_b. These
maps are orthonormal and their own inverses whatever the sizes, and a constant has no detail, also at the ends. Places
outside the volume are nodes of no voxels: the same formulas leave them zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from dlqsm.reconstruction.sparse.shrinkage import shrink_groups
from dlqsm.reconstruction.sparse.wavelet_kernel import shrink_cells

CELL = 8
_LEVELS = 3
Weights = NDArray[np.float32]
Shift = tuple[int, int, int]


def merge_weights(n: int, shift: int) -> tuple[Weights, Weights]:
    """sqrt(n_a / n) and sqrt(n_b / n) of the merges in each cell of an axis.

    Parameters
    ----------
    n
        Voxels along the axis.
    shift
        Voxels of the first cell that lie before the volume, 0 to 7.

    Returns
    -------
    Two arrays ``(cell, 7)``: four merges of the first level, two of the second, one of the third.
    """
    n_cells = -(-(shift + n) // CELL)
    inside = np.zeros(n_cells * CELL)
    inside[shift : shift + n] = 1.0
    first, second = [], []
    nodes = inside.reshape(n_cells, CELL)
    for _ in range(_LEVELS):
        a, b = nodes[:, 0::2], nodes[:, 1::2]
        total = np.where(a + b > 0, a + b, 1.0)
        # A merge of two nodes without voxels must still be a rotation.
        first.append(np.sqrt(np.where(a + b > 0, a / total, 1.0)))
        second.append(np.sqrt(b / total))
        nodes = a + b
    return np.concatenate(first, 1).astype(np.float32), np.concatenate(second, 1).astype(np.float32)


def analyse(volumes: torch.Tensor, shift: Shift) -> torch.Tensor:
    """Haar coefficients of volumes over the last three axes, padded to whole cells.

    In each cell of 8 x 8 x 8, entries at multiples of 8 are the coarse node, those at other multiples of 4 details of
    the third level, and so on.

    Parameters
    ----------
    volumes
        ``(..., x, y, z)``, real or complex.
    shift
        Shift of the cells along each axis, 0 to 7.
    """
    coefficients = _padded(volumes, shift)
    for level in range(_LEVELS):
        for axis in range(3):
            _rotate(coefficients, level, axis, volumes.shape[-3 + axis], shift[axis])
    return coefficients


def synthesise(coefficients: torch.Tensor, shift: Shift, shape: Sequence[int]) -> torch.Tensor:
    """Inverse, and adjoint, of `analyse`: volumes of ``shape`` over the last three axes."""
    volumes = coefficients.clone()
    for level in reversed(range(_LEVELS)):
        for axis in range(3):
            _rotate(volumes, level, axis, shape[axis], shift[axis])
    x, y, z = (slice(s, s + n) for s, n in zip(shift, shape, strict=True))
    return volumes[..., x, y, z]


def detail_mask(shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Which entries of `analyse`'s result, of padded ``shape``, are details: all but one a cell."""
    mask = torch.ones(tuple(shape), dtype=torch.bool, device=device)
    mask[::CELL, ::CELL, ::CELL] = False
    return mask


def shrink_details(images: torch.Tensor, threshold: float, shifts: Sequence[Shift], *, joint: bool) -> torch.Tensor:
    """Mean over shifts of: analyse, pull the details' magnitudes towards zero by ``threshold``, synthesise.

    With one shift this is the proximal map of threshold * sum of |details|; several shifts average away the cells'
    borders (cycle spinning).

    Parameters
    ----------
    images
        Complex, ``(image, x, y, z)``.
    threshold
        In units of the images.
    shifts
        Shifts of the cells.
    joint
        Shrink a coefficient of all images by their common norm, instead of each by its own magnitude.

    References
    ----------
    Coifman & Donoho, Lecture Notes in Statistics 103:125 (1995), doi:10.1007/978-1-4612-2544-7_9;
    Kamilov et al., IEEE Signal Process Lett 19:187 (2012), doi:10.1109/LSP.2012.2185929.
    """
    if images.device.type == "cpu" and images.dtype == torch.complex64:
        return _shrink_on_cpu(images, threshold, shifts, joint)
    total = torch.zeros_like(images)
    for shift in shifts:
        coefficients = analyse(images, shift)
        details = detail_mask(coefficients.shape[-3:], images.device)
        shrunk = shrink_groups(coefficients, threshold, axis=0 if joint else None)
        total += synthesise(torch.where(details, shrunk, coefficients), shift, images.shape[-3:])
    return total / len(shifts)


def draw_shifts(n_shifts: int, generator: np.random.Generator) -> list[Shift]:
    """Random shifts of the cells, that differ along each axis as far as eight allow."""
    axes = [generator.permutation(CELL) for _ in range(3)]
    picks = [axis[np.arange(n_shifts) % CELL] for axis in axes]
    return [(int(x), int(y), int(z)) for x, y, z in zip(*picks, strict=True)]


def _padded(volumes: torch.Tensor, shift: Shift) -> torch.Tensor:
    room: list[int] = []
    for axis in (2, 1, 0):
        n = volumes.shape[-3 + axis]
        room += [shift[axis], -(shift[axis] + n) % CELL]
    return functional.pad(volumes, room).clone()


def _rotate(values: torch.Tensor, level: int, axis: int, n: int, shift: int) -> None:
    """One level of merges along one axis, in place, on the nodes that earlier levels left."""
    step = 2**level
    nodes = values[..., ::step, ::step, ::step].movedim(-3 + axis, -1)
    which = slice(*((0, 4), (4, 6), (6, 7))[level])
    first, second = (torch.from_numpy(w[:, which].reshape(-1).copy()).to(values.real) for w in merge_weights(n, shift))
    a, b = nodes[..., 0::2].clone(), nodes[..., 1::2].clone()
    nodes[..., 0::2], nodes[..., 1::2] = first * a + second * b, second * a - first * b


def _shrink_on_cpu(images: torch.Tensor, threshold: float, shifts: Sequence[Shift], joint: bool) -> torch.Tensor:
    source = torch.view_as_real(images.contiguous()).numpy()
    result = np.zeros_like(source)
    for shift in shifts:
        weights = tuple(w for n, s in zip(images.shape[1:], shift, strict=True) for w in merge_weights(n, s))
        for group in [slice(None)] if joint else [slice(i, i + 1) for i in range(len(images))]:
            shrink_cells(source[group], result[group], float(threshold), np.array(shift), weights)
    if len(shifts) > 1:
        result *= np.float32(1.0 / len(shifts))
    return torch.view_as_complex(torch.from_numpy(result))
