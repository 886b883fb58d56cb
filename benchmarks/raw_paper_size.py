"""Seconds and peak memory of raw data at the size of the paper: 280 x 280 x 96, 32 coils, 8 echoes, AF 3.

Writes a synthetic ISMRMRD file of 5 GB beside the result (and removes it), reads it into hybrid data, and runs
``sense`` and ``joint`` on some of the 280 planes (without the second pass that a noise map takes). Also reads a part
of the file acquisition by acquisition, as the ismrmrd package does. Each row says seconds of the wall and of the
processor. ``--whole METHOD`` also runs ``dlqsm recon`` on the file from its beginning to its last image.

Usage: python benchmarks/raw_paper_size.py [RESULT.tsv] [--planes 16] [--shape 280 280 96] [--coils 32] [--whole joint]
"""

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import ismrmrd
import numpy as np
from record import Record, peak_mb, stopwatch

from dlqsm.acquisition.sampling import poisson
from dlqsm.core.raw import RawHeader
from dlqsm.core.scan import Grid
from dlqsm.io.raw import read_raw, write_raw
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.learned import joint
from dlqsm.reconstruction.linear import sense
from dlqsm.reconstruction.sensitivity import espirit

N_ECHOES = 8
N_BLOBS = 24
NOISE_ROWS = 997
ACQUISITIONS_ALONE = 400


@dataclass(frozen=True)
class BlobRaw:
    """Gaussian blobs, each seen by the coils in its own way, made line by line when they are read."""

    header: RawHeader
    positions: np.ndarray
    weights: np.ndarray
    noise: np.ndarray

    def readouts(self, first: int, last: int) -> np.ndarray:
        """Return lines ``first`` to ``last - 1``."""
        header = self.header
        size = np.asarray(header.grid.shape)
        k = header.lines[first:last] - size[1:] // 2
        kx = np.arange(header.n_readout) - header.n_readout // 2
        lines = self._wave(k[:, 0], 1) * self._wave(k[:, 1], 2)
        signal = np.einsum("lb,cb,xb->lcx", lines, self.weights, self._wave(kx, 0), optimize=True)
        decay = np.exp(-0.15 * np.arange(header.n_echoes)).astype(np.float32)
        rows = np.arange(first, last) % (NOISE_ROWS - header.n_echoes)
        samples = np.empty((len(k), header.n_echoes, *signal.shape[1:]), np.complex64)
        for echo, factor in enumerate(decay):
            samples[:, echo] = factor * signal + self.noise[rows + echo][:, None, :]
        return samples

    def _wave(self, k: np.ndarray, axis: int) -> np.ndarray:
        n = self.header.grid.shape[axis]
        width = np.exp(-((k / (0.12 * n)) ** 2))[:, None]
        return (width * np.exp(-2j * np.pi * np.outer(k, self.positions[:, axis]))).astype(np.complex64)


def make_raw(shape: tuple[int, int, int], n_coils: int) -> BlobRaw:
    rng = np.random.default_rng(0)
    sampling = poisson(shape[1:], 3.0, 0)
    header = RawHeader(
        grid=Grid.centred(shape, (0.8, 0.8, 2.0), np.eye(3)),
        n_readout=shape[0],
        n_coils=n_coils,
        n_echoes=N_ECHOES,
        lines=sampling.lines,
        calibration=sampling.calibration[tuple(sampling.lines.T)],
        echo_times_s=tuple(3.3e-3 + 3.1e-3 * echo for echo in range(N_ECHOES)),
        field_strength_t=3.0,
        noise=noise(rng, (n_coils, 8192)),
    )
    weights = 30 * noise(rng, (n_coils, N_BLOBS))
    return BlobRaw(header, rng.uniform(-0.3, 0.3, (N_BLOBS, 3)), weights, noise(rng, (NOISE_ROWS, shape[0])))


def noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def measure(path: Path, record: Record, n_planes: int) -> None:
    def add(measure: str, took: dict[str, float], megabytes: float = 0.0) -> None:
        more = {"wall_s": round(took["wall_s"], 2), "mb_per_s": round(megabytes / took["wall_s"])}
        record.add("raw paper size", measure, took["cpu_s"], **more, peak_mb=round(peak_mb()))

    with stopwatch() as took:
        raw = read_raw(path)
    add("read headers, cpu s", took)
    total_mb = path.stat().st_size / 1e6
    with stopwatch() as took:
        calibration = calibrate(raw)
    add("calibration lines, cpu s", took)
    with stopwatch() as took:
        maps = espirit(calibration.kspace, calibration.lines, raw.header.grid.shape)
    add("espirit, cpu s", took)
    with stopwatch() as took:
        hybrid = to_hybrid(raw, calibration, scratch_folder=path.parent)
    add("read into hybrid, cpu s", took, total_mb)
    middle = hybrid.n_planes // 2
    keep = hybrid.sampling_mask
    with stopwatch() as took:
        for plane in range(middle, middle + n_planes):
            sense(hybrid.slab(plane, plane + 1), keep, maps.slab(plane, plane + 1), 1.0)
    add("sense per plane of 8 echoes, cpu s", {name: value / n_planes for name, value in took.items()})
    with stopwatch() as took:
        joint(hybrid.slab(middle, middle + n_planes), keep, maps.slab(middle, middle + n_planes), 1.0)
    add("joint per plane of 8 echoes, cpu s", {name: value / n_planes for name, value in took.items()})
    with stopwatch() as took, ismrmrd.Dataset(str(path), mode="r") as dataset:
        for index in range(1, 1 + ACQUISITIONS_ALONE):
            line = dataset.read_acquisition(index).data
    add(f"{ACQUISITIONS_ALONE} acquisitions by ismrmrd, cpu s", took, ACQUISITIONS_ALONE * line.nbytes / 1e6)


def reconstruct_whole(path: Path, record: Record, method: str) -> None:
    """Time ``dlqsm recon`` as a user calls it; memory is that of its process alone."""
    words = ["recon", str(path), str(path.with_name("recon")), "--method", method]
    with stopwatch() as took:
        process = subprocess.Popen([str(Path(sys.executable).with_name("dlqsm")), *words])
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"dlqsm recon ended with {process.returncode}")
    about = {"cpu_s": round(used.ru_utime + used.ru_stime), "peak_mb": round(used.ru_maxrss / 1024)}
    record.add("raw paper size", f"dlqsm recon --method {method}, wall s", took["wall_s"], **about)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("result", type=Path, nargs="?", default=Path("raw_paper_size.tsv"))
    parser.add_argument("--planes", type=int, default=16)
    parser.add_argument("--shape", type=int, nargs=3, default=(280, 280, 96))
    parser.add_argument("--coils", type=int, default=32)
    parser.add_argument("--whole", metavar="METHOD", help="reconstruct the file as a user does")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        write_raw(arguments.write, make_raw(tuple(arguments.shape), arguments.coils))
        return
    record = Record(arguments.result)
    with tempfile.TemporaryDirectory(dir=arguments.result.resolve().parent) as folder:
        path = Path(folder) / "raw.h5"
        # In a process of its own, so that the peak below is that of reading.
        with stopwatch() as took:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--write", str(path)], check=True)
        wall = took["wall_s"]
        size = path.stat().st_size / 1e6
        record.add("raw paper size", "write, wall s", wall, wall_s=round(wall, 2), mb_per_s=round(size / wall))
        measure(path, record, arguments.planes)
        if arguments.whole:
            reconstruct_whole(path, record, arguments.whole)


if __name__ == "__main__":
    main()
