"""Unwrap wrapped phase [rad]: the output differs from the input by multiples of 2 pi, inside the mask.

The method laplacian, for comparison only, keeps to that where --echo-times are given and not otherwise.

PHASE is a NIfTI volume (x, y, z), or (x, y, z, echo). Without --echo-times every echo is unwrapped on its own; with
them all echoes along one line a voxel, which is faster and surer.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dlqsm.cli.arguments import path
from dlqsm.cli.console import Talk, start
from dlqsm.cli.single_step import (
    add_step_arguments,
    bound_method,
    record,
    scan_of,
    state_step_memory,
)
from dlqsm.core.checks import InputError
from dlqsm.core.methods import Account, Unwrap
from dlqsm.core.scan import Grid, Scan
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.nifti import Image, read_image, read_mask, require_nifti_name, require_same_grid, write_volume
from dlqsm.io.outputs import whole_files, write_json
from dlqsm.qsm.unwrap import UNWRAPPERS
from dlqsm.qsm.unwrap_echoes import unwrap_echoes

DEFAULT = "spun"


@dataclass(frozen=True, slots=True)
class _Echoes:
    """What is unwrapped: phases [rad] and, where given, magnitudes of the echoes, and where."""

    phases: list[torch.Tensor]
    magnitudes: list[torch.Tensor] | None
    mask: torch.Tensor
    source: str


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("phase", type=path, metavar="PHASE", help="wrapped phase [rad]")
    parser.add_argument("out", type=path, metavar="OUT", help="unwrapped phase [rad]")
    parser.add_argument("--magnitude", type=path, metavar="F", help="guides the order of unwrapping")
    text = "one for each echo [s]: unwrap all echoes along a line in echo time"
    parser.add_argument("--echo-times", type=float, nargs="+", metavar="S", help=text)
    add_step_arguments(parser, words, "unwrap", UNWRAPPERS, DEFAULT)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    require_nifti_name(arguments.out)
    with whole_files(arguments.out, overwrite=arguments.overwrite) as out:
        _unwrap(arguments, out, talk, device)
    return 0


def _unwrap(arguments: argparse.Namespace, out: Path, talk: Talk, device: torch.device) -> None:
    arguments.b0_direction = None
    method = bound_method(arguments, "unwrap", UNWRAPPERS)
    state_step_memory(arguments, talk, f"unwrap {arguments.method}", arguments.phase)
    image = read_image(arguments.phase)
    phases = _phases(image)
    mask = read_mask(arguments.mask, image.grid, str(arguments.phase)).to(device)
    echoes = _Echoes(phases, _magnitudes(arguments, image.grid, len(phases)), mask, f"{arguments.mask}")
    scan = scan_of(arguments, image.grid)
    if arguments.echo_times:
        scan = _with_echo_times(scan, arguments, image, len(phases))
        done = list(_unwrapped_along_lines(echoes, scan, method, talk))
    else:
        done = _unwrapped_one_by_one(echoes, scan, method, talk)
    whole = done[0] if image.values.ndim == 3 else torch.stack(done, dim=-1)
    write_volume(out, whole.cpu(), image.grid)
    more = {"EchoTimes": arguments.echo_times} if arguments.echo_times else {}
    write_json(sidecar_of(out), record(method, arguments.method, scan, None, Units="rad", **more))


def _unwrapped_one_by_one(echoes: _Echoes, scan: Scan, method: Unwrap, talk: Talk) -> list[torch.Tensor]:
    """Every echo on its own, in its own part of the mask."""
    done = []
    for index, phase in enumerate(echoes.phases):
        inside = _where_finite(echoes, phase)
        quality = None if echoes.magnitudes is None else _quality(echoes.magnitudes[index].to(inside.device), inside)
        with talk.working(f"echo {index + 1}"):
            unwrapped, certain, report = method(phase.nan_to_num(0.0).to(inside.device), inside, scan, quality)
        _tell_uncertain(talk, f"echo {index + 1}: ", inside & ~certain)
        _tell_inexact(talk, f"echo {index + 1}: ", report)
        done.append(unwrapped)
    return done


def _unwrapped_along_lines(echoes: _Echoes, scan: Scan, method: Unwrap, talk: Talk) -> torch.Tensor:
    """All echoes together, where all of them are finite."""
    phase = torch.stack(echoes.phases)
    inside = _where_finite(echoes, phase)
    magnitude = None if echoes.magnitudes is None else torch.stack(echoes.magnitudes).to(phase)
    with talk.working(f"{len(echoes.phases)} echoes"):
        unwrapped, certain, report = unwrap_echoes(phase.nan_to_num(0.0), magnitude, inside, scan, method)
    _tell_uncertain(talk, "", inside & ~certain)
    for index in report.unwrapped_alone:
        talk.say(f"  note: echo {index + 1} does not lie on the line of the others; it was unwrapped on its own")
    return unwrapped


def _where_finite(echoes: _Echoes, phase: torch.Tensor) -> torch.Tensor:
    finite = torch.isfinite(phase)
    inside = echoes.mask & (finite if phase.ndim == 3 else finite.all(0)).to(echoes.mask.device)
    if not bool(inside.any()):
        raise InputError(f"{echoes.source}: is empty where the phase is finite; expected voxels inside")
    return inside


def _tell_uncertain(talk: Talk, where: str, uncertain: torch.Tensor) -> None:
    n = int(uncertain.sum())
    if n:
        talk.say(f"  note: {where}the turns of {n} voxels are uncertain; they hold the best guess")


def _tell_inexact(talk: Talk, where: str, report: Account) -> None:
    told = report.as_dict()
    if not told.get("exact", True):
        talk.say(
            f"  note: {where}not exact; the change is up to {told['largest_distance_rad']:.2f} rad off whole turns"
        )


def _with_echo_times(scan: Scan, arguments: argparse.Namespace, image: Image, n_echoes: int) -> Scan:
    times = tuple(arguments.echo_times)
    if len(times) != n_echoes:
        raise InputError(f"{image.path}: has {n_echoes} echoes, but {len(times)} echo times were given; give one each")
    return replace(scan, echo_times_s=times)


def _quality(magnitude: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Magnitude over its mean in the mask, at most 1: bright voxels have the smaller phase noise."""
    return (magnitude / magnitude[mask].mean()).clamp(0.0, 1.0)


def _phases(image: Image) -> list[torch.Tensor]:
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
