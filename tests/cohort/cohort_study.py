"""What tests of a run look at: records, tables, and participants made by copying."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from dlqsm.cli import main
from dlqsm.io.nifti import read_image, write_volume
from dlqsm.io.outputs import write_json

Run = Callable[..., int]
THREADS = ("--threads", "1")
"""Bytes are compared between processes, and sums over one thread and two differ in the last digits."""


def copy_participant(top: Path, label: str, new: str) -> None:
    """Copy the folder of a participant to another label."""
    for path in (top / label).rglob("*"):
        if path.is_file():
            target = top / new / path.relative_to(top / label).parent / path.name.replace(label, new)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target)


def records(out: Path) -> dict[str, tuple[str, int]]:
    """Key and time of writing of each record: what shows whether a stage has run again."""
    found = sorted((out / "logs" / "records").glob("sub-*/*_*.json"))
    return {str(p.relative_to(out)): (json.loads(p.read_text())["key"], p.stat().st_mtime_ns) for p in found}


def tables(out: Path) -> dict[str, bytes]:
    """Content of every table of the participants and the group."""
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.tsv")) if "logs" not in p.parts}


def write_images(study: Path, bids: Path, recon: Path, *, even_echoes_rad: float = 0.0) -> None:
    """A dataset of one participant with echo images, phase in the unit of an inherited sidecar.

    They are PI2 of the study's first participant; the phase of its even echoes (2, 4) is shifted.
    """
    raw = study / "sourcedata" / "sub-001" / "anat" / "sub-001_acq-PI2_MEGRE.h5"
    assert main(["recon", str(raw), str(recon), "--quiet"]) == 0
    anat = bids / "sub-9" / "anat"
    anat.mkdir(parents=True)
    for part, name in (("mag", "magnitude"), ("phase", "phase")):
        image = read_image(recon / f"{name}.nii.gz")
        for echo, time_s in enumerate((0.0033, 0.0064, 0.0095, 0.0126), start=1):
            values = torch.from_numpy(image.values[..., echo - 1].copy())
            if part == "phase" and echo % 2 == 0:
                values = torch.remainder(values + even_echoes_rad + torch.pi, 2 * torch.pi) - torch.pi
            stem = f"sub-9_acq-A_echo-{echo}_part-{part}_MEGRE"
            write_volume(anat / f"{stem}.nii.gz", values, image.grid)
            write_json(anat / f"{stem}.json", {"EchoTime": time_s})
    write_json(bids / "part-phase_MEGRE.json", {"Units": "rad", "MagneticFieldStrength": 3.0})
    write_json(bids / "dataset_description.json", {"Name": "images", "BIDSVersion": "1.11.0"})


def quick_words(study: Path, out: Path, config: Path, *more: str) -> list[str]:
    """A run of two participants, three arms in all, by reconstructions and maps that take a second each."""
    people = ("--participant-label", "001", "003")
    how = ("--method", "zero", "--config", str(config), *THREADS, "--quiet")
    return ["run", str(study), str(out), "participant", *people, *how, *more]
