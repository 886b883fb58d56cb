"""The scene's k-space as raw data, every line, with a noise scan."""

from __future__ import annotations

import numpy as np
from analytic_scene import Scene

from dlqsm.core.fourier import fftc
from dlqsm.core.raw import MemoryRaw, RawHeader


def raw_of(scene: Scene, noise_sd: float = 0.01) -> MemoryRaw:
    """Scan a scene without noise; the coils share some of the noise that is added."""
    rng = np.random.default_rng(4)
    kspace = fftc(scene.images, (-3, -2, -1)).numpy()
    n_echoes, n_coils, nx, ny, nz = kspace.shape
    lines = np.argwhere(np.ones((ny, nz), bool)).astype(np.int32)
    samples = kspace[:, :, :, lines[:, 0], lines[:, 1]].transpose(3, 0, 1, 2)
    root = noise_sd * np.linalg.cholesky(np.eye(n_coils) + 0.2)

    def noise(n: int) -> np.ndarray:
        return root @ (rng.standard_normal((n_coils, n)) + 1j * rng.standard_normal((n_coils, n)))

    samples = samples + np.moveaxis(noise(samples.size // n_coils).reshape(n_coils, len(lines), n_echoes, nx), 0, 2)
    header = RawHeader(
        grid=scene.scan.grid,
        n_readout=nx,
        n_coils=n_coils,
        n_echoes=n_echoes,
        lines=lines,
        calibration=np.abs(lines - (ny // 2, nz // 2)).max(1) < 7,
        echo_times_s=scene.scan.echo_times_s,
        field_strength_t=scene.scan.field_strength_t,
        noise=noise(20000).astype(np.complex64),
    )
    return MemoryRaw(header, samples.astype(np.complex64))
