"""Make susceptibility maps of one scan, from dlqsm recon's folder or from magnitude and phase images.

Images: one file per echo, or one 4-D file; a fifth axis is coils. Sidecars beside the files tell echo times, field
strength and the unit of the phase; options override them. Writes the maps with their sidecars, and qsm.json with every
decision, the seconds of each step and how the solvers converged.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

import dlqsm
from dlqsm.cli.arguments import add_method_options, method_options, path, peek, positive
from dlqsm.cli.console import Talk, peak_memory_mb, start
from dlqsm.config import STEPS, TABLES, QsmConfig, read_qsm_config
from dlqsm.core.checks import InputError, require_choice
from dlqsm.core.lags import LagSums
from dlqsm.core.methods import options_of
from dlqsm.core.scan import Grid, Scan
from dlqsm.io.images import PHASE_UNITS, read_echo_series
from dlqsm.io.maps import SUMMARY, write_maps, write_summary
from dlqsm.io.mdi_file import read_lag_sums
from dlqsm.io.nifti import read_mask
from dlqsm.io.outputs import output_folder
from dlqsm.io.scan_json import ScanFile, read_scan
from dlqsm.pipeline import QsmMaps, map_susceptibility, sums_of_images
from dlqsm.qsm.mdi import FieldEstimate, single_echo


@dataclass(frozen=True, slots=True)
class Input:
    """What the chain starts from, and what was decided on the way."""

    sums: LagSums
    scan: Scan
    decisions: dict[str, Any]
    usable: torch.Tensor | None = None
    estimate: FieldEstimate | None = None
    sources: dict[str, Any] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("out", type=path, metavar="OUT_DIR")
    source = parser.add_argument_group("input")
    source.add_argument("--recon", type=path, metavar="DIR", help="output folder of dlqsm recon")
    source.add_argument("--magnitude", type=path, nargs="+", metavar="F", help="NIfTI, one a echo or one 4-D")
    source.add_argument("--phase", type=path, nargs="+", metavar="F", help="NIfTI, in the same order")
    source.add_argument("--scan", type=path, metavar="scan.json", help="echo times, field strength, B0 direction")
    source.add_argument("--echo-times", type=float, nargs="+", metavar="S", help="echo times [s]")
    source.add_argument("--field-strength", type=positive(float), metavar="T", help="main field [T]")
    source.add_argument(
        "--b0-direction", type=float, nargs=3, metavar=("X", "Y", "Z"), help="along the array axes (default: affine)"
    )
    source.add_argument("--phase-unit", metavar="U", help=f"{PHASE_UNITS} (default: from the headers)")
    source.add_argument("--mask", type=path, metavar="F", help="brain mask instead of the built-in extraction")
    chain = parser.add_argument_group("methods")
    chain.add_argument("--config", type=path, metavar="F.toml", help="methods and options of every step")
    chain.add_argument("--reference", metavar="brain|csf|FILE", help="region of mean zero (default: brain)")
    config = peek(words, "--config", "")
    base = read_qsm_config(Path(config).expanduser()) if config else QsmConfig()
    for step in STEPS:
        default = getattr(base, step).method
        chain.add_argument(f"--{step}", choices=tuple(TABLES[step]), metavar="M", help=_choices(step, default))
        method = peek(words, f"--{step}", default)
        require_choice(f"{step} method", method, TABLES[step])
        options = options_of(TABLES[step][method])
        add_method_options(parser, options, title=f"options of {method}", prefix=f"{step}-")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    config = _config(arguments)
    source = _read(arguments)
    grid = source.scan.grid
    external = None if arguments.mask is None else read_mask(arguments.mask, grid, "the images")
    region = _reference_region(arguments.reference, grid)
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=(SUMMARY, "Chimap.nii.gz")) as folder:
        for name, sentence in source.decisions.items():
            talk.say(f"  {name.replace('_', ' ')}: {sentence}")
        maps = run_chain(source, config, talk, device, external=external, region=region)
        save_maps(folder, maps, source, config)
    print(f"{arguments.out / 'Chimap.nii.gz'}")
    return 0


def run_chain(
    source: Input,
    config: QsmConfig,
    talk: Talk,
    device: torch.device,
    *,
    external: torch.Tensor | None = None,
    region: torch.Tensor | None = None,
) -> QsmMaps:
    """Run the chain on ``device`` with its steps told."""
    sums = LagSums(
        source.sums.lags.to(device),
        source.sums.power.to(device),
        None if source.sums.noise_sd is None else source.sums.noise_sd.to(device),
        source.sums.n_channels,
    )
    return map_susceptibility(
        sums,
        source.scan,
        config,
        usable=None if source.usable is None else source.usable.to(device),
        estimate=source.estimate,
        external_mask=None if external is None else external.to(device),
        reference_region=None if region is None else region.to(device),
        report=talk.step,
    )


def read_recon(folder: Path) -> Input:
    """Read what ``dlqsm recon`` wrote."""
    sums, grid = read_lag_sums(folder / "mdi.h5")
    told = read_scan(folder / "scan.json")
    scan = told.scan(grid)
    decisions = {
        "phase_unit": "rad, from the reconstruction",
        "phase_sign": told.about.get("phase_sign", "unknown"),
        "echo_times": f"{len(scan.echo_times_s)} echoes, from scan.json",
        "b0_direction": f"({', '.join(f'{v:.4f}' for v in scan.b0_direction)}) along the array axes, from scan.json",
    }
    return Input(sums, scan, decisions, sources={"recon": str(folder.resolve())})


def save_maps(folder: Path, maps: QsmMaps, source: Input, config: QsmConfig) -> None:
    """Write the maps of section 5 of the design, sidecars, and qsm.json."""
    grid = source.scan.grid
    volumes = {
        "Chimap": maps.chi_ppm,
        "fieldmap_desc-total": maps.total_field_hz,
        "fieldmap_desc-local": maps.local_field_hz,
        "fieldmap_desc-noise": maps.noise_hz,
        "mask": maps.mask,
        "mask_desc-eroded": maps.eroded_mask,
        "quality": maps.quality,
    }
    if maps.r2star_hz is not None:
        volumes["R2starmap"] = maps.r2star_hz
    methods = config.resolved()
    common = {
        "EchoTime": list(source.scan.echo_times_s),
        "MagneticFieldStrength": source.scan.field_strength_t,
        "B0_dir": list(source.scan.b0_direction),
    }
    total = {**common, "EstimationAlgorithm": methods["field"], "Unwrapping": methods["unwrap"]}
    local = {**total, "BackgroundRemoval": methods["background"]}
    sidecars = {stem: dict(common) for stem in volumes} | {
        "fieldmap_desc-total": total,
        "fieldmap_desc-noise": total,
        "fieldmap_desc-local": local,
        "Chimap": {**local, "DipoleInversion": methods["inversion"], "Reference": maps.summary["references"]},
    }
    write_maps(folder, volumes, grid, sidecars)
    about = {
        "software": {"dlqsm": dlqsm.__version__, "torch": torch.__version__},
        "scan": {**common, "voxel_size_mm": list(grid.voxel_size_mm), "shape": list(grid.shape)},
        "decisions": source.decisions,
        "sources": source.sources,
        "peak_memory_mb": round(peak_memory_mb()),
        "threads": torch.get_num_threads(),
    }
    write_summary(folder, {**maps.summary, **about})


def _choices(step: str, default: str) -> str:
    return f"{', '.join(TABLES[step])} (default: {default})"


def _config(arguments: argparse.Namespace) -> QsmConfig:
    config = QsmConfig() if arguments.config is None else read_qsm_config(arguments.config)
    for step in STEPS:
        method = getattr(arguments, step) or getattr(config, step).method
        options = method_options(arguments, options_of(TABLES[step][method]), prefix=f"{step}-")
        config = config.with_step(step, method, options)
    if arguments.reference in ("brain", "csf"):
        config = replace(config, reference=arguments.reference)
    return config


def _reference_region(name: str | None, grid: Grid) -> torch.Tensor | None:
    if name in (None, "brain", "csf"):
        return None
    return read_mask(Path(str(name)), grid, "the images")


def _read(arguments: argparse.Namespace) -> Input:
    images = arguments.magnitude or arguments.phase
    if bool(arguments.recon) == bool(images) or (images and not (arguments.magnitude and arguments.phase)):
        raise InputError("give either --recon DIR, or both --magnitude and --phase")
    told = _told(arguments)
    if not arguments.recon:
        return _read_images(arguments, told)
    source = read_recon(arguments.recon)
    scan = source.scan
    times, strength = told.echo_times_s or scan.echo_times_s, told.field_strength_t or scan.field_strength_t
    return replace(source, scan=Scan(scan.grid, times, strength, told.b0_direction or scan.b0_direction))


def _told(arguments: argparse.Namespace) -> ScanFile:
    """What the options say of the scan; they override ``--scan``, which overrides the sidecars."""
    file = read_scan(arguments.scan) if arguments.scan else ScanFile(Path("options"), None, None, None, None, {})
    return replace(
        file,
        echo_times_s=tuple(arguments.echo_times) if arguments.echo_times else file.echo_times_s,
        field_strength_t=arguments.field_strength or file.field_strength_t,
        b0_direction=tuple(arguments.b0_direction) if arguments.b0_direction else file.b0_direction,
    )


def _read_images(arguments: argparse.Namespace, told: ScanFile) -> Input:
    series = read_echo_series(
        arguments.magnitude,
        arguments.phase,
        phase_unit=arguments.phase_unit,
        echo_times_s=told.echo_times_s,
        field_strength_t=told.field_strength_t,
        b0_direction=told.b0_direction,
    )
    told.scan(series.scan.grid)  # raises where the scan file is of other images
    decisions: dict[str, Any] = dict(series.decisions)
    if series.n_not_finite:
        decisions["not_finite"] = f"{series.n_not_finite} voxels hold NaN or infinity in some echo and leave the mask"
    sources = {
        "magnitude": [str(f.resolve()) for f in arguments.magnitude],
        "phase": [str(f.resolve()) for f in arguments.phase],
        "phase_unit": arguments.phase_unit,
        "echo_times_s": told.echo_times_s,
    }
    sums = sums_of_images(series.magnitude, series.phase_rad)
    if len(series.scan.echo_times_s) > 1:
        return Input(sums, series.scan, decisions, ~series.not_finite, sources=sources)
    if series.magnitude.shape[1] > 1:
        raise InputError(f"{arguments.phase[0]}: one echo of several coils cannot be combined; give two echoes or more")
    decisions["single_echo"] = "field from the phase of one echo over its echo time; its offset counts as background"
    image = torch.polar(series.magnitude, series.phase_rad)[0, 0]
    estimate = single_echo(image, series.scan)
    return Input(sums, series.scan, decisions, ~series.not_finite, estimate, sources)
