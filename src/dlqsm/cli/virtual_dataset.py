"""A virtual cohort on disk: raw data, T1w image and truth of each participant, and what the dataset tells of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch

from dlqsm.acquisition.conditions import AF_MODES
from dlqsm.acquisition.head import Head, Participant, make_head
from dlqsm.acquisition.protocols import Protocol
from dlqsm.acquisition.scan_times import scan_times
from dlqsm.acquisition.t1w import t1w_image
from dlqsm.acquisition.virtual_scan import Truth, VirtualScan, acquire
from dlqsm.cli.console import Talk
from dlqsm.cli.dataset_target import require_own
from dlqsm.core.anatomy import Anatomy
from dlqsm.core.checks import InputError
from dlqsm.core.labels import label_table
from dlqsm.io.bids import PARTICIPANTS, TRUTH, read_people
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import read_json, write_json, write_text
from dlqsm.io.raw import write_raw
from dlqsm.io.tables import write_label_names, write_table
from dlqsm.io.version import full_version

COHORT = "dlqsm virtual cohort"
"""How the names of these datasets begin."""
SCAN_TIMES = "scan_times.tsv"
_TRUTH_NOTE = "Made by simulation on a finer grid and cropped in k-space to the acquired grid"
_SCAN_TIME_COLUMNS = {
    "arm": "Arm",
    "af_mode": "nominal: the acceleration of the arm's name; time-matched: the one that gives the published time; "
    "central: the arm's samples at the published voxel size, of which the scan holds the central part",
    "acceleration": "Net acceleration factor over the whole matrix",
    "n_samples": "Lines acquired of the simulated matrix, one a TR",
    "scan_time_s": "n_samples times TR [s]",
    "paper_matrix_scan_time_s": "Time of that acceleration (central: of the name's) on the paper's 280 x 96 lines [s]",
    "published_s": "Scan time published for the arm, doi:10.3389/fnins.2025.1522227 [s]",
}


@dataclass(frozen=True, slots=True)
class Cohort:
    """What all scans of a virtual cohort share: protocol, arms, seed, and how their accelerations are meant."""

    protocol: Protocol
    arms: tuple[str, ...]
    seed: int
    af_mode: str = AF_MODES[0]

    @property
    def name(self) -> str:
        """Name of the dataset; it tells protocol, scale, matrix and coils."""
        protocol = self.protocol
        nx, ny, nz = protocol.shape
        matrix = f"{nx} x {ny} x {nz}, {protocol.n_coils} coils"
        mode = {"nominal": "", "central": ", central samples of the published voxel size"}.get(
            self.af_mode, f", {self.af_mode} accelerations"
        )
        return f"{COHORT}, protocol {protocol.name} ({matrix}){mode}, seed {self.seed}"


def simulate_participant(root: Path, anatomy: Anatomy, participant: Participant, cohort: Cohort, talk: Talk) -> None:
    """Write raw data, T1w image and truth of one participant into a dataset."""
    head = make_head(anatomy, participant)
    _write_t1w(root, head, cohort.seed)
    for arm in cohort.arms:
        with talk.working(f"{participant.label} {arm}"):
            scan = acquire(head, cohort.protocol, arm, cohort.seed, af_mode=cohort.af_mode)
            write_scan_files(root, participant.label, arm, scan, cohort.protocol)


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


def remove_other_scans(root: Path, labels: Sequence[str], cohort: Cohort) -> None:
    """Remove scans of an earlier virtual cohort that this one does not replace: they are of other heads.

    Where the description is absent, `require_virtual` has found the same people: a call was cut short.
    """
    description = root / "dataset_description.json"
    if not (root / PARTICIPANTS).is_file():
        return
    if description.is_file() and not str(read_json(description).get("Name")).startswith(COHORT):
        return
    kept = tuple(f"_acq-{arm}_" for arm in cohort.arms)
    for label in read_people(root)["participant_id"]:
        for folder in (root / label, root / "sourcedata" / label, root / TRUTH / label):
            for path in sorted(folder.rglob(f"{label}_*" if label not in labels else f"{label}_acq-*")):
                if label not in labels or not any(arm in path.name for arm in kept):
                    path.unlink()
            for empty in sorted([folder, *folder.rglob("*")], reverse=True):
                if empty.is_dir() and not any(empty.iterdir()):
                    empty.rmdir()


def require_virtual(root: Path, participants: Sequence[Participant]) -> None:
    """Raise `InputError` where a folder holds a dataset that is no virtual cohort; ``--overwrite`` is not for those."""
    require_own(root, f"{COHORT}*", "OUT")
    people = root / PARTICIPANTS
    if (root / "dataset_description.json").is_file() or not people.is_file():
        return
    if people.read_text(encoding="utf-8", errors="replace") != _people_text(participants):
        raise InputError(f"{people}: is of other people; give a new folder for the virtual cohort, or remove this file")


def _people_text(participants: Sequence[Participant]) -> str:
    rows = [(p.label, p.age_years, p.sex[0].upper()) for p in participants]
    return pd.DataFrame(rows, columns=["participant_id", "age", "sex"]).to_csv(sep="\t", index=False)


def write_people(root: Path, participants: Sequence[Participant]) -> None:
    """Write ``participants.tsv``: where no description has come yet, it tells whose scans the folder begins to hold."""
    write_text(root / PARTICIPANTS, _people_text(participants))


def describe_dataset(root: Path, participants: Sequence[Participant], cohort: Cohort) -> None:
    """Write ``participants.tsv`` and the dataset descriptions; the top one last, which says that all is there."""
    write_people(root, participants)
    units = {
        "age": {"Description": "age at the scan", "Units": "year"},
        "sex": {"Levels": {"F": "female", "M": "male"}},
    }
    write_json(root / "participants.json", units)
    generated = [{"Name": "dlqsm", "Version": full_version()}]
    common = {"BIDSVersion": "1.10.0", "GeneratedBy": generated}
    truth = {"Name": "dlqsm-truth: what was simulated", "DatasetType": "derivative", **common}
    write_json(root / TRUTH / "dataset_description.json", truth)
    write_label_names(root / TRUTH / "dseg.tsv", label_table())
    write_scan_times(root / TRUTH / SCAN_TIMES, cohort)
    about = {"Name": cohort.name, "DatasetType": "raw", **common}
    write_json(root / "dataset_description.json", about)


def write_scan_times(path: Path, cohort: Cohort) -> None:
    """Write what each arm samples and how long it takes, by each meaning of an acceleration."""
    times = pd.DataFrame([asdict(time) for time in scan_times(cohort.protocol, cohort.arms)])
    write_table(path, times, columns=_SCAN_TIME_COLUMNS)


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
