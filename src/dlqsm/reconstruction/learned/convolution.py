"""Convolutions of complex volumes: circular across the planes, whose aliasing is periodic, and ending along x."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

_LEAK = 0.01
STACK_BYTES = 2**24
"""Copies of planes made at once on the CPU: about what its cache holds; four times as much took 1.3 times longer."""


class PeriodicConvolution(nn.Module):
    """A convolution of 1 or 3 by 3 by 3 voxels: circular along y and z, with zeros beyond the ends of x.

    Values are ``(item, x, y, z, channel)``, the order in memory in which convolutions are fastest. On a CPU all
    x-neighbours go through one two-dimensional convolution, which takes a fraction of the time of a three-dimensional
    one; the weights are those of the latter.

    Parameters
    ----------
    n_in, n_out
        Channels.
    x_extent
        Planes that one output sees, 1 or 3.
    """

    def __init__(self, n_in: int, n_out: int, x_extent: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_out, n_in, x_extent, 3, 3))
        self.bias = nn.Parameter(torch.zeros(n_out))
        nn.init.kaiming_normal_(self.weight, a=_LEAK)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Convolve ``(item, x, y, z, channel)``."""
        if values.device.type != "cpu":
            return self._as_volumes(values)
        if torch.is_grad_enabled():
            return self._by_planes(values, 0, values.shape[1])
        plane_bytes = values[0, 0].nbytes * len(values) * self.weight.shape[2]
        step = max(1, STACK_BYTES // plane_bytes)
        n_planes = values.shape[1]
        if step >= n_planes:
            return self._by_planes(values, 0, n_planes)
        result = values.new_empty((*values.shape[:-1], len(self.weight)))
        for first in range(0, n_planes, step):
            stop = min(first + step, n_planes)
            result[:, first:stop] = self._by_planes(values, first, stop)
        return result

    def _as_volumes(self, values: torch.Tensor) -> torch.Tensor:
        """Three-dimensional convolution, which a GPU runs as fast."""
        volumes = _wrapped(values).permute(0, 4, 1, 2, 3)
        ends = (self.weight.shape[2] // 2, 0, 0)
        return functional.conv3d(volumes, self.weight, self.bias, padding=ends).permute(0, 2, 3, 4, 1)

    def _by_planes(self, values: torch.Tensor, first: int, stop: int) -> torch.Tensor:
        """Output planes ``first`` to ``stop``, by one two-dimensional convolution of neighbours side by side."""
        planes = _with_neighbours(values, first, stop, self.weight.shape[2] // 2)
        n_stacked = self.weight.shape[1] * self.weight.shape[2]
        weight = self.weight.transpose(1, 2).reshape(-1, n_stacked, 3, 3).contiguous(memory_format=torch.channels_last)
        result = functional.conv2d(planes.flatten(0, 1).permute(0, 3, 1, 2), weight, self.bias)
        return result.permute(0, 2, 3, 1).unflatten(0, planes.shape[:2])


class ResidualBlock(nn.Module):
    """Convolutions with leaky rectifiers between them, whose sum is zero before training: the last one starts at zero.

    Parameters
    ----------
    n_in, n_features, n_out
        Channels at the entry, inside, and at the exit.
    x_extents
        Planes that each convolution sees; as many convolutions as entries.
    """

    def __init__(self, n_in: int, n_features: int, n_out: int, x_extents: Sequence[int]) -> None:
        super().__init__()
        widths = [n_in, *[n_features] * (len(x_extents) - 1), n_out]
        self.layers = nn.ModuleList(
            PeriodicConvolution(before, after, extent)
            for before, after, extent in zip(widths[:-1], widths[1:], x_extents, strict=True)
        )
        last = self.layers[-1]
        assert isinstance(last, PeriodicConvolution)
        nn.init.zeros_(last.weight)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map ``(item, x, y, z, channel)``."""
        for index, layer in enumerate(self.layers):
            # In place: neither the rectifier nor the convolution before it needs the value for its gradient.
            values = layer(values if index == 0 else functional.leaky_relu(values, _LEAK, inplace=True))
        return values


def _with_neighbours(values: torch.Tensor, first: int, stop: int, reach: int) -> torch.Tensor:
    """Wrapped planes ``first`` to ``stop`` with the channels of neighbours side by side, zeros beyond the ends."""
    if reach == 0:
        return _wrapped(values[:, first:stop])
    low, high = max(first - reach, 0), min(stop + reach, values.shape[1])
    beyond = (0, 0, 0, 0, 0, 0, low - (first - reach), stop + reach - high)
    padded = functional.pad(_wrapped(values[:, low:high]), beyond)
    return torch.cat([padded[:, shift : shift + stop - first] for shift in range(2 * reach + 1)], -1)


def _wrapped(values: torch.Tensor) -> torch.Tensor:
    """One row and column of the far side before and after y and z: what `pad` does, but keeps the channels last."""
    values = torch.cat([values[:, :, -1:], values, values[:, :, :1]], 2)
    return torch.cat([values[:, :, :, -1:], values, values[:, :, :, :1]], 3)
