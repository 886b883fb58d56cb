"""Disks that are full, read-only or closed, at many moments of many commands; then the same command on a disk in order.

    python tests/faults/disk_faults.py FOLDER [--points 150] [--seed 1] [--only recon qsm]

Kept and resumed as `kill_points`, in ``disk_faults.tsv``. A point is survived where the command ends with exit code 2
(1 where one participant of a study fails) and sentences that name a file and what to do, leaves nothing half written
and earlier results as they were (or whole new ones that wait to be moved), and where the same command then ends with
the results of an undisturbed run. A command may also end well: a log is no result.
"""

import errno
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from fault_hooks import Fault
from kill_points import again, all_points, begin, rows_of
from scenarios import SCENARIOS
from trees import left_over, tree
from trials import Conditions, Ended, call

from dlqsm.io.staging import READY

ERRORS = {
    "full": errno.ENOSPC,
    "full_from_then": errno.ENOSPC,
    "read_only_from_then": errno.EROFS,
    "closed": errno.EACCES,
}
"""What happens to the error it happens by; ``from_then``: to all later calls too."""
LARGEST = "largest_file"
"""A limit of the size of files, which the system itself enforces: as a full disk, in the middle of writing."""
SENTENCE = re.compile(r"^dlqsm [a-z-]+: .*(?:cannot be (?:written|read or written|made)|too quickly).*$", re.MULTILINE)
CONSEQUENCE = "has no arm that could be mapped"
"""Follows the sentences of a participant's arms."""
LEAST_LIMIT = 4096
"""What the trial says must fit."""
REFUSED = ("before open", "before replace", "before rename", "before fsync", "before mkdir")


def main(argv: Sequence[str] | None = None) -> int:
    """Refuse what a command asks of the disk at each point."""
    return all_points(argv, __doc__, "disk_faults.tsv", 150, faults, refused_once, summary)


def faults(name: str, known: dict, n_points: int, seed: int) -> Iterator[tuple[str, str]]:
    """Kind and place of each point: each error in turn at a moment where it can happen, and limits of size [byte]."""
    rng = np.random.default_rng([seed, 1000 + list(SCENARIOS).index(name)])
    where = [number + 1 for number, what in enumerate(known["moments"]) if what in REFUSED]
    biggest = max(known["sizes"].values())
    kinds = [*ERRORS, LARGEST]
    pieces = np.array_split(where, n_points)
    for number, piece in enumerate(pieces):
        kind = kinds[number % len(kinds)]
        if kind == LARGEST:
            yield kind, str(max(LEAST_LIMIT, int(biggest ** rng.uniform(0.3, 0.999))))
        elif len(piece):
            yield kind, str(rng.choice(piece))


def conditions_of(kind: str, at: str) -> Conditions:
    if kind == LARGEST:
        return Conditions(largest_file=int(at))
    return Conditions(Fault(int(at), ERRORS[kind], lasts=kind.endswith("from_then")))


def refused_once(name: str, kind: str, at: str, seed: int, known: dict, data: Path, folder: Path) -> dict:
    """Run a command on a disk that refuses, then on one that does not, and judge both."""
    trial, scenario = folder / "trial", SCENARIOS[name]
    begin(scenario, data, trial)
    before = tree(trial)
    first = call(scenario.words(data, trial), trial, conditions_of(kind, at))
    after, left = tree(trial), left_over(trial)
    # Where whole results were being moved they wait there, for the next command to move the rest.
    waiting = [place for place in left if place.endswith(READY)] if first.code else []
    left = [place for place in left if place not in waiting]
    is_kept = first.code == 0 or not name.endswith("_again") or after == before or bool(waiting)
    last, told = again(scenario, data, trial)
    found = tree(trial)
    lost = sum(known["sizes"][path] for path, digest in known["tree"].items() if found.get(path) != digest)
    left += [*left_over(trial), *sorted(found.keys() - known["tree"].keys())]
    is_said = is_readable(first, name)
    return {
        "scenario": name, "kind": kind, "at": at, "seed": seed,
        "what": "bytes" if kind == LARGEST else known["moments"][int(at) - 1], "refused": int(first.code != 0),
        "first_code": first.code, "readable": int(is_said), "earlier_kept": int(is_kept), "code": last.code,
        "told": told, "bytes_lost": lost, "left_over": " ".join(left),
        "survived": int(is_said and is_kept and last.code == 0 and lost == 0 and not left),
        "said": " | ".join(first.err.split("\n"))[-300:], "cpu_s": f"{first.cpu_s + last.cpu_s:.2f}",
    }  # fmt: skip


def is_readable(ended: Ended, name: str) -> bool:
    """Whether a command ended as it should: one sentence a failure, with a file and advice, and no traceback."""
    if ended.code == 0:
        return True
    codes = (1, 2) if name.startswith("run") else (2,)
    sentences = SENTENCE.findall(ended.err)
    lines = [line for line in ended.err.splitlines() if line.startswith("dlqsm ") and CONSEQUENCE not in line]
    advised = all("; " in sentence and "/" in sentence for sentence in sentences)
    return ended.code in codes and "Traceback" not in ended.err and 0 < len(sentences) == len(lines) and advised


def summary(table: Path) -> int:
    """Print the counts of all points that are done; the exit code is 1 where one was not survived."""
    rows = rows_of(table)
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [row for row in rows if row["kind"] == kind]
        n_refused, n_survived = (sum(int(row[what]) for row in own) for what in ("refused", "survived"))
        print(f"{kind:<22}{len(own):4} points,{n_refused:4} refused,{n_survived:4} survived")
    lost, left = (sum(int(row["bytes_lost"]) for row in rows), sum(len(row["left_over"].split()) for row in rows))
    n_survived = sum(int(row["survived"]) for row in rows)
    print(f"{len(rows)} points, {n_survived} survived, {lost} bytes lost, {left} files left over")
    return int(n_survived < len(rows))


if __name__ == "__main__":
    sys.exit(main())
