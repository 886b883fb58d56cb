"""The virtual head's own atlas on differently deformed heads: Dice, nucleus means, rerun spread and seconds.

    python benchmarks/registration.py [--seed 501] [--heads 6] [--out benchmarks/results/registration.tsv]

Arm PI2 of protocol small, sense, default QSM. Labels by the atlas against the head's true labels, on the arm's own grid
(1.6 x 1.6 x 4 mm, where a small nucleus has four to eight voxels) and on the 1 mm grid of the T1-weighted image, where
both are drawn from what the registration found. Nucleus means are of one map, by either labels. Stages and weights were
chosen on heads of seed 77, so that others are judged here.
"""

from __future__ import annotations

import argparse
import math
import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from record import Record, stopwatch

from dlqsm.acquisition.head import Participant, Pose, draw_participants, make_head, tissue_maps
from dlqsm.acquisition.protocols import PROTOCOLS
from dlqsm.acquisition.t1w import t1w_image
from dlqsm.acquisition.virtual_scan import acquire
from dlqsm.core.atlas import Atlas
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.io.anatomy import load_anatomy
from dlqsm.nuclei.regions import measure_regions
from dlqsm.nuclei.transfer import labels_of, transfer_labels
from dlqsm.nuclei.transforms import Linear, positions
from dlqsm.pipeline import map_susceptibility
from dlqsm.pipeline.alignment import Alignment
from dlqsm.pipeline.nuclei import ArmMap, ArmNuclei, find_atlas, locate_nuclei, measure_arm
from dlqsm.reconstruction.reconstruct import reconstruct

BARS = {"Pu": 0.85, "Ca": 0.85, "GPe": 0.75, "GPi": 0.75, "RN": 0.75, "SNc": 0.65, "SNr": 0.65}
CHANNELS = ("t1w+chi", "magnitude+chi", "t1w")
"""The first is judged, the others are told, on the first heads only."""


@dataclass(frozen=True)
class Case:
    """One head: the arm's maps, its T1-weighted image, and the truth on both grids."""

    arm: ArmMap
    t1w: tuple[torch.Tensor, Grid]
    true_own: torch.Tensor
    true_1mm: torch.Tensor


def make_case(participant: Participant, seed: int) -> Case:
    """Scan, reconstruct and map one head."""
    head = make_head(load_anatomy(), participant)
    t1w = t1w_image(head, seed)
    true_1mm = tissue_maps(head, t1w[1], Pose()).labels
    scan = acquire(head, PROTOCOLS["small"].with_straight_heads(), "PI2", seed)
    sums = reconstruct(scan.raw, "sense").lag_sums
    maps = map_susceptibility(sums, scan.raw.header.scan)
    magnitude = sums.power.sum(0).sqrt()
    arm = ArmMap("PI2", scan.truth.grid, magnitude, maps.chi_ppm, maps.mask, maps.eroded_mask)
    return Case(arm, t1w, scan.truth.labels, true_1mm)


def dice(found: torch.Tensor, true: torch.Tensor) -> dict[str, float]:
    """2 |A and B| / (|A| + |B|) of each nucleus, mean over the sides."""
    values: dict[str, list[float]] = {roi: [] for roi in NUCLEI}
    for number, (roi, _) in label_table().items():
        a, b = found == number, true == number
        values[roi].append(2 * float((a & b).sum()) / max(float(a.sum() + b.sum()), 1.0))
    return {roi: float(np.mean(both)) for roi, both in values.items()}


def fine_labels(case: Case, atlas: Atlas, channels: str, seed: int, store: Path) -> torch.Tensor:
    """Labels on the 1 mm grid of the T1-weighted image, by the same transforms; the arm's pose is that image's."""
    run = Alignment(case.arm, atlas, channels, store, seed, lambda step, seconds: None)
    placed, _ = run.placement(case.t1w if channels.startswith("t1w") else None, [(case.arm, Linear(np.eye(4)))])
    near = positions(placed.box).reshape(-1, 3)
    return labels_of(transfer_labels(atlas, placed.chain, case.t1w[1], near), atlas.names)


def means(case: Case, found: ArmNuclei, weighting: str) -> pd.DataFrame:
    """Nucleus means by the atlas beside those by true labels, one map and one reference."""
    names = label_table()
    mine = measure_arm(found, names, participant="x", weighting=weighting)
    chi = found.chi_ppm.masked_fill(~found.common, math.nan)
    true = measure_regions(chi, case.true_own, names, found.grid, participant="x", arm="x")
    both = mine.assign(true_ppb=true["mean_ppb"])
    return both[both["side"] == "both"].set_index("roi")


def processor_s() -> float:
    """Processor seconds of all threads of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def judge(
    record: Record, case: Case, atlas: Atlas, label: str, store: Path, channels_of_head: tuple[str, ...]
) -> dict[str, dict[str, list[float]]]:
    """Rows of one head; returns Dice and errors by channels for the means over heads."""
    told: dict[str, dict[str, list[float]]] = {}
    for channels in channels_of_head:
        folder, before = store / label / channels, processor_s()
        with stopwatch() as took:
            (found,) = locate_nuclei(
                [case.arm], atlas, reference="PI2", t1w=case.t1w, store=folder, channels=channels, seed=0
            )
        about = {"head": label, "channels": channels}
        # Processor seconds bound the wall seconds of a machine that has nothing else to do, whatever its cores.
        used = processor_s() - before
        record.add("seconds a participant", "processor", used, bound=bar(channels, 0, 180), **about)
        record.add("seconds a participant", "wall", took["wall_s"], **about)
        rows = told.setdefault(channels, {})
        own = dice(found.labels, case.true_own)
        fine = dice(fine_labels(case, atlas, channels, 0, folder), case.true_1mm)
        weighted = {kind: means(case, found, kind) for kind in ("label", "probability")}
        for roi in NUCLEI:
            rows.setdefault(f"Dice own grid {roi}", []).append(own[roi])
            rows.setdefault(f"Dice 1 mm {roi}", []).append(fine[roi])
            for kind, table in weighted.items():
                error = float(table.loc[roi, "mean_ppb"] - table.loc[roi, "true_ppb"])
                rows.setdefault(f"mean minus true labels ppb, {kind} {roi}", []).append(error)
        correlation = found.account["placement"]["local_correlation"]
        record.add("score", "local correlation after", correlation["after"], **about)
        record.add("score", "local correlation affine", correlation["before"], **about)
        if channels == CHANNELS[0]:
            (again,) = locate_nuclei([case.arm], atlas, reference="PI2", t1w=case.t1w, channels=channels, seed=1)
            first, second = (measure_arm(a, atlas.names, participant="x") for a in (found, again))
            both = first["side"] == "both"
            for roi, change in zip(first["roi"][both], (second["mean_ppb"] - first["mean_ppb"])[both], strict=True):
                rows.setdefault(f"rerun change ppb {roi}", []).append(float(change))
    return told


def bar(channels: str, low: float, high: float) -> tuple[float, float] | None:
    """Only the default channels are judged."""
    return (low, high) if channels == CHANNELS[0] else None


def conclude(record: Record, heads: list[dict[str, dict[str, list[float]]]]) -> None:
    """Means over heads, with their bars."""
    for channels in CHANNELS:
        pooled: dict[str, list[float]] = {}
        for told in heads:
            for measure, values in told.get(channels, {}).items():
                pooled.setdefault(measure, []).extend(values)
        if not pooled:
            continue
        about = {"head": "all", "channels": channels}
        for measure, values in pooled.items():
            if measure.startswith("Dice"):
                roi = measure.split()[-1]
                bound = bar(channels, BARS[roi], 1.0) if "1 mm" in measure else None
                record.add("Dice", measure, float(np.mean(values)), bound=bound, **about)
                record.add("Dice, worst head", measure, min(values), **about)
            else:
                record.add("absolute mean over heads", measure, float(np.mean(np.abs(values))), **about)
        for kind in ("label", "probability"):
            errors = [v for m, vs in pooled.items() if m.startswith("mean minus") and f", {kind} " in m for v in vs]
            bound = bar(channels, 0.0, 3.0) if kind == "label" else None
            record.add(
                "nucleus means", f"mean absolute ppb, {kind}", float(np.mean(np.abs(errors))), bound=bound, **about
            )
        rerun = [v for m, vs in pooled.items() if m.startswith("rerun") for v in vs]
        if rerun:
            record.add("rerun spread", "SD ppb", float(np.sqrt(np.mean(np.square(rerun)) / 2)), **about)
            record.add("rerun spread", "largest change ppb", float(np.max(np.abs(rerun))), **about)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=501)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--others", type=int, default=2, help="heads on which other channels are told too")
    parser.add_argument("--channels", nargs="+", choices=CHANNELS, default=list(CHANNELS))
    parser.add_argument("--store", type=Path, default=Path("registration_store"), help="folder for transforms")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "registration.tsv")
    arguments = parser.parse_args()
    record = Record(arguments.out)
    before = processor_s()
    atlas = find_atlas("virtual")
    record.add("atlas", "processor seconds", processor_s() - before, bound=(0, 20), head="none", channels="none")
    told = []
    for index, participant in enumerate(draw_participants(arguments.heads, arguments.seed)):
        case = make_case(participant, arguments.seed)
        chosen = CHANNELS if index < arguments.others else CHANNELS[:1]
        chosen = tuple(name for name in chosen if name in arguments.channels)
        told.append(judge(record, case, atlas, participant.label, arguments.store, chosen))
    conclude(record, told)
    print(f"{record.failed} of {len([r for r in record.rows if r['result']])} bounded rows failed; {arguments.out}")
    return 1 if record.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
