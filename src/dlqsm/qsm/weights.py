"""Field noise to data weights of least-squares fits."""

import torch

from dlqsm.core.checks import InputError, require_shape

WEIGHT_LIMIT = 3.0
"""No voxel counts more than this many times the mean: noise maps underestimate where the signal is brightest."""


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
    return (inverse / inverse[usable].mean()).clamp_(max=WEIGHT_LIMIT)
