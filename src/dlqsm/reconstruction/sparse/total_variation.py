"""Total variation of complex volumes and its proximal map."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch


def gradient(images: torch.Tensor) -> torch.Tensor:
    """Forward differences along the last three axes, zero at the far ends: ``(3, ..., x, y, z)``."""
    result = images.new_zeros((3, *images.shape))
    for axis in range(3):
        n, dim = images.shape[-3 + axis], -3 + axis
        torch.sub(images.narrow(dim, 1, n - 1), images.narrow(dim, 0, n - 1), out=result[axis].narrow(dim, 0, n - 1))
    return result


def gradient_adjoint(fields: torch.Tensor) -> torch.Tensor:
    """Adjoint of `gradient`: minus the divergence of ``(3, ..., x, y, z)``."""
    result = torch.zeros_like(fields[0])
    for axis in range(3):
        n, dim = fields.shape[-3 + axis], -3 + axis
        part = fields[axis].narrow(dim, 0, n - 1)
        result.narrow(dim, 0, n - 1).sub_(part)
        result.narrow(dim, 1, n - 1).add_(part)
    return result


def total_variation(images: torch.Tensor) -> torch.Tensor:
    """Sum of the lengths of the complex gradients."""
    return gradient(images).abs().square().sum(0).sqrt().sum()


@dataclass(slots=True)
class TotalVariation:
    """Proximal map of the total variation by its dual, which each call takes over from the call before.

    The dual problem, max over |p| <= 1 of -1/2 |v - w D^H p|^2, is solved by a few accelerated projected gradients
    of step 1 / (12 w).

    Parameters
    ----------
    n_inner
        Steps in each call.

    References
    ----------
    Beck & Teboulle, IEEE Trans Image Process 18:2419 (2009), doi:10.1109/TIP.2009.2028250.
    """

    n_inner: int = 4
    dual: torch.Tensor | None = field(default=None)

    def __call__(self, images: torch.Tensor, weight: float, iteration: int = 0) -> torch.Tensor:
        """Minimiser of 1/2 |x - images|^2 + weight TV(x), nearly; over ``(..., x, y, z)``."""
        del iteration
        if weight == 0.0:
            return images.clone()
        p = gradient(torch.zeros_like(images)) if self.dual is None else self.dual
        q, t = p, 1.0
        for _ in range(self.n_inner):
            ascent = q + gradient(images - weight * gradient_adjoint(q)) / (12.0 * weight)
            p_next = ascent / ascent.abs().square().sum(0).sqrt().clamp_min(1.0)
            t_next = 0.5 * (1.0 + (1.0 + 4.0 * t * t) ** 0.5)
            q = p_next + ((t - 1.0) / t_next) * (p_next - p)
            p, t = p_next, t_next
        self.dual = p
        return images - weight * gradient_adjoint(p)
