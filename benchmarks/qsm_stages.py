"""One method of one stage on one bench problem, in its own process: prints seconds, peak memory and scores as JSON.

    python benchmarks/qsm_stages.py BENCH_DIR PROBLEM_DIR STAGE METHOD [--threads 1] [--device cpu]

Each stage gets the clean answer of the stage before with the noise of the measurement. The method runs twice, so that
compiled code is loaded; the second run counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from record import peak_mb

from dlqsm.config import QsmConfig, Step
from dlqsm.core.scan import Grid, Scan
from dlqsm.pipeline.susceptibility import map_susceptibility, sums_of_images
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.field import FIELD_ESTIMATORS
from dlqsm.qsm.inversion import INVERSIONS
from dlqsm.qsm.unwrap import UNWRAPPERS
from dlqsm.qsm.unwrap_echoes import unwrap_echoes

Scores = dict[str, float]


@dataclass(frozen=True)
class Problem:
    """Arrays of a bench problem on the device, and its scorer."""

    folder: Path
    scorer: ModuleType
    device: torch.device

    @property
    def about(self) -> dict[str, Any]:
        """What the generator tells of the problem."""
        return json.loads((self.folder / "meta.json").read_text())

    @property
    def scan(self) -> Scan:
        """Geometry, echo times and field."""
        meta = self.about
        grid = Grid(tuple(meta["shape"]), tuple(meta["vox"]))
        return Scan(grid, tuple(meta["TE"]), field_strength_t=meta["B0"], b0_direction=tuple(meta["B0_dir"]))

    def array(self, name: str) -> np.ndarray:
        """One of the problem's arrays."""
        return np.load(self.folder / f"{name}.npy")

    def map(self, name: str) -> torch.Tensor:
        """The same as a tensor on the device."""
        return torch.from_numpy(self.array(name)).float().to(self.device)

    def echoes(self, name: str) -> torch.Tensor:
        """Images with the echo first."""
        return self.map(name).movedim(-1, 0).contiguous()

    @property
    def mask(self) -> torch.Tensor:
        """The problem's mask."""
        return self.map("mask") > 0

    def noise_ppm(self) -> torch.Tensor:
        """Noise of the field as `mdi` tells it."""
        sums = sums_of_images(self.echoes("mag"), self.echoes("phase"))
        return FIELD_ESTIMATORS["mdi"](sums, self.scan).noise_hz / self.scan.hz_per_ppm


def unwrapping(problem: Problem, method: str) -> tuple[Callable[[], Any], Callable[[Any], Scores]]:
    """All echoes; ``spun, each echo`` and ``scikit-image`` one by one."""
    phase, magnitude, mask, scan = problem.echoes("phase"), problem.echoes("mag"), problem.mask, problem.scan

    def along_lines() -> torch.Tensor:
        return unwrap_echoes(phase, magnitude, mask, scan, UNWRAPPERS[method])[0]

    def one_by_one() -> torch.Tensor:
        return torch.stack([UNWRAPPERS[method.partition(",")[0]](echo, mask, scan, None)[0] for echo in phase])

    def scikit() -> torch.Tensor:
        from skimage.restoration import unwrap_phase

        outside = ~mask.cpu().numpy()
        done = [unwrap_phase(np.ma.array(echo.cpu().numpy(), mask=outside)).filled(0.0) for echo in phase]
        return torch.from_numpy(np.stack(done))

    def score(unwrapped: torch.Tensor) -> Scores:
        found = unwrapped.movedim(0, -1).cpu().numpy()
        told = problem.scorer.score_unwrapped(
            found, problem.array("phase_true"), problem.array("phase"), mask.cpu().numpy()
        )
        return {"wrong %": max(told["wrong_pct_per_echo"]), "incongruence rad": told["max_incongruence_rad"]}

    run = scikit if method == "scikit-image" else (one_by_one if "," in method else along_lines)
    return run, score


def field(problem: Problem, method: str) -> tuple[Callable[[], Any], Callable[[Any], Scores]]:
    """Lag sums and the field; the error counts where the phase gathered in an echo spacing does not wrap."""
    magnitude, phase, scan, mask = problem.echoes("mag"), problem.echoes("phase"), problem.scan, problem.mask

    def run() -> Any:
        return FIELD_ESTIMATORS[method](sums_of_images(magnitude, phase), scan)

    def score(estimate: Any) -> Scores:
        turn = 1.0 / estimate.spacing_s
        error = (
            estimate.wrapped_phase_rad / (2 * np.pi * estimate.spacing_s) - problem.map("ftot_true") * scan.hz_per_ppm
        )
        error = (error - turn * (error / turn).round())[mask]
        least = problem.map("ftot_meas") - problem.map("ftot_true")
        floor = float(least[mask].square().mean().sqrt()) * scan.hz_per_ppm
        rms = float((error - error.median()).square().mean().sqrt())
        told = float(estimate.noise_hz[mask].square().mean().sqrt())
        return {"rms Hz": rms, "rms of a fit to unwrapped phase Hz": floor, "told rms noise Hz": told}

    return run, score


def background(problem: Problem, method: str) -> tuple[Callable[[], Any], Callable[[Any], Scores]]:
    """Total field with noise, whole mask."""
    total, mask, scan, noise = problem.map("ftot_meas"), problem.mask, problem.scan, problem.noise_ppm()

    def score(found: Any) -> Scores:
        local, kept = found[0].double().cpu().numpy(), found[1].cpu().numpy()
        whole = mask.cpu().numpy()
        told = problem.scorer.score_local(
            local, problem.array("floc_true").astype(float), whole, kept, problem.about["vox"]
        )
        nuclei = np.isin(problem.array("labels"), [problem.about["labels"][n] for n in problem.scorer.NUCLEI]) & whole
        return {
            **{f"{name} %": value for name, value in told.items()},
            "kept %": 100 * kept.sum() / whole.sum(),
            "nuclei kept %": 100 * (nuclei & kept).sum() / nuclei.sum(),
        }

    return lambda: BACKGROUND_REMOVERS[method](total, mask, scan, noise), score


def inversion(problem: Problem, method: str) -> tuple[Callable[[], Any], Callable[[Any], Scores]]:
    """True local field with noise, whole mask."""
    local, mask, scan, noise = problem.map("floc_meas"), problem.mask, problem.scan, problem.noise_ppm()
    magnitude = problem.echoes("mag").square().sum(0).sqrt()

    def score(found: Any) -> Scores:
        return {**chi_scores(problem, found[0], mask), "iterations": found[1].n_iterations}

    return lambda: INVERSIONS[method](local, mask, scan, noise, magnitude), score


def chain(problem: Problem, method: str) -> tuple[Callable[[], Any], Callable[[Any], Scores]]:
    """Images to susceptibility, the brain mask given; ``method`` names background and inversion."""
    magnitude, phase, scan, mask = problem.echoes("mag"), problem.echoes("phase"), problem.scan, problem.mask
    remove, invert = method.split("+")
    config = QsmConfig(background=Step(remove), inversion=Step(invert))

    def run() -> Any:
        return map_susceptibility(sums_of_images(magnitude, phase), scan, config, external_mask=mask)

    def score(maps: Any) -> Scores:
        kept = maps.eroded_mask & mask
        steps = {f"wall seconds of {step}": seconds for step, seconds in maps.summary["seconds"].items()}
        return {**chi_scores(problem, maps.chi_ppm, kept), "kept %": 100 * float(kept.sum() / mask.sum()), **steps}

    return run, score


def chi_scores(problem: Problem, chi_ppm: torch.Tensor, mask: torch.Tensor) -> Scores:
    """What the scorer tells of a susceptibility map."""
    told = problem.scorer.score_chi(
        chi_ppm.double().cpu().numpy(),
        problem.array("chi").astype(float),
        mask.cpu().numpy(),
        problem.array("labels"),
        problem.about["labels"],
    )
    names = {
        "nrmse": "NRMSE %",
        "xsim": "XSIM",
        "slope": "slope",
        "mae7_ppb": "nuclei ppb",
        "nuclei_kept_pct": "nuclei kept %",
    }
    return {name: told[key] for key, name in names.items()}


STAGES = {"unwrapping": unwrapping, "field": field, "background": background, "inversion": inversion, "chain": chain}
METHODS = {
    "unwrapping": (*UNWRAPPERS, *(f"{name}, each echo" for name in UNWRAPPERS), "scikit-image"),
    "field": tuple(FIELD_ESTIMATORS),
    "background": tuple(BACKGROUND_REMOVERS),
    "inversion": tuple(INVERSIONS),
    "chain": tuple("none+tgv" if name == "none" else f"{name}+l1" for name in BACKGROUND_REMOVERS),
}


def load_module(path: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("problem", type=Path)
    parser.add_argument("stage", choices=tuple(STAGES))
    parser.add_argument("method")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    problem = Problem(arguments.problem, load_module(arguments.bench / "score.py"), torch.device(arguments.device))
    run, score = STAGES[arguments.stage](problem, arguments.method)
    run()
    finish = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    finish()
    cpu, wall = time.process_time(), time.perf_counter()
    found = run()
    finish()
    took = {"CPU seconds": time.process_time() - cpu, "wall seconds": time.perf_counter() - wall, "peak MB": peak_mb()}
    print(json.dumps({**took, **score(found)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
