"""From k-space to echo images and the lag sums that the field map needs."""

from collections.abc import Mapping
from typing import Any, Final

from dlqsm.core.methods import Reconstruction
from dlqsm.reconstruction.learned import NETWORKS, cascade, joint
from dlqsm.reconstruction.learned.weights import load_network
from dlqsm.reconstruction.linear import sense, zero
from dlqsm.reconstruction.sparse import cs

RECONSTRUCTIONS: Final[dict[str, Reconstruction]] = {
    "zero": zero,
    "sense": sense,
    "cs": cs,
    "cascade": cascade,
    "joint": joint,
}

LINEAR: Final = ("zero", "sense")
"""Methods whose noise does not depend on the image."""

ECHO_BY_ECHO: Final = ("zero", "sense", "cascade")
"""Methods that reconstruct each echo as if there were no other."""

COILS_APART: Final[dict[str, dict[str, str]]] = {
    "zero": {},
    "cs": {"coils": "each"},
    "cascade": {},
    "joint": {"consistency": "exact"},
}
"""Methods that leave coils apart, with the options that make them do so."""

FIELD_UNCERTAINTY: Final[dict[str, float]] = {"cs": 1.12, "joint": 2.21}
"""The field's error over its change by noise added once more: the factor that makes 68 % of the errors in the brain
smaller than the uncertainty, measured on held-out virtual heads at AF 3 and 5 (`docs/reconstruction.md`)."""

HALO_PLANES: Final[dict[str, int]] = {"cs": 8}
"""x-planes beyond a slab that a method needs, because its prior joins neighbouring planes; 0 where not named. Those of
networks follow from their weights: see `halo_planes`."""


def halo_planes(method: str, options: Mapping[str, Any] | None = None) -> int:
    """x-planes beyond a slab that a method with these options needs.

    Raises
    ------
    InputError
        If the method is a network whose weights cannot be used.
    """
    if method in NETWORKS:
        return load_network(NETWORKS[method], (options or {}).get("weights")).halo_planes
    return HALO_PLANES.get(method, 0)


__all__ = [
    "COILS_APART",
    "ECHO_BY_ECHO",
    "FIELD_UNCERTAINTY",
    "HALO_PLANES",
    "LINEAR",
    "NETWORKS",
    "RECONSTRUCTIONS",
    "halo_planes",
]
