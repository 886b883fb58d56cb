"""A small problem of the L1 solver."""

import torch

from dlqsm.core.dipole import dipole_kernel
from dlqsm.core.scan import Grid
from dlqsm.qsm.splitting.admm import Problem


def problem(dtype: torch.dtype = torch.float64) -> Problem:
    """A random one on a small anisotropic grid, with edges and with voxels that have no data."""
    grid, generator = Grid((12, 10, 9), (1.0, 1.0, 2.0)), torch.Generator().manual_seed(0)
    field = torch.randn(grid.shape, generator=generator, dtype=dtype) * 0.05
    weights = torch.rand(grid.shape, generator=generator, dtype=dtype)
    return Problem(
        field=field,
        weights_squared=torch.where(weights > 0.3, weights, 0.0),
        kernel=dipole_kernel(grid, (0.0, 0.0, 1.0), field),
        smooth=torch.rand((3, *grid.shape), generator=generator) > 0.1,
        spacing=(0.8, 0.8, 1.6),
        alpha=1e-2,
        mu_gradient=0.3,
        mu_field=0.2,
    )
