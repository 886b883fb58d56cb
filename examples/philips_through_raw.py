"""Real anatomy through the raw line: images of a person become k-space, are undersampled at AF 3, and come back.

    python examples/philips_through_raw.py [FOLDER]

FOLDER (default: philips_dual_echo/nifti in the folder that DLQSM_SHARED_DATA names) holds magnitude and phase of two
echoes of a whole head at 3 mm. They get eight coils, k-space and noise; a Poisson disk keeps a third of the lines; both
the full and the undersampled data go through `reconstruct` and `map_susceptibility`. Printed is the error of the total
field against that of the fully sampled run, inside the common mask.
"""

# %%
import os
import sys
from pathlib import Path

import numpy as np
import torch

from dlqsm.acquisition.coils import correlated_noise, helmet, sensitivity_map
from dlqsm.acquisition.sampling import full, poisson
from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader, undersample
from dlqsm.core.scan import Grid
from dlqsm.io.images import EchoSeries, read_echo_series
from dlqsm.pipeline import QsmMaps, map_susceptibility
from dlqsm.reconstruction.reconstruct import reconstruct

N_COILS, SNR, ACCELERATION, SEED = 8, 60.0, 3.0, 7


# %%
def read(folder: Path) -> EchoSeries:
    """Magnitude and phase, with the unit of the phase decided from the headers."""
    phase = sorted(folder.glob("*_ph.nii.gz"))
    if not phase:
        raise SystemExit(f"{folder}: there are no phase images (*_ph.nii.gz) here; name the folder that holds them")
    magnitude = [path.with_name(path.name.replace("_ph", "")) for path in phase]
    return read_echo_series(
        magnitude, phase, phase_unit=None, echo_times_s=None, field_strength_t=None, b0_direction=None
    )


# %%
def to_raw(series: EchoSeries) -> MemoryRaw:
    """Multiply by coils, transform, add noise: fully sampled raw data on the images' own grid."""
    rng = np.random.default_rng(SEED)
    grid, images = series.scan.grid, torch.polar(series.magnitude, series.phase_rad)[:, 0]
    coils = helmet(N_COILS, rng)
    # The helmet surrounds the isocentre; the image has its own origin, so its centre is put there.
    centred = Grid.centred(grid.shape, grid.voxel_size_mm, np.asarray(grid.rotation))
    sampling = full(grid.shape[1:])
    ky, kz = torch.from_numpy(sampling.lines.astype(np.int64)).T
    samples = np.empty((len(sampling.lines), len(images), N_COILS, grid.shape[0]), np.complex64)
    for coil in range(N_COILS):
        kspace = fftc(images * sensitivity_map(coils, coil, centred), (1, 2, 3))
        samples[:, :, coil] = kspace[:, :, ky, kz].permute(2, 0, 1).numpy()
    noise_sd = float(series.magnitude[0].flatten().quantile(0.95)) / SNR
    size = samples[:, :, 0].size
    noise = noise_sd * correlated_noise(coils.covariance, size, rng)
    samples += noise.reshape(N_COILS, *samples[:, :, 0].shape).transpose(1, 2, 0, 3)
    header = RawHeader(
        grid=grid,
        n_readout=grid.shape[0],
        n_coils=N_COILS,
        n_echoes=len(images),
        lines=sampling.lines,
        calibration=sampling.calibration[tuple(sampling.lines.T)],
        echo_times_s=series.scan.echo_times_s,
        field_strength_t=series.scan.field_strength_t,
        noise=noise_sd * correlated_noise(coils.covariance, 8192, rng),
    )
    return MemoryRaw(header, samples)


# %%
def run(raw: MemoryRaw, method: str) -> QsmMaps:
    """Reconstruct and map."""
    return map_susceptibility(reconstruct(raw, method).lag_sums, raw.header.scan)


def field_rmse_hz(maps: QsmMaps, reference: QsmMaps) -> float:
    """Root mean square difference of the total fields, without their median difference [Hz]."""
    mask = maps.mask & reference.mask
    difference = (maps.total_field_hz - reference.total_field_hz)[mask]
    return float((difference - difference.median()).square().mean().sqrt())


# %%
def main() -> None:
    """Print the field error of zero-filling and SENSE at AF 3."""
    default = Path(os.environ.get("DLQSM_SHARED_DATA", ".")) / "philips_dual_echo" / "nifti"
    raw = to_raw(read(Path(sys.argv[1]) if len(sys.argv) > 1 else default))
    reference = run(raw, "sense")
    sampling = poisson(raw.header.grid.shape[1:], ACCELERATION, SEED)
    thinned = undersample(raw, sampling.mask)
    print(f"fully sampled: noise of the field {float(reference.noise_hz[reference.mask].median()):.2f} Hz (median)")
    for method in ("zero", "sense"):
        rmse = field_rmse_hz(run(thinned, method), reference)
        print(f"AF {thinned.header.acceleration:.2f} {method:<6} field RMSE against fully sampled: {rmse:.2f} Hz")


if __name__ == "__main__":
    main()
