"""The strength that `l1` chooses from the data, against constants around it, on unlike problems.

    python benchmarks/qsm_strength.py BENCH_DIR [--problems DIR] [--scans DIR] [--out F.tsv]

Problems are the bench problem (small and large; true local field with noise, and the field that the default background
removal leaves of the total one) and virtual heads (paper's matrix, isotropic, SNR 20, slices of 4 mm). A row is
one strength: its factor over the chosen one, the error of the map, and the mean error of the nuclei.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import qsm_heads
import torch
from acceptance import judge
from qsm_stages import Problem, chi_scores, load_module
from record import Record

from dlqsm.config import QsmConfig, Step
from dlqsm.core.scan import Scan
from dlqsm.io.anatomy import load_anatomy
from dlqsm.pipeline import map_susceptibility
from dlqsm.qsm.background import BACKGROUND_REMOVERS
from dlqsm.qsm.inversion import INVERSIONS
from qsm import make

FACTORS = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4)
BENCH = (("small", 0), ("large", 0), ("large", 2))
HEADS = (("paper", 3), ("paper", 5), ("isotropic 1 mm", 5), ("SNR 20", 5), ("slices of 4 mm", 3), ("slices of 4 mm", 5))
BAR_PERCENT = 5.0
"""How far the error at the chosen strength may lie above that at the best constant."""
Score = Callable[[torch.Tensor], tuple[float, float]]
"""Error of a map (percent or ppb), and mean absolute error of its nuclei [ppb]."""


@dataclass(frozen=True, eq=False)
class Field:
    """What `l1` takes, and who judges what it gives."""

    name: str
    local_field_ppm: torch.Tensor
    mask: torch.Tensor
    scan: Scan
    noise_ppm: torch.Tensor
    magnitude: torch.Tensor
    score: Score

    def invert(self, strength: float | None) -> tuple[tuple[float, float], float]:
        """Scores, and the strength that was used [ppm]."""
        known = (self.local_field_ppm, self.mask, self.scan, self.noise_ppm, self.magnitude)
        chi_ppm, convergence = INVERSIONS["l1"](*known, strength=strength)
        return self.score(chi_ppm), strength or convergence.chosen["strength_ppm"]


def of_bench(problem: Problem, name: str, background: str | None) -> Field:
    """The bench problem's local field, true or by a background removal."""
    mask, scan, noise_ppm = problem.mask, problem.scan, problem.noise_ppm()
    local = problem.map("floc_meas")
    if background is not None:
        local, mask, _ = BACKGROUND_REMOVERS[background](problem.map("ftot_meas"), mask, scan, noise_ppm)

    def score(chi_ppm: torch.Tensor) -> tuple[float, float]:
        told = chi_scores(problem, chi_ppm, mask)
        return told["NRMSE %"], told["nuclei ppb"]

    return Field(name, local, mask, scan, noise_ppm, problem.echoes("mag").square().sum(0).sqrt(), score)


def of_head(condition: str, seed: int, scans: Path | None) -> Field:
    """The local field that the default chain finds of a virtual head."""
    scan = qsm_heads.CONDITIONS[condition].scan
    scanned = qsm_heads.scanned(load_anatomy(), condition, seed, scans)
    maps = map_susceptibility(scanned.sums, scan, QsmConfig(inversion=Step("tkd")))

    def score(chi_ppm: torch.Tensor) -> tuple[float, float]:
        judged = judge(replace(maps, chi_ppm=chi_ppm), scanned.truth)
        return judged.rmse_ppb, judged.mean_abs

    fields_ppm = (maps.local_field_hz / scan.hz_per_ppm, maps.eroded_mask, scan, maps.noise_hz / scan.hz_per_ppm)
    return Field(f"{condition}, seed {seed}", *fields_ppm, scanned.sums.power.sum(0).sqrt(), score)


def tell(record: Record, field: Field) -> None:
    """Rows of one problem: the chosen strength, constants around it, and how far the choice is from the best."""
    (error, nuclei), chosen = field.invert(None)
    record.add(field.name, "error", error, factor="chosen", strength_ppm=f"{chosen:.3g}")
    record.add(field.name, "nuclei ppb", nuclei, factor="chosen", strength_ppm=f"{chosen:.3g}")
    errors = []
    for factor in FACTORS:
        (constant_error, nuclei), strength = field.invert(factor * chosen)
        errors.append(constant_error)
        record.add(field.name, "error", constant_error, factor=factor, strength_ppm=f"{strength:.3g}")
        record.add(field.name, "nuclei ppb", nuclei, factor=factor, strength_ppm=f"{strength:.3g}")
    above = 100 * (error / min(errors) - 1)
    record.add(field.name, "error above the best constant's %", above, bound=(-BAR_PERCENT, BAR_PERCENT))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--problems", type=Path, help="keep the bench problems here, and take those that are here")
    parser.add_argument("--scans", type=Path, help="keep the scans of virtual heads here, and take those that are here")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "qsm_strength.tsv")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    record, scorer = Record(arguments.out), load_module(arguments.bench / "score.py")
    with tempfile.TemporaryDirectory() as folder:
        for size, seed in BENCH:
            place = make(arguments.bench, arguments.problems or Path(folder), size, seed)
            problem = Problem(place, scorer, torch.device("cpu"))
            for background in (None, "pdf_tv"):
                field = "true local field" if background is None else f"after {background}"
                tell(record, of_bench(problem, f"bench {size}, seed {seed}, {field}", background))
        for condition, seed in HEADS:
            tell(record, of_head(condition, seed, arguments.scans))
    return 1 if record.failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
