"""Whole volumes as one image each, which a browser unpacks: planes side by side in rows, as WebP."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from dlqsm.report.images import Pixels, Scale

OUTSIDE: Final = 0
"""Grey of what is not known; values are 1 to `LEVELS` + 1."""
LEVELS: Final = 254
QUALITIES: Final = (90, 80, 65, 50)
Grey = NDArray[np.uint8]


@dataclass(frozen=True)
class Packed:
    """A volume as an image.

    Parameters
    ----------
    uri
        The image as a ``data:`` address.
    shape
        Columns, rows and slices of the volume.
    tiles
        Planes side by side in one row of the image; the first lies at the upper left.
    error
        Root mean square of what packing changed inside [grey levels]; 0 where nothing was lost.
    """

    uri: str
    shape: tuple[int, int, int]
    tiles: int
    error: float


def to_grey(values: Pixels, scale: Scale) -> Grey:
    """Values to 1 .. 255 along the scale, clipped to it; what is not finite is `OUTSIDE`."""
    is_known = np.isfinite(values)
    fraction = (np.where(is_known, values, scale.low) - scale.low) / (scale.high - scale.low)
    return np.where(is_known, 1 + np.rint(LEVELS * np.clip(fraction, 0.0, 1.0)), OUTSIDE).astype(np.uint8)


def pack(grey: Grey, *, lossless_bytes: int | None = None, lossy_bytes: int = 0) -> Packed:
    """A volume ``(slice, row, column)`` as an image without loss, where that is small enough.

    Parameters
    ----------
    grey
        The volume.
    lossless_bytes
        Largest size of the image without loss; None: any.
    lossy_bytes
        Aim of the size otherwise: the best of `QUALITIES` that meets it is taken, else the last.
    """
    n_slices, n_rows, n_columns = grey.shape
    tiles = min(n_slices, max(1, round(math.sqrt(n_slices * n_rows / n_columns))))
    image = _mosaic(grey, tiles)
    stored = _webp(image, lossless=True)
    if lossless_bytes is not None and len(stored) > lossless_bytes:
        for quality in QUALITIES:
            stored = _webp(image, quality=quality)
            if len(stored) <= lossy_bytes:
                break
    uri = "data:image/webp;base64," + base64.b64encode(stored).decode("ascii")
    return Packed(uri, (n_columns, n_rows, n_slices), tiles, _error(image, stored))


def unpack(stored: bytes, shape: tuple[int, int, int], tiles: int) -> Grey:
    """The volume ``(slice, row, column)`` of an image, as the page's script reads it."""
    n_columns, n_rows, n_slices = shape
    image = np.asarray(Picture.open(BytesIO(stored)).convert("L"))
    return np.stack(
        [image[i // tiles * n_rows :, i % tiles * n_columns :][:n_rows, :n_columns] for i in range(n_slices)]
    )


def _mosaic(grey: Grey, tiles: int) -> Grey:
    n_slices, n_rows, n_columns = grey.shape
    lines = -(-n_slices // tiles)
    filled = np.full((lines * tiles, n_rows, n_columns), OUTSIDE, np.uint8)
    filled[:n_slices] = grey
    return filled.reshape(lines, tiles, n_rows, n_columns).swapaxes(1, 2).reshape(lines * n_rows, tiles * n_columns)


def _webp(image: Grey, *, lossless: bool = False, quality: int = 80) -> bytes:
    stored = BytesIO()
    Picture.fromarray(image).save(stored, "WEBP", lossless=lossless, quality=quality, method=4)
    return stored.getvalue()


def _error(image: Grey, stored: bytes) -> float:
    inside = image != OUTSIDE
    change = np.asarray(Picture.open(BytesIO(stored)).convert("L")).astype(np.float64) - image
    return float(np.sqrt(np.mean(np.square(change[inside])))) if inside.any() else 0.0
