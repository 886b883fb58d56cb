"""Figures that alarms judge, from the accounts of `dlqsm run`: what its participants had, and false alarms.

    python benchmarks/alarm_figures.py [docs/replication] [--out benchmarks/results/alarm_figures.tsv]

Accounts of the time before there were figures tell those of registration, motion, coverage, solvers and unwrapping.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from planted_faults_table import CLEAN, COLUMNS, false_alarm_lines

from dlqsm.pipeline.arm_figures import ScanFacts, figures_beside, registration_alarm_figures
from dlqsm.pipeline.map_figures import solver_figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("derivatives", type=Path, nargs="?", default=Path("docs/replication"))
    parser.add_argument("--reference", default="PI2", help="arm that the others are compared with (default: PI2)")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/alarm_figures.tsv"))
    arguments = parser.parse_args()
    rows = [
        (folder.name, CLEAN, arm, name, f"{value:.6g}", "")
        for folder in sorted(arguments.derivatives.glob("sub-*"))
        for arm, figures in figures_of(folder, arguments.reference)
        for name, value in figures.items()
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.to_csv(arguments.out, sep="\t", index=False)
    print("\n".join(false_alarm_lines(table)))
    return 0


def figures_of(folder: Path, reference: str) -> Iterator[tuple[str, dict[str, float]]]:
    """Arm and figures, of all arms of a participant."""
    accounts = {_arm(path): read(path) for path in sorted(folder.glob("anat/*_acq-*_qsmaccount.json"))}
    registered = read(folder / f"{folder.name}_desc-registration_qsmaccount.json")
    facts = {
        arm: ScanFacts(account["scan"].get("acceleration"), account.get("figures", {}).get("noise"))
        for arm, account in accounts.items()
    }
    for arm, account in accounts.items():
        yield (
            arm,
            {
                **solver_figures(account),
                **_of_reference(account),
                **account.get("figures", {}),
                **registration_alarm_figures(registered[arm]),
                **figures_beside(arm, facts, reference),
                **registered[arm].get("figures", {}),
            },
        )


def _of_reference(account: dict[str, Any]) -> dict[str, float]:
    """How far the CSF lies from the brain, as it would were it the reference."""
    means = {region["name"]: 1e3 * region["mean_ppm"] for region in account.get("references", [])}
    return {"reference": abs(means["csf"] - means["brain"])} if {"csf", "brain"} <= means.keys() else {}


def _arm(path: Path) -> str:
    return path.name.partition("_acq-")[2].partition("_")[0]


def read(path: Path) -> dict[str, Any]:
    """A JSON file."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    raise SystemExit(main())
