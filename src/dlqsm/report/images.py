"""Pixels: fixed scales, colours and images that stand inside the page."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from io import BytesIO
from typing import Final

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import NDArray
from PIL import Image as Picture
from skimage.measure import find_contours

from dlqsm.core.labels import COLOURS
from dlqsm.report.places import numbers_of

_RAISED: Final = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
Pixels = NDArray[np.float64]
GREY: Final = LinearSegmentedColormap.from_list("grey", ["#000000", "#ffffff"])
DIVERGING: Final = LinearSegmentedColormap.from_list(
    "cold_dark_warm", ["#c9e6ff", "#4f9fe8", "#000000", "#e07b39", "#ffe2b8"]
)
"""Dark where nothing differs, so that a difference is what shines; blue and orange are told apart by everyone."""


@dataclass(frozen=True)
class Scale:
    """A fixed window: values at ``low`` are black (or blue), at ``high`` white (or orange)."""

    low: float
    high: float
    unit: str
    is_signed: bool = False

    @property
    def colours(self) -> LinearSegmentedColormap:
        """The colour map of the scale."""
        return DIVERGING if self.is_signed else GREY

    @property
    def css_gradient(self) -> str:
        """Colour bar, from low to high."""
        stops = [hex_colour(self.colours(step)) for step in np.linspace(0, 1, 9 if self.is_signed else 2)]
        return f"linear-gradient(to right, {', '.join(stops)})"

    @property
    def ticks(self) -> tuple[str, str, str]:
        """Text at the low end, the middle and the high end."""
        sign = "+" if self.low < 0 else ""
        low, middle, high = (_tick(v, sign) for v in (self.low, (self.low + self.high) / 2, self.high))
        return low, middle, high


CHI_PPM: Final = Scale(-0.1, 0.2, "ppm")
DIFFERENCE_PPM: Final = Scale(-0.05, 0.05, "ppm", is_signed=True)
PHASE_RAD: Final = Scale(-math.pi, math.pi, "rad")
TOTAL_FIELD_HZ: Final = Scale(-50.0, 50.0, "Hz")
LOCAL_FIELD_HZ: Final = Scale(-6.0, 6.0, "Hz")


def to_bytes(values: Pixels, scale: Scale) -> NDArray[np.uint8]:
    """Values to 0 .. 255; what is not finite is black (signed scales: no difference)."""
    nothing = 0.5 if scale.is_signed else 0.0
    fraction = (values - scale.low) / (scale.high - scale.low)
    fraction = np.where(np.isfinite(fraction), np.clip(fraction, 0.0, 1.0), nothing)
    return np.rint(255.0 * fraction).astype(np.uint8)


def data_uri(values: Pixels, scale: Scale) -> str:
    """The image as lossless WebP inside a ``data:`` address."""
    grey = to_bytes(values, scale)
    if scale.is_signed:
        table = np.rint(255.0 * scale.colours(np.arange(256))[:, :3]).astype(np.uint8)
        picture = Picture.fromarray(table[grey])
    else:
        picture = Picture.fromarray(grey)
    stored = BytesIO()
    picture.save(stored, "WEBP", lossless=True, method=4)
    return "data:image/webp;base64," + base64.b64encode(stored.getvalue()).decode("ascii")


def hex_colour(colour: tuple[float, float, float, float]) -> str:
    """``#rrggbb`` of a colour with channels in [0, 1]."""
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in colour[:3])


def outlines(labels: Pixels) -> list[tuple[str, str, str]]:
    """Nucleus, colour and SVG path (in pixels of the plane) round each nucleus of a plane of labels."""
    paths = [(nucleus, colour, "".join(map(_path, contours(labels, nucleus)))) for nucleus, colour in COLOURS.items()]
    return [found for found in paths if found[2]]


def contours(labels: Pixels, nucleus: str) -> list[Pixels]:
    """Closed lines round a nucleus in a plane: (column, row) with pixel (0, 0) centred at (0.5, 0.5)."""
    region = np.pad(np.isin(np.nan_to_num(labels), numbers_of(nucleus)), 1).astype(np.float64)
    return [line[:, ::-1] - 0.5 for line in find_contours(region, 0.5)]


def _path(contour: Pixels) -> str:
    points = [f"{column:.2f} {row:.2f}" for column, row in contour[:-1]]
    return "M" + "L".join(points) + "Z"


def _tick(value: float, sign: str) -> str:
    if math.isclose(abs(value), math.pi):
        return "−π" if value < 0 else "π"
    if abs(value) >= 1e4:
        digits, exponent = f"{value:.1e}".split("e")
        return f"{digits} × 10{str(int(exponent)).translate(_RAISED)}"
    return "0" if value == 0 else f"{value:{sign}.3g}".replace("-", "−")
