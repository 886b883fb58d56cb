"""The public bench problem through ``dlqsm qsm`` and ``dlqsm unwrap``, scored by its own scorer.

    python benchmarks/bench_problem.py BENCH_DIR [--sizes small large] [--seeds 0 1 2] [--threads 1]

BENCH_DIR holds make_problem.py and score.py. Each chain runs as a user would run it, as a command on NIfTI files; the
row tells the scores, the processor seconds of the whole process, and the seconds that the command itself tells for its
steps. Scores of whole chains take the field from the images, not from a clean stage before.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import Record

CHAINS = {
    "vsharp+l1": ["--background", "vsharp", "--inversion", "l1"],
    "pdf+l1": ["--background", "pdf", "--inversion", "l1"],
    "pdf_tv+l1": ["--background", "pdf_tv", "--inversion", "l1"],
    "pdf+tkd": ["--background", "pdf", "--inversion", "tkd"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["small"], choices=("tiny", "small", "large"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "bench_problem.tsv")
    arguments = parser.parse_args()
    record = Record(arguments.out)
    for size in arguments.sizes:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:
                one_problem(record, arguments.bench, Path(folder), size, seed, arguments.threads)
    return 0


def one_problem(record: Record, bench: Path, folder: Path, size: str, seed: int, threads: int) -> None:
    """Make one problem, run every chain and the unwrapping of all echoes, and add the scores."""
    problem = folder / "problem"
    run([sys.executable, bench / "make_problem.py", size, problem, seed])
    meta = json.loads((problem / "meta.json").read_text())
    images = ["--magnitude", problem / "mag.nii.gz", "--phase", problem / "phase.nii.gz", "--phase-unit", "rad"]
    images += ["--echo-times", *meta["TE"], "--field-strength", meta["B0"], "--mask", problem / "mask.nii.gz"]
    about = {"size": size, "seed": seed}
    for name, options in CHAINS.items():
        out = folder / name
        seconds = run(["dlqsm", "qsm", out, *images, *options, "--quiet", "--threads", threads])
        told = json.loads((out / "qsm.json").read_text())
        maps = ["--chi", out / "Chimap.nii.gz", "--local-hz", out / "fieldmap_desc-local.nii.gz"]
        maps += ["--total-hz", out / "fieldmap_desc-total.nii.gz", "--mask", out / "mask_desc-eroded.nii.gz"]
        scores = score(bench, problem, maps)
        for key, value in flat(scores).items():
            record.add(name, key, value, **about)
        record.add(name, "CPU seconds of the process", seconds, **about)
        for step, took in told["seconds"].items():
            record.add(name, f"wall seconds of {step}", took, **about)
        record.add(name, "peak MB", told["peak_memory_mb"], **about)
    unwrapped = folder / "unwrapped.nii.gz"
    words = ["dlqsm", "unwrap", problem / "phase.nii.gz", unwrapped, "--mask", problem / "mask.nii.gz", "--quiet"]
    seconds = run([*words, "--magnitude", problem / "mag.nii.gz", "--echo-times", *meta["TE"], "--threads", threads])
    scores = score(bench, problem, ["--unwrapped", unwrapped])["unwrapped"]
    record.add("unwrap, 8 echoes", "largest wrong % of an echo", max(scores["wrong_pct_per_echo"]), **about)
    record.add("unwrap, 8 echoes", "incongruence rad", scores["max_incongruence_rad"], **about)
    record.add("unwrap, 8 echoes", "CPU seconds of the process", seconds, **about)


def score(bench: Path, problem: Path, words: list[Any]) -> dict[str, Any]:
    """What the scorer prints."""
    command = [sys.executable, str(bench / "score.py"), str(problem), *map(str, words)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def flat(scores: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested scores as one level."""
    found: dict[str, float] = {}
    for key, value in scores.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key} ")
        elif value is not None:
            found[f"{prefix}{key}"] = value
    return found


def run(words: list[Any]) -> float:
    """Run a command to its end; processor seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    executable = Path(sys.executable).parent / "dlqsm"
    command = [str(executable) if word == "dlqsm" else str(word) for word in words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
