"""Raw data of one scan as the steps exchange it: a header, and readouts in the order they were acquired."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan

Readouts = NDArray[np.complex64]
COPY_BYTES = 2**28
"""Raw data that are copied from file to file at once."""
CALIBRATION_WINDOW = 6
"""Edge [lines] of the smallest square block that counts as fully sampled."""
_LINES_BRIDGED = 8


@dataclass(frozen=True)
class Reference:
    """A calibration scan apart from the imaging lines.

    Parameters
    ----------
    lines
        ``(n_lines, 2)`` int: ky, kz, counted as those of the imaging lines.
    samples
        ``(n_lines, coil, n_readout)`` complex64, of one echo.
    """

    lines: NDArray[np.int32]
    samples: Readouts


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
    reference
        Separate calibration scan; None where the imaging lines hold the calibration region.
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
    reference: Reference | None = None

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


def iterate_readouts(raw: RawData, max_bytes: int = COPY_BYTES) -> Iterator[tuple[int, Readouts]]:
    """Yield ``(first line, readouts)`` in pieces of at most ``max_bytes``."""
    header = raw.header
    line_bytes = 8 * header.n_echoes * header.n_coils * header.n_readout
    step = max(1, max_bytes // line_bytes)
    for first in range(0, len(header.lines), step):
        yield first, raw.readouts(first, min(first + step, len(header.lines)))


def calibration_region(sampling_mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Find the fully sampled cells round the k-space centre, of any outline.

    All cells under square windows of `CALIBRATION_WINDOW` lines that are fully sampled (a morphological opening),
    as far as they hang together with the centre ``n // 2``.

    Parameters
    ----------
    sampling_mask
        Sampled cells ``(ny, nz)``, centre at ``n // 2``.

    Returns
    -------
    Boolean ``(ny, nz)``; empty where no such window covers the centre.
    """
    window = np.ones([min(CALIBRATION_WINDOW, n) for n in sampling_mask.shape], dtype=bool)
    opened = ndimage.binary_opening(sampling_mask, structure=window)
    pieces, _ = ndimage.label(opened)
    centre = pieces[sampling_mask.shape[0] // 2, sampling_mask.shape[1] // 2]
    return np.asarray(pieces == centre) if centre else np.zeros_like(sampling_mask)


def require_calibration(calibration: NDArray[np.bool_], name: str) -> None:
    """Raise `InputError` where the region found by `calibration_region` is empty."""
    if not calibration.any():
        block = " x ".join(str(min(CALIBRATION_WINDOW, n)) for n in calibration.shape)
        raise InputError(
            f"{name} has no calibration region: at least {block} fully sampled lines round the k-space centre are "
            "needed for the coil sensitivities; acquire with calibration lines, or add them to the file"
        )


def read_lines(raw: RawData, chosen: NDArray[np.int64]) -> Readouts:
    """Read the lines with the given ascending indices; neighbours are read together, small gaps included."""
    if not len(chosen):
        header = raw.header
        return np.zeros((0, header.n_echoes, header.n_coils, header.n_readout), np.complex64)
    runs = np.split(chosen, np.flatnonzero(np.diff(chosen) > _LINES_BRIDGED) + 1)
    parts = [raw.readouts(int(run[0]), int(run[-1]) + 1)[run - run[0]] for run in runs]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@dataclass(frozen=True)
class SelectedRaw:
    """Some lines of other raw data; ``chosen`` holds their ascending indices there."""

    header: RawHeader
    source: RawData
    chosen: NDArray[np.int64]

    def readouts(self, first: int, last: int) -> Readouts:
        """Return lines ``first`` to ``last - 1`` of the chosen ones."""
        return read_lines(self.source, self.chosen[first:last])


@dataclass(frozen=True)
class ReversedEchoes:
    """Raw data some echoes of which were read backwards though nothing said so; ``echoes`` counts from 0."""

    header: RawHeader
    source: RawData
    echoes: tuple[int, ...]

    def readouts(self, first: int, last: int) -> Readouts:
        """Return lines ``first`` to ``last - 1``, those echoes flipped about the centre ``n // 2``."""
        samples = self.source.readouts(first, last).copy()
        for echo in self.echoes:
            samples[:, echo] = flip_about_centre(samples[:, echo])
        return samples


def flip_about_centre(samples: NDArray[Any]) -> NDArray[Any]:
    """Turn the last axis round so that sample ``n // 2`` stays; of an even number the first is kept by wrapping."""
    return np.roll(samples[..., ::-1], 1 - samples.shape[-1] % 2, axis=-1)


def undersample(
    raw: RawData, keep_mask: NDArray[np.bool_], calibration: NDArray[np.bool_] | None = None
) -> SelectedRaw:
    """Leave out all lines outside ``keep_mask``, as if they had not been acquired.

    Parameters
    ----------
    raw
        Raw data, fully sampled or not; nothing is read from it here.
    keep_mask
        Cells to keep, ``(ny, nz)``, centre at ``n // 2``.
    calibration
        Cells of the calibration region; found by `calibration_region` where None.

    Returns
    -------
    Raw data of the lines that are both there and kept, in their old order, with a new calibration region.

    Raises
    ------
    InputError
        If the shapes disagree, a kept cell was not acquired, or no calibration region is left.
    """
    header = raw.header
    if keep_mask.shape != header.grid.shape[1:]:
        raise InputError(
            f"the sampling mask has shape {keep_mask.shape}; expected {header.grid.shape[1:]}, the (ky, kz) grid"
        )
    absent = int((keep_mask & ~header.sampling_mask).sum())
    if absent:
        raise InputError(
            f"the sampling mask keeps {absent} (ky, kz) cells that were not acquired; choose among the acquired ones"
        )
    region = calibration_region(keep_mask) if calibration is None else calibration & keep_mask
    if header.reference is None:
        require_calibration(region, "the sampling mask")
    chosen = np.flatnonzero(keep_mask[header.lines[:, 0], header.lines[:, 1]])
    lines = header.lines[chosen]
    return SelectedRaw(replace(header, lines=lines, calibration=region[lines[:, 0], lines[:, 1]]), raw, chosen)
