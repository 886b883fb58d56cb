"""Every method of every QSM stage on the public bench problem: seconds, peak memory and scores, and growth with size.

    python benchmarks/qsm.py BENCH_DIR [--sizes small large] [--seeds 0 1 2 3 4] [--stages ...] [--methods ...]
                             [--threads 1] [--device cpu cuda] [--out benchmarks/results/qsm.tsv]

BENCH_DIR holds make_problem.py and score.py. ``paper`` is the matrix of the paper, 280 x 280 x 96 voxels, of the same
head; ``x1 x2 x4 x8`` are heads of like voxels and so many times the number of the smallest. scikit-image is measured
beside us; `qsm_figure.py` draws the rows and the figures of other tools on the same problem.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from qsm_stages import METHODS, STAGES, load_module
from record import Record

MORE_SIZES = {
    "paper": ((280, 280, 96), (0.8, 0.8, 2.0)),
    "x1": ((128, 128, 64), (1.6, 1.6, 2.25)),
    "x2": ((160, 160, 80), (1.28, 1.28, 1.8)),
    "x4": ((204, 204, 100), (1.0, 1.0, 1.44)),
    "x8": ((256, 256, 128), (0.8, 0.8, 1.125)),
}
"""Sizes beside those of the generator: shape, and voxel size [mm]."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["small", "large"], choices=("small", "large", *MORE_SIZES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--stages", nargs="+", default=list(STAGES), choices=tuple(STAGES))
    parser.add_argument("--methods", nargs="+", help="only these (default: all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", nargs="+", default=["cpu"], choices=("cpu", "cuda"))
    parser.add_argument("--problems", type=Path, help="keep the problems here, and take those that are here")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "qsm.tsv")
    arguments = parser.parse_args()
    record = Record(arguments.out)
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            for seed in arguments.seeds:
                problem = make(arguments.bench, arguments.problems or Path(folder), size, seed)
                for device in arguments.device:
                    measure(record, arguments, problem, device, {"size": size, "seed": seed, "device": device})
    return 0


def measure(
    record: Record, arguments: argparse.Namespace, problem: Path, device: str, about: dict[str, object]
) -> None:
    """Run every chosen method on one problem, each in a process of its own."""
    for stage in arguments.stages:
        for method in METHODS[stage]:
            if arguments.methods and method not in arguments.methods:
                continue
            words = [arguments.bench, problem, stage, method, "--threads", arguments.threads, "--device", device]
            command = [sys.executable, Path(__file__).with_name("qsm_stages.py"), *words]
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"{stage} {method}: {done.stderr[-2000:]}")
            told = json.loads(done.stdout.splitlines()[-1])
            for name, value in told.items():
                record.add(f"{stage} {method}", name, value, **about, asked_threads=arguments.threads)


def make(bench: Path, folder: Path, size: str, seed: int) -> Path:
    """Make a problem, or take the one that is there."""
    problem = folder / f"{size}{seed}"
    if (problem / "meta.json").is_file():
        return problem
    problem.mkdir(parents=True, exist_ok=True)
    generator = load_module(bench / "make_problem.py")
    generator.SIZES.update(MORE_SIZES)
    generator.SEED = seed
    arrays, about = generator.build(size)
    for name, values in arrays.items():
        np.save(problem / f"{name}.npy", values)
    (problem / "meta.json").write_text(json.dumps(about))
    return problem


if __name__ == "__main__":
    raise SystemExit(main())
