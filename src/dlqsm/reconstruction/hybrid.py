"""Hybrid (x, ky, kz) data: whitened, coil-compressed, transformed along the readout, kept as compact scratch.

The plane-wise Fourier transform of Cartesian data acts on y and z only, so that every x-plane is a problem of its
own; reconstructions take slabs of planes.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dlqsm.core.checks import InputError
from dlqsm.core.fourier import crop_kspace, fftc, ifftc
from dlqsm.core.raw import RawData, RawHeader, iterate_readouts, read_lines

Matrix = NDArray[np.complex128]
HYBRID_BYTES = 2**30
"""Larger hybrid data are in a file."""
BLOCK_BYTES = 2**27
"""Raw data read at once."""
AUTOMATIC_VIRTUAL_COILS = 12
SILENT = 2.0
"""Energy over that of noise, in the middle of k-space, up to which a coil counts as silent: 1 is noise alone, and coils
that see a head have hundreds or more."""
_PERIPHERAL_LINES = 128
_LINES_AT_ONCE = 128


@dataclass(frozen=True)
class Calibration:
    """Whitening and coil compression as one matrix, and the first echo's calibration data after it.

    Parameters
    ----------
    matrix
        ``(virtual coil, coil)``; after it the noise has a standard deviation of 1 per component, without correlation.
    energy_kept
        Fraction of the calibration data's energy, after whitening, that the virtual coils hold.
    noise_source
        Where the noise covariance came from.
    kspace
        First echo, ``(coil, kx, line)`` complex64, without readout oversampling, centre of kx at ``n // 2``.
    lines
        ``(n_lines, 2)``: ky, kz of the calibration lines.
    n_silent_coils
        Coils whose calibration data hold no more than `SILENT` times the energy of their noise.
    """

    matrix: Matrix
    energy_kept: float
    noise_source: str
    kspace: NDArray[np.complex64]
    lines: NDArray[np.int32]
    n_silent_coils: int = 0


@dataclass(frozen=True)
class HybridData:
    """All lines of a scan after whitening, compression and the readout transform.

    Parameters
    ----------
    samples
        ``(x, echo, coil, line)`` complex64, in memory or a memory map.
    lines
        ``(n_lines, 2)``: ky, kz, k-space centre at ``n // 2``.
    plane_shape
        ny, nz.
    """

    samples: NDArray[np.complex64]
    lines: NDArray[np.int32]
    plane_shape: tuple[int, int]

    @property
    def n_planes(self) -> int:
        """Number of x-planes."""
        return self.samples.shape[0]

    @property
    def sampling_mask(self) -> torch.Tensor:
        """Sampled cells, ``(ny, nz)`` bool."""
        mask = torch.zeros(self.plane_shape, dtype=torch.bool)
        mask[self.lines[:, 0], self.lines[:, 1]] = True
        return mask

    def slab(self, first: int, last: int, echoes: slice = slice(None)) -> torch.Tensor:
        """Zero-filled planes ``first`` to ``last - 1``: ``(echo, coil, x, ky, kz)``."""
        ny, nz = self.plane_shape
        compact = aligned(self.samples[first:last, echoes].transpose(1, 2, 0, 3))
        _let_go(self.samples)
        full = torch.zeros((*compact.shape[:3], ny * nz), dtype=compact.dtype)
        full[..., torch.from_numpy(self.lines[:, 0].astype(np.int64) * nz + self.lines[:, 1])] = compact
        return full.unflatten(-1, (ny, nz))


def whitening_matrix(covariance: Matrix) -> Matrix:
    """W with W C W^H = 1: the inverse of the Cholesky factor of the noise covariance C.

    Parameters
    ----------
    covariance
        Per component (real or imaginary), ``(coil, coil)``; see `noise_covariance`.

    Raises
    ------
    InputError
        If the covariance is not positive definite, as with a dead coil or too few noise samples.
    """
    try:
        return np.linalg.inv(np.linalg.cholesky(covariance)).astype(np.complex128)
    except np.linalg.LinAlgError as error:
        raise InputError(
            "the noise covariance of the coils is not positive definite; remove dead coils, or give a noise scan with "
            "more samples than coils"
        ) from error


def noise_covariance(noise: NDArray[np.complex64]) -> Matrix:
    """Covariance of one component of noise samples ``(coil, n)``: E[n n^H] / 2."""
    samples = aligned(noise.astype(np.complex128))
    covariance: Matrix = (samples @ samples.mH / (2 * samples.shape[1])).numpy()
    return covariance


def calibrate(raw: RawData, *, virtual_coils: int | None = None, extent: int = 24) -> Calibration:
    """Find the matrix that whitens the noise and keeps the strongest virtual coils.

    The virtual coils are the leading eigenvectors of the covariance of the calibration data (the central samples of the
    calibration lines) over all echoes, after whitening; a unitary change of coils, so the noise stays white.

    Parameters
    ----------
    raw
        Raw data; the calibration lines are read, and without a noise scan also the outermost lines.
    virtual_coils
        Channels kept; 12 (or all, if fewer) where None.
    extent
        Samples across the part of the calibration region that is used, along each axis.

    References
    ----------
    Roemer et al., Magn Reson Med 16:192 (1990), doi:10.1002/mrm.1910160203 (noise covariance);
    Buehrer et al., Magn Reson Med 57:1131 (2007), doi:10.1002/mrm.21237 (compression).
    """
    header = raw.header
    wanted = min(header.n_coils, AUTOMATIC_VIRTUAL_COILS) if virtual_coils is None else virtual_coils
    if not 1 <= wanted <= header.n_coils:
        raise InputError(f"virtual coils must be 1 to {header.n_coils}, the coils of the raw data; got {wanted}")
    covariance, source = _noise_of(raw)
    whitening = whitening_matrix(covariance)
    signal, n_samples, kspace, lines = _read_calibration(raw, extent)
    energies, vectors = np.linalg.eigh(whitening @ signal @ whitening.conj().T)
    rotation = vectors[:, ::-1][:, :wanted].conj().T
    kept = float(energies[::-1][:wanted].sum() / energies.sum())
    matrix = rotation @ whitening
    # By PyTorch, whose threads are settled; NumPy's product depended on threads that an environment variable sets.
    compressed = aligned(matrix.astype(np.complex64)) @ aligned(kspace).flatten(1)
    energy_over_noise = np.diag(signal).real / (2.0 * n_samples * np.diag(covariance).real)
    n_silent = int((energy_over_noise < SILENT).sum())
    return Calibration(matrix, kept, source, compressed.unflatten(1, kspace.shape[1:]).numpy(), lines, n_silent)


def to_hybrid(
    raw: RawData,
    calibration: Calibration,
    *,
    scratch_folder: Path | None = None,
    memory_bytes: int = HYBRID_BYTES,
    block_bytes: int = BLOCK_BYTES,
) -> HybridData:
    """Read all lines once; whiten, compress, transform along the readout, drop its oversampling.

    Parameters
    ----------
    raw
        Raw data.
    calibration
        From `calibrate`.
    scratch_folder
        Where the scratch file goes if it is needed; the system's temporary folder where None.
    memory_bytes
        Larger results go to a scratch file, which vanishes with the result.
    block_bytes
        Raw data read at once.

    Returns
    -------
    `HybridData`, scaled so that the noise keeps its standard deviation of 1 per component.
    """
    header = raw.header
    matrix = aligned(calibration.matrix.astype(np.complex64))
    shape = (header.grid.shape[0], header.n_echoes, len(matrix), len(header.lines))
    samples = _scratch(shape, scratch_folder, memory_bytes)
    for first, block in iterate_readouts(raw, block_bytes):
        images = _transform_readout(torch.matmul(matrix, aligned(block)), shape[0])
        samples[..., first : first + len(block)] = images.permute(3, 1, 2, 0).numpy()
        _let_go(samples)
    return HybridData(samples, header.lines, header.grid.shape[1:])


def aligned(array: NDArray[Any]) -> torch.Tensor:
    """Copy an array into memory that starts where PyTorch has it start.

    Sums by BLAS and FFT depend in their last digits on where memory starts, which NumPy leaves to chance: one run in
    eight differed from the others.
    """
    return torch.empty(array.shape, dtype=torch.from_numpy(array[:0]).dtype).copy_(torch.from_numpy(array))


def _transform_readout(readouts: torch.Tensor, n_planes: int) -> torch.Tensor:
    """Inverse FFT along the last axis and its central ``n_planes`` samples (voxel ``n // 2`` stays the centre)."""
    n = readouts.shape[-1]
    return ifftc(readouts, (-1,)).narrow(-1, n // 2 - n_planes // 2, n_planes)


def _scratch(shape: tuple[int, ...], folder: Path | None, memory_bytes: int) -> NDArray[np.complex64]:
    if 8 * int(np.prod(shape)) <= memory_bytes:
        return np.empty(shape, np.complex64)
    # The map keeps the nameless file open; both vanish when the array is dropped.
    try:
        with tempfile.TemporaryFile(dir=folder, prefix="dlqsm-hybrid-") as file:
            if hasattr(os, "posix_fallocate"):  # else a disk that is full ends the process, when the map is written
                os.posix_fallocate(file.fileno(), 0, 8 * int(np.prod(shape)))
            return np.memmap(file, np.complex64, "w+", shape=shape)
    except OSError as error:
        raise InputError(
            f"{folder or tempfile.gettempdir()}: a scratch file of {8e-9 * np.prod(shape):.1f} GB cannot be made "
            f"({error.strerror}); free some space there, or set TMPDIR to a folder on another disk"
        ) from None


def _let_go(samples: NDArray[np.complex64]) -> None:
    """Pages of a scratch file that were touched leave the process: the file keeps them, and they count as memory."""
    mapped: Any = samples.base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _read_calibration(raw: RawData, extent: int) -> tuple[Matrix, int, NDArray[np.complex64], NDArray[np.int32]]:
    """Sum of products of coils over all echoes, and of how many samples; low resolution first echo, and its lines."""
    header = raw.header
    reference = header.reference
    lines = header.lines if reference is None else reference.lines
    usable = header.calibration if reference is None else np.ones(len(lines), bool)
    near = np.abs(lines - np.array(header.grid.shape[1:]) // 2).max(axis=1) <= extent // 2
    chosen = np.flatnonzero(usable & near)
    if not len(chosen):
        raise InputError("the raw data have no calibration lines; they are needed for the coil sensitivities")
    covariance, n_samples = np.zeros((header.n_coils, header.n_coils), np.complex128), 0
    parts = []
    for some in np.array_split(chosen, -(-len(chosen) // _LINES_AT_ONCE)):
        samples = read_lines(raw, some) if reference is None else reference.samples[some][:, None]
        middle = header.n_readout // 2
        centre = samples[..., max(middle - extent // 2, 0) : middle + extent // 2 + 1]
        flat = aligned(np.moveaxis(centre, 2, 0)).reshape(header.n_coils, -1)
        covariance += (flat @ flat.mH).numpy()
        n_samples += flat.shape[1]
        planes = _transform_readout(aligned(samples[:, 0]), header.grid.shape[0])
        parts.append(crop_kspace(fftc(planes, (-1,)), [min(extent, planes.shape[-1])]).permute(1, 2, 0).numpy())
    return covariance, n_samples, np.concatenate(parts, axis=2), lines[chosen]


def _noise_of(raw: RawData) -> tuple[Matrix, str]:
    """Covariance of the noise in the images' planes, and where it is from.

    A partial echo leaves readout samples without any noise: what the transform makes of the others holds their share.
    """
    header = raw.header
    edge, share = _peripheral_samples(raw.header, raw)
    if header.noise is not None and header.noise.shape[1] > header.n_coils:
        return share * noise_covariance(header.noise), f"noise scan of {header.noise.shape[1]} samples"
    return share * noise_covariance(edge), (
        "no noise scan: estimated from the last echo at the edge of k-space, an upper limit where signal is left there"
    )


def _peripheral_samples(header: RawHeader, raw: RawData) -> tuple[NDArray[np.complex64], float]:
    """Last echo at the outermost lines and, along the readout, the outermost eighths of what was acquired of k-space.

    Returns
    -------
    Samples ``(coil, n)``, and the share of the readout that was acquired (1 where nothing was).
    """
    ny, nz = header.grid.shape[1:]
    offset = (header.lines - np.array([ny // 2, nz // 2])) / np.array([ny, nz])
    outer = np.sort(np.argsort((offset**2).sum(axis=1), kind="stable")[-_PERIPHERAL_LINES:])
    samples = read_lines(raw, outer)[:, -1]
    acquired = np.flatnonzero((samples != 0).any(axis=(0, 1)))
    if acquired.size:
        samples = samples[..., acquired]
    n = samples.shape[-1]
    edge = max(1, n // 8) if n > 1 else 1
    both = np.concatenate([samples[..., :edge], samples[..., -edge:]], axis=-1)
    return np.moveaxis(both, 1, 0).reshape(header.n_coils, -1), n / header.n_readout
