"""``mdi.h5``: the lag sums and the noise that a field map needs, so that no uncombined image need be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Grid
from dlqsm.io.hdf5 import readable_hdf5, require_dataset, written_hdf5


def write_lag_sums(path: Path, sums: LagSums, grid: Grid) -> None:
    """Write lag sums ``(lag, x, y, z)``, power ``(echo, x, y, z)``, noise ``(x, y, z)`` and the affine [mm]."""
    with written_hdf5(path) as (file, require_written):
        file["lags"] = sums.lags.cpu().numpy()
        require_written()
        file["power"] = sums.power.cpu().numpy()
        if sums.noise_sd is not None:
            file["noise_sd"] = sums.noise_sd.cpu().numpy()
        file["affine"] = grid.affine
        file.attrs["n_channels"] = sums.n_channels


def read_lag_shape(path: Path) -> tuple[int, ...]:
    """Shape ``(x, y, z, echo)`` of the lag sums in a file, without reading them; raises as `read_lag_sums`."""
    with readable_hdf5(path, "lag sums written by dlqsm recon") as file:
        shape = require_dataset(path, file, "power", 4, "f").shape
    return (*shape[1:], *shape[:1])


def read_lag_sums(path: Path) -> tuple[LagSums, Grid]:
    """Read what `write_lag_sums` wrote, or raise `InputError`."""
    with readable_hdf5(path, "lag sums written by dlqsm recon") as file:
        lags, power = _array(path, file, "lags", 4, "c"), _array(path, file, "power", 4, "f")
        noise = _array(path, file, "noise_sd", 3, "f") if "noise_sd" in file else None
        affine, n_channels = _array(path, file, "affine", 2, "f"), int(file.attrs["n_channels"])
    if lags.shape != (power.shape[0] - 1, *power.shape[1:]):
        raise InputError(
            f"{path}: lags have shape {lags.shape} and power {power.shape}; expected one lag less than echoes"
        )
    if noise is not None and noise.shape != power.shape[1:]:
        raise InputError(f"{path}: noise_sd has shape {noise.shape}; expected {power.shape[1:]}, as power has")
    if affine.shape != (4, 4) or n_channels < 1:
        raise InputError(f"{path}: has an affine of shape {affine.shape} and {n_channels} channels; make it again")
    try:
        grid = Grid.from_affine(power.shape[1:], affine)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    told = None if noise is None else torch.from_numpy(noise)
    return LagSums(torch.from_numpy(lags), torch.from_numpy(power), told, n_channels), grid


def _array(path: Path, file: h5py.File, name: str, n_axes: int, kinds: str) -> NDArray[Any]:
    values = np.asarray(require_dataset(path, file, name, n_axes, kinds))
    if not np.isfinite(values).all():
        raise InputError(f"{path}: {name} holds values that are not finite; make the folder again with dlqsm recon")
    return values
