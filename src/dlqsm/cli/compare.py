"""Compare two susceptibility maps [ppm] on one grid, inside a mask, both demeaned there."""

from __future__ import annotations

import argparse
import math

import torch

from dlqsm.agreement.similarity import compare_maps
from dlqsm.cli.arguments import add_memory_argument, path
from dlqsm.cli.console import start
from dlqsm.cli.single_step import require_ppm, state_step_memory
from dlqsm.core.checks import InputError
from dlqsm.io.nifti import read_mask, read_volume, require_same_grid
from dlqsm.io.outputs import output_files, write_json


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("map", type=path, metavar="MAP", help="susceptibility [ppm]")
    parser.add_argument("reference", type=path, metavar="REF", help="susceptibility it is compared with [ppm]")
    parser.add_argument("--mask", type=path, metavar="F", help="non-zero inside (default: where neither map is zero)")
    parser.add_argument("--json", type=path, metavar="OUT", required=True, help="where the figures go")
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    with output_files(arguments.json, overwrite=arguments.overwrite):
        state_step_memory(arguments, talk, "compare", arguments.map)
        figures = _compare(arguments)
    for name, value in figures.items():
        print(f"{name:<18}{value:10.4f}")
    return 0


def _compare(arguments: argparse.Namespace) -> dict[str, float]:
    """Write the figures, and return them."""
    chi_ppm, grid = read_volume(arguments.map)
    reference_ppm, own = read_volume(arguments.reference)
    for given, values in ((arguments.map, chi_ppm), (arguments.reference, reference_ppm)):
        require_ppm(given, values)
    require_same_grid(arguments.reference, own, grid, str(arguments.map))
    finite = torch.isfinite(chi_ppm) & torch.isfinite(reference_ppm)
    if arguments.mask is None:
        mask = finite & (chi_ppm != 0) & (reference_ppm != 0)
    else:
        mask = read_mask(arguments.mask, grid, str(arguments.map)) & finite
    if not bool(mask.any()):
        raise InputError(f"{arguments.mask or arguments.map}: no voxel lies inside the mask and is finite in both maps")
    figures = compare_maps(chi_ppm.nan_to_num(0.0), reference_ppm.nan_to_num(0.0), mask, grid)
    # The PSNR of equal maps is infinite, which JSON cannot say.
    finite_figures = {name: value if math.isfinite(value) else None for name, value in figures.items()}
    write_json(arguments.json, {**finite_figures, "n_voxels": int(mask.sum())})
    return figures
