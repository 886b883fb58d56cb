"""Remove the background field: total field in, local field out in the same unit, with the mask where it is valid."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from dlqsm.cli.arguments import path
from dlqsm.cli.console import Talk, start
from dlqsm.cli.single_step import (
    add_b0_argument,
    add_step_arguments,
    bound_method,
    read_beside,
    read_masked,
    record,
    require_unit,
    scan_of,
    state_step_memory,
)
from dlqsm.config import QsmConfig
from dlqsm.core.checks import InputError
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.nifti import require_nifti_name, write_volume
from dlqsm.io.outputs import output_files, whole_file, write_json
from dlqsm.qsm.background import BACKGROUND_REMOVERS

DEFAULT = QsmConfig().background.method


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("field", type=path, metavar="FIELD", help="total field, unwrapped")
    parser.add_argument("out", type=path, metavar="OUT", help="local field, in the unit of FIELD")
    parser.add_argument("--mask-out", type=path, metavar="F", required=True, help="mask where the result is valid")
    parser.add_argument("--unit", choices=("hz", "ppm"), required=True, help="unit of FIELD, --noise and OUT")
    parser.add_argument("--noise", type=path, metavar="F", help="standard deviation of the field, in its unit")
    add_b0_argument(parser)
    add_step_arguments(parser, words, "background", BACKGROUND_REMOVERS, DEFAULT)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; every method is homogeneous of degree one, so the unit passes through."""
    talk, device = start(arguments)
    for target in (arguments.out, arguments.mask_out):
        require_nifti_name(target)
    targets = _targets(arguments)
    if len({target.resolve() for target in targets}) < len(targets):
        raise InputError(f"{arguments.mask_out}: is OUT as well; the field and its mask need a file each")
    with output_files(*targets, overwrite=arguments.overwrite):
        _remove_background(arguments, talk, device)
    return 0


def _targets(arguments: argparse.Namespace) -> tuple[Path, Path, Path]:
    """The local field, its mask, and the sidecar."""
    return arguments.out, arguments.mask_out, sidecar_of(arguments.out)


def _remove_background(arguments: argparse.Namespace, talk: Talk, device: torch.device) -> None:
    method = bound_method(arguments, "background", BACKGROUND_REMOVERS)
    state_step_memory(arguments, talk, f"background {arguments.method}", arguments.field)
    require_unit(arguments.field, arguments.unit, "field")
    values, mask, grid = read_masked(arguments, arguments.field, device)
    noise = read_beside(arguments.noise, grid, arguments.field, device)
    scan = scan_of(arguments, grid)
    with talk.working(arguments.method):
        local, valid, convergence = method(values, mask, scan, noise)
    kept = float(valid.sum() / mask.sum())
    content = record(method, arguments.method, scan, convergence, Units=arguments.unit, MaskKept=kept)
    targets = _targets(arguments)
    # The local field comes last: where it is there, what belongs to it is there too.
    with whole_file(targets[0]) as field, whole_file(targets[1]) as inside, whole_file(targets[2]) as told:
        write_volume(field, local, grid)
        write_volume(inside, valid, grid)
        write_json(told, content)
        arguments.out.unlink(missing_ok=True)
    talk.say(f"mask kept: {100 * kept:.1f} %")
