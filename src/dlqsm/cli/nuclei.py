"""Measure the nuclei of a susceptibility map [ppm] and write a long table in ppb.

Labels come from a label image and a table of their numbers (columns index, roi and side, or index and name).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dlqsm.cli.arguments import path
from dlqsm.cli.console import start
from dlqsm.cli.single_step import require_free, sidecar_of
from dlqsm.io.nifti import read_volume, require_same_grid
from dlqsm.io.outputs import read_json
from dlqsm.io.tables import read_label_names, write_table
from dlqsm.nuclei.regions import measure_regions


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("chi", type=path, metavar="CHI", help="susceptibility [ppm]")
    parser.add_argument("out", type=path, metavar="OUT.tsv", help="table; a JSON of the same name goes beside it")
    parser.add_argument("--participant", required=True, metavar="ID")
    parser.add_argument("--arm", required=True, metavar="NAME", help="acquisition or reconstruction")
    parser.add_argument("--labels", type=path, metavar="DSEG", required=True, help="label image on the grid of CHI")
    parser.add_argument("--names", type=path, metavar="TSV", required=True, help="what the label numbers mean")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    start(arguments)
    require_free(arguments.out, overwrite=arguments.overwrite)
    chi_ppm, grid = read_volume(arguments.chi)
    labels, own = read_volume(arguments.labels)
    require_same_grid(arguments.labels, own, grid, str(arguments.chi))
    names = read_label_names(arguments.names)
    table = measure_regions(chi_ppm, labels, names, grid, participant=arguments.participant, arm=arguments.arm)
    write_table(arguments.out, table, {"Reference": _reference(arguments.chi), "Map": arguments.chi.name})
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    return 0


def _reference(chi: Path) -> Any:
    """What the map's sidecar says of its reference."""
    sidecar = sidecar_of(chi)
    return read_json(sidecar).get("Reference", "unknown") if sidecar.is_file() else "unknown: the map has no sidecar"
