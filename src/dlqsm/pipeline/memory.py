"""Peak memory of each piece of work, planned from sizes that headers tell: the one table of figures.

Each figure began as a count of what lives at the peak of a step, and was then fitted to measurements
(`benchmarks/memory_plan.py`); `docs/memory.md` shows both, and what is counted alone. They are those of the CPU. The
mask is taken to lie in a box of a third of the field of view, as that of a head does: steps that work inside its box
take more where it fills more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from dlqsm.acquisition.protocols import Protocol
from dlqsm.config import QsmConfig
from dlqsm.core.memory import MB, Need
from dlqsm.core.raw import COPY_BYTES, RawHeader
from dlqsm.reconstruction import NETWORKS
from dlqsm.reconstruction.hybrid import HYBRID_BYTES
from dlqsm.reconstruction.slabs import SLAB_BYTES, SlabPlan, fit_slabs, plan_slabs

NEEDS: Final[dict[str, Need]] = {
    # Edges of three axes with their costs; phase, magnitude and result of every echo, and the result once more.
    "unwrap spun": Need(405, voxel=78, echo=30),
    "unwrap romeo": Need(420, voxel=78, echo=30),
    "unwrap laplacian": Need(380, voxel=80, echo=30),
    # Kernels and spectra of the box of the mask, padded, and solver states.
    "background pdf_tv": Need(422, voxel=95),
    "background vsharp": Need(375, voxel=99),
    "background pdf": Need(377, voxel=100),
    "background lbv": Need(380, voxel=41),
    "background resharp": Need(382, voxel=63),
    "background none": Need(373, voxel=36),
    "invert l1": Need(425, voxel=89),
    "invert tv": Need(424, voxel=57),
    "invert fansi": Need(424, voxel=65),
    "invert medi": Need(380, voxel=190),
    "invert tgv": Need(465, voxel=75),
    "invert ilsqr": Need(380, voxel=114),
    "invert tkd": Need(377, voxel=44),
    "invert tikhonov": Need(378, voxel=46),
    # Lag sums of each echo, the maps that stay, and the largest of the steps above.
    "qsm": Need(480, voxel=69, echo=12),
    # Files of each echo and coil as read, in radian, stacked, and without values that are not finite.
    "images": Need(400, voxel=10, echo=0, coil=36),
    # Registration on 1 and 2 mm, which does not depend on the images, which are read and resampled.
    "nuclei by atlas": Need(1740, voxel=20),
    "nuclei by labels": Need(545, voxel=54),
    "compare": Need(382, voxel=100),
    # Volumes of each arm, as read.
    "page": Need(450, voxel=60),
    "convert images": Need(420, voxel=30, echo=16),
    "export": Need(400, voxel=20),
}
"""Work to what it needs; `docs/memory.md` tells how each figure is found."""

RECON_MB: Final = 430.0
"""A reconstruction beside its `SlabPlan`: libraries, compiled kernels, headers."""
NETWORK_MB: Final = 130.0
"""What convolutions load beside that."""
REALISATION_BYTES: Final = 4.0
"""Of a voxel, for each realisation of the noise."""
REALISING_BYTES: Final = 90.0
"""Of a voxel, for the chain that runs once more while its first result stays."""
RAW_COPY: Final = Need(450)
RAW_COPIES: Final = 3.3
"""A block as read, in one piece, in the records of the file, and what HDF5 holds of it."""

SIMULATION_MB: Final = 850.0
"""Templates, distances to surfaces, tissue fractions and libraries."""
WIDE_FIELD_MB: Final = 350.0
"""Field of the whole head on its coarse grid."""
FINE_BYTES: Final = 85.0
"""Of a cell of fine tissue, while the wide field is made."""
FINE_FIELD_BYTES: Final = 85.0
"""Of a cell of fine tissue, while its own field is made, padded."""
COIL_GRID_CELLS: Final = 3.4
"""Cells of the grid on which coils are multiplied, over voxels."""
ENCODING_MB: Final = 1250.0
"""Beside images and samples, while coils are multiplied: what tissue and fields have left behind."""
ENCODING_BYTES: Final = 230.0
"""Of a voxel, then: one image of one coil in its transforms, and the truth."""


STUDY_MB: Final = 150.0
"""What a process of a study takes beside that of one command: the graph of its tasks, pages and tables."""
ARM_BYTES: Final = 24.0
"""Of a voxel of each arm whose nuclei are measured together: maps, masks and labels."""

TRAINING_MB: Final = 560.0
TRAINING_BYTES: Final = {"joint": 7400.0, "cascade": 7400.0}
"""Of a cell (ky, kz) of each plane and echo of an example: what gradients need of every layer."""
TRAINING_PLANES: Final = 4
"""Of an example."""
TRAINING_HEAD: Final = Protocol("training", (166, 176, 72), (1.2, 1.25, 2.2), (2, 2, 2), 16)
"""The largest of the virtual heads that networks learn from."""


@dataclass(frozen=True, slots=True)
class ReconNeed:
    """What a reconstruction needs, and how it is cut so that it needs no more.

    Parameters
    ----------
    planned_bytes
        Its peak.
    slabs
        How the volume is cut.
    slab_bytes, hybrid_bytes
        For `reconstruct`.
    """

    planned_bytes: int
    slabs: SlabPlan
    slab_bytes: int
    hybrid_bytes: int


def recon_need(
    header: RawHeader,
    method: str,
    options: Mapping[str, Any] | None = None,
    *,
    granted_bytes: int | None = None,
    slab_bytes: int = SLAB_BYTES,
    **more: Any,
) -> ReconNeed:
    """Need of a reconstruction, cut so that it fits into ``granted_bytes`` where that can be.

    Parameters
    ----------
    header, method, options
        As for `reconstruct`.
    granted_bytes
        Memory that the process may take; as usual where None.
    slab_bytes
        Memory for the planes of a slab where nothing is granted.
    more
        Other keywords of `plan_slabs`.
    """
    hybrid_bytes, own = HYBRID_BYTES, round((RECON_MB + NETWORK_MB * (method in NETWORKS)) * MB)
    if granted_bytes is not None:
        slab_bytes, hybrid_bytes = fit_slabs(header, method, options, room_bytes=granted_bytes - own, **more)
    slabs = plan_slabs(header, method, options, slab_bytes=slab_bytes, hybrid_bytes=hybrid_bytes, **more)
    return ReconNeed(own + slabs.peak_bytes, slabs, slab_bytes, hybrid_bytes)


def step_bytes(name: str, shape: Sequence[int]) -> int:
    """Need of one row of `NEEDS` for volumes of shape ``(x, y, z[, echo[, coil]])``."""
    n_echoes, n_coils = (*shape[3:], 1, 1)[:2]
    return _need(name).planned_bytes(math.prod(shape[:3]), n_echoes, n_coils)


def _need(name: str) -> Need:
    """A row of `NEEDS`; a method that is added to a table of the package counts as the largest of its step."""
    if name in NEEDS:
        return NEEDS[name]
    step = name.split(" ")[0]
    return max((need for row, need in NEEDS.items() if row.startswith(f"{step} ")), key=lambda need: need.voxel)


def chain_bytes(
    config: QsmConfig, shape: Sequence[int], *, from_images: bool = False, n_realisations: int | None = None
) -> int:
    """Need of the chain from echo images ``(x, y, z, echo[, coil])``, or from lag sums, to susceptibility."""
    n_voxels, n_echoes = math.prod(shape[:3]), (*shape[3:], 1)[0]
    steps = (_need(f"background {config.background.method}"), _need(f"invert {config.inversion.method}"))
    largest = Need(0, voxel=max(step.voxel for step in steps))
    chain = NEEDS["qsm"].planned_bytes(n_voxels, n_echoes) + largest.planned_bytes(n_voxels)
    noise = round((REALISING_BYTES + n_realisations * REALISATION_BYTES) * n_voxels) if n_realisations else 0
    return max(chain + noise, step_bytes("images", shape) if from_images else 0)


def nuclei_bytes(shapes: Sequence[Sequence[int]], *, from_atlas: bool) -> int:
    """Need of measuring nuclei in a map, the first of the shapes, with the other images that are read for it."""
    name = "nuclei by atlas" if from_atlas else "nuclei by labels"
    read = sum(8 * math.prod(shape) for shape in shapes[1:])
    return step_bytes(name, shapes[0][:3]) + read


def page_bytes(shapes: Sequence[Sequence[int]]) -> int:
    """Need of a participant's page, which shows the maps of all arms."""
    return NEEDS["page"].planned_bytes(sum(math.prod(shape[:3]) for shape in shapes))


def raw_copy_bytes(sample_bytes: int) -> int:
    """Need of reading raw data of so many bytes block by block, and writing them to another file."""
    return RAW_COPY.planned_bytes(0) + round(RAW_COPIES * min(sample_bytes, COPY_BYTES))


def simulation_bytes(protocol: Protocol, acceleration: float = 1.0) -> int:
    """Need of one virtual participant: tissue and field on fine cells, then all samples of one scan."""
    cells, n_voxels = math.prod(protocol.fine_grid().shape), math.prod(protocol.shape)
    samples = 8 * n_voxels * len(protocol.echo_times_s) * protocol.n_coils / acceleration
    images = 8 * COIL_GRID_CELLS * n_voxels * len(protocol.echo_times_s)
    making = (
        WIDE_FIELD_MB * MB + FINE_BYTES * cells,
        FINE_FIELD_BYTES * cells,
        samples + RAW_COPIES * min(samples, COPY_BYTES),
    )
    encoding = ENCODING_MB * MB + samples + images + ENCODING_BYTES * n_voxels
    return round(max(SIMULATION_MB * MB + max(making), encoding))


def arm_bytes(
    config: QsmConfig,
    source: RawHeader | Sequence[int],
    *,
    methods: Sequence[str] = (),
    n_arms: int = 1,
    n_realisations: int | None = None,
    **recon: Any,
) -> int:
    """Need of one stage of a study, at most, for an arm of raw data, or of images of shape ``(x, y, z, echo, coil)``.

    Parameters
    ----------
    config
        Methods of the chain.
    source
        Header of raw data, or shape of images.
    methods
        Reconstructions of raw data.
    n_arms
        Arms whose nuclei are measured together.
    n_realisations
        As for `chain_bytes`.
    recon
        Keywords of `recon_need`.
    """
    if isinstance(source, RawHeader):
        shape: Sequence[int] = (*source.grid.shape, source.n_echoes)
        stages = [recon_need(source, method, **recon).planned_bytes for method in methods]
    else:
        shape, stages = source, []
    stages.append(
        chain_bytes(config, shape, from_images=not isinstance(source, RawHeader), n_realisations=n_realisations)
    )
    stages.append(step_bytes("nuclei by atlas", shape[:3]) + round(n_arms * ARM_BYTES * math.prod(shape[:3])))
    return round(STUDY_MB * MB) + max(stages)


def virtual_study_bytes(
    protocol: Protocol, accelerations: Sequence[float], methods: Sequence[str], config: QsmConfig, **recon: Any
) -> int:
    """Need of a virtual participant who is scanned, reconstructed and measured in one process."""
    scans = [_header_of(protocol, factor) for factor in accelerations]
    arms = [arm_bytes(config, scan, methods=methods, n_arms=len(scans), **recon) for scan in scans]
    return max(simulation_bytes(protocol, min(accelerations)), *arms)


def training_bytes(network: str, cells: int, n_echoes: int, header: RawHeader | None, *, n_heads: int = 0) -> int:
    """Need of training on planes of so many cells (ky, kz).

    Parameters
    ----------
    network
        Name of the network.
    cells, n_echoes
        Cells of a plane and echoes of an example.
    header
        Of the raw data that slabs are cut from first; None where there are slabs.
    n_heads
        Virtual heads made at once, first.
    """
    step = round(TRAINING_MB * MB + TRAINING_BYTES[network] * TRAINING_PLANES * n_echoes * cells)
    cut = 0 if header is None else recon_need(header, "zero").planned_bytes
    return max(step, cut, n_heads * simulation_bytes(TRAINING_HEAD))


def _header_of(protocol: Protocol, acceleration: float) -> RawHeader:
    n_lines = round(math.prod(protocol.shape[1:]) / acceleration)
    lines = np.stack(np.divmod(np.arange(n_lines), protocol.shape[2]), axis=1).astype(np.int32)
    return RawHeader(
        grid=protocol.grid,
        n_readout=protocol.shape[0],
        n_coils=protocol.n_coils,
        n_echoes=len(protocol.echo_times_s),
        lines=lines,
        calibration=np.ones(n_lines, dtype=bool),
        echo_times_s=protocol.echo_times_s,
    )


def samples_bytes(header: RawHeader) -> int:
    """Size of the samples of raw data."""
    return 8 * len(header.lines) * header.n_echoes * header.n_coils * header.n_readout
