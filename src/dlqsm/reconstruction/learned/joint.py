"""Our model: all echoes and all coils together, from compressed sensing to what it leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Final

import torch
from torch import nn

from dlqsm.core.checks import InputError, require_choice, require_positive
from dlqsm.core.fourier import fftc, ifftc
from dlqsm.core.threads import one_thread
from dlqsm.reconstruction.combine import roemer
from dlqsm.reconstruction.learned.consistency import PLANE
from dlqsm.reconstruction.learned.echoes import EchoBlock, echo_positions
from dlqsm.reconstruction.learned.misfit import Misfit, at_once_bytes, portions
from dlqsm.reconstruction.learned.weights import load_network
from dlqsm.reconstruction.sparse import cs

CONSISTENCIES: Final = ("soft", "exact")
MOST_STEPS: Final = 12
PLANES_TOGETHER: Final = 8
"""x-planes that the compressed sensing of the start joins: its wavelets' cell."""
_CHANNELS = 14
_PHASE_CELLS = 16.0
_MOST = {"blocks": 16, "features": 1024}


class JointNetwork(nn.Module):
    """Compressed sensing of all coils and echoes, then blocks that correct it, each followed by a step to the data.

    x_0 minimises the data's misfit under joint wavelet sparsity (`cs`). Block k sees every echo of x_k and of the
    misfit's gradient with the smooth phase of x_0 taken away, so that the correction turns with the data's phase;
    neighbours along x; and what the echoes have in common. Its correction is followed by
    x <- x - eta_k E^H (E x - y). One pass serves all coils, any number of echoes from one up.

    Parameters
    ----------
    features, coarse_features
        Channels of an echo at full and half resolution.
    n_blocks
        Blocks, each with weights of its own.
    typical_snr
        Signal [noise SD] that the convolutions see as 1.
    start_strength, start_iterations
        Of the compressed sensing at the start.

    References
    ----------
    Hammernik et al., Magn Reson Med 79:3055 (2018), doi:10.1002/mrm.26977 (unrolled gradient steps);
    Aggarwal et al., IEEE Trans Med Imaging 38:394 (2019), doi:10.1109/TMI.2018.2865356.
    """

    NAME: ClassVar[str] = "joint"
    COMBINES: ClassVar[bool] = True

    def __init__(
        self,
        *,
        features: int = 24,
        coarse_features: int = 48,
        n_blocks: int = 2,
        typical_snr: float = 32.0,
        start_strength: float = 0.12,
        start_iterations: int = 20,
    ) -> None:
        super().__init__()
        _check(features, coarse_features, n_blocks)
        require_positive("typical_snr", [typical_snr], "noise SD")
        self.settings: dict[str, Any] = {
            "features": features,
            "coarse_features": coarse_features,
            "n_blocks": n_blocks,
            "typical_snr": typical_snr,
            "start_strength": start_strength,
            "start_iterations": start_iterations,
        }
        self.blocks = nn.ModuleList(EchoBlock(_CHANNELS, 2, features, coarse_features) for _ in range(n_blocks))
        self.steps = nn.Parameter(torch.ones(n_blocks))

    @property
    def halo_planes(self) -> int:
        """x-planes beyond a slab that its result depends on."""
        return PLANES_TOGETHER * math.ceil(int(self.settings["n_blocks"]) / PLANES_TOGETHER)

    @property
    def planes_together(self) -> int:
        """Slabs must begin at multiples of this many planes."""
        return PLANES_TOGETHER

    def working_bytes(self, slab_shape: Sequence[int], device_type: str = "cpu") -> int:
        """Memory beside samples and result for a slab ``(echo, coil, x, y, z)``, without gradients."""
        n_echoes, n_coils, n_planes, ny, nz = slab_shape
        at_once = min(n_planes, self._planes_at_once(n_echoes, ny * nz, device_type))
        features = 4 * n_echoes * at_once * ny * nz * (2 * _CHANNELS + 6 * int(self.settings["features"]))
        return features + 8 * n_planes * ny * nz * (10 * n_echoes + 2 * n_coils)

    def forward(
        self,
        hybrid_slab: torch.Tensor,
        sampling_mask: torch.Tensor,
        sensitivity_maps: torch.Tensor,
        noise: float,
        *,
        exact: bool = False,
        final_steps: int = 0,
    ) -> torch.Tensor:
        """Map ``(echo, coil, x, ky, kz)`` to images ``(echo, 1, x, y, z)``; to coil images where ``exact``.

        Where all cells are sampled the image is the matched-filter combination. ``final_steps`` are those of `joint`.
        """
        require_positive("noise", [noise], "the unit of the samples")
        if bool(sampling_mask.all()):
            coil_images = ifftc(hybrid_slab, PLANE)
            return coil_images if exact else roemer(coil_images, sensitivity_maps).unsqueeze(1)
        # Whitened data have a noise of 1, and a copy of a slab is much memory.
        samples = hybrid_slab if noise == 1.0 else hybrid_slab / noise
        problem = Misfit(samples, sampling_mask, sensitivity_maps)
        images = self._correct(self._start(samples, sampling_mask, sensitivity_maps), problem)
        if final_steps:
            images = images + problem.left_over(images, final_steps)
        if exact:
            return noise * problem.with_samples(images, samples)
        return noise * images.unsqueeze(1)

    @torch.no_grad()
    def _start(self, samples: torch.Tensor, sampling_mask: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """Compressed sensing, always of the same planes together, so that the size of a slab does not matter."""
        options: dict[str, Any] = {"strength": self.settings["start_strength"], "tolerance": 0.0}
        options["max_iterations"] = self.settings["start_iterations"]

        def solve(some: torch.Tensor, their_maps: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return cs(some, sampling_mask, their_maps, 1.0, **options)[:, 0]

        groups = samples.split(PLANES_TOGETHER, 2), maps.split(PLANES_TOGETHER, 1)
        # On a CPU a group keeps one thread busy, and no more.
        workers = torch.get_num_threads() if samples.device.type == "cpu" else 1
        with one_thread(), ThreadPoolExecutor(workers) as pool:
            return torch.cat(list(pool.map(solve, *groups)), 1)

    def _correct(self, images: torch.Tensor, problem: Misfit) -> torch.Tensor:
        """Images ``(echo, x, y, z)`` after all blocks."""
        start, phase = images, smooth_phase(images)
        gradient = problem.gradient(images)
        for index, block in enumerate(self.blocks):
            images = images + self._correction(block, images, gradient, start, phase, problem)
            images = images - self.steps[index] * problem.gradient(images)
            gradient = problem.gradient(images)
        return images

    def _correction(
        self,
        block: nn.Module,
        images: torch.Tensor,
        gradient: torch.Tensor,
        start: torch.Tensor,
        phase: torch.Tensor,
        problem: Misfit,
    ) -> torch.Tensor:
        unit = float(self.settings["typical_snr"])
        seen, slope, first = (_parts(each * phase.conj() / unit) for each in (images, gradient, start))
        positions = echo_positions(len(images), seen)
        n_planes = images.shape[1]
        at_once = n_planes
        if not torch.is_grad_enabled():
            at_once = self._planes_at_once(len(images), images[0, 0].numel(), images.device.type)
        found = []
        for planes in portions(n_planes, at_once):
            values = _channels(seen, slope, first, problem.noise_level, planes)
            planes_of_echoes = values.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            found.append(block(planes_of_echoes, positions).float().unflatten(0, (len(images), -1)))
        correction = torch.cat(found, 1).movedim(2, -1).contiguous()
        return torch.view_as_complex(correction) * phase * unit * problem.inside

    def _planes_at_once(self, n_echoes: int, cells: int, device_type: str) -> int:
        most = at_once_bytes(device_type)
        return max(1, most // (4 * n_echoes * cells * int(self.settings["features"])))


def smooth_phase(images: torch.Tensor) -> torch.Tensor:
    """Unit phasors of the images at low resolution: Gaussian of SD `_PHASE_CELLS` / 2 cells over k-space of a plane."""
    kspace = fftc(images, PLANE)
    for axis in PLANE:
        n = images.shape[axis]
        cells = torch.arange(n, device=images.device) - n // 2
        window = torch.exp(-0.5 * (cells / (0.5 * _PHASE_CELLS)) ** 2)
        kspace = kspace * (window[:, None] if axis == -2 else window)
    low = ifftc(kspace, PLANE)
    size = low.abs()
    return torch.where(size > 0, low / size.clamp_min(torch.finfo(size.dtype).tiny), torch.ones_like(low))


def _parts(values: torch.Tensor) -> torch.Tensor:
    """Real and imaginary part of ``(echo, x, y, z)`` as channels: ``(echo, x, 2, y, z)``."""
    return torch.view_as_real(values).movedim(-1, 2)


def _channels(
    images: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, noise_level: torch.Tensor, planes: slice
) -> torch.Tensor:
    """All that a block sees of some planes of each echo, ``(echo, x, _CHANNELS, y, z)``."""
    x = torch.arange(planes.start, planes.stop, device=images.device)
    after, before = images[:, (x + 1).clamp_max(images.shape[1] - 1)], images[:, (x - 1).clamp_min(0)]
    images, gradient, start = images[:, planes], gradient[:, planes], start[:, planes]
    # The root has no slope at zero, where there is nothing.
    magnitude = images.square().sum(2, keepdim=True).add(1e-12).sqrt()
    mean = magnitude.mean(0, keepdim=True).expand_as(magnitude)
    level = noise_level.expand_as(magnitude)
    reach = (after - before).square().sum(2, keepdim=True).add(1e-12).sqrt()
    return torch.cat([images, gradient, after, before, start, level, magnitude, mean, reach], 2)


def joint(
    hybrid_slab: torch.Tensor,
    sampling_mask: torch.Tensor,
    sensitivity_maps: torch.Tensor,
    noise: float,
    *,
    weights: str | None = None,
    consistency: str = "soft",
    final_steps: int = 0,
) -> torch.Tensor:
    """Combined images of all echoes by compressed sensing and the trained network that corrects it.

    A network takes away what it cannot tell from noise, small contrast first. ``final_steps`` bring much of that back,
    at the price of noise: the mean of a nucleus gains, a voxel loses.

    Parameters
    ----------
    hybrid_slab
        ``(echo, coil, x, ky, kz)``, white noise, zero where not sampled.
    sampling_mask
        Sampled cells, ``(ky, kz)`` bool.
    sensitivity_maps
        ``(coil, x, y, z)`` with sum over coils of |S|^2 = 1, or zero in the background.
    noise
        Standard deviation of one component of the samples.
    weights
        File of trained weights (safetensors, as dlqsm train writes); where none is given, those in the package.
    consistency
        soft returns the image of all coils, exact coil images that hold the samples as they are.
    final_steps
        Of conjugate gradients on the samples left unexplained, 0 to 12. On five virtual heads with one cell in 2.6
        sampled two took the red nucleus from -3.3 to -0.1 ppb; the field's error grew by 19 (AF 5) and 30 % (AF 3).

    Returns
    -------
    Combined images ``(echo, 1, x, y, z)``; coil images ``(echo, coil, x, y, z)`` where exact.

    Raises
    ------
    InputError
        If the weights cannot be used, the consistency is unknown, or ``final_steps`` is out of range.

    References
    ----------
    Hammernik et al., Magn Reson Med 79:3055 (2018), doi:10.1002/mrm.26977.
    """
    require_choice("consistency", consistency, CONSISTENCIES)
    if not 0 <= final_steps <= MOST_STEPS:
        raise InputError(f"final_steps must be 0 to {MOST_STEPS}; got {final_steps}")
    network, exact = load_network(JointNetwork, weights, hybrid_slab.device), consistency == "exact"
    with torch.no_grad():
        return network(hybrid_slab, sampling_mask, sensitivity_maps, noise, exact=exact, final_steps=final_steps)


def _check(features: int, coarse_features: int, n_blocks: int) -> None:
    for name, value in (("features", features), ("coarse_features", coarse_features)):
        if not 1 <= value <= _MOST["features"]:
            raise InputError(f"{name} must be 1 to {_MOST['features']}; got {value}")
    if not 1 <= n_blocks <= _MOST["blocks"]:
        raise InputError(f"n_blocks must be 1 to {_MOST['blocks']}; got {n_blocks}")
