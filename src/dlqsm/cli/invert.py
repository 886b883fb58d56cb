"""Invert a local field to susceptibility [ppm]; the result is not referenced.

With --unit hz the field strength must be known, with --unit rad the echo time too.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlqsm.cli.arguments import path, positive
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
from dlqsm.core import units
from dlqsm.core.checks import InputError
from dlqsm.core.methods import resolved_options
from dlqsm.core.scan import Grid, check_echo_times
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.nifti import read_mask, require_nifti_name, write_volume
from dlqsm.io.outputs import whole_files, write_json
from dlqsm.qsm.inversion import INVERSIONS

DEFAULT = QsmConfig().inversion.method


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("field", type=path, metavar="FIELD", help="local field")
    parser.add_argument("out", type=path, metavar="OUT", help="susceptibility [ppm]")
    parser.add_argument("--unit", choices=("ppm", "hz", "rad"), required=True, help="unit of FIELD and --noise")
    parser.add_argument("--field-strength", type=positive(float), metavar="T", help="main field [T]")
    parser.add_argument("--echo-time", type=positive(float), metavar="S", help="echo time of a phase in rad [s]")
    parser.add_argument("--magnitude", type=path, metavar="F", help="for the edge mask")
    parser.add_argument("--noise", type=path, metavar="F", help="standard deviation of the field, in its unit")
    parser.add_argument("--csf", type=path, metavar="F", help="region that --csf-strength keeps uniform")
    add_b0_argument(parser)
    add_step_arguments(parser, words, "inversion", INVERSIONS, DEFAULT)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    require_nifti_name(arguments.out)
    with whole_files(arguments.out, overwrite=arguments.overwrite) as out:
        _invert(arguments, out, talk, device)
    return 0


def _invert(arguments: argparse.Namespace, out: Path, talk: Talk, device: torch.device) -> None:
    method = bound_method(arguments, "inversion", INVERSIONS)
    per_ppm = _unit_per_ppm(arguments)
    state_step_memory(arguments, talk, f"invert {arguments.method}", arguments.field)
    require_unit(arguments.field, arguments.unit, "field")
    values, mask, grid = read_masked(arguments, arguments.field, device)
    noise = read_beside(arguments.noise, grid, arguments.field, device)
    magnitude = read_beside(arguments.magnitude, grid, arguments.field, device)
    scan = replace(scan_of(arguments, grid), field_strength_t=arguments.field_strength)
    csf = _csf(arguments, method, grid, device)
    noise_ppm = None if noise is None else noise / per_ppm
    with talk.working(arguments.method):
        chi_ppm, convergence = method(values / per_ppm, mask, scan, noise_ppm, magnitude, **csf)
    write_volume(out, chi_ppm, grid)
    content = record(method, arguments.method, scan, convergence, Units="ppm", Reference="none")
    write_json(sidecar_of(out), content)


def _csf(arguments: argparse.Namespace, method: Any, grid: Grid, device: torch.device) -> dict[str, torch.Tensor]:
    """The region of the CSF as the keyword of the methods that keep it uniform."""
    if arguments.csf is None:
        return {}
    if not resolved_options(method).get("csf_strength"):
        raise InputError("--csf goes with --csf-strength above zero, an option of l1 and medi; give both or neither")
    return {"csf_region": read_mask(arguments.csf, grid, str(arguments.field)).to(device)}


def _unit_per_ppm(arguments: argparse.Namespace) -> float:
    """How much of the field's unit one ppm is."""
    if arguments.unit == "ppm":
        return 1.0
    if arguments.field_strength is None:
        raise InputError(f"--unit {arguments.unit} needs --field-strength in tesla")
    if arguments.unit == "hz":
        return units.hz_per_ppm(arguments.field_strength)
    if arguments.echo_time is None:
        raise InputError("--unit rad needs --echo-time in seconds")
    check_echo_times((arguments.echo_time,))
    return units.rad_per_ppm(arguments.field_strength, arguments.echo_time)
