"""The uncertainty of the maps of one scan: background removal and inversion again, with noise added to the field."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dlqsm.config import QsmConfig
from dlqsm.core.realisations import standard_deviation
from dlqsm.core.scan import Scan
from dlqsm.pipeline.susceptibility import QsmMaps, csf_keyword
from dlqsm.qsm.reference import csf_region
from dlqsm.qsm.uncertainty import chi_errors


@dataclass(frozen=True, slots=True)
class ChiNoise:
    """Noise of a susceptibility map.

    Parameters
    ----------
    sd_ppm
        Standard deviation of each voxel [ppm], ``(x, y, z)``; zero outside the eroded mask.
    errors_ppm
        Realisations [ppm], ``(n, x, y, z)``: what the noise of any mean of voxels is told from.
    """

    sd_ppm: torch.Tensor
    errors_ppm: torch.Tensor


def susceptibility_noise(
    maps: QsmMaps,
    magnitude: torch.Tensor,
    scan: Scan,
    config: QsmConfig | None = None,
    *,
    n_realisations: int = 16,
    seed: int = 0,
    reference_region: torch.Tensor | None = None,
) -> ChiNoise:
    """Noise of the susceptibility that `map_susceptibility` made, after the same reference was subtracted.

    Parameters
    ----------
    maps
        Maps of the scan.
    magnitude
        The image that gave the inversion its edges: root of the power of all echoes, ``(x, y, z)``.
    scan, config, reference_region
        As given to `map_susceptibility`.
    n_realisations, seed
        As in `qsm.uncertainty.chi_errors`. Each realisation takes the time of one background removal and inversion.

    Raises
    ------
    InputError
        As `chi_errors`.
    """
    config, hz_per_ppm = config or QsmConfig(), scan.hz_per_ppm
    # A strength that each realisation chose anew would be noise of its own.
    config = config.with_chosen(maps.summary["convergence"]["inversion"])
    remove, invert = config.background.bound("background"), config.inversion.bound("inversion")
    csf = csf_keyword(config, maps.r2star_hz, maps.eroded_mask, scan.grid, maps.quality)
    noise_ppm, region = maps.noise_hz / hz_per_ppm, _region(maps, scan, config, reference_region)

    def solve(total_field_ppm: torch.Tensor) -> torch.Tensor:
        local_field_ppm, eroded, _ = remove(total_field_ppm, maps.mask, scan, noise_ppm)
        chi_ppm, _ = invert(local_field_ppm, eroded, scan, noise_ppm, magnitude, **csf)
        return torch.where(eroded, chi_ppm - chi_ppm[region].double().mean().to(chi_ppm.dtype), 0.0)

    total_field_ppm = maps.total_field_hz / hz_per_ppm
    errors_ppm = chi_errors(total_field_ppm, noise_ppm, maps.mask, solve, n_realisations, seed=seed)
    return ChiNoise(standard_deviation(errors_ppm, maps.eroded_mask, scan.grid), errors_ppm)


def _region(maps: QsmMaps, scan: Scan, config: QsmConfig, external: torch.Tensor | None) -> torch.Tensor:
    """Voxels whose mean is the zero of the map."""
    if external is not None:
        return external & maps.eroded_mask
    if config.reference == "csf" and maps.r2star_hz is not None:
        return csf_region(maps.r2star_hz, maps.eroded_mask, scan.grid, maps.quality) & maps.eroded_mask
    return maps.eroded_mask
