"""``mdi.h5``: the lag sums and the noise that a field map needs, so that no uncombined image need be kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Grid
from dlqsm.io.outputs import whole_file


def write_lag_sums(path: Path, sums: LagSums, grid: Grid) -> None:
    """Write lag sums ``(lag, x, y, z)``, power ``(echo, x, y, z)``, noise ``(x, y, z)`` and the affine [mm]."""
    with whole_file(path) as partial, h5py.File(partial, "w") as file:
        file["lags"] = sums.lags.cpu().numpy()
        file["power"] = sums.power.cpu().numpy()
        if sums.noise_sd is not None:
            file["noise_sd"] = sums.noise_sd.cpu().numpy()
        file["affine"] = grid.affine
        file.attrs["n_channels"] = sums.n_channels


def read_lag_shape(path: Path) -> tuple[int, ...]:
    """Shape ``(x, y, z, echo)`` of the lag sums in a file, without reading them; raises as `read_lag_sums`."""
    with _opened(path) as file:
        shape = np.shape(file["power"])
    return (*shape[1:], *shape[:1])


def read_lag_sums(path: Path) -> tuple[LagSums, Grid]:
    """Read what `write_lag_sums` wrote, or raise `InputError`."""
    with _opened(path) as file:
        lags, power = np.asarray(file["lags"]), np.asarray(file["power"])
        noise = torch.from_numpy(np.asarray(file["noise_sd"])) if "noise_sd" in file else None
        affine, n_channels = np.asarray(file["affine"]), int(file.attrs["n_channels"])
    if power.ndim != 4 or lags.shape != (power.shape[0] - 1, *power.shape[1:]):
        raise InputError(
            f"{path}: lags have shape {lags.shape} and power {power.shape}; expected one lag less than echoes"
        )
    grid = Grid.from_affine(power.shape[1:], affine)
    return LagSums(torch.from_numpy(lags), torch.from_numpy(power), noise, n_channels), grid


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """The file; what cannot be read of it becomes an `InputError`."""
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; expected the output folder of dlqsm recon")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: expected lag sums written by dlqsm recon, but it cannot be read ({error})") from None
