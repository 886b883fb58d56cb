"""Measure the nuclei of a susceptibility map [ppm] and write a long table in ppb.

Labels come from an atlas, registered to the magnitude or T1-weighted image, or from a label image and a table of its
numbers (columns index, roi and side, or index and name). Where mask_desc-eroded.nii.gz lies beside the map, as dlqsm
qsm writes it, label voxels outside it are not measured: there the map is zero by definition, not by measurement.

With an atlas the score of the registration and the coverage of the nuclei are printed; the labels on the map's grid
(OUT_dseg.nii.gz and .tsv), a picture of the registration (OUT.png) and the transforms (OUT_transforms) go beside the
table. Transforms made from the same input are used again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from dlqsm.cli.arguments import add_memory_argument, path, seed
from dlqsm.cli.console import Talk, say_alarms, start
from dlqsm.cli.memory import known_shape, state_memory
from dlqsm.cli.phase_arguments import add_alarm_argument
from dlqsm.cli.single_step import require_ppm
from dlqsm.core.alarms import FAMILY, Alarm, alarms_of, require_no_stop
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid, Scan
from dlqsm.io.derivatives import sidecar_of
from dlqsm.io.nifti import read_image, read_mask, read_series, read_volume, require_same_grid, write_volume
from dlqsm.io.outputs import read_json, require_named, whole_file, whole_files
from dlqsm.io.steady import require_unchanged, stamps_of
from dlqsm.io.tables import read_label_names, write_label_names, write_table
from dlqsm.nuclei.noise import weights_of, with_noise_sd
from dlqsm.nuclei.regions import measure_regions
from dlqsm.nuclei.weighting import WEIGHTINGS, measure_nuclei
from dlqsm.pipeline.arm_figures import least_side_distance_mm, registration_alarm_figures
from dlqsm.pipeline.memory import nuclei_bytes
from dlqsm.pipeline.nuclei import CHANNELS, ArmMap, ArmNuclei, find_atlas, locate_nuclei, small_labels
from dlqsm.pipeline.reruns import COLUMN, with_rerun_sd
from dlqsm.qsm.mask import brain_mask
from dlqsm.report.registration import png, registration_figure

ATLAS = "cit168"


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("chi", type=path, metavar="CHI", help="susceptibility [ppm]")
    parser.add_argument("out", type=path, metavar="OUT.tsv", help="table; a JSON of the same name goes beside it")
    parser.add_argument("--participant", required=True, metavar="ID")
    parser.add_argument("--arm", required=True, metavar="NAME", help="acquisition or reconstruction")
    parser.add_argument(
        "--uncertainty",
        type=path,
        metavar="F",
        help="Chimap_desc-realisations.nii.gz of dlqsm qsm --uncertainty: adds the column noise_sd_ppb",
    )
    atlas = parser.add_argument_group("labels from an atlas")
    atlas.add_argument("--magnitude", type=path, metavar="F", help="on the grid of CHI; several echoes are combined")
    atlas.add_argument("--t1w", type=path, metavar="F", help="T1-weighted image of the same head, any grid")
    atlas.add_argument("--atlas", metavar="cit168|virtual|DIR", help=f"(default: {ATLAS}, downloaded once)")
    atlas.add_argument(
        "--mask", type=path, metavar="F", help="brain mask (default: mask.nii.gz beside CHI, else from the magnitude)"
    )
    atlas.add_argument(
        "--channels", choices=CHANNELS, help="what the atlas is registered on (default: auto, T1w where given, and chi)"
    )
    atlas.add_argument("--weighting", choices=tuple(WEIGHTINGS), help="which mean (default: label)")
    atlas.add_argument("--seed", type=seed, default=0, help="of the registration's sampling (default: 0)")
    atlas.add_argument(
        "--reruns",
        type=int,
        metavar="N",
        help="register N times more, with the seeds that follow: adds the column rerun_sd_ppb, the standard deviation "
        "of each mean; each run takes as long as the first",
    )
    add_alarm_argument(atlas, FAMILY)
    given = parser.add_argument_group("labels from a file")
    given.add_argument("--labels", type=path, metavar="DSEG", help="label image on the grid of CHI")
    given.add_argument("--names", type=path, metavar="TSV", help="what the label numbers mean")
    add_memory_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    _require_one_source(arguments)
    read = (arguments.chi, arguments.labels, arguments.names, arguments.magnitude, arguments.t1w, arguments.mask)
    stamps = stamps_of(*read, arguments.uncertainty, _valid_path(arguments.chi))
    with whole_files(*_targets(arguments), overwrite=arguments.overwrite, replaces=_of_atlas(arguments)) as out:
        _state_memory(arguments, talk)
        chi_ppm, grid = read_volume(arguments.chi)
        require_ppm(arguments.chi, chi_ppm)
        make = _from_atlas if arguments.labels is None else _from_labels
        table = make(arguments, out, chi_ppm, grid, talk)
        require_unchanged(stamps)
    print(table.to_string(index=False, float_format=lambda value: f"{value:.2f}"))
    return 0


def _state_memory(arguments: argparse.Namespace, talk: Talk) -> None:
    given = (arguments.chi, arguments.magnitude, arguments.t1w, arguments.uncertainty)
    shapes = [shape for file in given if file is not None and (shape := known_shape(file))]
    if shapes:
        state_memory(arguments, talk, nuclei_bytes(shapes, from_atlas=arguments.labels is None))


def _require_one_source(arguments: argparse.Namespace) -> None:
    """Labels come from an atlas or from a file, never from both."""
    of_atlas = {
        f"--{name}": getattr(arguments, name)
        for name in ("magnitude", "t1w", "atlas", "mask", "channels", "weighting", "reruns")
        if getattr(arguments, name) is not None
    }
    if arguments.labels is not None or arguments.names is not None:
        if of_atlas:
            raise InputError(f"{next(iter(of_atlas))} does not go with --labels; give an atlas's options or labels")
        if arguments.labels is None or arguments.names is None:
            raise InputError("--labels and --names go together; give both")
    elif arguments.magnitude is None:
        raise InputError("no labels: give --magnitude (and an --atlas), or --labels with --names")
    elif arguments.reruns is not None and arguments.reruns < 1:
        raise InputError(f"--reruns must be at least 1; got {arguments.reruns}")


def _of_atlas(arguments: argparse.Namespace) -> list[str]:
    """Names of files beside the table that a call with an atlas makes: older ones go where there are no new ones."""
    return [_beside(arguments.out, ending).name for ending in ("_dseg.nii.gz", "_dseg.tsv", ".png")]


def _targets(arguments: argparse.Namespace) -> list[Path]:
    out: Path = arguments.out
    require_named(out)
    beside = [] if arguments.labels is not None else [_beside(out, "_dseg.nii.gz"), _beside(out, ".png")]
    return [out, *beside]


def _beside(out: Path, ending: str) -> Path:
    return out.with_name(f"{out.stem}{ending}")


def _from_labels(
    arguments: argparse.Namespace, out: Path, chi_ppm: torch.Tensor, grid: Grid, talk: Talk
) -> pd.DataFrame:
    labels, own = read_volume(arguments.labels)
    require_same_grid(arguments.labels, own, grid, str(arguments.chi))
    names = read_label_names(arguments.names)
    valid = _valid_path(arguments.chi)
    n_outside = 0
    if valid.is_file():
        outside = ~read_mask(valid, grid, str(arguments.chi))
        n_outside = int((outside & (labels != 0)).sum())
        chi_ppm = chi_ppm.masked_fill(outside, math.nan)
        talk.say(f"  label voxels outside {valid.name}, not measured: {n_outside}")
    table = measure_regions(chi_ppm, labels, names, grid, participant=arguments.participant, arm=arguments.arm)
    table = _with_noise(arguments, table, chi_ppm, {number: labels == number for number in names}, names, grid)
    write_table(out, table, _about(arguments.chi, n_outside))
    return table


def _from_atlas(
    arguments: argparse.Namespace, out: Path, chi_ppm: torch.Tensor, grid: Grid, talk: Talk
) -> pd.DataFrame:
    arm = _arm_map(arguments, chi_ppm, grid, talk)
    t1w = None if arguments.t1w is None else read_volume(arguments.t1w)
    with talk.working("atlas"):
        atlas = find_atlas(arguments.atlas or ATLAS)
    options: dict[str, Any] = {"t1w": t1w, "channels": arguments.channels or "auto", "report": talk.step}
    store = _beside(arguments.out, "_transforms")
    with talk.stepping("registration"):
        (found,) = locate_nuclei([arm], atlas, reference=arm.name, store=store, seed=arguments.seed, **options)
    _say_placement(found.account, talk)
    alarms = _alarms(found, atlas.names, arguments.accept_alarm)
    say_alarms(alarms, talk)
    if sentence := small_labels(found, atlas.names):
        talk.say(f"  note: {sentence}")
    weighting = arguments.weighting or "label"
    # One map has nothing to share a mask with: its values keep the reference that the map has.
    measured_ppm = arm.chi_ppm.masked_fill(~arm.valid, math.nan)
    table = measure_nuclei(
        measured_ppm,
        found.probabilities,
        atlas.names,
        grid,
        participant=arguments.participant,
        arm=arguments.arm,
        weighting=weighting,
    )
    weights = weights_of(found.probabilities, atlas.names, weighting)
    table = _with_noise(arguments, table, measured_ppm, weights, atlas.names, grid)
    if arguments.reruns is not None:
        table = with_rerun_sd(
            table, arm, atlas, n_reruns=arguments.reruns, seed=arguments.seed, weighting=weighting, **options
        )
        talk.say(f"  spread over {arguments.reruns + 1} registrations: at most {table[COLUMN].max():.2f} ppb")
    _write_labels(out, f"{arguments.participant}, {arguments.arm}", arm, found, atlas.names)
    n_outside = int((~arm.valid & (found.labels != 0)).sum())
    told = {"Weighting": WEIGHTINGS[weighting], "MeanOverValidMask_ppm": found.reference_ppm}
    write_table(out, table, _about(arguments.chi, n_outside) | told | {"Registration": found.account} | _told(alarms))
    return table


def _say_placement(account: Mapping[str, Any], talk: Talk) -> None:
    """The score of the registration, and which nucleus is covered least."""
    placed = account["placement"]
    score = placed["local_correlation"]
    talk.say(
        f"  atlas {placed['atlas']['name']} by {placed['channels']}: local correlation {score['after']:.2f} "
        f"(affine alone {score['before']:.2f})"
    )
    least = min(account["coverage"], key=lambda key: account["coverage"][key]["valid"])
    talk.say(f"  coverage by the valid mask: at least {account['coverage'][least]['valid']:.1%} ({least})")


def _alarms(found: ArmNuclei, names: Mapping[int, tuple[str, str]], accepted: Sequence[str]) -> tuple[Alarm, ...]:
    """Alarms of the placed atlas; raises `InputError` where one stops that is not accepted."""
    figures = registration_alarm_figures(found.account) | least_side_distance_mm(found.labels, found.grid, names)
    alarms = alarms_of(figures, FAMILY)
    require_no_stop(alarms, f"arm {found.name}", accepted)
    return alarms


def _told(alarms: Sequence[Alarm]) -> dict[str, Any]:
    return {"Alarms": [alarm.as_dict() for alarm in alarms]}


def _with_noise(
    arguments: argparse.Namespace,
    table: pd.DataFrame,
    chi_ppm: torch.Tensor,
    weights: Mapping[int, torch.Tensor],
    names: Mapping[int, tuple[str, str]],
    grid: Grid,
) -> pd.DataFrame:
    """The table with the noise of each value, where its realisations are given."""
    if arguments.uncertainty is None:
        return table
    errors_ppm, own = read_series(arguments.uncertainty)
    require_same_grid(arguments.uncertainty, own, grid, str(arguments.chi))
    return with_noise_sd(table, errors_ppm, chi_ppm, weights, names, grid)


def _arm_map(arguments: argparse.Namespace, chi_ppm: torch.Tensor, grid: Grid, talk: Talk) -> ArmMap:
    image = read_image(arguments.magnitude)
    require_same_grid(arguments.magnitude, image.grid, grid, str(arguments.chi))
    echoes = torch.from_numpy(image.values.reshape(*grid.shape, -1)).float().nan_to_num(0.0, 0.0, 0.0)
    magnitude = echoes.square().sum(-1).sqrt()
    own = arguments.chi.with_name("mask.nii.gz")
    chosen = arguments.mask or (own if own.is_file() else None)
    if chosen is not None:
        brain = read_mask(chosen, grid, str(arguments.chi))
    else:
        talk.say("  brain mask: extracted from the magnitude")
        brain = brain_mask(magnitude, Scan(grid))
    valid_path = _valid_path(arguments.chi)
    valid = read_mask(valid_path, grid, str(arguments.chi)) if valid_path.is_file() else chi_ppm != 0
    valid = valid & torch.isfinite(chi_ppm)
    return ArmMap(arguments.arm, grid, magnitude, chi_ppm.nan_to_num(0.0, 0.0, 0.0).float(), brain, valid)


def _write_labels(out: Path, whose: str, arm: ArmMap, found: ArmNuclei, names: Any) -> None:
    """The labels with their names, and the picture."""
    title = f"{whose}: {found.account['placement']['atlas']['name']} atlas"
    figure = registration_figure(
        arm.magnitude, arm.chi_ppm, found.labels, arm.grid, names, probabilities=found.probabilities,
        template=found.template, title=title,
    )  # fmt: skip
    write_volume(_beside(out, "_dseg.nii.gz"), found.labels, arm.grid)
    write_label_names(_beside(out, "_dseg.tsv"), names)
    with whole_file(_beside(out, ".png")) as partial:
        partial.write_bytes(png(figure))


def _valid_path(chi: Path) -> Path:
    return chi.with_name("mask_desc-eroded.nii.gz")


def _about(chi: Path, n_outside: int) -> dict[str, Any]:
    return {"Reference": _reference(chi), "Map": chi.name, "LabelVoxelsOutsideMask": n_outside}


def _reference(chi: Path) -> Any:
    """What the map's sidecar says of its reference."""
    sidecar = sidecar_of(chi)
    return read_json(sidecar).get("Reference", "unknown") if sidecar.is_file() else "unknown: the map has no sidecar"
