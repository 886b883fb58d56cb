"""Whether a file of ITK is whole: on a full disk ITK writes a part of it and says nothing, and reads that again.

What is read of a field that was cut off differs from it, so that nuclei would be measured in the wrong place.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Any, Final

from dlqsm.core.checks import InputError

_HEADER: Final = 352
_BLOCK: Final = 2**22


def require_whole(path: Path) -> None:
    """Raise `InputError` if a NIfTI file (``.nii``, ``.nii.gz``) or an affine (``.mat``) of ITK is cut off."""
    try:
        if path.suffix == ".mat":
            is_whole = _is_whole_matrix(path.read_bytes())
        else:
            with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
                is_whole = _is_whole_image(file)
    except (OSError, EOFError, zlib.error, struct.error) as error:
        if isinstance(error, FileNotFoundError):
            raise
        is_whole = False
    if not is_whole:
        raise InputError(
            f"{path}: was not written whole, as happens on a full disk; free some space there (TMPDIR names another "
            "place for temporary files), and give the same command again"
        )


def _is_whole_image(file: Any) -> bool:
    header = file.read(_HEADER)
    n_axes, *shape = struct.unpack_from("<8h", header, 40)
    (bits,), (start,) = struct.unpack_from("<h", header, 72), struct.unpack_from("<f", header, 108)
    n_bytes = bits // 8
    for n in shape[:n_axes]:
        n_bytes *= n
    found = len(header)
    while block := file.read(_BLOCK):
        found += len(block)
    return 0 < int(start) + n_bytes <= found


def _is_whole_matrix(content: bytes) -> bool:
    """Arrays of a MATLAB 4 file, one after the other: five numbers, a name, values of 8 or 4 bytes."""
    place = n_arrays = 0
    while place < len(content):
        kind, rows, columns, _, name = struct.unpack_from("<5i", content, place)
        place += 20 + name + rows * columns * (8 if kind // 10 % 10 == 0 else 4)
        n_arrays += 1
    return n_arrays == 2 and place == len(content)
