"""QSM on other virtual heads: the default chain against its bars, the paper's chain beside it, on five protocols.

    python benchmarks/qsm_heads.py [--seeds 5] [--conditions "paper" "SNR 20"] [--scans DIR]
                                   [--out benchmarks/results/qsm_heads.tsv]

Every scan is fully sampled, without motion, and received by 4 coils, which the protocol's SNR does not depend on: it is
that of the combined image. The settings are the same for all. The l1 inversion of the true local field, in the default
chain's mask, says how much of an error is the inversion's own. Seeds 0 and 1 are heads on which defaults were chosen.
A simulation takes minutes; ``--scans`` keeps what the maps are made from.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from acceptance import PAPER_CHAIN, Judged, judge, true_field_limit
from record import Record, peak_mb, stopwatch

from dlqsm.acquisition.head import draw_participants, make_head
from dlqsm.acquisition.placement import Truth
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol
from dlqsm.acquisition.virtual_scan import acquire
from dlqsm.config import QsmConfig
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.lags import LagSums
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import QsmMaps, map_susceptibility
from dlqsm.reconstruction.reconstruct import reconstruct

N_COILS = 4
PAPER = replace(PROTOCOLS["paper"], n_coils=N_COILS).without_motion()
CONDITIONS = {
    "paper": PAPER,
    "isotropic 1 mm": replace(PAPER, shape=(224, 224, 144), voxel_size_mm=(1.0, 1.0, 1.0)),
    "oblique 20 degrees": replace(PAPER, tilt_deg=(20.0, 0.0, 0.0)),
    "SNR 20": replace(PAPER, snr=20.0),
    "slices of 4 mm": replace(PROTOCOLS["small"], n_coils=N_COILS).without_motion(),
}
"""The paper's protocol, what changes in it, and one of half its resolution."""
CHAINS = {"default": QsmConfig(), "paper": PAPER_CHAIN}
BARS_PPB = {"mean absolute nucleus error": 3.0, "worst nucleus error": 6.0, "brain RMSE": 12.0}
"""What the default chain must stay below [ppb]."""
MAPS = ("chi_ppm", "r2star_hz", "labels", "mask", "total_field_hz", "local_field_hz")


@dataclass(frozen=True, eq=False)
class Scanned:
    """What the maps are made from, and what they should show."""

    sums: LagSums
    truth: Truth


def scanned(anatomy: Anatomy, condition: str, seed: int, folder: Path | None) -> Scanned:
    """Simulate and reconstruct a scan, or take it from the folder."""
    protocol = CONDITIONS[condition]
    file = None if folder is None else folder / f"{condition.replace(' ', '_')}_{seed}.npz"
    if file is not None and file.is_file():
        return read(file, protocol)
    scan = acquire(make_head(anatomy, draw_participants(seed + 1, 2025)[seed]), protocol, "FULL", seed)
    found = Scanned(reconstruct(scan.raw, "sense").lag_sums, scan.truth)
    if file is not None:
        write(file, found)
    return found


def write(file: Path, scan: Scanned) -> None:
    """Keep a scan as arrays."""
    arrays = {name: getattr(scan.truth, name).numpy() for name in MAPS}
    noise_sd = scan.sums.noise_sd
    if noise_sd is not None:
        arrays["noise_sd"] = noise_sd.numpy()
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part.npz")
    np.savez(
        unfinished,
        lags=scan.sums.lags.numpy(),
        power=scan.sums.power.numpy(),
        n_channels=scan.sums.n_channels,
        conditions=json.dumps(scan.truth.conditions),
        **arrays,
    )
    unfinished.rename(file)


def read(file: Path, protocol: Protocol) -> Scanned:
    """The scan that `write` kept."""
    with np.load(file) as kept:
        held = {name: torch.from_numpy(kept[name]) for name in kept.files if kept[name].ndim}
        n_channels, conditions = int(kept["n_channels"]), json.loads(str(kept["conditions"]))
    sums = LagSums(held["lags"], held["power"], held.get("noise_sd"), n_channels)
    return Scanned(sums, Truth(grid=protocol.grid, conditions=conditions, **{name: held[name] for name in MAPS}))


def table(record: Record, condition: str, seed: int, scan: Scanned) -> None:
    """Rows of one scan: both chains, then the limit."""
    protocol = CONDITIONS[condition]
    about: dict[str, object] = {"seed": seed, "n_coils": protocol.n_coils}
    of_default: QsmMaps | None = None
    for name, config in CHAINS.items():
        with stopwatch() as took:
            maps = map_susceptibility(scan.sums, protocol.scan, config)
        strict = name == "default"
        tell(record, condition, judge(maps, scan.truth), {**about, "chain": name}, strict=strict)
        tell_mask(record, condition, maps, scan.truth, {**about, "chain": name}, strict=strict)
        for option, value in maps.summary["convergence"]["inversion"].get("chosen", {}).items():
            record.add(condition, f"chosen {option}", value, **about, chain=name)
        record.add(condition, "QSM seconds", took["cpu_s"], **about, chain=name)
        of_default = maps if strict else of_default
    if of_default is not None:
        limit = true_field_limit(scan.truth, protocol.scan, of_default, scan.sums.power.sum(0).sqrt())
        tell(record, condition, limit, {**about, "chain": "true local field"}, strict=False)


def tell(record: Record, condition: str, judged: Judged, about: dict[str, object], *, strict: bool) -> None:
    """Rows of one map's errors; the bars count where ``strict``."""
    values = (judged.mean_abs, judged.worst, judged.rmse_ppb)
    for (name, bar), value in zip(BARS_PPB.items(), values, strict=True):
        record.add(condition, f"{name} ppb", value, bound=(0.0, bar) if strict else None, **about)
    for roi, error in judged.errors_ppb.items():
        record.add(condition, f"error {roi} ppb", error, **about)


def tell_mask(
    record: Record, condition: str, maps: QsmMaps, truth: Truth, about: dict[str, object], *, strict: bool
) -> None:
    """Rows of what the mask keeps; no voxel of a nucleus may be lost where ``strict``."""
    kept = maps.eroded_mask & truth.mask
    record.add(condition, "true mask kept %", 100 * float(kept.sum() / truth.mask.sum()), **about)
    lost = (truth.labels > 0) & ~maps.eroded_mask
    record.add(condition, "nucleus voxels lost", int(lost.sum()), bound=(0, 0) if strict else None, **about)
    table = label_table()
    names = sorted({table[int(label)][0] for label in truth.labels[lost].unique()}, key=NUCLEI.index)
    if names:
        print(f"{'':<26} lost in {' '.join(names)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5])
    parser.add_argument("--conditions", nargs="+", choices=tuple(CONDITIONS), default=list(CONDITIONS))
    parser.add_argument("--scans", type=Path, help="keep the scans here, and take those that are here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "qsm_heads.tsv")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    record, anatomy = Record(arguments.out), load_anatomy()
    for condition in arguments.conditions:
        for seed in arguments.seeds:
            table(record, condition, seed, scanned(anatomy, condition, seed, arguments.scans))
    record.add("all", "peak memory MB", peak_mb())
    print(f"{record.failed} of {len([r for r in record.rows if r['result']])} bounded rows failed; {arguments.out}")
    return 1 if record.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
