"""Locally low rank: echoes of a small block are mixtures of a few decays and frequencies."""

from __future__ import annotations

import torch
from torch.nn import functional

from dlqsm.reconstruction.sparse.shrinkage import shrink_singular_values

BLOCK = (4, 4, 4)


def shrink_blocks(images: torch.Tensor, threshold: float, shift: tuple[int, int, int]) -> torch.Tensor:
    """Shrink the singular values of the matrices (echo, voxel) of blocks of 4 x 4 x 4 voxels.

    Parameters
    ----------
    images
        ``(echo, ..., x, y, z)``; axes between are independent.
    threshold
        In multiples of the largest singular value that noise alone would have in a block, for noise of standard
        deviation 1 per component: sqrt(2) (sqrt(voxels) + sqrt(echoes)).
    shift
        Voxels of the first blocks that lie before the volume; blocks are cut off by its edges.

    References
    ----------
    Trzasko & Manduca, Proc Asilomar Conf Signals Syst Comput 2011:2121, doi:10.1109/ACSSC.2011.6190250;
    Zhang et al., Magn Reson Med 73:655 (2015), doi:10.1002/mrm.25161.
    """
    n_echoes, shape = images.shape[0], images.shape[-3:]
    room = [
        r for n, s, b in zip(reversed(shape), reversed(shift), reversed(BLOCK), strict=True) for r in (s, -(s + n) % b)
    ]
    padded = functional.pad(images, room)
    nx, ny, nz = (n // b for n, b in zip(padded.shape[-3:], BLOCK, strict=True))
    flat = padded.reshape(n_echoes, -1, nx, BLOCK[0], ny, BLOCK[1], nz, BLOCK[2])
    blocks = flat.permute(1, 2, 4, 6, 0, 3, 5, 7).reshape(-1, n_echoes, BLOCK[0] * BLOCK[1] * BLOCK[2])
    largest = 2**0.5 * (blocks.shape[-1] ** 0.5 + n_echoes**0.5)
    shrunk = shrink_singular_values(blocks, threshold * largest)
    whole = shrunk.reshape(-1, nx, ny, nz, n_echoes, *BLOCK).permute(4, 0, 1, 5, 2, 6, 3, 7).reshape(padded.shape)
    x, y, z = (slice(s, s + n) for s, n in zip(shift, shape, strict=True))
    return whole[..., x, y, z]
