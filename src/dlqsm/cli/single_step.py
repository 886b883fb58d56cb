"""What the single-step commands share: one NIfTI in, one NIfTI out, a mask, and the methods of one table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from dlqsm.cli.arguments import add_memory_argument, add_method_options, method_options, path, peek
from dlqsm.cli.console import Talk
from dlqsm.cli.memory import known_shape, state_memory
from dlqsm.core.checks import InputError, require_choice, require_direction, require_finite
from dlqsm.core.methods import choose, options_of, resolved_options
from dlqsm.core.scan import Grid, Scan
from dlqsm.core.solvers import Convergence
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.files import shown
from dlqsm.io.nifti import read_mask, read_volume, require_same_grid
from dlqsm.io.outputs import read_json
from dlqsm.pipeline.memory import step_bytes

LARGEST_USUAL_PPM: Final = 2.0


def add_step_arguments(
    parser: argparse.ArgumentParser, words: list[str], step: str, table: Mapping[str, Any], default: str
) -> None:
    """Declare the method of a step and the options that this method has."""
    method = peek(words, "--method", default)
    require_choice(f"{step} method", method, table)
    parser.add_argument("--mask", type=path, metavar="F", required=True, help="non-zero inside")
    parser.add_argument("--method", choices=tuple(table), default=default, help=f"(default: {default})")
    add_memory_argument(parser)
    add_method_options(parser, options_of(table[method]), title=f"options of {method}")


def state_step_memory(arguments: argparse.Namespace, talk: Talk, step: str, images: Path) -> None:
    """Tell what a step on images takes, by their header; raises `InputError` where that is too much."""
    if shape := known_shape(images):
        state_memory(arguments, talk, step_bytes(step, shape))


def add_b0_argument(parser: argparse.ArgumentParser) -> None:
    """Declare the direction of B0."""
    text = "direction of B0 along the array axes (default: from the affine)"
    parser.add_argument("--b0-direction", type=float, nargs=3, metavar=("X", "Y", "Z"), help=text)


def bound_method(arguments: argparse.Namespace, step: str, table: Mapping[str, Any]) -> Any:
    """The chosen method with the options that were given."""
    return choose(step, table, arguments.method, method_options(arguments, options_of(table[arguments.method])))


def read_beside(source: Path | None, grid: Grid, whose: Path, device: torch.device) -> torch.Tensor | None:
    """Read an optional volume that must lie on the grid of the input."""
    if source is None:
        return None
    values, own = read_volume(source)
    require_same_grid(source, own, grid, str(whose))
    require_finite(f"{source}:", values)
    return values.to(device)


def require_unit(image: Path, unit: str, what: str = "map") -> None:
    """Raise `InputError` where the sidecar of an image tells another unit than the one that it is taken for."""
    sidecar = sidecar_of(image)
    told = read_json(sidecar).get("Units") if sidecar.is_file() else None
    if told is not None and str(told).lower() != unit:
        raise InputError(
            f"{sidecar}: says that the {what} is in {shown(told)}; expected {unit}: convert it, and say so here"
        )


def require_ppm(chi: Path, chi_ppm: torch.Tensor) -> None:
    """Maps are in ppm by their sidecar, and where there is none by their size: half a head is never beyond 2 ppm."""
    require_unit(chi, "ppm")
    inside = chi_ppm[torch.isfinite(chi_ppm) & (chi_ppm != 0)].abs()
    usual = float(inside.median()) if inside.numel() else 0.0
    if usual > LARGEST_USUAL_PPM:
        raise InputError(
            f"{chi}: half of its values are beyond {usual:.3g} ppm, which looks like ppb; expected ppm: divide by 1000"
        )


def read_masked(
    arguments: argparse.Namespace, field: Path, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, Grid]:
    """Read a field and its mask; voxels that are not finite leave the mask and become zero."""
    values, grid = read_volume(field)
    mask = read_mask(arguments.mask, grid, str(field))
    mask &= torch.isfinite(values)
    if not bool(mask.any()):
        raise InputError(f"{arguments.mask}: is empty where {field} is finite; expected voxels inside")
    return values.nan_to_num(0.0, 0.0, 0.0).to(device), mask.to(device), grid


def scan_of(arguments: argparse.Namespace, grid: Grid) -> Scan:
    """The scan of a single step: B0 from the affine unless given."""
    if arguments.b0_direction:
        require_direction("B0 direction", arguments.b0_direction)
    direction = tuple(arguments.b0_direction) if arguments.b0_direction else (0.0, 0.0, 0.0)
    return Scan(grid, b0_direction=direction)


def record(method: Any, name: str, scan: Scan, convergence: Convergence | None, **more: Any) -> dict[str, Any]:
    """Sidecar of a single step's output."""
    content = {"Method": name, "Parameters": resolved_options(method), "B0Direction": list(scan.b0_direction), **more}
    if convergence is not None:
        content["Convergence"] = convergence.as_dict()
    return json.loads(json.dumps(content))
