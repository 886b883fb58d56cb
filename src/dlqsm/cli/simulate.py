"""Make a virtual cohort as a BIDS dataset: raw ISMRMRD, a T1w image, and the truth of every scan.

Every arm of a participant is a scan of its own, with its own noise, pose, drift and shim; everything follows from the
seed.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch

import dlqsm
from dlqsm.acquisition.conditions import parse_arm
from dlqsm.acquisition.head import Head, Participant, draw_participants, make_head
from dlqsm.acquisition.protocols import PROTOCOLS, Protocol, protocol_from
from dlqsm.acquisition.t1w import t1w_image
from dlqsm.acquisition.virtual_scan import Truth, VirtualScan, acquire
from dlqsm.cli.arguments import path, positive
from dlqsm.cli.console import Talk, start
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.checks import InputError
from dlqsm.io.anatomy import load_anatomy
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import output_folder, whole_file, write_json
from dlqsm.io.raw import write_raw
from dlqsm.io.tables import write_label_names

ARMS = ("PI2", "DL3", "DL4", "DL5", "PI2rep")
TRUTH = Path("derivatives") / "dlqsm-truth"
_TRUTH_NOTE = "Made by simulation on a finer grid and cropped in k-space to the acquired grid"


def add_arguments(parser: argparse.ArgumentParser, words: list[str]) -> None:
    """Declare the arguments."""
    del words
    parser.add_argument("out", type=path, metavar="OUT", help="folder of the BIDS dataset")
    parser.add_argument("--participants", type=positive(int), metavar="N", required=True)
    parser.add_argument("--seed", type=int, default=0, help="(default: 0)")
    parser.add_argument("--protocol", default="small", metavar="paper|small|FILE.toml", help="(default: small)")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), metavar="ARM", help=f"(default: {' '.join(ARMS)})")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    talk, _ = start(arguments)
    protocol = read_protocol(arguments.protocol)
    for arm in arguments.arms:
        parse_arm(arm)
    anatomy = load_anatomy()
    participants = draw_participants(arguments.participants, arguments.seed)
    produces = ("dataset_description.json",)
    with output_folder(arguments.out, overwrite=arguments.overwrite, produces=produces) as root:
        for participant in participants:
            simulate_participant(root, anatomy, participant, protocol, arguments.arms, arguments.seed, talk)
        describe_dataset(root, participants, protocol, arguments.seed)
    print(arguments.out)
    return 0


def read_protocol(name: str) -> Protocol:
    """A protocol by name, or from a TOML file.

    Raises
    ------
    InputError
        If there is neither a protocol nor a file of that name, or the file cannot be used.
    """
    if name in PROTOCOLS:
        return PROTOCOLS[name]
    file = Path(name)
    if not file.is_file():
        raise InputError(f"unknown protocol '{name}'; choose one of {', '.join(PROTOCOLS)}, or name a TOML file")
    try:
        return protocol_from(tomllib.loads(file.read_text(encoding="utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: expected TOML, but it cannot be read ({error})") from None
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def simulate_participant(
    root: Path,
    anatomy: Anatomy,
    participant: Participant,
    protocol: Protocol,
    arms: Sequence[str],
    seed: int,
    talk: Talk,
) -> None:
    """Write raw data, T1w image and truth of one participant into a dataset."""
    head = make_head(anatomy, participant)
    _write_t1w(root, head, seed)
    for arm in arms:
        with talk.working(f"{participant.label} {arm}"):
            scan = acquire(head, protocol, arm, seed)
            write_scan_files(root, participant.label, arm, scan, protocol)


def write_scan_files(root: Path, label: str, arm: str, scan: VirtualScan, protocol: Protocol) -> None:
    """Write one virtual scan and its truth."""
    raw_path(root, label, arm).parent.mkdir(parents=True, exist_ok=True)
    write_raw(raw_path(root, label, arm), scan.raw)
    _write_truth(root, label, arm, scan.truth, protocol)


def raw_path(root: Path, label: str, arm: str) -> Path:
    """Raw data of one arm."""
    return root / "sourcedata" / label / "anat" / f"{label}_acq-{arm}_MEGRE.h5"


def truth_path(root: Path, label: str, arm: str, suffix: str) -> Path:
    """Truth of one arm, without file suffix, for example ``Chimap``, ``dseg`` or ``desc-local_fieldmap``."""
    folder = "fmap" if suffix.endswith("fieldmap") else "anat"
    return root / TRUTH / label / folder / f"{label}_acq-{arm}_{suffix}"


def describe_dataset(root: Path, participants: Sequence[Participant], protocol: Protocol, seed: int) -> None:
    """Write ``participants.tsv`` and the dataset descriptions; the top one last, which says that all is there."""
    rows = [(p.label, p.age_years, p.sex[0].upper()) for p in participants]
    with whole_file(root / "participants.tsv") as partial:
        pd.DataFrame(rows, columns=["participant_id", "age", "sex"]).to_csv(partial, sep="\t", index=False)
    units = {
        "age": {"Description": "age at the scan", "Units": "year"},
        "sex": {"Levels": {"F": "female", "M": "male"}},
    }
    write_json(root / "participants.json", units)
    generated = [{"Name": "dlqsm", "Version": dlqsm.__version__}]
    common = {"BIDSVersion": "1.10.0", "GeneratedBy": generated}
    truth = {"Name": "dlqsm-truth: what was simulated", "DatasetType": "derivative", **common}
    write_json(root / TRUTH / "dataset_description.json", truth)
    write_label_names(root / TRUTH / "dseg.tsv")
    about = {"Name": f"dlqsm virtual cohort, protocol {protocol.name}, seed {seed}", "DatasetType": "raw", **common}
    write_json(root / "dataset_description.json", about)


def _write_t1w(root: Path, head: Head, seed: int) -> None:
    label = head.participant.label
    values, grid = t1w_image(head, seed)
    stem = root / label / "anat" / f"{label}_T1w"
    write_volume(stem.with_name(f"{stem.name}.nii.gz"), values, grid)
    write_json(stem.with_name(f"{stem.name}.json"), {"Manufacturer": "dlqsm virtual scanner", "Modality": "MR"})


def _write_truth(root: Path, label: str, arm: str, truth: Truth, protocol: Protocol) -> None:
    volumes: dict[str, tuple[torch.Tensor, str]] = {
        "Chimap": (truth.chi_ppm, "ppm"),
        "R2starmap": (truth.r2star_hz, "1/s"),
        "dseg": (truth.labels, "1"),
        "mask": (truth.mask, "1"),
        "desc-total_fieldmap": (truth.total_field_hz, "Hz"),
        "desc-local_fieldmap": (truth.local_field_hz, "Hz"),
    }
    for suffix, (values, unit) in volumes.items():
        stem = truth_path(root, label, arm, suffix)
        write_volume(stem.with_name(f"{stem.name}.nii.gz"), values, truth.grid)
        sidecar = {"Units": unit, "Description": _TRUTH_NOTE, "SkullStripped": suffix != "desc-total_fieldmap"}
        write_json(stem.with_name(f"{stem.name}.json"), sidecar)
    scan = truth_path(root, label, arm, "scan")
    write_json(scan.with_name(f"{scan.name}.json"), {"protocol": asdict(protocol), "conditions": truth.conditions})
