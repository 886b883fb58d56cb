"""The paper's model: blocks of convolutions, each followed by data consistency, coil by coil and echo by echo."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import torch
from torch import nn

from dlqsm.core.checks import InputError, require_choice, require_positive
from dlqsm.core.fourier import ifftc
from dlqsm.reconstruction.learned.consistency import PLANE, draw_to_samples, share_of_samples, squared_snr
from dlqsm.reconstruction.learned.convolution import STACK_BYTES, ResidualBlock
from dlqsm.reconstruction.learned.weights import load_network

CONSISTENCIES: Final = ("soft", "exact")
_AT_ONCE_BYTES: Final = {"cpu": 2**22, "cuda": 2**29}
"""Features of the coil and echo images that go through the network together: what a cache holds, and a GPU fills."""
_FEATURE_COPIES, _COMPLEX_COPIES = 4, 6
"""Arrays held at once for one such image, in features and in complex values."""
_LOG_WEIGHT_UNIT: Final = 10.0
"""Of the learned parameter: log weights move by several units in a training in which others move by tenths."""
_MOST = {"blocks": 32, "layers": 32, "features": 1024}


class CascadeNetwork(nn.Module):
    """Five blocks of five convolutions that add what is missing, with the samples restored after each block.

    Values are in units of the noise, so the network is homogeneous, a f(y, noise) = f(a y, a noise), and no slab has
    a scale of its own. Real and imaginary part are two channels; a third holds the noise of the zero-filled image,
    which tells the acceleration. The weights are one set for all coils and echoes.

    Parameters
    ----------
    features
        Channels between convolutions.
    x_extents
        Planes that each convolution of a block sees, 1 or 3; all 1 makes a network that works on single planes.
    n_blocks
        Blocks, each with weights of its own.
    typical_snr
        Signal [noise SD] that the first convolution sees as 1.
    exact
        Whether the network returns the samples as they are, in training too.

    References
    ----------
    Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227;
    Schlemper et al., IEEE Trans Med Imaging 37:491 (2018), doi:10.1109/TMI.2017.2760978.
    """

    NAME: ClassVar[str] = "cascade"
    COMBINES: ClassVar[bool] = False

    def __init__(
        self,
        *,
        features: int = 32,
        x_extents: Sequence[int] = (3, 3, 3, 3, 3),
        n_blocks: int = 5,
        typical_snr: float = 20.0,
        exact: bool = False,
    ) -> None:
        super().__init__()
        _check(features, x_extents, n_blocks, typical_snr)
        self.settings: dict[str, Any] = {
            "features": features,
            "x_extents": list(x_extents),
            "n_blocks": n_blocks,
            "typical_snr": typical_snr,
            "exact": exact,
        }
        self.blocks = nn.ModuleList(ResidualBlock(3, features, 2, x_extents) for _ in range(n_blocks))
        # At 0 the weight of a sample is its plane's SNR^2, hundreds to thousands: nearly exact.
        self.log_weights = nn.Parameter(torch.zeros(n_blocks))

    @property
    def halo_planes(self) -> int:
        """x-planes beyond a slab that its result depends on."""
        return int(self.settings["n_blocks"]) * sum(extent // 2 for extent in self.settings["x_extents"])

    @property
    def planes_together(self) -> int:
        """1: slabs may begin anywhere."""
        return 1

    def working_bytes(self, slab_shape: Sequence[int], device_type: str = "cpu") -> int:
        """Memory beside samples and result for a slab ``(echo, coil, x, y, z)``, without gradients."""
        items, planes = math.prod(slab_shape[:2]), math.prod(slab_shape[2:])
        if self.halo_planes == 0:
            items, planes = items * slab_shape[2], math.prod(slab_shape[3:])
        at_once = min(items, self._items_at_once(planes, device_type))
        values = at_once * planes * (_FEATURE_COPIES * 4 * int(self.settings["features"]) + _COMPLEX_COPIES * 8)
        return values + (3 * STACK_BYTES if self.halo_planes and device_type == "cpu" else 0)

    def forward(
        self,
        hybrid_slab: torch.Tensor,
        sampling_mask: torch.Tensor,
        sensitivity_maps: torch.Tensor,
        noise: float,
        *,
        exact: bool = False,
    ) -> torch.Tensor:
        """Map ``(echo, coil, x, ky, kz)`` to coil images ``(echo, coil, x, y, z)``.

        Where all cells are sampled nothing is missing, and the images are those of the inverse FFT.
        """
        del sensitivity_maps
        require_positive("noise", [noise], "the unit of the samples")
        if bool(sampling_mask.all()):
            return ifftc(hybrid_slab, PLANE)
        # Without neighbours along x every plane is an item of its own.
        items = hybrid_slab.flatten(0, 1) if self.halo_planes else hybrid_slab.flatten(0, 2).unsqueeze(1)
        sampled, exact = torch.fft.ifftshift(sampling_mask, dim=PLANE), exact or bool(self.settings["exact"])
        if torch.is_grad_enabled():
            return self._reconstruct(items, sampled, noise, exact).view_as(hybrid_slab)
        images = torch.empty_like(items)
        at_once = self._items_at_once(items[0].numel(), items.device.type)
        for part, result in zip(items.split(at_once), images.split(at_once), strict=True):
            result.copy_(self._reconstruct(part, sampled, noise, exact))
        return images.view_as(hybrid_slab)

    def _reconstruct(self, hybrid: torch.Tensor, sampled: torch.Tensor, noise: float, exact: bool) -> torch.Tensor:
        """Images of ``(item, x, ky, kz)``; ``sampled`` is in FFT order, as all is inside."""
        samples = torch.fft.ifftshift(hybrid, dim=PLANE) / noise
        snr_squared = squared_snr(samples, sampled, 1.0)
        images = torch.fft.ifft2(samples, norm="ortho")
        noise_level = sampled.float().mean().sqrt()
        for block, log_weight in zip(self.blocks, self.log_weights, strict=True):
            images = images + self._missing(block, images, noise_level)
            share = 1.0 if exact else share_of_samples(_LOG_WEIGHT_UNIT * log_weight, snr_squared)
            images = draw_to_samples(images, samples, sampled, share)
        return torch.fft.fftshift(images, dim=PLANE) * noise

    def _missing(self, block: nn.Module, images: torch.Tensor, noise_level: torch.Tensor) -> torch.Tensor:
        unit = float(self.settings["typical_snr"])
        parts = torch.view_as_real(images) / unit
        values = torch.cat([parts, noise_level.expand(*images.shape, 1)], -1)
        # Mixed precision ends here: what follows is float32.
        return torch.view_as_complex(block(values).float().contiguous()) * unit

    def _items_at_once(self, voxels: int, device_type: str) -> int:
        most = _AT_ONCE_BYTES.get(device_type, _AT_ONCE_BYTES["cpu"])
        return max(1, most // (4 * voxels * int(self.settings["features"])))


def cascade(
    hybrid_slab: torch.Tensor,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    *,
    weights: str | None = None,
    consistency: str = "soft",
) -> torch.Tensor:
    """Coil images by the trained cascade of convolutions and data consistency, the reconstruction of the paper.

    Parameters
    ----------
    hybrid_slab
        ``(echo, coil, x, ky, kz)``, white noise, zero where not sampled.
    sampling_mask
        Sampled cells, ``(ky, kz)`` bool.
    sensitivity_maps
        Not used.
    noise
        Standard deviation of one component of the samples.
    weights
        File of trained weights (safetensors, as dlqsm train writes); where none is given, those in the package.
    consistency
        soft weighs measured samples by their signal-to-noise ratio as in training, exact returns them as they are.

    Returns
    -------
    Coil images ``(echo, coil, x, y, z)``.

    Raises
    ------
    InputError
        If the weights cannot be used or the consistency is unknown.

    References
    ----------
    Zhou et al., Front Neurosci 19:1522227 (2025), doi:10.3389/fnins.2025.1522227.
    """
    require_choice("consistency", consistency, CONSISTENCIES)
    network = load_network(CascadeNetwork, weights, hybrid_slab.device)
    with torch.no_grad():
        return network(hybrid_slab, sampling_mask, sensitivity_maps, noise, exact=consistency == "exact")


def _check(features: int, x_extents: Sequence[int], n_blocks: int, typical_snr: float) -> None:
    if not 1 <= features <= _MOST["features"]:
        raise InputError(f"features must be 1 to {_MOST['features']}; got {features}")
    if not 1 <= n_blocks <= _MOST["blocks"]:
        raise InputError(f"n_blocks must be 1 to {_MOST['blocks']}; got {n_blocks}")
    if not 1 <= len(x_extents) <= _MOST["layers"] or not set(x_extents) <= {1, 3}:
        raise InputError(f"x_extents must be 1 to {_MOST['layers']} numbers, each 1 or 3; got {list(x_extents)}")
    require_positive("typical_snr", [typical_snr], "noise SD")
