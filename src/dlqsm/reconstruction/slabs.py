"""How a volume is cut into slabs of x-planes, and the memory that this takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlqsm.core.raw import RawHeader
from dlqsm.reconstruction import NETWORKS, halo_planes
from dlqsm.reconstruction.hybrid import AUTOMATIC_VIRTUAL_COILS
from dlqsm.reconstruction.learned.weights import load_network

SLAB_BYTES = 2**29
HYBRID_BYTES = 2**30
"""Larger hybrid data are in a file."""
_ARRAYS_OF_A_SLAB = 4
_ARRAYS_MEASURED, _ARRAYS_OF_MOST = {"sense": 12, "cs": 6}, 5
"""Arrays of the size of a slab's samples that are held at once: those, images, and temporary ones."""


@dataclass(frozen=True, slots=True)
class SlabPlan:
    """Slabs of a volume and the most memory that is held while they are reconstructed.

    Parameters
    ----------
    n_planes
        x-planes of the volume.
    planes_at_once
        Planes of a slab that are kept.
    halo
        Planes on either side that are reconstructed with them and dropped.
    slab_bytes, hybrid_bytes, result_bytes
        Memory for one slab with its halo, for the hybrid data, and for what is returned.
    """

    n_planes: int
    planes_at_once: int
    halo: int
    slab_bytes: int
    hybrid_bytes: int
    result_bytes: int

    @property
    def slabs(self) -> list[range]:
        """x-planes of each slab."""
        step = self.planes_at_once
        return [range(first, min(first + step, self.n_planes)) for first in range(0, self.n_planes, step)]

    def with_halo(self, planes: range) -> range:
        """The planes and the neighbours that the method joins to them."""
        return range(max(planes.start - self.halo, 0), min(planes.stop + self.halo, self.n_planes))

    def __str__(self) -> str:
        """One sentence for the user."""
        whole = self.slab_bytes + self.hybrid_bytes + self.result_bytes
        halo = f" and {self.halo} on either side" if self.halo else ""
        return (
            f"memory: about {whole / 2**30:.1f} GiB, {self.slab_bytes / 2**30:.1f} of it for slabs of "
            f"{self.planes_at_once} of {self.n_planes} planes{halo}"
        )


def plan_slabs(
    header: RawHeader,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    virtual_coils: int | None = None,
    slab_bytes: int = SLAB_BYTES,
    device_type: str = "cpu",
) -> SlabPlan:
    """Cut a scan into slabs that fit into memory, before anything is read.

    A network's slab is at least twice as thick as its halo, so that no more than half of the work is for planes that
    are dropped, and begins where the planes that it takes together begin.

    Parameters
    ----------
    header
        Of the raw data.
    method, options, virtual_coils
        As for `reconstruct`.
    slab_bytes
        Memory for four arrays of the planes of a slab that are kept.
    device_type
        cpu or cuda.

    Raises
    ------
    InputError
        If the method is a network whose weights cannot be used.
    """
    shape, n_echoes = header.grid.shape, header.n_echoes
    n_coils = max(1, min(header.n_coils, virtual_coils or AUTOMATIC_VIRTUAL_COILS))
    plane_bytes = 8 * n_echoes * n_coils * math.prod(shape[1:])
    network = load_network(NETWORKS[method], (options or {}).get("weights")) if method in NETWORKS else None
    halo, step = halo_planes(method, options), max(1, slab_bytes // (_ARRAYS_OF_A_SLAB * plane_bytes))
    if network is not None:
        together = network.planes_together
        step = max(step // together * together, 2 * halo, together)
    step = min(step, shape[0])
    wide = min(step + 2 * halo, shape[0])
    working = wide * plane_bytes * _ARRAYS_MEASURED.get(method, _ARRAYS_OF_MOST)
    if network is not None:
        working += network.working_bytes((n_echoes, n_coils, wide, *shape[1:]), device_type)
    hybrid = 8 * shape[0] * n_echoes * n_coils * len(header.lines)
    result = (20 * n_echoes + 8) * math.prod(shape)
    return SlabPlan(shape[0], step, halo, working, min(hybrid, HYBRID_BYTES), result)
