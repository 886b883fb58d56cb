"""``kill -9`` at many moments of many commands: the same command again must end with the results of an undisturbed run.

    python tests/faults/kill_points.py FOLDER [--points 240] [--seed 1] [--only recon qsm]

FOLDER keeps the inputs, what undisturbed runs made, and ``kill_points.tsv``, one row a point, added to as points are
done: the same command goes on where it was stopped. Exact moments are just before and after each call that changes the
disk (`fault_hooks`); random ones are CPU seconds into the command. The process group dies as by SIGKILL.
"""

import argparse
import csv
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from fault_hooks import Fault
from scenarios import SCENARIOS, Scenario, make_data, prepare_process
from trees import left_over, sizes, tree
from trials import Conditions, Ended, call

from dlqsm.io.source_code import code_hash

EXACT_SHARE = 0.7
MOST_TRIES = 3
COLUMNS = (
    "scenario", "kind", "at", "seed", "what", "killed", "code", "told", "files", "bytes_lost", "left_over", "survived",
    "cpu_s",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Kill a command at each point."""
    return all_points(argv, __doc__, "kill_points.tsv", 240, moments, killed_once, summary)


def all_points(
    argv: Sequence[str] | None,
    about: str | None,
    table_name: str,
    n_default: int,
    points_of: Callable[..., Iterable[tuple[str, str]]],
    once: Callable[..., dict],
    sum_up: Callable[[Path], int],
) -> int:
    """Do all points that are not in the table yet; the exit code is 1 where one of all was not survived."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--points", type=int, default=n_default, help=f"over all scenarios (default: {n_default})")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--only", nargs="+", choices=tuple(SCENARIOS), default=list(SCENARIOS))
    given = parser.parse_args(argv)
    folder = given.folder.resolve()
    prepare_process()
    data = make_data(folder / "data", given.only)
    table = folder / table_name
    for number, name in enumerate(given.only):
        n_points = given.points // len(given.only) + (number < given.points % len(given.only))
        known = undisturbed(name, data, folder)
        for kind, at in points_of(name, known, n_points, given.seed):
            if not is_known(table, name, kind, at):
                add_row(table, once(name, kind, at, given.seed, known, data, folder))
    return sum_up(table)


def undisturbed(name: str, data: Path, folder: Path) -> dict:
    """Tree, sizes, moments and CPU seconds of two undisturbed runs, which must agree; kept while the code stays."""
    kept, code = folder / "undisturbed" / f"{name}.json", code_hash(("",))
    if kept.is_file() and (content := json.loads(kept.read_text()))["code"] == code:
        return dict(content)
    trial, found = folder / "trial", []
    for _ in range(2):
        begin(SCENARIOS[name], data, trial)
        ended = call(SCENARIOS[name].words(data, trial), trial)
        if ended.code != 0:
            raise RuntimeError(f"{name} fails without any fault: {ended.err}")
        found.append(tree(trial))
    unlike = sorted(path for path in found[0].keys() | found[1].keys() if found[0].get(path) != found[1].get(path))
    if unlike:
        raise RuntimeError(f"{name}: two undisturbed runs differ in {', '.join(unlike)}")
    content = {"code": code, "tree": found[1], "sizes": sizes(trial), "moments": ended.moments, "cpu_s": ended.cpu_s}
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(content))
    return content


def moments(name: str, known: dict, n_points: int, seed: int) -> Iterator[tuple[str, str]]:
    """Kind and place of each point: numbers of moments, spread over all of them, and CPU seconds."""
    rng = np.random.default_rng([seed, list(SCENARIOS).index(name)])
    n_exact = min(round(EXACT_SHARE * n_points), len(known["moments"]))
    pieces = np.array_split(np.arange(len(known["moments"])) + 1, n_exact) if n_exact else []
    for piece in pieces:
        yield "exact", str(rng.choice(piece))
    for part in range(n_points - n_exact):
        share = (part + rng.uniform()) / max(n_points - n_exact, 1)
        yield "random", f"{share * known['cpu_s']:.3f}"


def killed_once(name: str, kind: str, at: str, seed: int, known: dict, data: Path, folder: Path) -> dict:
    """Kill a command at a moment, give it again, and compare what is there then."""
    trial, scenario = folder / "trial", SCENARIOS[name]
    begin(scenario, data, trial)
    conditions = Conditions(Fault(int(at))) if kind == "exact" else Conditions(cpu_s=max(float(at), 0.001))
    first = call(scenario.words(data, trial), trial, conditions)
    last, told = again(scenario, data, trial)
    found = tree(trial)
    lost = sum(known["sizes"][path] for path, digest in known["tree"].items() if found.get(path) != digest)
    left = [*left_over(trial), *sorted(found.keys() - known["tree"].keys())]
    what = known["moments"][int(at) - 1] if kind == "exact" else "CPU seconds"
    survived = last.code == 0 and lost == 0 and not left
    return {
        "scenario": name, "kind": kind, "at": at, "seed": seed, "what": what, "killed": int(first.code < 0),
        "code": last.code, "told": told, "files": len(known["tree"]), "bytes_lost": lost, "left_over": " ".join(left),
        "survived": int(survived), "cpu_s": f"{first.cpu_s + last.cpu_s:.2f}",
    }  # fmt: skip


def begin(scenario: Scenario, data: Path, trial: Path) -> None:
    """An empty folder, and in it what lies there before the command."""
    shutil.rmtree(trial, ignore_errors=True)
    trial.mkdir(parents=True)
    scenario.before(data, trial)


def again(scenario: Scenario, data: Path, trial: Path) -> tuple[Ended, str]:
    """Give the same command until it works, each time with what its last sentence says to do; what that was."""
    more: list[str] = []
    for _ in range(MOST_TRIES):
        ended = call([*scenario.words(data, trial), *more], trial)
        if ended.code != 2:
            break
        if "give --overwrite" in ended.err:
            more.append("--overwrite")
        elif "--participant-label" in ended.err:
            more += ["--participant-label", "01"]
        else:
            break
    return ended, " ".join(more) or ended.err.strip().replace("\t", " ").replace("\n", " ")[:300]


def is_known(table: Path, name: str, kind: str, at: str) -> bool:
    return any((row["scenario"], row["kind"], row["at"]) == (name, kind, at) for row in rows_of(table))


def rows_of(table: Path) -> list[dict[str, str]]:
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def add_row(table: Path, row: dict) -> None:
    is_new = not table.is_file()
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row), delimiter="\t")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
    print(*row.values(), flush=True)


def summary(table: Path) -> int:
    """Print the counts of all points that are done; the exit code is 1 where one was not survived."""
    rows = rows_of(table)
    killed = [row for row in rows if row["killed"] == "1"]
    for name in dict.fromkeys(row["scenario"] for row in rows):
        own = [row for row in killed if row["scenario"] == name]
        n_told = sum(row["told"].startswith("--") for row in own)
        n_survived = sum(int(row["survived"]) for row in own)
        print(f"{name:<16}{len(own):4} killed,{n_survived:4} survived,{n_told:4} of them told what to do")
    n_survived = sum(int(row["survived"]) for row in rows)
    lost, left = (sum(int(row["bytes_lost"]) for row in rows), sum(len(row["left_over"].split()) for row in rows))
    print(
        f"{len(rows)} points, {len(killed)} killed before their end, {n_survived} survived, {lost} bytes lost, "
        f"{left} files left over, {sum(float(row['cpu_s']) for row in rows) / 60:.1f} CPU minutes"
    )
    return int(n_survived < len(rows))


if __name__ == "__main__":
    sys.exit(main())
