"""A cohort of 200 small participants, three of them with spoilt raw data: who is done, who is named, and the memory.

One coarse virtual participant is simulated and linked to 200 labels; the raw data of three are cut off, text, and not
finite. ``dlqsm run`` works through them in one process, whose memory is sampled every second. The registration takes
over half a minute a participant at any matrix, so that a stand-in takes its place (``tests/cohort/standin.py``); a few
participants are run with the real one before::

    python benchmarks/cohort_of_200.py FOLDER --real 20
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from record import Record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "cohort"))
from corrupt import spoil

REPORT = Path(__file__).parent / "results" / "cohort_of_200.tsv"
COMMAND = (sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main())")
STANDIN = (sys.executable, str(Path(__file__).parents[1] / "tests" / "cohort" / "standin.py"))
PROTOCOL = """
base = "small"
name = "coarse"
shape = [52, 52, 36]
voxel_size_mm = [4.0, 4.0, 4.0]
fine_factor = [2, 2, 2]
n_coils = 4
echo_times_s = [0.0033, 0.0064, 0.0095, 0.0126]
"""
QUICK = '[inversion]\nmethod = "tkd"\n[background]\nmethod = "vsharp"\n'
FLAT = 0.05
"""Growth of the memory up to which it is flat."""


@dataclass(frozen=True)
class Sample:
    """Participants that have ended, and the resident memory of the run [MB]."""

    n_ended: int
    rss_mb: float


@dataclass(frozen=True)
class Ran:
    """How a run ended, with its samples."""

    code: int
    out: str
    err: str
    wall_s: float
    samples: list[Sample]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--participants", type=int, default=200, help="with the stand-in; 0: none")
    parser.add_argument("--real", type=int, default=20, help="participants with the real registration; 0: none")
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    record, bids, n = Record(options.report), options.folder / "bids", options.participants
    labels = [f"sub-{number + 1:03d}" for number in range(max(n, options.real))]
    make_cohort(options.folder, bids, labels)
    if options.real:
        real(record, options.folder, labels[: options.real])
    if n:
        spoilt = spoil(bids, (labels[n // 3], labels[n // 2], labels[n - 2]))
        cohort(record, options.folder, labels[:n], spoilt)
    return 1 if record.failed else 0


def make_cohort(folder: Path, bids: Path, labels: list[str]) -> None:
    """Simulate the first participant, and link its files to the other labels."""
    shutil.rmtree(bids, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    protocol = folder / "coarse.toml"
    protocol.write_text(PROTOCOL)
    words = ("--participants", 1, "--seed", 3, "--protocol", protocol, "--arms", "PI2", "DL3", "--threads", 1)
    subprocess.run([*COMMAND, "simulate", bids, *map(str, words), "--quiet"], check=True, stdout=subprocess.DEVNULL)
    files = [path for path in bids.rglob("sub-001*") if path.is_file()]
    for label in labels[1:]:
        for path in files:
            target = bids / str(path.relative_to(bids)).replace("sub-001", label)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(path, target)


def link(path: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def cohort(record: Record, folder: Path, labels: list[str], spoilt: dict[str, tuple[Path, str]]) -> None:
    """All participants with the stand-in for the registration."""
    n, test = len(labels), f"cohort of {len(labels)}"
    out = folder / "out"
    ran = run(STANDIN, folder, out, labels)
    complete = len(re.findall(r"^sub-\d+ .*  complete$", ran.out, re.MULTILINE))
    failed = re.findall(r"^(sub-\d+) .*  failed$", ran.out, re.MULTILINE)
    record.add(test, "participants complete", complete, bound=(n - len(spoilt),) * 2)
    record.add(test, "participants failed", len(failed), bound=(len(spoilt),) * 2)
    record.add(test, "exit code", ran.code, bound=(1, 1))
    for label, (raw, sentence) in spoilt.items():
        lines = [line for line in ran.err.splitlines() if line.startswith(f"dlqsm run: {label}: ")]
        named = label in failed and len(lines) == 1 and str(raw) in lines[0] and lines[0].endswith(sentence)
        record.add(
            test, "named with its reason", int(named), bound=(1, 1), said=" ".join(lines).replace(f"{folder}/", "")
        )
    record.add(test, "tracebacks on the screen", ran.err.count("Traceback"), bound=(0, 0))
    record.add(test, "wall s", ran.wall_s)
    record.add(test, "wall s a participant", ran.wall_s / n)
    memory(record, test, ran.samples, (n // 10, n // 2, n))


def real(record: Record, folder: Path, labels: list[str]) -> None:
    """Some participants with the real registration: what it takes, and its memory."""
    test, out = "real registration", folder / "real"
    ran = run(COMMAND, folder, out, labels)
    records = [json.loads(p.read_text()) for p in out.glob("logs/records/sub-*/all_nuclei.json")]
    about = {"participants": len(labels)}
    record.add(test, "participants complete", len(records), bound=(len(labels),) * 2, **about)
    record.add(test, "exit code", ran.code, bound=(0, 0), **about)
    record.add(test, "wall s of the nuclei, median", statistics.median(r["seconds"] for r in records), **about)
    memory(record, test, ran.samples, (len(labels) // 3, len(labels)))


def memory(record: Record, test: str, samples: list[Sample], at: tuple[int, ...]) -> None:
    """Memory while the tenth of the participants before each number was worked on, and its growth to the last."""
    width = max(2, at[-1] // 20)
    for measure, summary in (("median", statistics.median), ("peak", max)):
        found = {n: summary([s.rss_mb for s in samples if n - width <= s.n_ended < n]) for n in at}
        for n, rss_mb in found.items():
            record.add(test, f"memory, {measure}, MB", rss_mb, at_participant=n)
        growth = found[at[-1]] / found[at[0]] - 1
        record.add(test, f"growth of the {measure}", growth, bound=(-1, FLAT), at_participant=f"{at[0]} to {at[-1]}")


def run(command: tuple[str, ...], folder: Path, out: Path, labels: list[str]) -> Ran:
    """Work through the participants in one process; its memory is sampled every second."""
    shutil.rmtree(out, ignore_errors=True)
    config = folder / "quick.toml"
    config.write_text(QUICK)
    words = ("run", folder / "bids", out, "participant", "--participant-label", *labels, "--method", "zero")
    words = (*words, "--config", config, "--workers", 1, "--threads", 1, "--quiet")
    start, samples = time.perf_counter(), []
    with (folder / "said.txt").open("w") as said, (folder / "complaints.txt").open("w") as complaints:
        process = subprocess.Popen([*command, *map(str, words)], stdout=said, stderr=complaints)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            n_ended = len(list(out.glob("logs/records/sub-*/outcome.json")))
            try:
                samples.append(Sample(n_ended, watched.memory_info().rss / 2**20))
            except psutil.NoSuchProcess:
                break
            time.sleep(1.0)
        code = process.wait()
    lines = [f"{sample.n_ended}\t{sample.rss_mb:.1f}\n" for sample in samples]
    (folder / f"memory_{out.name}.tsv").write_text("participants_ended\trss_mb\n" + "".join(lines))
    texts = ((folder / name).read_text() for name in ("said.txt", "complaints.txt"))
    return Ran(code, *texts, time.perf_counter() - start, samples)


if __name__ == "__main__":
    sys.exit(main())
