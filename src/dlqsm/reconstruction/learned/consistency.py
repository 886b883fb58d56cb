"""Consistency of images with the samples they must explain.

Images and samples are in FFT order (`torch.fft.ifftshift`), so that no shift costs time inside a network.
"""

from __future__ import annotations

import torch

PLANE = (-2, -1)
_FLOOR = 1e-6


def squared_snr(samples: torch.Tensor, sampled: torch.Tensor, noise: float) -> torch.Tensor:
    """Energy of the signal in units of that of the noise, a mean over the sampled cells of each plane.

    It depends on one plane of one coil and echo alone, so that the size of a slab does not matter.

    Parameters
    ----------
    samples
        ``(..., ky, kz)``, zero where not sampled.
    sampled
        ``(ky, kz)`` bool.
    noise
        Standard deviation of one component of the samples.

    Returns
    -------
    ``(..., 1, 1)``, not below zero.
    """
    energy = torch.view_as_real(samples).square().sum((-3, -2, -1)) / sampled.sum()
    return (energy / (2.0 * noise**2) - 1.0).clamp_min(0.0)[..., None, None]


def share_of_samples(log_weight: torch.Tensor, snr_squared: torch.Tensor) -> torch.Tensor:
    """The share v / (1 + v) of a measured sample, v = exp(log_weight) SNR^2, against the network's 1 / (1 + v).

    An estimate whose error is a fixed part of the signal has the variance exp(log_weight) SNR^2 in units of the
    noise, which makes this the mean of both weighted by their inverse variances.
    """
    return torch.sigmoid(log_weight + torch.log(snr_squared.clamp_min(_FLOOR)))


def draw_to_samples(
    images: torch.Tensor, samples: torch.Tensor, sampled: torch.Tensor, share: torch.Tensor | float
) -> torch.Tensor:
    """Images whose k-space is drawn to the samples where there are any: k + share (y - k), unchanged elsewhere.

    Parameters
    ----------
    images, samples
        ``(..., y, z)`` and ``(..., ky, kz)``, in FFT order.
    sampled
        ``(ky, kz)`` bool, in FFT order.
    share
        Of the samples, 0 to 1; 1 returns them exactly.

    References
    ----------
    Schlemper et al., IEEE Trans Med Imaging 37:491 (2018), doi:10.1109/TMI.2017.2760978, eq. 6.
    """
    kspace = torch.fft.fft2(images, norm="ortho")
    return torch.fft.ifft2(kspace + (samples - kspace) * (sampled * share), norm="ortho")
