"""Two processes with the same command at once: one works, the other ends with exit code 2 and says who does.

    python tests/faults/two_at_once.py FOLDER [--races 3] [--only recon qsm]

For each command the first process is stopped (SIGSTOP) as soon as it holds its lock, while the second one runs; then
both are begun in the same moment, some times over. ``two_at_once.tsv`` keeps what was done, and is gone on with.
"""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fault_hooks import Fault
from kill_points import add_row, begin, is_known, rows_of, undisturbed
from scenarios import SCENARIOS, make_data, prepare_process
from trees import left_over, tree
from trials import CALM, Conditions, end, start, until_stopped

REFUSED = re.compile(
    r"^dlqsm [a-z-]+: .*(?:another dlqsm process \((\S+) (\d+)\) is writing here|--overwrite|has participants already)",
    re.MULTILINE,
)
"""The last two: the second came when the first had ended, as on a busy machine it may."""
REPEATABLE = ("report", "run_raw", "run_images", "run_group", "recon_again", "qsm_again", "nuclei_again")
"""Commands that may also come one after the other, and end well both."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do all pairs that are not in the table yet; the exit code is 1 where one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--races", type=int, default=3, help="of each command (default: 3)")
    parser.add_argument("--only", nargs="+", choices=tuple(SCENARIOS), default=list(SCENARIOS))
    given = parser.parse_args(argv)
    folder = given.folder.resolve()
    prepare_process()
    data = make_data(folder / "data", given.only)
    table = folder / "two_at_once.tsv"
    for name in given.only:
        known = undisturbed(name, data, folder)
        for kind, at in (("stopped", "0"), *(("race", str(number)) for number in range(given.races))):
            if not is_known(table, name, kind, at):
                add_row(table, pair(name, kind, at, known, data, folder))
    rows = rows_of(table)
    n_good = sum(int(row["good"]) for row in rows)
    print(f"{len(rows)} pairs of processes at once, {n_good} of them as they should be")
    return int(n_good < len(rows))


def pair(name: str, kind: str, at: str, known: dict, data: Path, folder: Path) -> dict:
    """Run a command twice at once."""
    trial, scenario = folder / "trial", SCENARIOS[name]
    begin(scenario, data, trial)
    words = scenario.words(data, trial)
    holds = known["moments"].index("after flock") + 1
    stop = Conditions(Fault(holds + 2, sends=signal.SIGSTOP)) if kind == "stopped" else CALM
    first = start(words, trial, stop, "first")
    is_stopped = kind == "stopped" and until_stopped(first)
    second = end(start(words, trial, CALM, "second"))
    if is_stopped:
        os.killpg(first.pid, signal.SIGCONT)
    ended = [end(first), second]
    codes = sorted(one.code for one in ended)
    refusals = [found for one in ended if one.code == 2 and (found := REFUSED.search(one.err))]
    is_named = kind != "stopped" or any(found[2] == str(first.pid) for found in refusals)
    as_meant = codes == [0, 2] or (codes == [0, 0] and kind == "race" and name in REPEATABLE)
    same, left = tree(trial) == known["tree"], left_over(trial)
    good = as_meant and is_named and same and not left and len(refusals) == codes.count(2)
    return {
        "scenario": name, "kind": kind, "at": at, "codes": " ".join(map(str, codes)), "owner_named": int(is_named),
        "same": int(same), "left_over": " ".join(left), "good": int(good),
        "said": " | ".join(one.err.strip().replace("\n", " ") for one in ended)[-300:],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
