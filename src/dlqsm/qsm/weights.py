"""Field noise to data weights of least-squares fits."""

import logging

import torch

from dlqsm.core.checks import InputError, require_shape

LOG = logging.getLogger(__name__)

WEIGHT_LIMIT = 3.0
"""No voxel counts more than this many times the mean: noise maps underestimate where the signal is brightest."""
OUTLIER_LIMIT = 6.0
"""Residuals beyond this many robust standard deviations lose weight (MERIT)."""
LEAST_WEIGHT = 1.0 / 50.0
"""A voxel never loses more than this factor of its weight, so that strong true sources are not deleted."""
MAD_TO_SD = 1.4826


def relative_weights(mask: torch.Tensor, noise_ppm: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """W = (1 / sigma) over its mean in the mask, clipped to [0, 3], zero outside; 1 inside where sigma is unknown.

    A voxel whose noise is not finite or not above zero has no weight.
    """
    if noise_ppm is None:
        return mask.to(like.dtype)
    require_shape("noise", noise_ppm, mask.shape, "the mask")
    usable = mask & torch.isfinite(noise_ppm) & (noise_ppm > 0)
    if not bool(usable.any()):
        raise InputError("the noise map has no voxel inside the mask that is finite and above zero")
    inverse = torch.where(usable, 1.0 / noise_ppm.to(like.dtype), 0.0)
    return (inverse / inverse[usable].mean(dtype=torch.float64)).clamp_(max=WEIGHT_LIMIT)


def trust(misfit: torch.Tensor, weights: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Factor on W: 1 where the residual r = W misfit is usual, (6 sd / |r|)^2 beyond, at least 1/50 (MERIT)."""
    residual = weights * misfit
    known = inside & (weights > 0)
    centred = residual - residual[known].median()
    limit = OUTLIER_LIMIT * MAD_TO_SD * float(centred[known].abs().median())
    unusual = known & (centred.abs() > limit)
    n_unusual, n_known = int(unusual.sum()), int(known.sum())
    LOG.info(
        "dynamic data weights: %d of %d voxels lose weight (%.3f %%)", n_unusual, n_known, 100 * n_unusual / n_known
    )
    return torch.where(unusual, (limit / centred.abs()).square_().clamp_(min=LEAST_WEIGHT), 1.0)
