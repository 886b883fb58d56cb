"""What total variation flattens: slow changes within tissue, found in what it leaves of the field."""

from __future__ import annotations

import torch

from dlqsm.core.fourier import irfft3, rfft3, wavenumbers
from dlqsm.core.scan import Grid
from dlqsm.core.units import TWO_PI
from dlqsm.qsm.splitting.admm import Problem, State


def smooth_rest(
    problem: Problem, state: State, inside: torch.Tensor, grid: Grid, smooth_length_mm: float
) -> torch.Tensor:
    """Smooth susceptibility [ppm] that explains the residual field b - D chi of a total-variation solution.

        F^-1 [ D F(W^2 (b - D chi)) / (D^2 + lambda |k|^4) ],   lambda = length^4 strength / SD(chi)

    the minimum over w of || b - D chi - D w ||^2 + lambda || laplacian w ||^2 with the weights taken for one: noise
    sigma over curvatures SD(chi) / length^2, since strength = sigma^2 / SD(chi).

    References
    ----------
    Osher et al., Multiscale Model Simul 4:460 (2005), doi:10.1137/040605412 (structure in the residual of total
    variation, given back).
    """
    residual = problem.field - state.fitted
    spectrum = rfft3(residual.mul_(problem.weights_squared))
    spread = max(float(state.chi[inside].double().std()), torch.finfo(residual.dtype).tiny)
    k_squared = sum(k**2 for k in wavenumbers(grid, residual)) * TWO_PI**2 * smooth_length_mm**2
    denominator = problem.kernel**2 + (problem.alpha / spread) * k_squared**2
    denominator[0, 0, 0] = 1.0
    return irfft3(spectrum * (problem.kernel / denominator), residual.shape)
