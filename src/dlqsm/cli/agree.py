"""Agreement of arms with a reference, per nucleus, from a long table; and their association with age.

TABLE.tsv has the columns participant_id, arm, roi, side and mean_ppb, as dlqsm nuclei writes them, and age [years] (89+
counts as 89) and sex where they are known. Pairs are made of what exists, and counted. OUT_DIR gets agreement.tsv,
age.tsv and mixed_model.tsv, each with a JSON that describes every column, the figures as SVG and PNG, and tables.tex.
Without ages there is no age.tsv. Names of arms such as DL3 or AF5 tell their acceleration: up to which every nucleus
stays what the reference measures is answered in a sentence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dlqsm.agreement.long_table import check_table, open_ages
from dlqsm.agreement.study import MARGIN_PPB, N_RESAMPLES
from dlqsm.cli.agree_files import AGREEMENT, not_always_written, write_agreement
from dlqsm.cli.agree_summary import print_summary
from dlqsm.cli.arguments import path, positive, seed
from dlqsm.cli.console import start
from dlqsm.core.checks import InputError
from dlqsm.io.outputs import read_json, whole_folder
from dlqsm.io.tables import read_table


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("table", type=path, metavar="TABLE.tsv", help="long table of nucleus values [ppb]")
    parser.add_argument("out", type=path, metavar="OUT_DIR", help="folder for tables and figures")
    parser.add_argument("--reference", required=True, metavar="ARM", help="arm that the others are compared with")
    parser.add_argument(
        "--margin-ppb", type=positive(float), default=MARGIN_PPB, metavar="X",
        help="mean difference that does not matter [ppb], for the test of equivalence; set it before you see the data "
        f"(default: {MARGIN_PPB:g})",
    )  # fmt: skip
    parser.add_argument(
        "--repeat",
        metavar="ARM",
        help="second scan by the reference: the floor in every figure (default: REFERENCErep, else the arm whose name "
        "differs from REFERENCE in run or session alone)",
    )
    parser.add_argument(
        "--resamples",
        type=positive(int),
        default=N_RESAMPLES,
        metavar="N",
        help=f"bootstrap draws (default: {N_RESAMPLES})",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="of the bootstrap (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    given = read_table(arguments.table, ())
    is_unit_known = _stated_unit(arguments.table) == "ppb"
    table = check_table(given, str(arguments.table), is_unit_known=is_unit_known)
    with (
        whole_folder(
            arguments.out, overwrite=arguments.overwrite, produces=(AGREEMENT,), replaces=not_always_written()
        ) as out,
        talk.working("statistics and figures"),
    ):
        written = write_agreement(
            table, out, reference=arguments.reference, margin_ppb=arguments.margin_ppb, seed=arguments.seed,
            n_resamples=arguments.resamples, repeat=arguments.repeat, told=open_ages(given),
        )  # fmt: skip
    print_summary(written, reference=arguments.reference, margin_ppb=arguments.margin_ppb)
    return 0


def _stated_unit(table: Path) -> str | None:
    """Unit of mean_ppb by the JSON beside the table, None where nothing is said; any other than ppb is refused."""
    sidecar = table.with_suffix(".json")
    if table.suffix == ".json" or not sidecar.is_file():
        return None
    content = read_json(sidecar)
    described = content.get("columns")
    entry = described.get("mean_ppb") if isinstance(described, dict) else content.get("mean_ppb")
    text = str(entry.get("Units", "")) if isinstance(entry, dict) else str(entry or "")
    units = [unit for unit in ("ppb", "ppm") if unit in text.replace("mean_ppb", "").lower()]
    if units == ["ppm"]:
        raise InputError(f"{sidecar}: says that mean_ppb is in ppm; give {table.name} in ppb, and say so in the JSON")
    return units[0] if units == ["ppb"] else None
