"""Noise of the susceptibility by few realisations against many, on one bench problem: prints JSON.

    python benchmarks/uncertainty.py BENCH_DIR PROBLEM_DIR [--background vsharp] [--realisations 64] [--few 8 16]

Each group of ``--few`` realisations is pooled and compared with Monte Carlo of all others, whose own sampling error,
1 / sqrt(2 n - 2), counts in the scatter of nuclei.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from qsm_stages import Problem, load_module

from dlqsm.config import QsmConfig, Step
from dlqsm.core.realisations import ENOUGH_REALISATIONS, monte_carlo_sd, pooled_sd, sds_of_means
from dlqsm.core.scan import Grid
from dlqsm.pipeline.susceptibility import map_susceptibility, sums_of_images
from dlqsm.pipeline.uncertainty import susceptibility_noise


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("problem", type=Path)
    parser.add_argument("--background", default="vsharp")
    parser.add_argument("--inversion", default="l1")
    parser.add_argument("--realisations", type=int, default=64)
    parser.add_argument("--few", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.realisations - max(arguments.few) < ENOUGH_REALISATIONS:
        parser.error(f"the others must be {ENOUGH_REALISATIONS} or more: with fewer the reference would be pooled too")
    torch.set_num_threads(arguments.threads)
    problem = Problem(arguments.problem, load_module(arguments.bench / "score.py"), torch.device("cpu"))
    config = QsmConfig(background=Step(arguments.background), inversion=Step(arguments.inversion))
    sums, scan = sums_of_images(problem.echoes("mag"), problem.echoes("phase")), problem.scan
    maps = map_susceptibility(sums, scan, config, external_mask=problem.mask)
    start = time.process_time()
    magnitude, n = sums.power.sum(0).sqrt(), arguments.realisations
    errors = susceptibility_noise(maps, magnitude, scan, config, n_realisations=n, seed=1).errors_ppm
    seconds = (time.process_time() - start) / n
    labels = torch.from_numpy(problem.array("labels"))
    numbers = {name: problem.about["labels"][name] for name in problem.scorer.NUCLEI}
    regions = by_side(labels, numbers, maps.eroded_mask)
    exact = sds_of_means(errors, list(regions.values()), maps.eroded_mask, scan.grid)
    told: dict[str, Any] = {
        "CPU seconds of a realisation": seconds,
        "voxels, rms SD ppb": 1e3 * float(monte_carlo_sd(errors)[maps.eroded_mask].square().mean().sqrt()),
        "nuclei, SD ppb": {name: round(1e3 * sd, 3) for name, sd in zip(regions, exact, strict=True)},
    }
    told |= {
        f"{few} against the others": compared(errors, few, maps.eroded_mask, regions, scan.grid)
        for few in arguments.few
    }
    print(json.dumps(told))
    return 0


def by_side(labels: torch.Tensor, numbers: dict[str, int], mask: torch.Tensor) -> dict[str, torch.Tensor]:
    """Left, right and both of each nucleus inside the mask, as the table of nuclei has them."""
    middle = float(torch.nonzero(mask)[:, 0].double().mean())
    left = (torch.arange(mask.shape[0]) < middle)[:, None, None]
    sides = {"left": left, "right": ~left, "both": torch.ones_like(left)}
    found = {
        f"{name} {side}": (labels == number) & mask & where
        for name, number in numbers.items()
        for side, where in sides.items()
    }
    return {name: region.float() for name, region in found.items() if bool(region.any())}


def compared(
    errors: torch.Tensor, n_few: int, mask: torch.Tensor, regions: dict[str, torch.Tensor], grid: Grid
) -> dict[str, Any]:
    """Pooled standard deviations of each ``n_few`` realisations against those of all others."""
    start = time.process_time()
    voxels, logs = [], []
    groups = range(0, len(errors) - n_few + 1, n_few)
    for first in groups:
        few = errors[first : first + n_few]
        many = torch.cat([errors[:first], errors[first + n_few :]])
        ratio = (pooled_sd(few - few.mean(0), mask, grid) / monte_carlo_sd(many))[mask]
        voxels.append(
            ratio[:: max(1, ratio.numel() // 1_000_000)].quantile(torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95]))
        )
        told, exact = (sds_of_means(part, list(regions.values()), mask, grid) for part in (few, many))
        logs.append((torch.tensor(told) / torch.tensor(exact)).log())
    found = torch.stack(logs)
    return {
        "groups": len(groups),
        "CPU seconds of a group": (time.process_time() - start) / len(groups),
        "voxel ratio at 5 25 50 75 95 %": torch.stack(voxels).mean(0).tolist(),
        "nuclei ratio, geometric mean": float(found.mean().exp()),
        "its scatter between groups": float(found.mean(1).std()),
        "nuclei ratio, rms of the logarithm": float(found.square().mean().sqrt()),
        "nuclei ratio by nucleus": {
            name: round(float(value), 3) for name, value in zip(regions, found.mean(0).exp(), strict=True)
        },
    }


if __name__ == "__main__":
    raise SystemExit(main())
