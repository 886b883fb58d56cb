"""HDF5 files that may be damaged: one way to open them, and no memory for what they only promise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from dlqsm.core.checks import InputError
from dlqsm.io.files import LARGEST_DEFLATION, require_file


@contextmanager
def readable_hdf5(path: Path, expected: str) -> Iterator[h5py.File]:
    """Open a file for reading; what HDF5 finds wrong within the block is raised as `InputError`.

    Parameters
    ----------
    path
        The file.
    expected
        What it should be, for the sentence.
    """
    require_file(path, expected)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (InputError, MemoryError):
        raise
    except Exception as error:  # one of OSError, KeyError, ValueError, TypeError, RuntimeError: by what is damaged
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: expected {expected}, but it cannot be read ({reason}); copy or make it again"
        ) from error


def require_dataset(path: Path, parent: h5py.Group, name: str, n_axes: int, kinds: str) -> h5py.Dataset:
    """An array of a file that is stored whole, of so many axes, and of one of the kinds of NumPy.

    Raises
    ------
    InputError
        If it is absent, is no such array, or is declared larger than what is stored of it.
    """
    item = parent.get(name)
    if not isinstance(item, h5py.Dataset) or len(item.shape or ()) != n_axes or item.dtype.kind not in kinds:
        came = "none" if item is None else type(item).__name__
        if isinstance(item, h5py.Dataset):
            came = f"{item.dtype} of shape {item.shape}"
        raise InputError(f"{path}: expected an array '{name}' of {n_axes} axes; got {came}")
    require_stored(path, item)
    return item


def require_stored(path: Path, dataset: h5py.Dataset) -> None:
    """Raise `InputError` if an array is declared larger than what is stored of it can be."""
    declared = int(dataset.size) * dataset.id.get_type().get_size()
    is_packed = dataset.id.get_create_plist().get_nfilters() > 0
    most = int(dataset.id.get_storage_size()) * (LARGEST_DEFLATION if is_packed else 1)
    if declared > most:
        size = " x ".join(str(n) for n in dataset.shape)
        raise InputError(
            f"{path}: '{dataset.name.lstrip('/')}' is declared with {size} values, {declared} bytes, but no more than "
            f"{most} are stored; it is damaged: copy or make it again"
        )
