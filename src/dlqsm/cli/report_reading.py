"""From files to what a participant's page is made of, for folders of dlqsm demo, dlqsm qsm and dlqsm run."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import dlqsm
from dlqsm.cohort.accounts import registration_figures
from dlqsm.core.labels import label_table
from dlqsm.core.scan import Grid
from dlqsm.io.images import read_complex_series, read_echo_series
from dlqsm.io.manifest import ArmFolders, Manifest, arm_file
from dlqsm.io.nifti import read_image, read_volume
from dlqsm.io.outputs import read_json
from dlqsm.io.tables import read_label_names, read_table
from dlqsm.nuclei.regions import COLUMNS
from dlqsm.report.participant import ArmMaps, ParticipantReport, Registration

Pictures = tuple[torch.Tensor | None, torch.Tensor | None]


def software() -> dict[str, str]:
    """Name to version, for the page."""
    found = {"dlqsm": dlqsm.__version__, "torch": torch.__version__, "numpy": np.__version__}
    return found | {"python": platform.python_version()}


def read_report(folder: Path, content: Manifest) -> ParticipantReport:
    """Read all that a page shows."""
    regions = pd.DataFrame(columns=list(COLUMNS))
    if content.regions is not None:
        regions = read_table(folder / content.regions, COLUMNS)
    similarity = None if content.similarity is None else read_table(folder / content.similarity, ("arm",))
    accounts = {} if content.registration is None else read_json(folder / content.registration)
    # The reference first: it is what the others are compared with, above, beside and in the flicker.
    arms = sorted(content.arms, key=lambda arm: arm.name != content.reference_arm)
    return ParticipantReport(
        content.participant,
        tuple(_arm(folder, arm, accounts.get(arm.name)) for arm in arms),
        regions,
        similarity,
        content.reference_arm,
        software(),
    )


def _arm(folder: Path, arm: ArmFolders, account: object) -> ArmMaps:
    def volume(key: str) -> torch.Tensor | None:
        path = arm_file(folder, arm, key)
        return None if path is None else read_volume(path)[0]

    chi_path, summary_path = arm_file(folder, arm, "Chimap"), arm_file(folder, arm, "summary")
    chi_ppm, grid = read_volume(chi_path or folder / arm.qsm / "Chimap.nii.gz")
    summary = read_json(summary_path or folder / arm.qsm / "qsm.json")
    scan = _scan_file(folder, arm, summary)
    magnitude, phase_rad = _pictures(folder, arm, summary, grid)
    acceleration, eroded = scan.get("acceleration"), volume("mask_desc-eroded")
    registration = read_registration(account) if isinstance(account, dict) else None
    # As in the paper, labels and shared mask then lie on the reference arm's grid and in its pose.
    is_elsewhere = registration is not None and "resampled" in registration.told
    common = None if is_elsewhere else volume("mask_desc-common")
    return ArmMaps(
        name=arm.name,
        acceleration=float(acceleration) if isinstance(acceleration, int | float) else None,
        grid=grid,
        magnitude=magnitude,
        phase_rad=phase_rad,
        total_field_hz=volume("fieldmap_desc-total"),
        local_field_hz=volume("fieldmap_desc-local"),
        noise_hz=volume("fieldmap_desc-noise"),
        chi_ppm=chi_ppm,
        mask=chi_ppm != 0 if eroded is None else eroded > 0,
        labels=None if arm.labels is None or is_elsewhere else read_labels(folder / arm.labels),
        truth_chi_ppm=_truth(folder, arm),
        summary={**summary, "scan": scan},
        shown_echo_s=arm.shown_echo_s or _shown_echo(scan),
        common_mask=None if common is None else common > 0,
        aligned_chi_ppm=volume("Chimap_aligned"),
        registration=registration,
    )


def read_labels(path: Path) -> torch.Tensor:
    """Labels by the numbers of `core.labels.label_table`; the table beside the image tells which they are there."""
    found = read_volume(path)[0].to(torch.int64)
    names = path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".tsv")
    if names.is_file():
        numbers = {pair: number for number, pair in label_table().items()}
        table = torch.zeros(int(found.max()) + 1, dtype=torch.int64)
        for number, pair in read_label_names(names).items():
            if 0 < number < len(table):
                table[number] = numbers.get(pair, 0)
        found = table[found]
    return found.to(torch.uint8)


def read_registration(account: dict[str, Any]) -> Registration:
    """What an arm's account tells of its registration."""
    found = registration_figures(account)
    return Registration(
        shift_mm=found.shift_mm,
        rotation_deg=found.rotation_deg,
        score=found.score,
        score_name=found.score_of,
        coverage=found.coverage,
        told=found.told,
        warnings=found.warnings,
        alarms=found.alarms,
    )


def _truth(folder: Path, arm: ArmFolders) -> torch.Tensor | None:
    # A dataset may have been moved since: the page then says that there is no truth.
    path = None if arm.truth_chi is None else folder / arm.truth_chi
    return read_volume(path)[0] if path is not None and path.is_file() else None


def _scan_file(folder: Path, arm: ArmFolders, summary: dict[str, Any]) -> dict[str, Any]:
    """What is known of the scan: from the account, and from the folder of the reconstruction where there is one."""
    told, recon = _mapping(summary.get("scan")), _recon_folder(folder, arm, summary)
    return told if recon is None else {**told, **read_json(recon / "scan.json")}


def _recon_folder(folder: Path, arm: ArmFolders, summary: dict[str, Any]) -> Path | None:
    if arm.files:
        return None
    told = str(_mapping(summary.get("sources")).get("recon", ""))
    recon = folder / arm.recon if arm.recon else folder / arm.qsm / told
    return recon if (recon / "scan.json").is_file() else None


def _pictures(folder: Path, arm: ArmFolders, summary: dict[str, Any], grid: Grid) -> Pictures:
    """Magnitude, combined over echoes, and the phase of one echo."""
    if arm.files:
        paths = arm_file(folder, arm, "magnitude"), arm_file(folder, arm, "phase")
        magnitude, phase = (None if p is None else read_volume(p)[0] for p in paths)
        return magnitude, phase
    recon = _recon_folder(folder, arm, summary)
    sources = _mapping(summary.get("sources"))
    return _input_images(folder / arm.qsm, sources, grid) if recon is None else _recon_images(recon)


def _recon_images(recon: Path) -> Pictures:
    """Magnitude (root sum of squares over echoes) and the phase of the middle echo."""
    magnitude = torch.from_numpy(read_image(recon / "magnitude.nii.gz").values)
    phase = torch.from_numpy(read_image(recon / "phase.nii.gz").values)
    return magnitude.square().sum(-1).sqrt(), phase[..., phase.shape[-1] // 2]


def _input_images(folder: Path, sources: dict[str, Any], grid: Grid) -> Pictures:
    """The same of the images that the maps in a folder were made from, where they still are."""
    is_complex = "real" in sources
    keys = ("real", "imag") if is_complex else ("magnitude", "phase")
    one, other = ([folder / str(f) for f in sources.get(key, [])] for key in keys)
    if not (one and other) or not all(f.is_file() for f in one + other):
        return None, None
    told: dict[str, Any] = {"echo_times_s": sources.get("echo_times_s"), "field_strength_t": None, "b0_direction": None}
    unit = sources.get("phase_unit")
    series = (
        read_complex_series(one, other, **told) if is_complex else read_echo_series(one, other, phase_unit=unit, **told)
    )
    if series.scan.grid.shape != grid.shape:
        return None, None
    phase_rad = series.phase_rad[series.phase_rad.shape[0] // 2, 0]
    return series.magnitude.square().sum((0, 1)).sqrt(), -phase_rad if sources.get("invert_phase") else phase_rad


def _shown_echo(scan: dict[str, Any]) -> float | None:
    """Echo time of the phase shown [s]: of the echo that the record names, else the middle one."""
    times = scan.get("echo_times_s") or scan.get("EchoTime")
    if not isinstance(times, list) or not times:
        return None
    index = scan.get("shown_echo", len(times) // 2)
    return float(times[index]) if isinstance(index, int) and 0 <= index < len(times) else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
