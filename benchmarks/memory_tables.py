"""Tables of docs/memory.md: the figures of the plan, and what they give for a scan of the published size."""

from __future__ import annotations

import math

import numpy as np
from markdown_rows import number, table

from dlqsm.core.memory import MB, in_words
from dlqsm.core.raw import RawHeader
from dlqsm.core.scan import Grid
from dlqsm.pipeline.memory import NEEDS, recon_need
from dlqsm.reconstruction import RECONSTRUCTIONS

PAPER_SHAPE, N_ECHOES, N_COILS, ACCELERATION = (280, 280, 96), 8, 32, 3
GRANTED_MB = (8000, 4000)


def needs_table() -> str:
    """Work and what it needs: MB, and bytes a voxel, echo and coil."""
    rows = [
        [f"`{name}`", *(number(value) if value else "" for value in (need.fixed_mb, need.voxel, need.echo, need.coil))]
        for name, need in NEEDS.items()
    ]
    return table(["work", "MB", "bytes a voxel", "a voxel and echo", "a voxel, echo and coil"], rows)


def paper_table() -> str:
    """Each reconstruction of a scan of the published size, as usual and with less memory."""
    header = _header()
    rows = []
    for method in RECONSTRUCTIONS:
        usual = recon_need(header, method)
        row = [f"`{method}`", f"{in_words(usual.planned_bytes)}, {usual.slabs}"]
        for granted in GRANTED_MB:
            need = recon_need(header, method, granted_bytes=granted * MB)
            fits = need.planned_bytes <= granted * MB
            row.append(f"{in_words(need.planned_bytes)}, {need.slabs}" if fits else "refused")
        rows.append(row)
    return table(["method", "planned", *(f"`--mem {granted}`" for granted in GRANTED_MB)], rows)


def _header() -> RawHeader:
    n_lines = round(math.prod(PAPER_SHAPE[1:]) / ACCELERATION)
    return RawHeader(
        grid=Grid(PAPER_SHAPE, (0.8, 0.8, 2.0)),
        n_readout=PAPER_SHAPE[0],
        n_coils=N_COILS,
        n_echoes=N_ECHOES,
        lines=np.stack(np.divmod(np.arange(n_lines), PAPER_SHAPE[2]), axis=1).astype(np.int32),
        calibration=np.ones(n_lines, dtype=bool),
        echo_times_s=tuple(3.3e-3 + 3.1e-3 * echo for echo in range(N_ECHOES)),
    )
