"""Peak memory of every command that computes on volumes, against what it said that it would take.

Each command runs as a process of its own on one thread, on a scan of an ellipsoid of several sizes (`memory_head.py`);
measured is the peak resident size that Linux keeps of that process (VmHWM), planned is what its line "Memory: about X
MB planned" says. A row is written when its command ends, and rows that are there are not measured again, so that the
benchmark goes on where it was stopped::

    python benchmarks/memory_plan.py FOLDER --sizes 64 96 128               # about 25 minutes of a core
    python benchmarks/memory_plan.py FOLDER --sizes paper                   # hours, and 40 GB of disk
    python benchmarks/memory_plan.py FOLDER --sizes 64 --only recon qsm     # some commands

The bound of a row is the share of the planned memory that was measured: 0.85 to 1.15.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pandas as pd
from memory_cases import SIZES, cases, inputs
from record import commit, machine

REPORT: Final = Path(__file__).parent / "results" / "memory_plan.tsv"
BOUND: Final = (0.85, 1.15)
_CHILD: Final = """
import os, sys
from dlqsm.cli import main
code = main()
with open("/proc/self/status") as status, open(os.environ["DLQSM_PEAK"], "w") as told:
    told.write(next(line.split()[1] for line in status if line.startswith("VmHWM")))
sys.exit(code)
"""
_PLANNED: Final = re.compile(r"Memory: about ([\d.]+) (MB|GB) planned")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for scans and results, which stay there")
    parser.add_argument("--sizes", nargs="+", choices=tuple(SIZES), default=["64", "96", "128"])
    parser.add_argument("--only", nargs="+", help="beginnings of commands")
    parser.add_argument("--result", type=Path, default=REPORT)
    options = parser.parse_args()
    failed = 0
    for size in options.sizes:
        folder = options.folder / size
        folder.mkdir(parents=True, exist_ok=True)
        chosen = [case for case in cases(folder, size) if case[0].startswith(tuple(options.only or [""]))]
        if any(not name.startswith("simulate") for name, _ in chosen):  # Which alone makes its own scan.
            inputs(folder, size)
        for name, words in chosen:
            if not _is_known(options.result, size, name):
                failed += not _measure(options.result, folder, size, name, words)
    return 1 if failed else 0


def _measure(result: Path, folder: Path, size: str, name: str, words: list[str]) -> bool:
    """Run one command, and add its row; tells whether it ended well."""
    peak, said = folder / "peak", folder / "said"
    environment = {**os.environ, "DLQSM_PEAK": str(peak)}
    peak.unlink(missing_ok=True)
    begun = time.perf_counter()
    with said.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *words, "--threads", "1", "--overwrite"],
            env=environment, stdout=subprocess.DEVNULL, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode or not peak.exists():
        print(f"{size} {name}: ended with {done.returncode}: {said.read_text()[-500:]}", flush=True)
        return False
    found = _PLANNED.search(said.read_text())
    if found is None:
        print(f"{size} {name}: told no plan", flush=True)
        return False
    measured_mb = 1024 * int(peak.read_text()) / 1e6
    planned_mb = float(found[1]) * (1000 if found[2] == "GB" else 1)
    ratio = measured_mb / planned_mb
    row = {
        "size": size, "command": name, "planned_mb": round(planned_mb), "measured_mb": round(measured_mb),
        "ratio": round(ratio, 3), "bound": f"{BOUND[0]}..{BOUND[1]}",
        "result": "pass" if BOUND[0] <= ratio <= BOUND[1] else "FAIL",
        "wall_s": round(time.perf_counter() - begun, 1), "commit": commit(), "machine": machine(),
    }  # fmt: skip
    _add(result, row)
    print(" ".join(f"{key}={value}" for key, value in row.items() if key not in ("bound", "machine")), flush=True)
    return True


def _rows(result: Path) -> pd.DataFrame:
    return pd.read_csv(result, sep="\t", dtype={"size": str}) if result.exists() else pd.DataFrame()


def _is_known(result: Path, size: str, name: str) -> bool:
    rows = _rows(result)
    return not rows.empty and bool(((rows["size"] == size) & (rows["command"] == name)).any())


def _add(result: Path, row: dict[str, object]) -> None:
    """The table with one row more, whole or not at all."""
    table = pd.concat([_rows(result), pd.DataFrame([row])], ignore_index=True)
    partial = result.with_name(f".{result.name}")
    table.to_csv(partial, sep="\t", index=False)
    partial.replace(result)


if __name__ == "__main__":
    sys.exit(main())
