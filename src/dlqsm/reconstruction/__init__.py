"""From k-space to echo images and the lag sums that the field map needs."""

from typing import Final

from dlqsm.core.methods import Reconstruction
from dlqsm.reconstruction.linear import sense, zero
from dlqsm.reconstruction.sparse import cs

RECONSTRUCTIONS: Final[dict[str, Reconstruction]] = {"zero": zero, "sense": sense, "cs": cs}

__all__ = ["RECONSTRUCTIONS"]
