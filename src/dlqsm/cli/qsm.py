"""Make susceptibility maps of one scan, from dlqsm recon's folder or from magnitude and phase images.

Images: one file per echo, or one 4-D file; a fifth axis is coils. Sidecars beside the files tell echo times, field
strength and the unit of the phase; options override them. Writes the maps with their sidecars, and qsm.json with every
decision, the seconds of each step and how the solvers converged.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dlqsm.cli.arguments import add_memory_argument, add_method_options, method_options, path, peek, positive
from dlqsm.cli.console import Talk, say_alarms, start
from dlqsm.cli.memory import known_shape, state_memory
from dlqsm.cli.phase_arguments import add_phase_arguments, phase_options
from dlqsm.cohort import chain
from dlqsm.cohort.chain import account_of, examined, sidecars_of, volumes_of
from dlqsm.cohort.chain_input import ChainInput, overridden, read_complex_images, read_images, read_recon
from dlqsm.config import REFERENCES, STEPS, TABLES, QsmConfig, read_qsm_config
from dlqsm.core.alarms import ARM
from dlqsm.core.checks import InputError, require_choice, require_direction
from dlqsm.core.methods import options_of
from dlqsm.core.realisations import ENOUGH_REALISATIONS, require_realisations
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.images import AS_STORED
from dlqsm.io.maps import SUMMARY, UNCERTAINTY_UNITS, rounded_realisations, write_maps, write_summary
from dlqsm.io.mdi_file import read_lag_shape
from dlqsm.io.nifti import read_mask
from dlqsm.io.outputs import whole_folder
from dlqsm.io.places import told_place
from dlqsm.io.scan_json import NO_FILE, ScanFile, read_scan
from dlqsm.io.steady import require_unchanged, stamps_of
from dlqsm.pipeline import QsmMaps
from dlqsm.pipeline.memory import chain_bytes
from dlqsm.pipeline.uncertainty import ChiNoise

Pair = tuple[list[Path], list[Path]]
LAG_SUMS = "mdi.h5"
CURVE = "strength_curve"
"""Stem of its files; the module that writes them is loaded on request, since tables and figures take 0.5 s to load."""
_ON_REQUEST = (
    "R2starmap.nii.gz",
    "R2starmap.json",
    "report.html",
    *(f"{stem}.{ending}" for stem in UNCERTAINTY_UNITS for ending in ("nii.gz", "json")),
    *(f"{CURVE}.{ending}" for ending in ("tsv", "json", "png")),
)
"""Files of earlier maps that go where these have none."""


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    parser.add_argument("out", type=path, metavar="OUT_DIR")
    source = parser.add_argument_group("input")
    source.add_argument("--recon", type=path, metavar="DIR", help="output folder of dlqsm recon")
    source.add_argument("--magnitude", type=path, nargs="+", metavar="F", help="NIfTI, one an echo or one 4-D")
    source.add_argument("--phase", type=path, nargs="+", metavar="F", help="NIfTI, in the same order")
    source.add_argument("--real", type=path, nargs="+", metavar="F", help="NIfTI, instead of magnitude and phase")
    source.add_argument("--imag", type=path, nargs="+", metavar="F", help="NIfTI, in the order of --real")
    source.add_argument("--scan", type=path, metavar="scan.json", help="echo times, field strength, B0 direction")
    source.add_argument("--echo-times", type=float, nargs="+", metavar="S", help="echo times [s]")
    source.add_argument("--field-strength", type=positive(float), metavar="T", help="main field [T]")
    source.add_argument(
        "--b0-direction", type=float, nargs=3, metavar=("X", "Y", "Z"), help="along the array axes (default: affine)"
    )
    add_phase_arguments(source, (ARM,))
    source.add_argument("--mask", type=path, metavar="F", help="brain mask instead of the built-in extraction")
    source.add_argument(
        "--keep-holes", action="store_true", help="leave voxels of low phase quality inside the brain out of all maps"
    )
    methods = parser.add_argument_group("methods")
    methods.add_argument("--config", type=path, metavar="F.toml", help="methods and options of every step")
    methods.add_argument("--reference", metavar="brain|csf|FILE", help="region of mean zero (default: brain)")
    _add_uncertainty(parser)
    add_memory_argument(parser)
    methods.add_argument(
        "--strength-curve",
        action="store_true",
        help=f"draw why l1 has its strength, {CURVE}.tsv and .png: misfits and total variation at 1/8 to 8 times it; "
        "takes 7 solutions more",
    )
    config = peek(words, "--config", "")
    base = read_qsm_config(Path(config).expanduser()) if config else QsmConfig()
    for step in STEPS:
        default = getattr(base, step).method
        methods.add_argument(f"--{step}", choices=tuple(TABLES[step]), metavar="M", help=_choices(step, default))
        method = peek(words, f"--{step}", default)
        require_choice(f"{step} method", method, TABLES[step])
        options = options_of(TABLES[step][method])
        add_method_options(parser, options, title=f"options of {method}", prefix=f"{step}-")


def _add_uncertainty(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("uncertainty")
    group.add_argument(
        "--uncertainty",
        type=int,
        metavar="N",
        help="write the noise of the susceptibility [ppm] from N realisations, each of which takes one background "
        f"removal and inversion: 8 to 16 are pooled, {ENOUGH_REALISATIONS} or more are plain Monte Carlo",
    )
    group.add_argument("--uncertainty-seed", type=int, default=0, metavar="S", help="of that noise (default: 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, device = start(arguments)
    config = _config(arguments)
    if arguments.uncertainty is not None:
        require_realisations(arguments.uncertainty)
    if arguments.strength_curve and config.inversion.method != "l1":
        raise InputError(f"--strength-curve is for l1 only; got --inversion {config.inversion.method}")
    stamps = stamps_of(*_inputs(arguments))
    given = _given(arguments)
    if shape := _shape(arguments, given):
        more = {"from_images": bool(given), "n_realisations": arguments.uncertainty}
        state_memory(arguments, talk, chain_bytes(config, shape, **more))
    source, files = _read(arguments, given), _region_files(arguments)
    source = replace(source, sources={**source.sources, **{name: str(file) for name, file in files.items()}})
    regions = {name: read_mask(file, source.scan.grid, "the images") for name, file in files.items()}
    external, region = regions.get("mask"), regions.get("reference")
    require_unchanged(stamps)
    marks = (SUMMARY, "Chimap.nii.gz")
    with whole_folder(arguments.out, overwrite=arguments.overwrite, produces=marks, replaces=_ON_REQUEST) as folder:
        _say_decisions(source.decisions, talk)
        holes = not arguments.keep_holes
        maps = run_chain(source, config, talk, device, external=external, region=region, fill_holes=holes)
        known = source.decisions
        source = examined(maps, source, phase_options(arguments).accept, external=external)
        _say_decisions({name: said for name, said in source.decisions.items() if name not in known}, talk)
        say_alarms(source.alarms, talk)
        for name, value in maps.summary["convergence"]["inversion"]["chosen"].items():
            talk.say(f"  {name.replace('_', ' ')}: {value:.3g}, chosen from the data")
        if arguments.uncertainty is not None:
            _save_noise(folder, arguments, maps, source, config, region, talk, device)
        if arguments.strength_curve:
            with talk.working("strength curve"):
                importlib.import_module("dlqsm.cli.strength_curve").save_curve(folder, maps, source, config, device)
        save_maps(folder, maps, source, config, home=arguments.out)
    print(f"{arguments.out / 'Chimap.nii.gz'}")
    return 0


def _inputs(arguments: argparse.Namespace) -> list[Path]:
    """Every file that is read, or its folder."""
    lists = (arguments.magnitude, arguments.phase, arguments.real, arguments.imag)
    images = [file for files in lists for file in files or ()]
    ones = [arguments.recon, arguments.scan, arguments.config, *_region_files(arguments).values()]
    return [*images, *map(sidecar_of, images), *(file for file in ones if file is not None)]


def _say_decisions(decisions: Mapping[str, Any], talk: Talk) -> None:
    for name, sentence in decisions.items():
        talk.say(f"  {name.replace('_', ' ')}: {sentence}")


def run_chain(
    source: ChainInput,
    config: QsmConfig,
    talk: Talk,
    device: torch.device,
    *,
    external: torch.Tensor | None = None,
    region: torch.Tensor | None = None,
    fill_holes: bool = True,
) -> QsmMaps:
    """Run the chain on ``device`` with its steps told."""
    more = {"external": external, "region": region}
    with talk.stepping("maps") as step:
        return chain.run_chain(source, config, device, step, fill_holes=fill_holes, **more)


def save_maps(folder: Path, maps: QsmMaps, source: ChainInput, config: QsmConfig, *, home: Path) -> None:
    """Write the maps, sidecars, and qsm.json, of files that are told as seen from ``home``.

    ``home`` is where the maps will lie: ``folder``, or where its files are moved to.
    """
    grid = source.scan.grid
    write_maps(folder, volumes_of(maps), grid, sidecars_of(maps, source.scan, config))
    write_summary(folder, account_of(maps, replace(source, sources=_told_sources(source.sources, home))))


def _told_sources(sources: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Files and folders that the maps are made of as seen from the maps, so that `dlqsm report` finds them."""
    told = dict(sources)
    for key in ("magnitude", "phase", "real", "imag"):
        if key in told:
            told[key] = [told_place(Path(file), folder) for file in told[key]]
    ones = (key for key in ("recon", "mask", "reference") if key in told)
    return {**told, **{key: told_place(Path(told[key]), folder) for key in ones}}


def _region_files(arguments: argparse.Namespace) -> dict[str, Path]:
    """Files of a brain mask and of a region of reference, by the names of their options."""
    files = {"mask": arguments.mask, "reference": arguments.reference}
    return {name: Path(file) for name, file in files.items() if file not in (None, *REFERENCES)}


def _save_noise(
    folder: Path,
    arguments: argparse.Namespace,
    maps: QsmMaps,
    source: ChainInput,
    config: QsmConfig,
    region: torch.Tensor | None,
    talk: Talk,
    device: torch.device,
) -> None:
    """Write the standard deviation of the susceptibility, and the realisations that tell that of any mean."""
    n, seed = arguments.uncertainty, arguments.uncertainty_seed
    with talk.working("uncertainty"):
        noise = chain.run_uncertainty(source, maps, config, device, n_realisations=n, seed=seed, region=region)
    _write_noise(folder, noise, source, {"Realisations": n, "Seed": seed, "Pooled": n < ENOUGH_REALISATIONS})


def _write_noise(folder: Path, noise: ChiNoise, source: ChainInput, about: dict[str, object]) -> None:
    volumes = {
        "Chimap_desc-noise": noise.sd_ppm,
        "Chimap_desc-realisations": rounded_realisations(noise.errors_ppm),
    }
    write_maps(folder, volumes, source.scan.grid, {stem: about for stem in volumes})


def _choices(step: str, default: str) -> str:
    return f"{', '.join(TABLES[step])} (default: {default})"


def _config(arguments: argparse.Namespace) -> QsmConfig:
    config = QsmConfig() if arguments.config is None else read_qsm_config(arguments.config)
    for step in STEPS:
        method = getattr(arguments, step) or getattr(config, step).method
        options = method_options(arguments, options_of(TABLES[step][method]), prefix=f"{step}-")
        config = config.with_step(step, method, options)
    if arguments.reference in REFERENCES:
        config = replace(config, reference=arguments.reference)
    return config


def _given(arguments: argparse.Namespace) -> dict[str, Pair]:
    """Images by their kind, ``polar`` or ``complex``; none where a folder of dlqsm recon is given."""
    pairs = {"polar": (arguments.magnitude, arguments.phase), "complex": (arguments.real, arguments.imag)}
    given = {name: pair for name, pair in pairs.items() if any(pair)}
    if len(given) + bool(arguments.recon) != 1 or not all(all(pair) for pair in given.values()):
        raise InputError("give either --recon DIR, or both --magnitude and --phase, or both --real and --imag")
    return given


def _shape(arguments: argparse.Namespace, given: Mapping[str, Pair]) -> tuple[int, ...] | None:
    """Shape ``(x, y, z, echo[, coil])`` of the input, by its headers; None where they tell none, as `known_shape`."""
    if not given:
        try:
            return read_lag_shape(arguments.recon / LAG_SUMS)
        except InputError:
            return None
    files, _ = next(iter(given.values()))
    one = known_shape(files[0])
    if one is None or len(files) == 1:
        return one
    return (*one[:3], len(files), *one[4:])


def _read(arguments: argparse.Namespace, given: Mapping[str, Pair]) -> ChainInput:
    told = _told(arguments)
    if "complex" in given:
        return read_complex_images(*given["complex"], told, phase_options(arguments))[0]
    if not arguments.recon:
        return read_images(arguments.magnitude, arguments.phase, told, phase_options(arguments))[0]
    if arguments.coil_combination != AS_STORED.coils:
        raise InputError("--coil-combination needs coil images: give --magnitude and --phase instead of --recon")
    if arguments.bipolar:
        raise InputError("--bipolar needs the echo images: give --magnitude and --phase instead of --recon")
    if arguments.phase_unit:
        raise InputError("--phase-unit is for images: the phase of --recon is in radians")
    return overridden(read_recon(arguments.recon, invert=arguments.invert_phase), told)


def _told(arguments: argparse.Namespace) -> ScanFile:
    """What the options say of the scan; they override ``--scan``, which overrides the sidecars."""
    if arguments.b0_direction:
        require_direction("B0 direction", arguments.b0_direction)
    file = read_scan(arguments.scan) if arguments.scan else ScanFile(NO_FILE, None, None, None, None, {})
    return replace(
        file,
        echo_times_s=tuple(arguments.echo_times) if arguments.echo_times else file.echo_times_s,
        field_strength_t=arguments.field_strength or file.field_strength_t,
        b0_direction=tuple(arguments.b0_direction) if arguments.b0_direction else file.b0_direction,
    )
