"""Where the change of a nucleus in an accelerated arm comes from: method, weights, or samples left unexplained.

One fully sampled scan each of participants of the first study (docs/replication.md), undersampled as its arms are:
pose and noise of all arms are one, so that what remains is what acceleration and reconstruction did. Each arm is
reconstructed by every method and mapped with the strength of the study, with several weights: from one noise for all
voxels (`flat`, what dlqsm does after methods that are not linear), from the root of the replica's noise, and from the
noise of the full scan. `joint` is mapped without its final steps, and after 1, 2 and 3 of them::

    python benchmarks/bias.py --participants 5

Rows: change of each nucleus against the full scan, mean over participants [ppb], labels of the simulation. Takes 10
minutes of two processor cores a participant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from record import Record

from dlqsm.acquisition.conditions import AF_MODES, lines_of, parse_arm
from dlqsm.acquisition.head import make_head
from dlqsm.acquisition.participants import draw_participants
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.acquisition.virtual_scan import VirtualScan, acquire
from dlqsm.config import QsmConfig
from dlqsm.core.fourier import fftc
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.lags import LagSums, lag_sums
from dlqsm.core.raw import RawData, undersample
from dlqsm.core.scan import Scan
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline.susceptibility import map_susceptibility
from dlqsm.reconstruction import LINEAR
from dlqsm.reconstruction.hybrid import calibrate, to_hybrid
from dlqsm.reconstruction.linear import sense
from dlqsm.reconstruction.reconstruct import ReconstructedImages, reconstruct
from dlqsm.reconstruction.sensitivity import espirit

REPORT = Path(__file__).parent / "results" / "bias.tsv"
N_STUDY, SEED = 59, 2025
STRENGTH_PPM = 0.0005122117335169997
"""Of the first study (docs/replication_first/logs/stream.json)."""
METHODS = ("sense", "cs", "cascade", "joint")
STEPS = (1, 2, 3)
"""Conjugate-gradient steps on what `joint` leaves unexplained."""


class Case(NamedTuple):
    """How one map was made."""

    arm: str
    mode: str
    method: str
    weights: str


class Head(NamedTuple):
    """A fully sampled scan, its lag sums and its nuclei."""

    scan: VirtualScan
    sums: LagSums
    means_ppb: NDArray[np.float64]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--participants", type=int, default=6)
    parser.add_argument("--arms", nargs="+", default=["PI2", "DL4", "DL5"])
    parser.add_argument("--mode", default="central", choices=AF_MODES)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    changes: dict[Case, list[NDArray[np.float64]]] = {}
    for participant in draw_participants(N_STUDY, SEED)[: options.participants]:
        scan = acquire(make_head(load_anatomy(), participant), PROTOCOLS["small"].with_straight_heads(), "FULL", SEED)
        sums = reconstruct(scan.raw, "sense").lag_sums
        head = Head(scan, sums, nuclei_ppb(scan, sums))
        for arm in options.arms:
            for case, found in maps_of_arm(head, arm, options.mode, options.methods):
                changes.setdefault(case, []).append(nuclei_ppb(scan, found) - head.means_ppb)
                print(participant.label, *case, np.round(changes[case][-1], 1), flush=True)
        tell(options.report, changes)
    return 0


def maps_of_arm(head: Head, arm: str, mode: str, methods: Sequence[str]) -> Iterator[tuple[Case, LagSums]]:
    """Lag sums of an arm by every method, with every noise map."""
    lines = lines_of(parse_arm(arm, mode), PROTOCOLS["small"], SEED, mode)
    raw = undersample(head.scan.raw, lines.mask, lines.calibration)
    for method in methods if arm.startswith("DL") else ("sense",):
        images = reconstruct(raw, method, {"final_steps": 0} if method == "joint" else None)
        stated = images.lag_sums.noise_sd
        named = {"own" if method in LINEAR else "flat": stated}
        if method not in LINEAR:
            named["root"] = (images.noise_sd * stated).sqrt()
        for weights, noise_sd in (*named.items(), ("full scan's", head.sums.noise_sd)):
            yield Case(arm, mode, method, weights), replace(images.lag_sums, noise_sd=noise_sd)
        for steps in STEPS if method == "joint" else ():
            drawn = lag_sums(drawn_to_samples(raw, images, steps), None)
            for weights, noise_sd in named.items():
                yield Case(arm, mode, f"joint, {steps} steps", weights), replace(drawn, noise_sd=noise_sd)


def drawn_to_samples(raw: RawData, images: ReconstructedImages, steps: int) -> torch.Tensor:
    """Images with what a few steps of SENSE find in the samples that they do not explain, ``(echo, 1, x, y, z)``."""
    calibration = calibrate(raw)
    maps = espirit(calibration.kspace, calibration.lines, raw.header.grid.shape)
    hybrid, parts = to_hybrid(raw, calibration), []
    for first in range(0, hybrid.n_planes, 8):
        where = slice(first, first + 8)
        samples, s = hybrid.slab(first, first + 8), maps.slab(first, first + 8)
        coil_images = images.images[:, None, where] * s
        left = (samples - fftc(coil_images, (-2, -1))) * hybrid.sampling_mask
        parts.append(sense(left, hybrid.sampling_mask, s, 1.0, regularisation=0.0, max_iterations=steps))
    return images.images[:, None] + torch.cat(parts, 2)


def nuclei_ppb(head: VirtualScan, sums: LagSums) -> NDArray[np.float64]:
    """Mean chi of each of `NUCLEI`, both sides, where the map is valid [ppb]."""
    header = head.raw.header
    config = QsmConfig().with_step("inversion", None, {"strength": STRENGTH_PPM})
    maps = map_susceptibility(sums, Scan(header.grid, header.echo_times_s, header.field_strength_t), config)
    chi_ppb, valid, labels = 1000 * maps.chi_ppm.numpy(), maps.eroded_mask.numpy(), head.truth.labels.numpy()
    numbers = {name: [n for n, (nucleus, _) in label_table().items() if nucleus == name] for name in NUCLEI}
    return np.array([chi_ppb[np.isin(labels, numbers[name]) & valid].mean() for name in NUCLEI])


def tell(report: Path, changes: dict[Case, list[NDArray[np.float64]]]) -> None:
    """Write the mean change of each nucleus and case so far, and its standard error."""
    record = Record(report)
    for case, found in changes.items():
        values = np.array(found)
        errors = values.std(0, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.full(len(NUCLEI), np.nan)
        for roi, mean, error in zip(NUCLEI, values.mean(0), errors, strict=True):
            about = {**case._asdict(), "n": len(values), "standard_error": round(float(error), 3)}
            record.add(roi, "mean change [ppb]", float(mean), **about)


if __name__ == "__main__":
    sys.exit(main())
