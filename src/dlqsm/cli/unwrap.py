"""Unwrap wrapped phase [rad]: the output differs from the input by multiples of 2 pi, inside the mask.

PHASE is a NIfTI volume (x, y, z), or (x, y, z, echo) of which every echo is unwrapped on its own.
"""

from __future__ import annotations

import argparse
import math

import torch

from dlqsm.cli.arguments import path
from dlqsm.cli.console import start
from dlqsm.cli.single_step import (
    add_step_arguments,
    bound_method,
    record,
    require_free,
    scan_of,
    sidecar_of,
)
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.nifti import Image, read_image, read_mask, require_same_grid, write_volume
from dlqsm.io.outputs import write_json
from dlqsm.qsm.unwrap import UNWRAPPERS

DEFAULT = "spun"


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("phase", type=path, metavar="PHASE", help="wrapped phase [rad]")
    parser.add_argument("out", type=path, metavar="OUT", help="unwrapped phase [rad]")
    parser.add_argument("--magnitude", type=path, metavar="F", help="guides the order of unwrapping")
    add_step_arguments(parser, words, "unwrap", UNWRAPPERS, DEFAULT)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    require_free(arguments.out, overwrite=arguments.overwrite)
    arguments.b0_direction = None
    method = bound_method(arguments, "unwrap", UNWRAPPERS)
    image = read_image(arguments.phase)
    echoes = _echoes(image)
    mask = read_mask(arguments.mask, image.grid, str(arguments.phase)).to(device)
    magnitudes = _magnitudes(arguments, image.grid, len(echoes))
    scan = scan_of(arguments, image.grid)
    done = []
    for index, phase in enumerate(echoes):
        inside = mask & torch.isfinite(phase).to(device)
        if not bool(inside.any()):
            raise InputError(f"{arguments.mask}: is empty where {arguments.phase} is finite; expected voxels inside")
        quality = None if magnitudes is None else _quality(magnitudes[index].to(device), inside)
        with talk.working(f"echo {index + 1}"):
            unwrapped, certain, _ = method(phase.nan_to_num(0.0).to(device), inside, scan, quality)
        n_uncertain = int((inside & ~certain).sum())
        if n_uncertain:
            talk.say(
                f"  note: echo {index + 1}: the turns of {n_uncertain} voxels are uncertain; they hold the best guess"
            )
        done.append(unwrapped.cpu())
    whole = done[0] if image.values.ndim == 3 else torch.stack(done, dim=-1)
    write_volume(arguments.out, whole, image.grid)
    write_json(sidecar_of(arguments.out), record(method, arguments.method, scan, None, Units="rad"))
    return 0


def _quality(magnitude: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Magnitude over its mean in the mask, at most 1: bright voxels have the smaller phase noise."""
    return (magnitude / magnitude[mask].mean()).clamp(0.0, 1.0)


def _echoes(image: Image) -> list[torch.Tensor]:
    """The volumes of a phase image, checked to be wrapped radian."""
    values = torch.from_numpy(image.values)
    if values.ndim == 5:
        raise InputError(f"{image.path}: expected x, y, z or x, y, z, echo; got shape {tuple(values.shape)}")
    finite = values[torch.isfinite(values)]
    largest = float(finite.abs().max()) if finite.numel() else 0.0
    if not 0 < largest <= 1.01 * math.pi:
        raise InputError(
            f"{image.path}: expected wrapped phase within -3.14 to 3.14 rad; the largest value is {largest:.4g}"
        )
    return [values] if values.ndim == 3 else list(values.unbind(-1))


def _magnitudes(arguments: argparse.Namespace, grid: Grid, n_echoes: int) -> list[torch.Tensor] | None:
    if arguments.magnitude is None:
        return None
    image = read_image(arguments.magnitude)
    require_same_grid(arguments.magnitude, image.grid, grid, str(arguments.phase))
    values = torch.from_numpy(image.values).nan_to_num(0.0)
    if values.ndim == 3:
        return [values] * n_echoes
    if values.shape[3:] != (n_echoes,):
        raise InputError(
            f"{arguments.magnitude}: has shape {tuple(values.shape)}; expected {n_echoes} echoes, as the phase"
        )
    return list(values.unbind(-1))
