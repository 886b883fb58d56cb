"""Convolutions of the images of all echoes: the same weights for every echo, and what the echoes have in common."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import nn
from torch.nn import functional


def echo_positions(n_echoes: int, like: torch.Tensor) -> torch.Tensor:
    """Place of each echo in the train, from -1 to 1 and 0 in the middle, ``(echo, 1, 1, 1, 1)``."""
    steps = torch.arange(n_echoes, device=like.device, dtype=like.dtype) - (n_echoes - 1) / 2
    return (steps / max(1.0, n_echoes / 2))[:, None, None, None, None]


class EchoConvolution(nn.Module):
    """A 3 x 3 convolution of planes, circular, with the mean over echoes and the trend along them taken in.

    h_e -> W h_e + A [m, d] + p_e B [m, d], where m is the mean of h over echoes, d the mean of p_e h_e, and p_e the
    place of echo e (`echo_positions`). It serves any number of echoes with one set of weights; of one echo m is h and
    d is 0.

    Parameters
    ----------
    n_in, n_out
        Channels.
    joins
        Whether the echoes see one another; else W alone.
    stride
        1, or 2 for half the resolution.
    """

    def __init__(self, n_in: int, n_out: int, *, joins: bool, stride: int = 1) -> None:
        super().__init__()
        self.own = nn.Conv2d(n_in, n_out, 3, stride=stride)
        nn.init.kaiming_normal_(self.own.weight, nonlinearity="relu")
        nn.init.zeros_(cast(nn.Parameter, self.own.bias))
        self.shared = nn.Conv2d(2 * n_in, 2 * n_out, 3, stride=stride, bias=False) if joins else None
        if self.shared is not None:
            nn.init.normal_(self.shared.weight, std=0.3 / math.sqrt(9 * n_in))

    def forward(self, values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Map ``(echo * plane, channel, y, z)``, the echo varying slowest."""
        values = functional.pad(values, (1, 1, 1, 1), mode="circular")
        result: torch.Tensor = self.own(values)
        if self.shared is None:
            return result
        n_echoes = len(positions)
        echoes = values.unflatten(0, (n_echoes, -1))
        common = torch.cat([echoes.mean(0), (echoes * positions).mean(0)], 1)
        level, trend = self.shared(common).chunk(2, 1)
        return (result.unflatten(0, (n_echoes, -1)) + level + positions * trend).flatten(0, 1)


class EchoBlock(nn.Module):
    """A correction of all echoes from features at full and at half resolution; zero before training but for a trace.

    Parameters
    ----------
    n_in, n_out
        Channels of an echo at the entry and at the exit.
    features, coarse_features
        Channels at full and at half resolution.
    """

    def __init__(self, n_in: int, n_out: int, features: int, coarse_features: int) -> None:
        super().__init__()
        self.entry = EchoConvolution(n_in, features, joins=True)
        self.fine = EchoConvolution(features, features, joins=False)
        self.down = EchoConvolution(features, coarse_features, joins=False, stride=2)
        self.coarse = EchoConvolution(coarse_features, coarse_features, joins=True)
        self.deep = EchoConvolution(coarse_features, coarse_features, joins=False)
        self.up = nn.Conv2d(coarse_features, features, 1)
        self.merge = EchoConvolution(2 * features, features, joins=True)
        self.exit = EchoConvolution(features, n_out, joins=False)
        with torch.no_grad():
            self.exit.own.weight.mul_(0.02)

    def forward(self, values: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Map ``(echo * plane, channel, y, z)``."""
        ny, nz = values.shape[-2:]
        if ny % 2 or nz % 2:
            values = functional.pad(values, (0, nz % 2, 0, ny % 2), mode="circular")
        fine = functional.relu(self.entry(values, positions))
        fine = functional.relu(self.fine(fine, positions))
        coarse = fine
        for layer in (self.down, self.coarse, self.deep):
            coarse = functional.relu(layer(coarse, positions))
        again = functional.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest")
        merged = functional.relu(self.merge(torch.cat([fine, again], 1), positions))
        result: torch.Tensor = self.exit(merged, positions)
        return result[..., :ny, :nz]
