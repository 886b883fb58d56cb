"""Acceptance on the virtual head: each row with its bound, the measured value, pass or FAIL, for three seeds.

    python benchmarks/acceptance.py [--seeds 3 4 5] [--rows chain arms] [--out benchmarks/results/acceptance.tsv]

The rows are those of the acceptance table that need neither network nor atlas: the sphere, the whole chain on fully
sampled data without motion (small, and the paper's matrix), repeats, motion, acceleration, tilt, odd sizes, doubled
echo spacing, unwrapping, and signs. Values of nuclei are by true labels; truth and estimate each lose their mean in one
eroded mask. Seeds 0 to 2 are the heads on which defaults were chosen, so that others are the default here.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from record import Record, peak_mb, stopwatch

from dlqsm.acquisition.head import Head, Pose, draw_participants, make_head
from dlqsm.acquisition.placement import Truth
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol
from dlqsm.acquisition.virtual_scan import VirtualScan, acquire
from dlqsm.config import QsmConfig, Step
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.units import TWO_PI
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import QsmMaps, map_susceptibility
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.unwrap import spun
from dlqsm.reconstruction.reconstruct import reconstruct

INF = math.inf
PAPER_CHAIN = QsmConfig(background=Step("vsharp"), inversion=Step("l1"))
CHAINS = {
    "vsharp": PAPER_CHAIN,
    "pdf": QsmConfig(background=Step("pdf"), inversion=Step("l1")),
    "pdf_tv": QsmConfig(background=Step("pdf_tv"), inversion=Step("l1")),
}


@dataclass(frozen=True)
class Judged:
    """Nucleus errors [ppb] by name, and the brain RMSE [ppb]."""

    errors_ppb: dict[str, float]
    means_ppb: dict[str, float]
    rmse_ppb: float
    field_rmse_hz: float

    @property
    def mean_abs(self) -> float:
        """Mean absolute error of the nuclei [ppb]."""
        return float(np.mean([abs(e) for e in self.errors_ppb.values()]))

    @property
    def worst(self) -> float:
        """Largest absolute error of the nuclei [ppb]."""
        return max(abs(e) for e in self.errors_ppb.values())


def sphere(record: Record) -> None:
    """Spheres of 0.05 to 0.4 ppm in their analytic field, averaged over each voxel as a scanner averages it: slope.

    The field at the voxels' centres instead jumps at the surface, which no susceptibility on the grid explains: the
    slope was then 1.04, and the solver did not converge.
    """
    grid, radius, fine = Grid((72, 72, 72), (1.0, 1.0, 1.0)), 7.0, 4
    unit = sphere_field(grid, radius, fine)
    axes = [torch.arange(n, dtype=torch.float64) - n // 2 for n in grid.shape]
    x, y, z = torch.meshgrid(*axes, indexing="ij")
    r = (x**2 + y**2 + z**2).sqrt()
    mask, core = r < 28, r < radius - 1.5
    shell = mask & (r > radius + 2)
    for method in ("l1", "tkd"):
        truth = (0.05, 0.1, 0.2, 0.4)
        found = []
        for chi in truth:
            field = (chi * unit * mask).float()
            map_ppm, _ = INVERSIONS[method](field, mask, Scan(grid), None, None)
            found.append(float(map_ppm[core].mean() - map_ppm[shell].mean()))
        slope = float(np.polyfit(truth, found, 1)[0])
        record.add("sphere", f"slope {method}", slope, bound=(0.97, 1.03) if method == "l1" else None)


def sphere_field(grid: Grid, radius_mm: float, fine: int) -> torch.Tensor:
    """Mean over each voxel of 1 mm, from ``fine`` samples per edge, of the field of a unit sphere at the centre."""
    _, ny, nz = grid.shape
    x, y, z = ((torch.arange(n * fine, dtype=torch.float64) + 0.5) / fine - 0.5 - n // 2 for n in grid.shape)
    planes = []
    for slab in x.split(fine):
        r = (slab[:, None, None] ** 2 + y[:, None] ** 2 + z**2).sqrt()
        values = torch.where(r > radius_mm, (radius_mm / r) ** 3 * (3 * (z / r) ** 2 - 1) / 3, 0.0)
        planes.append(values.reshape(fine, ny, fine, nz, fine).mean((0, 2, 4)))
    return torch.stack(planes)


def whole_chain(record: Record, head: Head, protocol: Protocol, seed: int) -> None:
    """Fully sampled, no motion: the paper's chain, PDF beside it, and the true local field as the limit."""
    scan = acquire(head, protocol.without_motion(), "FULL", seed)
    with stopwatch() as took:
        images = reconstruct(scan.raw, "sense")
    record.add("full, no motion", "reconstruction seconds", took["wall_s"], protocol=protocol.name, seed=seed)
    judged = {}
    for name, config in CHAINS.items():
        with stopwatch() as took:
            maps = map_susceptibility(images.lag_sums, scan.raw.header.scan, config)
        judged[name] = judge(maps, scan.truth)
        strict = name == "vsharp"
        about = {"protocol": protocol.name, "seed": seed, "chain": name}
        tell(record, "full, no motion", judged[name], about, bounds=(6.0, 10.0, 15.0) if strict else (INF, INF, INF))
        record.add("full, no motion", "QSM seconds", took["wall_s"], **about)
        if strict:
            unwrapping(record, maps, scan, seed, f"protocol {protocol.name}")
            signs(record, judged[name], seed)
    magnitude = images.lag_sums.power.sum(0).sqrt()
    limit = true_field_limit(scan.truth, scan.raw.header.scan, maps, magnitude)
    tell(record, "full, no motion", limit, {"protocol": protocol.name, "seed": seed, "chain": "true local field"})


def true_field_limit(truth: Truth, scan: Scan, maps: QsmMaps, magnitude: torch.Tensor) -> Judged:
    """The l1 inversion of the true local field in the same mask, with the same weights and edges: its own error."""
    local_ppm = (truth.local_field_hz / scan.hz_per_ppm) * maps.eroded_mask
    noise_ppm = maps.noise_hz / scan.hz_per_ppm
    chi_ppm, _ = INVERSIONS["l1"](local_ppm, maps.eroded_mask, scan, noise_ppm, magnitude)
    return judge(replace(maps, chi_ppm=chi_ppm - chi_ppm[maps.eroded_mask].mean()), truth)


def judge(maps: QsmMaps, truth: Truth) -> Judged:
    """Errors by true labels; both maps lose their mean in the eroded mask."""
    mask = maps.eroded_mask & truth.mask
    chi = 1e3 * (maps.chi_ppm - maps.chi_ppm[mask].mean())
    true = 1e3 * (truth.chi_ppm - truth.chi_ppm[mask].mean())
    errors, means = {}, {}
    for roi in NUCLEI:
        numbers = [number for number, (name, _) in label_table().items() if name == roi]
        inside = torch.isin(truth.labels, torch.tensor(numbers)) & mask
        means[roi] = float(chi[inside].mean())
        errors[roi] = means[roi] - float(true[inside].mean())
    difference = maps.total_field_hz[mask] - truth.total_field_hz[mask]
    return Judged(
        errors,
        means,
        float((chi - true)[mask].square().mean().sqrt()),
        float((difference - difference.median()).square().mean().sqrt()),
    )


def tell(
    record: Record,
    test: str,
    judged: Judged,
    about: dict[str, object],
    bounds: tuple[float, float, float] = (INF, INF, INF),
) -> None:
    """Rows of one judged map."""
    measures = (
        ("mean absolute nucleus error ppb", judged.mean_abs),
        ("worst nucleus error ppb", judged.worst),
        ("brain RMSE ppb", judged.rmse_ppb),
    )
    for (name, value), limit in zip(measures, bounds, strict=True):
        record.add(test, name, value, bound=None if limit == INF else (0.0, limit), **about)
    listed = " ".join(f"{roi}{error:+.1f}" for roi, error in judged.errors_ppb.items())
    print(f"{'':<26} {listed}", flush=True)


def chain(
    head: Head, protocol: Protocol, arm: str, seed: int, pose: Pose | None = None
) -> tuple[QsmMaps, VirtualScan, Judged]:
    """Simulate, reconstruct and map one scan with the paper's chain."""
    scan = acquire(head, protocol, arm, seed, pose=pose)
    maps = mapped(scan, "sense")
    return maps, scan, judge(maps, scan.truth)


def mapped(scan: VirtualScan, method: str) -> QsmMaps:
    """Reconstruct and map a scan with the paper's chain."""
    return map_susceptibility(reconstruct(scan.raw, method).lag_sums, scan.raw.header.scan, PAPER_CHAIN)


def repeats(record: Record, head: Head, protocol: Protocol, seed: int) -> None:
    """Another noise realisation only: thermal repeatability."""
    still = protocol.without_motion()
    first, _, a = chain(head, still, "FULL", 100 + seed)
    second, _, b = chain(head, still, "FULL", 200 + seed)
    mask = first.eroded_mask & second.eroded_mask
    difference = 1e3 * (first.chi_ppm - second.chi_ppm)[mask]
    record.add(
        "repeat, noise only", "voxel RMSE ppb", float(difference.square().mean().sqrt()), bound=(0, 5), seed=seed
    )
    spread = [abs(a.means_ppb[roi] - b.means_ppb[roi]) / math.sqrt(2) for roi in NUCLEI]
    record.add("repeat, noise only", "mean nucleus SD ppb", float(np.mean(spread)), bound=(0, 1), seed=seed)
    record.add("repeat, noise only", "largest nucleus SD ppb", max(spread), seed=seed)


def arms(record: Record, head: Head, protocol: Protocol, seed: int) -> None:
    """Separate scans with motion, drift and shim: error against truth, and field error of zero and sense."""
    rmse = {}
    for arm in ("PI2", "PI2rep", "DL3", "DL5"):
        scan = acquire(head, protocol, arm, seed)
        for method in ("sense", "zero"):
            judged = judge(mapped(scan, method), scan.truth)
            about = {"seed": seed, "method": method}
            tell(record, f"with motion, {arm}", judged, about)
            record.add(f"with motion, {arm}", "field RMSE Hz", judged.field_rmse_hz, **about)
            if method == "sense":
                rmse[arm] = judged.rmse_ppb
    change = 100 * (rmse["DL5"] / rmse["DL3"] - 1)
    record.add("AF 3 to AF 5", "change of brain RMSE %", change, seed=seed, method="sense")


def invariances(record: Record, head: Head, protocol: Protocol, seed: int) -> None:
    """Tilt, odd sizes, doubled echo spacing: the nuclei's errors may move by 3 % of the value or 2 ppb.

    Noise is switched off (SNR 1000), and the head turns with the tilted slab, so that its voxels sample the same tissue
    and only the direction of B0 changes.
    """
    still = replace(protocol.without_motion(), snr=1000.0)
    nx, ny, nz = still.shape
    times = still.echo_times_s
    doubled = tuple(times[0] + 2 * (t - times[0]) for t in times[: (len(times) + 1) // 2])
    _, _, base = chain(head, still, "FULL", seed)
    variants = {
        "B0 tilt 20 degrees": (replace(still, tilt_deg=(20.0, 0.0, 0.0)), Pose((20.0, 0.0, 0.0))),
        "odd matrix": (replace(still, shape=(nx - 1, ny - 1, nz + 1)), None),
        "echo spacing x 2": (replace(still, echo_times_s=doubled), None),
    }
    for name, (variant, pose) in variants.items():
        maps, scan, judged = chain(head, variant, "FULL", seed, pose)
        moved = {roi: judged.errors_ppb[roi] - base.errors_ppb[roi] for roi in NUCLEI}
        allowed = {roi: max(2.0, 0.03 * abs(judged.means_ppb[roi])) for roi in NUCLEI}
        excess = max(abs(moved[roi]) / allowed[roi] for roi in NUCLEI)
        record.add(name, "largest change / allowed", excess, bound=(0, 1), seed=seed)
        record.add(name, "largest change ppb", max(abs(m) for m in moved.values()), seed=seed)
        record.add(name, "mean absolute nucleus error ppb", judged.mean_abs, seed=seed)
        if name.startswith("echo"):
            unwrapping(record, maps, scan, seed, "doubled spacing")


def unwrapping(record: Record, maps: QsmMaps, scan: VirtualScan, seed: int, case: str) -> None:
    """Wrong voxels against truth plus own noise, where the voxel's SNR exceeds 3; and exactness."""
    spacing = scan.raw.header.scan.echo_spacing_s
    strong = maps.mask & (maps.noise_hz * TWO_PI * spacing < 1 / 3)
    cycles = (maps.total_field_hz - scan.truth.total_field_hz)[strong] * spacing
    wrong = int((cycles - cycles.median()).round().abs().gt(0).sum())
    record.add("unwrapping", "wrong voxels, SNR above 3", wrong, bound=(0, 0), seed=seed, case=case)
    wrapped = torch.angle(torch.polar(torch.ones_like(maps.total_field_hz), TWO_PI * spacing * maps.total_field_hz))
    again, _, _ = spun(wrapped, maps.mask, scan.raw.header.scan, maps.quality)
    turns = ((again - wrapped) / TWO_PI)[maps.mask]
    record.add(
        "unwrapping",
        "distance from whole turns",
        float((turns - turns.round()).abs().max()),
        bound=(0, 1e-4),
        seed=seed,
        case=case,
    )


def signs(record: Record, judged: Judged, seed: int) -> None:
    """Globus pallidus positive, white-matter-dominated brain mean zero: the sign of the whole line."""
    record.add("sign", "globus pallidus ppb", judged.means_ppb["GPe"], bound=(20, INF), seed=seed)


STEPS = {"chain": whole_chain, "invariances": invariances, "repeats": repeats, "arms": arms}
PAPER = replace(PROTOCOLS["paper"].with_straight_heads(), n_coils=8)
ROWS = ("sphere", *STEPS, "paper")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), help="groups of rows (default: all)")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "acceptance.tsv")
    arguments = parser.parse_args()
    record, anatomy = Record(arguments.out), load_anatomy()
    rows, small = arguments.rows, PROTOCOLS["small"].with_straight_heads()
    if "sphere" in rows:
        sphere(record)
    participants = draw_participants(max(arguments.seeds) + 1, 2025)
    for seed in arguments.seeds:
        head = make_head(anatomy, participants[seed])
        for name, step in STEPS.items():
            if name in rows:
                step(record, head, small, seed)
    if "paper" in rows:
        seed = arguments.seeds[-1]
        with stopwatch() as took:
            whole_chain(record, make_head(anatomy, participants[seed]), PAPER, seed)
        record.add("paper matrix, 8 coils", "seconds in all", took["wall_s"])
    record.add("all", "peak memory MB", peak_mb())
    record.write()
    print(f"{record.failed} of {len([r for r in record.rows if r['result']])} bounded rows failed; {arguments.out}")
    return 1 if record.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
