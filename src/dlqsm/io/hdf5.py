"""HDF5 files that may be damaged, on disks that may refuse them: one way to read them, and one to write them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import h5py

from dlqsm.core.checks import InputError
from dlqsm.io.files import LARGEST_DEFLATION, require_file
from dlqsm.io.outputs import whole_file


@contextmanager
def written_hdf5(path: Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Write a file, whole or not at all: give it, and what to call after each block of it.

    Raises
    ------
    InputError
        If the disk refuses; after the block that it refused, where that call is made, or at the end.
    """
    with whole_file(path) as partial, partial.open("w+b", buffering=0) as disk:
        place = _Place(disk)
        with h5py.File(place, "w") as file:
            yield file, place.require_written
        place.require_written()


class _Place:
    """A file that never refuses HDF5, which crashes the process where a write fails: the rest is kept in memory."""

    def __init__(self, disk: BinaryIO) -> None:
        self._disk, self._at = disk, 0
        self._kept: list[tuple[int, bytes]] = []
        self._refused: OSError | None = None

    def require_written(self) -> None:
        """Raise what the disk said, if it has refused."""
        if self._refused is not None:
            raise self._refused

    def write(self, content: memoryview) -> int:
        if self._refused is None:
            try:
                self._to_disk(memoryview(content).cast("B"))
            except OSError as error:
                self._refused = error
        if self._refused is not None:
            self._kept.append((self._at, bytes(content)))
        self._at += len(content)
        return len(content)

    def _to_disk(self, content: memoryview) -> None:
        self._disk.seek(self._at)
        while content:
            content = content[self._disk.write(content) :]

    def readinto(self, into: memoryview) -> int:
        into = memoryview(into).cast("B")
        content = bytearray(self._from_disk(len(into)).ljust(len(into), b"\0"))
        for start, kept in self._kept:
            first, last = max(start, self._at), min(start + len(kept), self._at + len(into))
            if first < last:
                content[first - self._at : last - self._at] = kept[first - start : last - start]
        into[:] = content
        self._at += len(into)
        return len(into)

    def _from_disk(self, size: int) -> bytes:
        """What the disk has of so many bytes; an unbuffered read may end early."""
        self._disk.seek(self._at)
        content = b""
        while len(content) < size and (more := self._disk.read(size - len(content))):
            content += more
        return content

    def read(self, size: int) -> bytes:
        content = bytearray(size)
        self.readinto(memoryview(content))
        return bytes(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        if whence == os.SEEK_SET:
            self._at = offset
        elif whence == os.SEEK_CUR:
            self._at += offset
        else:
            end = self._disk.seek(0, os.SEEK_END)
            self._at = offset + max([end, *(start + len(kept) for start, kept in self._kept)])
        return self._at

    def tell(self) -> int:
        return self._at

    def truncate(self, size: int) -> None:
        if self._refused is None:
            try:
                self._disk.truncate(size)
            except OSError as error:
                self._refused = error

    def flush(self) -> None:
        """Nothing is buffered."""


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
