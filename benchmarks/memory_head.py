"""The scans of `memory_plan`: an ellipsoid with spheres of susceptibility in it, in any size, made in seconds.

Usage: python benchmarks/memory_head.py FOLDER NX NY NZ ECHOES COILS

Writes full.h5 (fully sampled raw data), chi.nii.gz, labels.nii.gz and labels.tsv. Memory depends on sizes, on the box
of the mask and on what the solvers allocate, none of which asks for a truer head.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from dlqsm.core.dipole import susceptibility_to_field
from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader, calibration_region
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.units import TWO_PI
from dlqsm.io.nifti import write_volume
from dlqsm.io.raw import write_raw

FIELD_OF_VIEW_MM = (205.0, 205.0, 160.0)
SEMI_AXES = (0.66, 0.72, 0.70)
"""Of the brain, in halves of the field of view: its box is a third of the volume."""
SKULL = (1.12, 1.22)
N_SPHERES = 12


def main() -> None:
    folder, shape, (n_echoes, n_coils) = Path(sys.argv[1]), _three(sys.argv[2:5]), map(int, sys.argv[5:7])
    edges = tuple(mm / n for mm, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    grid = Grid.centred(shape, edges, np.eye(3))
    scan = Scan(grid, tuple(3.3e-3 + 3.1e-3 * echo for echo in range(n_echoes)), 3.0)
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    x, y, z = axes[0][:, None, None], axes[1][None, :, None], axes[2][None, None, :]
    radius = np.sqrt(sum((at / semi) ** 2 for at, semi in zip((x, y, z), SEMI_AXES, strict=True)))
    rng = np.random.default_rng(0)
    chi, labels = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    for number in range(1, N_SPHERES + 1):
        centre, size = rng.uniform(-0.4, 0.4, 3), rng.uniform(0.08, 0.15)
        inside = sum((at - mid) ** 2 for at, mid in zip((x, y, z), centre, strict=True)) < size**2
        chi[inside], labels[inside] = rng.uniform(-0.1, 0.2), number
    write_volume(folder / "chi.nii.gz", torch.from_numpy(chi), grid)
    write_volume(folder / "labels.nii.gz", torch.from_numpy(labels), grid)
    rows = [f"{number}\tS{number}\tboth" for number in range(1, N_SPHERES + 1)]
    (folder / "labels.tsv").write_text("\n".join(["index\troi\tside", *rows]) + "\n")
    field_hz = susceptibility_to_field(torch.from_numpy(chi), grid, scan.b0_direction) * scan.hz_per_ppm
    field_hz += torch.from_numpy(40 * x + 30 * y**2 - 30 * z**2)
    shell = (radius > SKULL[0]) & (radius < SKULL[1])
    magnitude = torch.from_numpy(np.where(radius < 1, 1.0, np.where(shell, 0.8, 0.0)).astype(np.float32))
    write_raw(folder / "full.h5", _raw(scan, magnitude, field_hz, n_coils, (x, y, z), rng))


def _raw(scan, magnitude, field_hz, n_coils, axes, rng) -> MemoryRaw:
    """Fully sampled raw data of Gaussian coils round the head, with white noise."""
    nx, ny, nz = shape = scan.grid.shape
    lines = np.stack(np.meshgrid(np.arange(ny), np.arange(nz), indexing="ij"), -1).reshape(-1, 2).astype(np.int32)
    samples = np.empty((len(lines), len(scan.echo_times_s), n_coils, nx), np.complex64)
    for coil in range(n_coils):
        angle = TWO_PI * coil / n_coils
        place = (1.2 * np.cos(angle), 1.2 * np.sin(angle), 0.5 * (-1) ** coil)
        distance = sum((at - mid) ** 2 for at, mid in zip(axes, place, strict=True))
        gain = torch.from_numpy(np.exp(-0.4 * distance).astype(np.float32)) * magnitude
        for echo, time_s in enumerate(scan.echo_times_s):
            image = torch.polar(gain * np.exp(-20 * time_s), TWO_PI * time_s * field_hz)
            kspace = fftc(image, (0, 1, 2)).movedim(0, -1).reshape(-1, nx)
            noise = rng.standard_normal((len(lines), nx, 2), dtype=np.float32).view(np.complex64)[..., 0]
            samples[:, echo, coil] = kspace.numpy() + 0.005 * noise
    mask = np.ones((ny, nz), bool)
    scan_noise = 0.005 * rng.standard_normal((n_coils, 4096, 2), dtype=np.float32).view(np.complex64)[..., 0]
    header = RawHeader(
        grid=scan.grid,
        n_readout=shape[0],
        n_coils=n_coils,
        n_echoes=len(scan.echo_times_s),
        lines=lines,
        calibration=calibration_region(mask)[tuple(lines.T)],
        echo_times_s=scan.echo_times_s,
        field_strength_t=3.0,
        noise=scan_noise,
    )
    return MemoryRaw(header, samples)


def _three(words: list[str]) -> tuple[int, int, int]:
    x, y, z = map(int, words)
    return x, y, z


if __name__ == "__main__":
    main()
