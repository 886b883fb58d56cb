"""From k-space to echo images and the lag sums that the field map needs."""

from typing import Final

from dlqsm.core.methods import Reconstruction
from dlqsm.reconstruction.linear import sense, zero
from dlqsm.reconstruction.sparse import cs

HALO_PLANES: Final[dict[str, int]] = {"cs": 8}
"""x-planes beyond a slab that a method needs, because its prior joins neighbouring planes; 0 where not named."""

LINEAR: Final = ("zero", "sense")
"""Methods whose noise does not depend on the image."""

RECONSTRUCTIONS: Final[dict[str, Reconstruction]] = {"zero": zero, "sense": sense, "cs": cs}

__all__ = ["HALO_PLANES", "LINEAR", "RECONSTRUCTIONS"]
