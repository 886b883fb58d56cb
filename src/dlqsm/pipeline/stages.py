"""The flow of `map_susceptibility` in three stages, each of which can start from what another program made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy import ndimage

from dlqsm.config import QsmConfig
from dlqsm.core.lags import LagSums, within_range
from dlqsm.core.scan import Scan
from dlqsm.core.units import TWO_PI
from dlqsm.pipeline.susceptibility import csf_keyword, sums_of_images
from dlqsm.qsm.mask import phase_quality, processing_mask
from dlqsm.qsm.mdi import FieldEstimate, single_echo
from dlqsm.qsm.noise import with_noise
from dlqsm.qsm.reference import reference
from dlqsm.qsm.relaxation import r2star


@dataclass(frozen=True, slots=True)
class Field:
    """A field between two stages.

    Parameters
    ----------
    field_ppm
        Total or local field [ppm].
    mask
        Where it can be trusted.
    noise_ppm, magnitude, r2star_hz, quality
        Standard deviation of the total field [ppm], root of the sum of squares of all echoes, relaxation rate [1/s] and
        phase quality; None where nothing tells them.
    """

    field_ppm: torch.Tensor
    mask: torch.Tensor
    noise_ppm: torch.Tensor | None = None
    magnitude: torch.Tensor | None = None
    r2star_hz: torch.Tensor | None = None
    quality: torch.Tensor | None = None

    def alone(self) -> Field:
        """The field as a file holds it: known where it is not zero, without what weights it."""
        return Field(self.field_ppm, self.field_ppm != 0)


def total_field(
    sums: LagSums,
    mask: torch.Tensor,
    scan: Scan,
    config: QsmConfig,
    *,
    estimate: FieldEstimate | None = None,
    usable: torch.Tensor | None = None,
) -> Field:
    """Total field of echo images, by the methods ``field`` and ``unwrap``.

    It is zero outside the brain mask. Where the phase is not trusted, the measured phase is kept, with the whole turns
    that bring it nearest to the closest trusted voxel: a hole would act as a source for whoever takes the field alone.

    Parameters
    ----------
    sums
        Lag sums on the scan's grid.
    mask
        Brain mask; that of the result has only those of its voxels whose phase can be trusted.
    scan
        Echo times [s] and field strength [T] must be known.
    config
        Methods and options.
    estimate
        Field estimated elsewhere, as that of a single echo.
    usable
        Voxels that may stay in the mask; all where absent.
    """
    sums = with_noise(within_range(sums))
    estimate = estimate or config.field.bound("field")(sums, scan)
    usable = torch.ones_like(mask) if usable is None else usable
    quality, rate_hz = torch.where(usable, phase_quality(estimate), torch.nan), None
    if len(scan.echo_times_s) > 1:
        rate_hz = r2star(sums.power.sqrt(), scan.echo_times_s, sums.noise_sd, n_channels=sums.n_channels)
    magnitude = sums.power.sum(0).sqrt()
    trusted, _ = processing_mask(magnitude, quality, scan, external=mask, r2star_hz=rate_hz)
    phase_rad, trusted, _ = config.unwrap.bound("unwrap")(estimate.wrapped_phase_rad, trusted, scan, quality)
    phase_rad = _filled(phase_rad, trusted, estimate.wrapped_phase_rad, scan)
    known = mask & usable & phase_rad.isfinite()
    field_ppm = torch.where(known, phase_rad / (TWO_PI * estimate.spacing_s) / scan.hz_per_ppm, 0.0)
    return Field(field_ppm, trusted, estimate.noise_hz / scan.hz_per_ppm, magnitude, rate_hz, quality)


def _filled(phase_rad: torch.Tensor, trusted: torch.Tensor, wrapped_rad: torch.Tensor, scan: Scan) -> torch.Tensor:
    """Phase that is unwrapped where it can be trusted, and next to the nearest such voxel elsewhere."""
    x, y, z = ndimage.distance_transform_edt(
        ~trusted.cpu().numpy(), sampling=scan.grid.voxel_size_mm, return_distances=False, return_indices=True
    )
    turns = ((phase_rad[x, y, z] - wrapped_rad) / TWO_PI).round()
    return torch.where(trusted, phase_rad, wrapped_rad + TWO_PI * turns)


def weighted(field: Field, magnitude: torch.Tensor, scan: Scan, config: QsmConfig) -> Field:
    """A field made elsewhere with the noise that magnitudes ``(echo, x, y, z)`` imply, as if their phase were zero."""
    phase_rad = torch.zeros_like(magnitude)
    if len(scan.echo_times_s) > 1:
        estimate = config.field.bound("field")(sums_of_images(magnitude, phase_rad), scan)
    else:
        estimate = single_echo(torch.polar(magnitude, phase_rad)[0], scan)
    noise_ppm = estimate.noise_hz / scan.hz_per_ppm
    return replace(field, noise_ppm=noise_ppm, magnitude=magnitude.square().sum(0).sqrt())


def local_field(total: Field, scan: Scan, config: QsmConfig) -> Field:
    """Local field and where it is valid, by the method ``background``."""
    remove = config.background.bound("background")
    local_field_ppm, valid, _ = remove(total.field_ppm, total.mask, scan, total.noise_ppm)
    return replace(total, field_ppm=local_field_ppm, mask=valid)


def susceptibility(local: Field, scan: Scan, config: QsmConfig) -> torch.Tensor:
    """Susceptibility [ppm], its mean over the mask zero, by the method ``inversion``."""
    csf = csf_keyword(config, local.r2star_hz, local.mask, scan.grid, local.quality)
    invert = config.inversion.bound("inversion")
    chi_ppm, _ = invert(local.field_ppm, local.mask, scan, local.noise_ppm, local.magnitude, **csf)
    return reference(chi_ppm, local.mask, local.mask)[0]
