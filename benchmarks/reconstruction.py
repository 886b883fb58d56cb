"""Reconstructions of undersampled multi-echo scans on held-out virtual heads: images, phase, field, edges, the line.

    python benchmarks/reconstruction.py [--heads 0 1 2 3 4 5] [--masks 3] [--accelerations 2 3 4 5 6 8]
        [--weights FILE ...] [--methods NAME ...] [--peer-heads 2] [--scan-heads 2] [--line] [--robust] [--summary]

Slabs of 24 x-planes through the nuclei of heads that no training has seen (`reconstruction_heads.py` says why, and the
script checks it), 144 x 160 x 64 voxels of 1.4 x 1.4 x 2.5 mm, 8 coils, 8 echoes. All methods get the same samples and
the same ESPIRiT maps: zero-filled, SENSE, our `cs` with each prior and coil by coil, BART `pics` (L1 wavelet, the same
joined over echoes, locally low rank over echoes), SigPy's L1 wavelet, `cascade` (AF 3 to 5) and `joint` in soft and
exact mode; beside them the fully sampled noisy scan, the floor. `reconstruction_judging.py` says what is measured.

Strengths are scanned on each problem, from the strength that was best last time outwards as long as the field in the
nuclei improves, on the first `--scan-heads` heads; later heads take the strength that was best on average there. The
comparison is with the lowest error of any non-learned method at any strength that was run, for each measure by itself:
no rival is worse off for how strengths were chosen. Networks are run as they are.

Rows are appended to `reconstruction.tsv` as they are measured; a call goes on where the last one ended, whatever the
commit. `wall_s`, `cpu_s` and `peak_mb` (memory beyond the data; for BART all of its process) are those of one slab.
`--robust` runs AF 5 under other conditions (`reconstruction_heads.CONDITIONS`); `--line` the whole chain
(`reconstruction_line.py`); `--summary` only writes `reconstruction_summary.tsv` from the rows that are there
(`reconstruction_summary.py`), which every call does at its end. Pictures: `reconstruction_figure.py`.
"""

from __future__ import annotations

import argparse
import functools
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from reconstruction_heads import CONDITIONS, ROBUST, Problem, SlabScan, cut_slab, require_held_out, scan_head
from reconstruction_judging import MEASURES, judge_images
from reconstruction_line import LINE_KEYS, LINE_MEASURES, measure_line
from reconstruction_methods import Method, is_wanted, methods_at_hand, training_seeds, warm_up, weights_of
from reconstruction_panel import keep_plane
from reconstruction_rows import Row, Rows, number
from reconstruction_summary import summarise

from dlqsm.core.anatomy import Anatomy
from dlqsm.io.anatomy import load_anatomy

RESULTS = Path(__file__).parent / "results"
KEYS = ("condition", "head", "mask", "af", "method", "strength", "weights", "device")
COSTS = ("wall_s", "cpu_s", "peak_mb")
SCORE = "nuclei_hz"
ROBUST_ACCELERATION = 5.0
PANEL = ("standard", 0, 0, 5.0)


class Bench:
    """Scans heads when they are needed, and adds rows that are not there yet.

    Parameters
    ----------
    rows
        Where they go.
    anatomy
        Template of the heads.
    methods
        What is run.
    options
        Of the command line.
    """

    def __init__(self, rows: Rows, anatomy: Anatomy, methods: dict[str, Method], options: argparse.Namespace) -> None:
        self.rows, self.methods, self.options = rows, methods, options
        self._anatomy = anatomy
        self._warm = False
        self._last_best: dict[tuple[str, float], float] = {}

    def measure(self, condition: str, head: int, mask: int, acceleration: float) -> None:
        """Rows of all methods for one problem."""
        for name, method in self.methods.items():
            if method.accelerations and acceleration not in method.accelerations:
                continue
            if method.kind == "peer" and (head not in self.options.heads[: self.options.peer_heads]):
                continue
            key = {"condition": condition, "head": head, "mask": mask, "af": f"{acceleration:g}", "method": name}
            key |= {"weights": method.weights, "device": self.options.device if method.kind == "learned" else "cpu"}
            self._scan(method, key)

    def _scan(self, method: Method, key: dict[str, object]) -> None:
        """One row, or one for each strength that is tried."""
        if not method.strengths:
            self._row(method, key, None)
            return
        name, acceleration = str(key["method"]), float(str(key["af"]))
        if key["condition"] == "standard" and key["head"] not in self.options.heads[: self.options.scan_heads]:
            self._row(method, key, self._usual_strength(method, name, acceleration))
            return
        start = self._last_best.get((name, acceleration), method.strengths[len(method.strengths) // 2])
        best = climb(method.strengths, start, lambda strength: number(self._row(method, key, strength), SCORE))
        self._last_best[name, acceleration] = best

    def _usual_strength(self, method: Method, name: str, acceleration: float) -> float:
        """The strength with the lowest mean error on the heads that were scanned."""
        scanned = {str(head) for head in self.options.heads[: self.options.scan_heads]}
        errors: dict[float, list[float]] = {}
        for row in self.rows:
            of = (row["condition"], row["method"], float(row["af"]))
            if of == ("standard", name, acceleration) and row["head"] in scanned:
                errors.setdefault(float(row["strength"]), []).append(number(row, SCORE))
        most = max((len(each) for each in errors.values()), default=0)
        # Strengths that were tried on few problems were not near the best on the others.
        means = {strength: statistics.fmean(each) for strength, each in errors.items() if len(each) > most / 2}
        return min(means, key=means.__getitem__) if means else method.strengths[len(method.strengths) // 2]

    def _row(self, method: Method, key: dict[str, object], strength: float | None) -> Row:
        key = key | {"strength": "" if strength is None else f"{strength:g}"}
        found = self.rows.find(key)
        if found is not None:
            return found
        where = (str(key["condition"]), int(str(key["head"])), int(str(key["mask"])), float(str(key["af"])))
        problem = self._problem(*where)
        run = method.run(problem, strength)
        costs = {name: getattr(run, name) for name in COSTS}
        row = self.rows.add(key, judge_images(problem, run.channels) | costs)
        if where == PANEL:
            keep_plane(self.options.out, str(key["method"]), str(key["strength"]), problem, run.channels)
        told = " ".join(f"{name} {number(row, name):.4g}" for name in ("nrmse_percent", "brain_hz", SCORE, "cpu_s"))
        print(f"{where[0]} head {where[1]} mask {where[2]} AF {where[3]:g} {key['method']} {key['strength']}: {told}")
        return row

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def _problem(self, condition: str, head: int, mask: int, acceleration: float) -> Problem:
        problem = self._slab(condition, head).problem(acceleration, mask)
        if not self._warm:
            warm_up(problem, self.methods)
            self._warm = True
        return problem

    @functools.lru_cache(maxsize=1)  # noqa: B019
    def _slab(self, condition: str, head: int) -> SlabScan:
        print(f"scanning head {head}, {condition}", flush=True)
        scan = scan_head(self._anatomy, head, condition)
        return cut_slab(scan, head, moved=condition == "lines moved")


def climb(strengths: Sequence[float], start: float, error: Callable[[float], float]) -> float:
    """Strength of the lowest error, going from ``start`` to neighbours as long as it falls."""
    at = strengths.index(start)
    errors = {at: error(strengths[at])}
    for step in (1, -1):
        while 0 <= at + step < len(strengths):
            errors.setdefault(at + step, error(strengths[at + step]))
            if errors[at + step] >= errors[at]:
                break
            at += step
    return strengths[at]


def arguments_given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heads", type=int, nargs="+", default=list(range(6)))
    parser.add_argument("--masks", type=int, default=3, help="masks a head (default: 3)")
    parser.add_argument("--accelerations", type=float, nargs="+", default=[2.0, 3.0, 4.0, 5.0, 6.0, 8.0])
    parser.add_argument("--weights", type=Path, nargs="+", default=[], help="files of weights, instead of shipped ones")
    parser.add_argument("--methods", nargs="+", help="names, also with * in them (default: all)")
    parser.add_argument("--peer-heads", type=int, default=2, help="heads on which BART and SigPy run (default: 2)")
    parser.add_argument("--scan-heads", type=int, default=2, help="heads on which strengths are scanned (default: 2)")
    parser.add_argument("--line", action="store_true", help="the whole line at AF 5, instead of slabs")
    parser.add_argument("--robust", action="store_true", help="other conditions at AF 5, instead of the standard one")
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), help="conditions by name")
    parser.add_argument("--summary", action="store_true", help="only summarise the rows that are there")
    parser.add_argument("--device", default="cpu", help="where networks run (default: cpu)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_args()


def measure_slabs(options: argparse.Namespace, anatomy: Anatomy) -> None:
    """Rows of slabs, of the standard condition or of others."""
    peers = options.peer_heads > 0 and not options.robust
    methods = chosen(methods_at_hand(options.weights, torch.device(options.device), peers=peers), options.methods)
    bench = Bench(slab_rows(options.out), anatomy, methods, options)
    factors = [ROBUST_ACCELERATION] if options.robust else options.accelerations
    for head in options.heads:
        for condition in options.conditions or (ROBUST if options.robust else ["standard"]):
            for acceleration in factors:
                for mask in range(options.masks):
                    bench.measure(condition, head, mask, acceleration)


def slab_rows(folder: Path) -> Rows:
    return Rows(folder / "reconstruction.tsv", KEYS, (*MEASURES, *COSTS))


def line_rows(folder: Path) -> Rows:
    return Rows(folder / "reconstruction_line.tsv", LINE_KEYS, LINE_MEASURES)


def chosen(methods: dict[str, Method], patterns: Sequence[str] | None) -> dict[str, Method]:
    """Methods whose names fit the patterns; the fully sampled floor always."""
    return {name: each for name, each in methods.items() if is_wanted(name, patterns) or each.kind == "reference"}


def main() -> int:
    options = arguments_given()
    torch.set_num_threads(1)
    if not options.summary:
        require_held_out(options.heads, training_seeds(options.weights))
        anatomy = load_anatomy()
        if options.line:
            condition = (options.conditions or ["standard"])[0]
            weights, rows = weights_of(options.weights), line_rows(options.out)
            for head in options.heads:
                measure_line(rows, anatomy, condition, head, options.masks, weights, options.methods)
        else:
            measure_slabs(options, anatomy)
    return summarise(slab_rows(options.out), line_rows(options.out), options.out / "reconstruction_summary.tsv")


if __name__ == "__main__":
    raise SystemExit(main())
