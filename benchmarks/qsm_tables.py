"""The tables of docs/qsm.md, printed as Markdown from the rows of `qsm.py` and peers.tsv.

python benchmarks/qsm_tables.py [--rows benchmarks/results/qsm.tsv ...] [--size large]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qsm_rows import MEGABYTES, RESULTS, SECONDS, means, read_peers, read_rows

ERRORS = {
    "unwrapping": {"wrong %": "wrong %, worst echo"},
    "field": {"rms Hz": "error Hz", "told rms noise Hz": "told noise Hz"},
    "background": {"nrmse_4mm %": "error 4 mm inside %", "kept %": "kept %"},
    "inversion": {"NRMSE %": "error %", "XSIM": "XSIM", "nuclei ppb": "nuclei ppb"},
    "chain": {"NRMSE %": "error %", "XSIM": "XSIM", "nuclei ppb": "nuclei ppb", "kept %": "kept %"},
}
"""What each stage is judged by: measure of `qsm.py`, and the head of its column."""
PEER_COLUMNS = {"wrong %": "error %", "nrmse_4mm %": "error %", "NRMSE %": "error %"}
"""Columns of peers.tsv that are named otherwise."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, nargs="+", default=[RESULTS / "qsm.tsv"])
    parser.add_argument("--size", default="large")
    arguments = parser.parse_args()
    rows = read_rows(arguments.rows)
    for stage, errors in ERRORS.items():
        table = means(rows, arguments.size, stage)
        if len(table):
            seeds = sorted(set(table["seeds"]))
            print(f"\n{stage}: seeds {', '.join(map(str, seeds))}\n")
            print(_line(["", "CPU s", "MB", *errors.values()]))
            print(_line(["---"] * (3 + len(errors))))
            for name, row in table.iterrows():
                print(_line([f"`{name}`", *_cells(row, {m: m for m in errors})]))
            for row in read_peers(stage, arguments.size).to_dict("records"):
                case = f", {row['case']}" if isinstance(row["case"], str) else ""
                name = f"{row['tool']} {row['version']}, {row['method']}{case}"
                print(_line([name, *_cells(row, {m: PEER_COLUMNS.get(m, m) for m in errors})]))
    return 0


def _cells(row: Mapping[Any, Any], columns: Mapping[str, str]) -> list[str]:
    return [_number(row[name]) for name in (SECONDS, MEGABYTES, *columns.values())]


def _number(value: float) -> str:
    """Three digits; nothing where it was not measured."""
    if value != value:
        return ""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    raise SystemExit(main())
