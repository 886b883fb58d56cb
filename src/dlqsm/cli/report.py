"""Rebuild the HTML page of a folder that dlqsm demo or dlqsm qsm wrote: OUT/report.html, one self-contained file."""

from __future__ import annotations

import argparse
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import dlqsm
from dlqsm.cli.arguments import path
from dlqsm.cli.console import start
from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io import manifest
from dlqsm.io.images import read_echo_series
from dlqsm.io.manifest import ArmFolders, Manifest
from dlqsm.io.maps import SUMMARY
from dlqsm.io.nifti import read_image, read_volume
from dlqsm.io.outputs import read_json, write_text
from dlqsm.io.tables import read_table
from dlqsm.nuclei.regions import COLUMNS
from dlqsm.report.page import participant_page
from dlqsm.report.participant import ArmMaps, ParticipantReport

PAGE = "report.html"

Pictures = tuple[torch.Tensor | None, torch.Tensor | None]


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("out", type=path, metavar="OUT", help="folder that holds report.json or qsm.json")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the page is made from other files, so that it is replaced without being asked."""
    start(arguments)
    print(build_page(arguments.out))
    return 0


def build_page(folder: Path) -> Path:
    """Make ``report.html`` of a folder.

    Raises
    ------
    InputError
        If the folder holds neither ``report.json`` nor ``qsm.json``.
    """
    if (folder / manifest.NAME).is_file():
        content = manifest.read_manifest(folder)
    elif (folder / SUMMARY).is_file():
        content = Manifest(folder.resolve().name, (ArmFolders(folder.resolve().name, "."),))
    else:
        raise InputError(f"{folder}: expected a folder written by dlqsm demo or dlqsm qsm; it has no {SUMMARY}")
    write_text(folder / PAGE, participant_page(read_report(folder, content)))
    return folder / PAGE


def read_report(folder: Path, content: Manifest) -> ParticipantReport:
    """Read all that a page shows."""
    regions = pd.DataFrame(columns=list(COLUMNS))
    if content.regions is not None:
        regions = read_table(folder / content.regions, COLUMNS)
    similarity = None if content.similarity is None else read_table(folder / content.similarity, ("arm",))
    return ParticipantReport(
        content.participant,
        tuple(_arm(folder, arm) for arm in content.arms),
        regions,
        similarity,
        content.reference_arm,
        {"dlqsm": dlqsm.__version__, "torch": torch.__version__, "numpy": np.__version__}
        | {"python": platform.python_version()},
    )


def _arm(folder: Path, arm: ArmFolders) -> ArmMaps:
    qsm = folder / arm.qsm
    summary = read_json(qsm / SUMMARY)
    chi_ppm, grid = read_volume(qsm / "Chimap.nii.gz")
    sources = _mapping(summary.get("sources"))
    recon = folder / arm.recon if arm.recon else Path(str(sources.get("recon", "")))
    scan_file = read_json(recon / "scan.json") if (recon / "scan.json").is_file() else {}
    magnitude, phase_rad = _recon_images(recon) if scan_file else _input_images(sources, grid)
    acceleration = scan_file.get("acceleration")
    return ArmMaps(
        name=arm.name,
        acceleration=acceleration if isinstance(acceleration, float) else None,
        grid=grid,
        magnitude=magnitude,
        phase_rad=phase_rad,
        total_field_hz=read_volume(qsm / "fieldmap_desc-total.nii.gz")[0],
        local_field_hz=read_volume(qsm / "fieldmap_desc-local.nii.gz")[0],
        chi_ppm=chi_ppm,
        mask=read_volume(qsm / "mask_desc-eroded.nii.gz")[0] > 0,
        labels=None if arm.labels is None else read_volume(folder / arm.labels)[0].to(torch.uint8),
        truth_chi_ppm=None if arm.truth_chi is None else read_volume(folder / arm.truth_chi)[0],
        summary={**summary, "scan": {**_mapping(summary.get("scan")), **scan_file}},
        shown_echo_s=_middle_echo(scan_file.get("echo_times_s") or _mapping(summary.get("scan")).get("EchoTime")),
    )


def _recon_images(recon: Path) -> Pictures:
    """Magnitude (root sum of squares over echoes) and the phase of the middle echo."""
    magnitude = torch.from_numpy(read_image(recon / "magnitude.nii.gz").values)
    phase = torch.from_numpy(read_image(recon / "phase.nii.gz").values)
    return magnitude.square().sum(-1).sqrt(), phase[..., phase.shape[-1] // 2]


def _input_images(sources: dict[str, Any], grid: Grid) -> Pictures:
    """The same of the images that the maps were made from, where they still are."""
    files = [Path(str(f)) for key in ("magnitude", "phase") for f in sources.get(key, [])]
    if not files or not all(f.is_file() for f in files):
        return None, None
    series = read_echo_series(
        [Path(f) for f in sources["magnitude"]],
        [Path(f) for f in sources["phase"]],
        phase_unit=sources.get("phase_unit"),
        echo_times_s=sources.get("echo_times_s"),
        field_strength_t=None,
        b0_direction=None,
    )
    if series.scan.grid.shape != grid.shape:
        return None, None
    return series.magnitude.square().sum((0, 1)).sqrt(), series.phase_rad[series.phase_rad.shape[0] // 2, 0]


def _middle_echo(echo_times_s: object) -> float | None:
    return echo_times_s[len(echo_times_s) // 2] if isinstance(echo_times_s, list) and echo_times_s else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
