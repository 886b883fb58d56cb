"""Measured coil sensitivities in files: NumPy arrays and MATLAB's (version 7.3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from dlqsm.core.checks import InputError


def read_coil_maps(path: Path) -> NDArray[np.complexfloating]:
    """Read the sensitivities of one plane, ``(coil, row, column)``.

    Parameters
    ----------
    path
        A NumPy file (.npy), or a MATLAB file of version 7.3 (.mat) with one complex array; MATLAB's axis order
        (row, column, coil) is that of the file's bytes reversed.

    Raises
    ------
    InputError
        If there is no such file, or it holds no such array.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no file of coil maps here")
    try:
        found = np.load(path, allow_pickle=False) if path.suffix == ".npy" else _from_matlab(path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: expected coil maps as a NumPy array (.npy) or a MATLAB file of version 7.3 with one complex "
            f"array; it cannot be read so ({error})"
        ) from None
    if found.ndim != 3 or not np.iscomplexobj(found):
        raise InputError(
            f"{path}: coil maps must be complex (coil, row, column); got {found.dtype} of shape {found.shape}"
        )
    return found


def _from_matlab(path: Path) -> NDArray[Any]:
    with h5py.File(path) as file:
        arrays = [value for value in file.values() if isinstance(value, h5py.Dataset)]
        if len(arrays) != 1:
            raise ValueError(f"it holds {len(arrays)} arrays")
        values = arrays[0][()]
    return np.asarray(values["real"] + 1j * values["imag"]) if values.dtype.names == ("real", "imag") else values
