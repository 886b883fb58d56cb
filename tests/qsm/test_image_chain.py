"""The chain from images to maps where the images are out of the ordinary: voids, many coils, noise that nobody told."""

import math
from dataclasses import replace

import pytest
import torch

from dlqsm.config import QsmConfig, Step
from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.lags import lag_sums
from dlqsm.core.scan import Grid, Scan
from dlqsm.pipeline.susceptibility import map_susceptibility
from dlqsm.qsm.reference import csf_region

GRID = Grid((48, 48, 32), (2.0, 2.0, 3.0))
SCAN = Scan(GRID, tuple(0.0033 + 0.0031 * e for e in range(8)), 3.0)
X, Y, Z = torch.meshgrid(
    *((torch.arange(n) - n // 2) * v for n, v in zip(GRID.shape, GRID.voxel_size_mm, strict=True)), indexing="ij"
)
QUICK = QsmConfig(background=Step("vsharp"), inversion=Step("tkd"), reference="csf")
BRAIN = (X / 42) ** 2 + (Y / 42) ** 2 + (Z / 40) ** 2 < 1
VENTRICLES = ((X.abs() - 10).abs() < 5) & (Y.abs() < 14) & (Z.abs() < 7)
VOID = X**2 + (Y - 22) ** 2 + Z**2 < 7**2


def images(r2star_hz, chi_ppm, snr, generator, n_coils=1):
    """Complex images ``(echo, coil, x, y, z)`` with noise of one in each component; no signal in `VOID`."""
    field_hz = susceptibility_to_field(chi_ppm, GRID, SCAN.b0_direction) * SCAN.hz_per_ppm
    level = snr * (BRAIN & ~VOID) / n_coils**0.5
    clean = [torch.polar(level * torch.exp(-r2star_hz * t), 2 * math.pi * field_hz * t) for t in SCAN.echo_times_s]
    signal = torch.stack(clean)[:, None].expand(-1, n_coils, -1, -1, -1)
    parts = torch.randn((2, *signal.shape), generator=generator)
    return signal + torch.complex(parts[0], parts[1])


@pytest.mark.parametrize("chi_ppm", [1.0, -1.0])
@pytest.mark.parametrize("is_zeroed", [False, True])
def test_a_void_near_the_ventricles_is_no_fluid(generator, chi_ppm, is_zeroed):
    """Its rate is a fit of noise, or 0 where there is no signal at all: as low as that of fluid."""
    rate, chi = torch.where(VENTRICLES, 1.5, 20.0), torch.where(VOID, chi_ppm, 0.0)
    signal = images(rate, chi, 60.0, generator)
    signal = signal * ~VOID if is_zeroed else signal
    maps = map_susceptibility(lag_sums(signal, None), SCAN, QUICK, external_mask=BRAIN)
    assert (maps.mask & VOID).any(), "it stays in the mask, where it weighs next to nothing"
    region = csf_region(maps.r2star_hz, maps.eroded_mask, GRID, maps.quality)
    assert (region & VOID).sum() <= 0.02 * VOID.sum() and (region & VENTRICLES).sum() > 0.95 * VENTRICLES.sum()
    assert (csf_region(maps.r2star_hz, maps.eroded_mask, GRID) & VOID).sum() > 0.1 * VOID.sum()
    (told,) = [one for one in maps.references if one.name == "csf"]
    assert told.n_voxels == int(region.sum())


@pytest.mark.parametrize(("n_coils", "snr"), [(1, 30.0), (12, 30.0), (32, 30.0)])
def test_r2star_of_coils_apart_is_no_lower_though_nobody_tells_their_noise(generator, n_coils, snr):
    """The noise of 32 coils adds to the late echoes as much as their signal holds."""
    nucleus = (X - 10) ** 2 + (Y + 20) ** 2 + Z**2 < 8**2
    rate = torch.where(nucleus, 38.0, 20.0)
    signal = images(rate, torch.zeros(GRID.shape), snr, generator, n_coils)
    maps = map_susceptibility(lag_sums(signal, None), SCAN, replace(QUICK, reference="brain"), external_mask=BRAIN)
    inner = nucleus & maps.eroded_mask
    assert float(maps.r2star_hz[inner].median()) == pytest.approx(38.0, rel=0.03)
    tissue = maps.eroded_mask & ~nucleus & ~VOID
    assert float(maps.r2star_hz[tissue].median()) == pytest.approx(20.0, rel=0.02)
