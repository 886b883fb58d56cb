"""Measure the nuclei of a susceptibility map [ppm] and write a long table in ppb.

Labels come from a label image and a table of their numbers (columns index, roi and side, or index and name). Where
mask_desc-eroded.nii.gz lies beside the map, as dlqsm qsm writes it, label voxels outside it are not measured: there the
map is zero by definition, not by measurement.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

from dlqsm.cli.arguments import path
from dlqsm.cli.console import start
from dlqsm.cli.single_step import require_free, sidecar_of
from dlqsm.io.nifti import read_mask, read_volume, require_same_grid
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
    talk, _ = start(arguments)
    require_free(arguments.out, overwrite=arguments.overwrite)
    chi_ppm, grid = read_volume(arguments.chi)
    labels, own = read_volume(arguments.labels)
    require_same_grid(arguments.labels, own, grid, str(arguments.chi))
    names = read_label_names(arguments.names)
    valid = arguments.chi.with_name("mask_desc-eroded.nii.gz")
    n_outside = 0
    if valid.is_file():
        outside = ~read_mask(valid, grid, str(arguments.chi))
        n_outside = int((outside & (labels != 0)).sum())
        chi_ppm = chi_ppm.masked_fill(outside, math.nan)
        talk.say(f"  label voxels outside {valid.name}, not measured: {n_outside}")
    table = measure_regions(chi_ppm, labels, names, grid, participant=arguments.participant, arm=arguments.arm)
    write_table(arguments.out, table, _about(arguments.chi, n_outside))
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    return 0


def _about(chi: Path, n_outside: int) -> dict[str, Any]:
    return {"Reference": _reference(chi), "Map": chi.name, "LabelVoxelsOutsideMask": n_outside}


def _reference(chi: Path) -> Any:
    """What the map's sidecar says of its reference."""
    sidecar = sidecar_of(chi)
    return read_json(sidecar).get("Reference", "unknown") if sidecar.is_file() else "unknown: the map has no sidecar"
