"""Raw data of one scan as the steps exchange it: a header, and readouts in the order they were acquired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dlqsm.core.scan import Grid, Scan

Readouts = NDArray[np.complex64]


@dataclass(frozen=True)
class RawHeader:
    """What is known of raw Cartesian 3-D multi-echo data.

    One "line" is one (ky, kz) position, read at every echo. Phase-encoding indices count on the reconstructed
    matrix with the k-space centre at ``n // 2``; readouts are already time-ordered (reversed ones flipped back).

    Parameters
    ----------
    grid
        Reconstructed image grid; x is the readout.
    n_readout
        Samples of one readout; more than ``grid.shape[0]`` where the readout is oversampled.
    n_coils, n_echoes
        Channels and echoes.
    lines
        ``(n_lines, 2)`` int: ky, kz of each line in the order of acquisition.
    calibration
        ``(n_lines,)`` bool: lines of the fully sampled calibration region.
    echo_times_s, repetition_time_s, flip_angle_deg, field_strength_t
        Protocol; None (or empty) where the file does not say.
    noise
        Noise-only samples ``(coil, n)``; None where there was no noise scan.
    missing
        Sentences on what the file lacked and what was assumed instead.
    """

    grid: Grid
    n_readout: int
    n_coils: int
    n_echoes: int
    lines: NDArray[np.int32]
    calibration: NDArray[np.bool_]
    echo_times_s: tuple[float, ...] = ()
    repetition_time_s: float | None = None
    flip_angle_deg: float | None = None
    field_strength_t: float | None = None
    noise: NDArray[np.complex64] | None = None
    missing: tuple[str, ...] = field(default=())

    @property
    def sampling_mask(self) -> NDArray[np.bool_]:
        """Sampled (ky, kz) cells, ``(ny, nz)`` bool."""
        mask = np.zeros(self.grid.shape[1:], dtype=bool)
        mask[self.lines[:, 0], self.lines[:, 1]] = True
        return mask

    @property
    def acceleration(self) -> float:
        """Net acceleration factor: all cells of the (ky, kz) grid over the sampled ones."""
        mask = self.sampling_mask
        return mask.size / int(mask.sum())

    @property
    def scan(self) -> Scan:
        """The `Scan` of the reconstructed images."""
        return Scan(self.grid, self.echo_times_s, self.field_strength_t)


class RawData(Protocol):
    """Raw data that can be read piece by piece; in memory (`MemoryRaw`) or a file (``dlqsm.io.raw``)."""

    @property
    def header(self) -> RawHeader:
        """What is known of the data."""

    def readouts(self, first: int, last: int) -> Readouts:
        """Return lines ``first`` to ``last - 1`` in the order of acquisition: ``(line, echo, coil, n_readout)``."""


@dataclass(frozen=True)
class MemoryRaw:
    """Raw data held in memory; ``samples`` is ``(line, echo, coil, n_readout)`` complex64."""

    header: RawHeader
    samples: Readouts

    def readouts(self, first: int, last: int) -> Readouts:
        """Return lines ``first`` to ``last - 1``."""
        return self.samples[first:last]


def iterate_readouts(raw: RawData, max_bytes: int = 256 * 2**20) -> Iterator[tuple[int, Readouts]]:
    """Yield ``(first line, readouts)`` in pieces of at most ``max_bytes``."""
    header = raw.header
    line_bytes = 8 * header.n_echoes * header.n_coils * header.n_readout
    step = max(1, max_bytes // line_bytes)
    for first in range(0, len(header.lines), step):
        yield first, raw.readouts(first, min(first + step, len(header.lines)))
