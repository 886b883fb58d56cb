"""What an acceleration means on a coarser matrix: nuclei of one virtual head, undersampled at two voxel sizes.

One fully sampled scan of the same head by each protocol; all accelerations of a protocol have its noise and pose. On
``small`` each acceleration is taken on its own matrix (nominal), and as the central part of the samples at the paper's
voxel size (central). Planes through the nuclei are reconstructed from the samples that are left, the others from all,
and chi has one strength throughout, so that what changes is the field in the nuclei and round them::

    python benchmarks/scale.py FOLDER --accelerations 3 4 5

Takes 5 GB of FOLDER, 5 GB of memory and 25 minutes of one processor core, nearly all for the paper's matrix.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import Record

from dlqsm.acquisition.conditions import lines_of, parse_arm
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.config import QsmConfig
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.lags import LagSums, lag_sums
from dlqsm.core.methods import choose
from dlqsm.core.raw import RawData, undersample
from dlqsm.core.scan import Scan
from dlqsm.io.nifti import read_image
from dlqsm.io.raw import read_raw
from dlqsm.pipeline.susceptibility import QsmMaps, map_susceptibility
from dlqsm.reconstruction import RECONSTRUCTIONS
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.reconstruct import reconstruct
from dlqsm.reconstruction.sensitivity import espirit

REPORT = Path(__file__).parent / "results" / "scale.tsv"
COMMAND = (sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main())")
N_COILS = 8
SEED = 2025
HALO, TOGETHER, SLAB = 8, 8, 24
"""Planes beside a slab, planes that must stay together, planes of a slab."""


@dataclass(frozen=True)
class Head:
    """A fully sampled scan, its lag sums, where the nuclei are, and the maps of the whole."""

    raw: RawData
    sums: LagSums
    labels: NDArray[np.int64]
    scan: Scan
    config: QsmConfig
    means_ppb: NDArray[np.float64]

    @property
    def planes(self) -> range:
        """x-planes of the nuclei, with a margin."""
        x = np.flatnonzero((self.labels > 0).any((1, 2)))
        first = max(0, (int(x[0]) - HALO) // TOGETHER * TOGETHER)
        return range(first, min(len(self.labels), -(-(int(x[-1]) + 1 + HALO) // TOGETHER) * TOGETHER))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--protocols", nargs="+", default=["small", "paper"], choices=sorted(PROTOCOLS))
    parser.add_argument("--accelerations", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    record = Record(options.report)
    for name in options.protocols:
        head = scan_fully(options.folder / name, name)
        for roi, mean in zip(NUCLEI, head.means_ppb, strict=True):
            record.add(name, f"{roi}, fully sampled [ppb]", mean, mode="full", arm="FULL")
        for mode, arm in cases(name, options.accelerations):
            measure(record, head, name, mode, arm)
    return 0


def cases(name: str, accelerations: list[int]) -> Iterator[tuple[str, str]]:
    """Mode and arm: what is compared on a protocol. The paper's matrix is its own centre."""
    for mode in ("nominal",) if name == "paper" else ("nominal", "central"):
        yield mode, "PI2"
        for acceleration in accelerations:
            yield mode, f"DL{acceleration}"


def scan_fully(folder: Path, name: str) -> Head:
    """Scan the head with every line, and map it."""
    if not (folder / "dataset_description.json").is_file():
        words = (
            "--participants",
            1,
            "--seed",
            SEED,
            "--protocol",
            name,
            "--coils",
            N_COILS,
            "--arms",
            "FULL",
            "--quiet",
        )
        subprocess.run([*COMMAND, "simulate", str(folder), *map(str, words)], check=True)
    raw = read_raw(next(folder.glob("sourcedata/*/anat/*_MEGRE.h5")))
    header = raw.header
    scan = Scan(header.grid, header.echo_times_s, header.field_strength_t)
    sums = reconstruct(raw, "sense").lag_sums
    maps = map_susceptibility(sums, scan)
    strength_ppm = maps.summary["convergence"]["inversion"]["chosen"]["strength_ppm"]
    truth = next(folder.glob("derivatives/dlqsm-truth/*/anat/*_dseg.nii.gz"))
    labels = np.rint(np.asarray(read_image(truth).values)).astype(np.int64)
    config = QsmConfig().with_step("inversion", None, {"strength": strength_ppm})
    return Head(raw, sums, labels, scan, config, nucleus_means(maps, labels))


def measure(record: Record, head: Head, name: str, mode: str, arm: str) -> None:
    """Undersample, reconstruct the planes of the nuclei, map, and compare the nuclei with those of all lines."""
    lines = lines_of(parse_arm(arm, mode), PROTOCOLS[name], 0, mode)
    method = "joint" if arm.startswith("DL") else "sense"
    start = time.perf_counter()
    images = images_of_planes(undersample(head.raw, lines.mask, lines.calibration), method, head.planes)
    about = {"mode": mode, "arm": arm, "method": method, "acceleration": round(lines.acceleration, 3)}
    record.add(name, "reconstruction [s]", time.perf_counter() - start, **about)
    means = nucleus_means(map_susceptibility(_with_planes(head, images), head.scan, head.config), head.labels)
    change = means - head.means_ppb
    for roi, value in zip(NUCLEI, change, strict=True):
        record.add(name, f"{roi}, change [ppb]", value, **about)
    record.add(name, "mean absolute change [ppb]", float(np.abs(change).mean()), **about)
    record.add(name, "slope over nuclei", float(np.polyfit(head.means_ppb, means, 1)[0]), **about)


def images_of_planes(raw: RawData, method: str, planes: range) -> torch.Tensor:
    """Images of some x-planes by a method with its defaults, ``(echo, channel, x, y, z)``."""
    calibration = calibrate(raw)
    maps = espirit(calibration.kspace, calibration.lines, raw.header.grid.shape)
    hybrid, run = to_hybrid(raw, calibration), choose("reconstruction", RECONSTRUCTIONS, method, None)
    parts = []
    for first in range(planes.start, planes.stop, SLAB):
        last = min(first + SLAB, planes.stop)
        low, high = max(0, first - HALO), min(hybrid.n_planes, last + HALO)
        found = run(hybrid.slab(low, high), hybrid.sampling_mask, maps.slab(low, high), 1.0)
        parts.append(found[:, :, first - low : last - low])
    return torch.cat(parts, 2)


def _with_planes(head: Head, images: torch.Tensor) -> LagSums:
    some, where = lag_sums(images, None), slice(head.planes.start, head.planes.stop)
    lags, power = head.sums.lags.clone(), head.sums.power.clone()
    lags[:, where], power[:, where] = some.lags, some.power
    return LagSums(lags, power, head.sums.noise_sd, head.sums.n_channels)


def nucleus_means(maps: QsmMaps, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean chi of each of `NUCLEI`, both sides, where the map is valid [ppb]."""
    chi_ppb, valid = 1000 * maps.chi_ppm.numpy(), maps.eroded_mask.numpy()
    numbers = {name: [n for n, (nucleus, _) in label_table().items() if nucleus == name] for name in NUCLEI}
    return np.array([chi_ppb[np.isin(labels, numbers[name]) & valid].mean() for name in NUCLEI])


if __name__ == "__main__":
    sys.exit(main())
