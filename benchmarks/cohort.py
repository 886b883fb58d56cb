"""A whole virtual study through ``dlqsm simulate`` and ``dlqsm run``, killed in the middle and resumed.

Wall times of every stage, what a resumed run keeps, whether its tables are those of an undisturbed run, how far the
values are from the truth, and whether the derivatives are valid BIDS (where bids-validator-deno is installed). Needs
about 15 minutes a participant on two cores with both runs::

    python benchmarks/cohort.py FOLDER --participants 6 --undisturbed 6
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
from record import Record

REPORT = Path(__file__).parent / "results" / "cohort.tsv"
COMMAND = (sys.executable, "-c", "import sys; from dlqsm.cli import main; sys.exit(main())")
STAGES = ("recon", "qsm", "nuclei", "page")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--participants", type=int, default=6)
    parser.add_argument(
        "--undisturbed", type=int, default=6, help="participants of the run that is not killed, the killed one first"
    )
    parser.add_argument("--protocol", default="small")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--report", type=Path, default=REPORT)
    options = parser.parse_args()
    record = Record(options.report)
    bids, killed, calm = (options.folder / name for name in ("bids", "killed", "undisturbed"))
    if not (bids / "dataset_description.json").is_file():
        words = ("--participants", options.participants, "--seed", options.seed, "--protocol", options.protocol)
        record.add("simulate", "wall_s", _timed("simulate", bids, *words, "--threads", options.threads, "--overwrite"))
    _disturbed(record, bids, killed, options)
    _judge_values(record, killed)
    _validate(record, killed)
    if options.undisturbed:
        labels = _from_the_middle(_labels(killed), options.participants)[: options.undisturbed]
        words = ("participant", "--threads", options.threads, "--participant-label", *labels)
        record.add("undisturbed run", "wall_s", _timed("run", bids, calm, *words), participants=len(labels))
        _compare(record, killed, calm, labels)
    return 1 if record.failed else 0


def _disturbed(record: Record, bids: Path, out: Path, options: argparse.Namespace) -> None:
    """Kill the run twice in the middle participant: among its maps, and in its registration."""
    shutil.rmtree(out, ignore_errors=True)
    middle = _from_the_middle([f"sub-{i + 1:03d}" for i in range(options.participants)], options.participants)[0]
    log = out / "logs" / f"{middle}.log"
    words = ("run", bids, out, "participant", "--threads", options.threads)
    wall_s = 0.0
    for what in ("qsm ", "nuclei: "):
        wall_s += _killed(log, what, *words)
        record.add("killed run", "killed_while", 1.0, participant=middle, after=what.strip(" :"))
    kept = len(_records(out))
    wall_s += _timed(*words)
    record.add("killed run", "wall_s", wall_s, participants=options.participants)
    record.add("killed run", "stages_kept", kept, of=len(_records(out)))
    seconds = _seconds(out)
    for stage in STAGES:
        record.add("stages", f"{stage}_s_a_participant", seconds[stage] / options.participants)
    again = _timed(*words)
    record.add("finished run", "wall_s_of_nothing_to_do", again)
    record.add("group", "wall_s", _timed("run", bids, out, "group"))
    record.add("group", "pages", len(list(out.glob("*.html"))), bound=(options.participants + 1,) * 2)


def _judge_values(record: Record, out: Path) -> None:
    table = pd.read_csv(out / "group_desc-nuclei_qsmstats.tsv", sep="\t")
    both = table[table["side"] == "both"]
    record.add("values", "missing", float(both["mean_ppb"].isna().sum()), bound=(0, 0), rows=len(both))
    for arm, rows in both.groupby("arm", sort=False):
        by_atlas = (rows["mean_ppb"] - rows["mean_true_labels_ppb"]).abs().mean()
        record.add("values", "mean_error_of_atlas_labels_ppb", by_atlas, arm=arm)
        record.add(
            "values",
            "mean_error_by_true_labels_ppb",
            (rows["mean_true_labels_ppb"] - rows["truth_ppb"]).abs().mean(),
            arm=arm,
        )


def _validate(record: Record, out: Path) -> None:
    beside = str(Path(sys.executable).parent)
    validator = shutil.which("bids-validator-deno", path=os.pathsep.join([beside, os.environ.get("PATH", "")]))
    if validator is None:
        return
    told = subprocess.run([validator, "--json", str(out)], capture_output=True, text=True, check=False)
    issues = json.loads(told.stdout)["issues"]["issues"]
    record.add("BIDS validator", "errors", sum(i["severity"] == "error" for i in issues), bound=(0, 0))


def _compare(record: Record, killed: Path, calm: Path, labels: list[str]) -> None:
    """Maps and tables must be the same bytes."""
    maps = [p.relative_to(calm) for label in labels for p in (calm / label).rglob("*_rec-*_Chimap.nii.gz")]
    maps = [p for p in maps if "desc-aligned" not in p.name]
    same = sum((calm / p).read_bytes() == (killed / p).read_bytes() for p in maps)
    record.add("resumed against undisturbed", "maps_the_same", same, bound=(len(maps),) * 2)
    tables = [f"{label}/{label}_desc-{what}_qsmstats.tsv" for label in labels for what in ("nuclei", "similarity")]
    same = sum((calm / p).read_bytes() == (killed / p).read_bytes() for p in tables)
    record.add("resumed against undisturbed", "tables_the_same", same, bound=(len(tables),) * 2)
    values = [pd.concat([pd.read_csv(root / p, sep="\t") for p in tables[::2]])["mean_ppb"] for root in (killed, calm)]
    record.add("resumed against undisturbed", "largest_difference_ppb", float((values[0] - values[1]).abs().max()))


def _timed(*words: object) -> float:
    start = time.perf_counter()
    subprocess.run([*COMMAND, *map(str, words)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _killed(log: Path, after: str, *words: object) -> float:
    """Start, kill -9 one second after a word appears in a log that had it not, and return the seconds."""
    start = time.perf_counter()
    before = log.read_text().count(after) if log.is_file() else 0
    process = subprocess.Popen([*COMMAND, *map(str, words)], stdout=subprocess.DEVNULL)
    while process.poll() is None and (not log.is_file() or log.read_text().count(after) == before):
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise RuntimeError("the run ended before it could be killed")
    return time.perf_counter() - start


def _from_the_middle(labels: list[str], participants: int) -> list[str]:
    """The labels from the middle one on, the earlier ones after them."""
    middle = (participants + 1) // 2 - 1
    return labels[middle:] + labels[:middle]


def _labels(out: Path) -> list[str]:
    return sorted(p.name for p in out.glob("sub-*") if p.is_dir())


def _records(out: Path) -> list[Path]:
    return [p for stage in STAGES for p in (out / "logs" / "records").glob(f"sub-*/*_{stage}.json")]


def _seconds(out: Path) -> dict[str, float]:
    found = dict.fromkeys(STAGES, 0.0)
    for path in _records(out):
        found[path.stem.rpartition("_")[2]] += json.loads(path.read_text())["seconds"]
    return found


if __name__ == "__main__":
    sys.exit(main())
