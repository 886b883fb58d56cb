"""Run one stage, or a span of stages, of QSM-CI, the public benchmark of QSM methods.

INPUT_DIR holds what the stage reads: phase.nii.gz (rad; x, y, z, echo), magnitude.nii.gz, mask.nii.gz,
totalfield.nii.gz or localfield.nii.gz (ppm), and params.json (TE in s, B0 in T, B0_dir along the array axes, voxel_size
in mm). OUTPUT_DIR receives what it makes: totalfield, localfield or chimap.nii.gz (ppm), or mask.nii.gz. The rim that
background removal loses is 0, and the next stage leaves it out. chimap has mean zero over what is left. The methods are
those of dlqsm qsm; --config, and then config.json in INPUT_DIR as the benchmark writes it, replace them.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from dlqsm.cli.arguments import path
from dlqsm.cli.console import Talk, start
from dlqsm.cohort.chain_input import read_images
from dlqsm.config import STEPS, QsmConfig, read_qsm_config
from dlqsm.core.checks import InputError, require_finite
from dlqsm.core.lags import LagSums
from dlqsm.core.scan import Scan
from dlqsm.io.images import PhaseOptions
from dlqsm.io.nifti import read_image, read_mask, require_same_grid, write_volume
from dlqsm.io.outputs import output_folder
from dlqsm.io.qsm_ci import (
    OVERRIDES,
    PARAMS,
    STAGES,
    artefact,
    read_field,
    read_overrides,
    read_scan_of,
    require_artefacts,
)
from dlqsm.io.scan_json import ScanFile
from dlqsm.pipeline.stages import Field, local_field, susceptibility, total_field, weighted
from dlqsm.qsm.mask import brain_mask


@dataclass(frozen=True, slots=True)
class _Task:
    """What a stage works on."""

    folder: Path
    stage: str
    scan: Scan
    config: QsmConfig
    device: torch.device
    talk: Talk


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("input", type=path, metavar="INPUT_DIR", help="/input in the benchmark")
    parser.add_argument("output", type=path, metavar="OUTPUT_DIR", help="/output in the benchmark")
    parser.add_argument("--stage", choices=tuple(STAGES), required=True, help="stage or span")
    parser.add_argument("--config", type=path, metavar="F.toml", help="methods and options, as for dlqsm qsm")
    parser.add_argument(
        "--unweighted",
        action="store_true",
        help="do without noise and edges, which single stages are not given: a span then equals its stages",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    folder, stage = arguments.input, arguments.stage
    require_artefacts(folder, stage)
    task = _Task(folder, stage, read_scan_of(folder, stage), _config(arguments), device, talk)
    made = STAGES[stage][1]
    with output_folder(arguments.output, overwrite=arguments.overwrite, produces=(f"{made}.nii.gz",)) as out:
        values = _brain(task) if made == "mask" else _map(task, made, with_weights=not arguments.unweighted)
        write_volume(artefact(out, made), values, task.scan.grid)
    print(artefact(arguments.output, made))
    return 0


def _config(arguments: argparse.Namespace) -> QsmConfig:
    """Methods of the options, then those that the benchmark sets."""
    config = QsmConfig() if arguments.config is None else read_qsm_config(arguments.config)
    for step, method in read_overrides(arguments.input).items():
        if step not in STEPS or not isinstance(method, str):
            raise InputError(
                f"{arguments.input / OVERRIDES}: expected names of methods for {', '.join(STEPS)}; got {step}: {method}"
            )
        try:
            config = config.with_step(step, method, {})
        except InputError as error:
            raise InputError(f"{arguments.input / OVERRIDES}: {error}") from None
    return config


def _map(task: _Task, made: str, *, with_weights: bool) -> torch.Tensor:
    """The field or the susceptibility that the stage makes; zero where it knows nothing."""
    reads = STAGES[task.stage][0]
    if "phase" in reads:
        field = _of_phase(task)
    else:
        values, known = read_field(task.folder, reads[0], task.scan.grid)
        field = Field(values.to(task.device), known.to(task.device))
        if "magnitude" in reads:
            field = weighted(field, _magnitude(task), task.scan, task.config)
    if not with_weights:
        field = field.alone()
    if made != "totalfield" and reads[0] != "localfield":
        with task.talk.working("background"):
            field = local_field(field, task.scan, task.config)
    if made == "chimap":
        with task.talk.working("inversion"):
            return susceptibility(field, task.scan, task.config)
    return field.field_ppm if made == "totalfield" else torch.where(field.mask, field.field_ppm, 0.0)


def _of_phase(task: _Task) -> Field:
    told = ScanFile(
        task.folder / PARAMS, task.scan.echo_times_s, task.scan.field_strength_t, task.scan.b0_direction, None, {}
    )
    magnitude, phase = artefact(task.folder, "magnitude"), artefact(task.folder, "phase")
    source, _ = read_images([magnitude], [phase], told, PhaseOptions(unit="rad"))
    require_same_grid(phase, source.scan.grid, task.scan.grid, "the mask")
    mask = read_mask(artefact(task.folder, "mask"), task.scan.grid, "itself").to(task.device)
    lags, power = source.sums.lags.to(task.device), source.sums.power.to(task.device)
    sums = LagSums(lags, power, source.sums.noise_sd, source.sums.n_channels)
    usable = None if source.usable is None else source.usable.to(task.device)
    estimate = None if source.estimate is None else source.estimate.to(task.device)
    with task.talk.working("total field"):
        return total_field(sums, mask, source.scan, task.config, estimate=estimate, usable=usable)


def _brain(task: _Task) -> torch.Tensor:
    with task.talk.working("brain mask"):
        return brain_mask(_magnitude(task).square().sum(0).sqrt(), task.scan)


def _magnitude(task: _Task) -> torch.Tensor:
    """Magnitude ``(echo, x, y, z)``."""
    file, n_echoes = artefact(task.folder, "magnitude"), len(task.scan.echo_times_s)
    image = read_image(file)
    require_same_grid(file, image.grid, task.scan.grid, "the mask")
    values = torch.from_numpy(image.values.reshape(*image.grid.shape, -1)).float()
    if values.shape[-1] != n_echoes:
        raise InputError(f"{file}: has {values.shape[-1]} echoes; {PARAMS} tells {n_echoes} echo times")
    require_finite(str(file), values)
    return values.movedim(-1, 0).contiguous().to(task.device)
