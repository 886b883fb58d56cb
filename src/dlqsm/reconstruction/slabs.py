"""How a volume is cut into slabs of x-planes, and the memory that this takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dlqsm.core.raw import RawHeader
from dlqsm.reconstruction import NETWORKS, halo_planes
from dlqsm.reconstruction.hybrid import AUTOMATIC_VIRTUAL_COILS, BLOCK_BYTES, HYBRID_BYTES
from dlqsm.reconstruction.learned.weights import Network, load_network

SLAB_BYTES = 2**29
_ARRAYS_OF_A_SLAB = 4
_ARRAYS_MEASURED, _ARRAYS_OF_MOST = {"sense": 10, "cs": 7, "joint": 3}, 5
"""Arrays of the size of a slab's samples that are held at once: those, images, and temporary ones."""
_BLOCKS_OF_READING = 4
"""Raw data as read, in aligned memory, and the transform of their virtual coils, in blocks."""
_MAPS_BYTES_A_PAIR = 1_600_000
"""Local operator of the sensitivities on its coarse grid with its eigenvectors, for each pair of virtual coils."""
_SAVING_BYTES = 8
"""Of a voxel and echo: magnitude or phase as it is written, and its copy in the form of the file."""


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
    reading_bytes, saving_bytes
        Memory for calibration and reading, before there is a slab, and for writing the result, after the last.
    """

    n_planes: int
    planes_at_once: int
    halo: int
    slab_bytes: int
    hybrid_bytes: int
    result_bytes: int
    reading_bytes: int
    saving_bytes: int

    @property
    def peak_bytes(self) -> int:
        """The most that is held at once, beside what the process takes by itself."""
        reconstructing = self.hybrid_bytes + self.result_bytes + self.slab_bytes
        return max(self.hybrid_bytes + self.reading_bytes, reconstructing, self.result_bytes + self.saving_bytes)

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
        halo = f" and {self.halo} on either side" if self.halo else ""
        return f"slabs of {self.planes_at_once} of {self.n_planes} planes{halo}"


def plan_slabs(
    header: RawHeader,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    virtual_coils: int | None = None,
    uncombined: bool = False,
    slab_bytes: int = SLAB_BYTES,
    hybrid_bytes: int = HYBRID_BYTES,
    device_type: str = "cpu",
) -> SlabPlan:
    """Cut a scan into slabs that fit into memory, before anything is read.

    A network's slab is at least twice as thick as its halo, so that no more than half of the work is for planes that
    are dropped, and begins where the planes that it takes together begin.

    Parameters
    ----------
    header
        Of the raw data.
    method, options, virtual_coils, uncombined
        As for `reconstruct`.
    slab_bytes
        Memory for four arrays of the planes of a slab that are kept.
    hybrid_bytes
        Larger hybrid data are in a file.
    device_type
        cpu or cuda.

    Raises
    ------
    InputError
        If the method is a network whose weights cannot be used.
    """
    sizes = _Sizes.of(header, method, options, virtual_coils, device_type, uncombined=uncombined)
    return sizes.cut(slab_bytes, hybrid_bytes)


def fit_slabs(
    header: RawHeader,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    room_bytes: int,
    virtual_coils: int | None = None,
    uncombined: bool = False,
    device_type: str = "cpu",
) -> tuple[int, int]:
    """Memory for the planes of a slab, and for hybrid data, with which a reconstruction takes no more than there is.

    Slabs become thinner first; where that is not enough, hybrid data go to a file as well. Results do not depend on
    either.

    Parameters
    ----------
    header, method, options, virtual_coils, uncombined, device_type
        As for `plan_slabs`.
    room_bytes
        Memory that there is, beside what the process takes by itself.

    Returns
    -------
    ``slab_bytes`` and ``hybrid_bytes`` for `reconstruct`: the usual ones where they fit, and the least where nothing
    does.
    """
    sizes = _Sizes.of(header, method, options, virtual_coils, device_type, uncombined=uncombined)
    for hybrid_bytes in (HYBRID_BYTES, 0):
        slab_bytes = SLAB_BYTES
        while slab_bytes > 0:
            if sizes.cut(slab_bytes, hybrid_bytes).peak_bytes <= room_bytes:
                return slab_bytes, hybrid_bytes
            slab_bytes = slab_bytes * 3 // 4
    return 1, 0


@dataclass(frozen=True, slots=True)
class _Sizes:
    """What a scan and a method settle, however the volume is cut."""

    header: RawHeader
    method: str
    network: Network | None
    halo: int
    n_coils: int
    device_type: str
    uncombined: bool

    @classmethod
    def of(
        cls,
        header: RawHeader,
        method: str,
        options: Mapping[str, Any] | None,
        virtual_coils: int | None,
        device_type: str,
        *,
        uncombined: bool,
    ) -> _Sizes:
        network = load_network(NETWORKS[method], (options or {}).get("weights")) if method in NETWORKS else None
        halo = halo_planes(method, options) if network is None else network.halo_planes
        n_coils = max(1, min(header.n_coils, virtual_coils or AUTOMATIC_VIRTUAL_COILS))
        return cls(header, method, network, halo, n_coils, device_type, uncombined)

    def cut(self, slab_bytes: int, hybrid_bytes: int) -> SlabPlan:
        """The plan for slabs of this size."""
        header, network, halo = self.header, self.network, self.halo
        shape, n_echoes, n_coils = header.grid.shape, header.n_echoes, self.n_coils
        plane_bytes = 8 * n_echoes * n_coils * math.prod(shape[1:])
        step = max(1, slab_bytes // (_ARRAYS_OF_A_SLAB * plane_bytes))
        if network is not None:
            together = network.planes_together
            step = max(step // together * together, 2 * halo, together)
        step = min(step, shape[0])
        wide = min(step + 2 * halo, shape[0])
        working = wide * plane_bytes * _ARRAYS_MEASURED.get(self.method, _ARRAYS_OF_MOST)
        if network is not None:
            working += network.working_bytes((n_echoes, n_coils, wide, *shape[1:]), self.device_type)
        hybrid = 8 * shape[0] * n_echoes * n_coils * len(header.lines)
        coil_images = plane_bytes * shape[0] if self.uncombined else 0
        return SlabPlan(
            shape[0],
            step,
            halo,
            working,
            hybrid if hybrid <= hybrid_bytes else 0,
            (20 * n_echoes + 8) * math.prod(shape) + coil_images,
            _BLOCKS_OF_READING * _block_bytes(header) + _MAPS_BYTES_A_PAIR * n_coils**2,
            _SAVING_BYTES * n_echoes * math.prod(shape) + coil_images,
        )


def _block_bytes(header: RawHeader) -> int:
    whole = 8 * len(header.lines) * header.n_echoes * header.n_coils * header.n_readout
    return min(whole, BLOCK_BYTES)
