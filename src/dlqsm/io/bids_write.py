"""A raw BIDS dataset, written: names, sidecars without anything that names a person, and what describes the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

from dlqsm.core.checks import InputError
from dlqsm.core.scan import Grid
from dlqsm.io.bids import DESCRIPTION, PARTICIPANTS
from dlqsm.io.bids_arms import SUFFIX
from dlqsm.io.bids_names import join_name
from dlqsm.io.derivatives import BIDS_VERSION, sidecar_of
from dlqsm.io.dicom_header import Person
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import read_json, whole_file, write_json, write_text
from dlqsm.io.tables import read_table
from dlqsm.io.version import full_version

KEPT: Final = (
    "Modality", "MagneticFieldStrength", "ImagingFrequency", "Manufacturer", "ManufacturersModelName",
    "SoftwareVersions", "BodyPart", "PatientPosition", "MRAcquisitionType", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "SequenceName", "PulseSequenceName", "PulseSequenceType", "ImageType", "SeriesNumber",
    "SliceThickness", "SpacingBetweenSlices", "SAR", "EchoNumber", "EchoTime", "RepetitionTime", "InversionTime",
    "FlipAngle", "MTState", "SpoilingState", "SpoilingType", "SpoilingRFPhaseIncrement", "NumberOfAverages",
    "EchoTrainLength", "CoilString", "CoilCombinationMethod", "MatrixCoilMode", "ReceiveCoilName",
    "ReceiveCoilActiveElements", "PercentPhaseFOV", "PercentSampling", "PhaseEncodingSteps",
    "PhaseEncodingStepsOutOfPlane", "PhaseOversampling", "PhaseResolution", "FrequencyEncodingSteps",
    "AcquisitionMatrixPE", "ReconMatrixPE", "BaseResolution", "AcquisitionDuration", "NumberOfKSpaceTrajectories",
    "PartialFourier", "PartialFourierDirection", "ParallelReductionFactorInPlane",
    "ParallelReductionFactorOutOfPlane", "ParallelAcquisitionTechnique", "CompressedSensingFactor", "AccelFactPE",
    "AccelFact3D", "RefLinesPE", "WaterFatShift", "DwellTime", "PixelBandwidth", "PhaseEncodingAxis",
    "PhaseEncodingDirection", "SliceEncodingDirection", "ImageOrientationPatientDICOM",
    "InPlanePhaseEncodingDirectionDICOM", "NonlinearGradientCorrection", "ConversionSoftware",
    "ConversionSoftwareVersion",
)  # fmt: skip
"""Entries of dcm2niix's sidecar that are passed on; the others may name a person, an examination or a machine."""
FREE_TEXT: Final = ("SeriesDescription", "ProtocolName")
"""Entries that people type: passed on, as all texts are, where they hold nothing that the headers name."""
_VOCABULARY: Final = (
    "Modality", "Manufacturer", "PatientPosition", "MRAcquisitionType", "ScanningSequence", "SequenceVariant",
    "ScanOptions", "ImageType", "ConversionSoftware", "ConversionSoftwareVersion", "SoftwareVersions",
)  # fmt: skip
"""Texts that standard or maker choose: what follows relies on them, and they name nobody."""
_ABOUT_PEOPLE: Final = {
    "age": {"Description": "age at the scan; 89+ above 89", "Units": "year"},
    "sex": {"Description": "sex as in the scanner's record", "Levels": {"F": "female", "M": "male", "O": "other"}},
}


def image_path(root: Path, entities: Mapping[str, str | None], suffix: str) -> Path:
    """Path of an image in a raw dataset."""
    return _anat(root, entities) / join_name(entities, suffix)


def raw_data_path(root: Path, entities: Mapping[str, str | None]) -> Path:
    """Path of raw data, which BIDS leaves to ``sourcedata``."""
    return _anat(root / "sourcedata", entities) / join_name(entities, SUFFIX, ".h5")


def images_of_scan(root: Path, entities: Mapping[str, str | None]) -> list[Path]:
    """Images and sidecars that a dataset holds of one scan."""
    stem = join_name(entities, "", "").removesuffix("_")
    return sorted(_anat(root, entities).glob(f"{stem}_echo-*_{SUFFIX}.*"))


def safe_sidecar(sidecar: Mapping[str, Any], person: Person) -> dict[str, Any]:
    """What may be passed on of a sidecar of dcm2niix."""
    kept = {key: sidecar[key] for key in (*KEPT, *FREE_TEXT) if key in sidecar}
    return {k: v for k, v in kept.items() if k in _VOCABULARY or not _is_named(v, person)}


def _is_named(value: Any, person: Person) -> bool:
    return not isinstance(value, int | float) and person.is_named_in(str(value))


def write_image(path: Path, values: torch.Tensor, grid: Grid, sidecar: Mapping[str, Any]) -> None:
    """Write an image as float32 and its sidecar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, values, grid)
    write_json(sidecar_of(path), dict(sidecar))


def participants_of(root: Path) -> list[str]:
    """Labels, with ``sub-``, of those that a dataset has already."""
    folders = {p.name for top in (root, root / "sourcedata") for p in top.glob("sub-*") if _holds_files(p)}
    return sorted(folders)


def _holds_files(folder: Path) -> bool:
    """Whether a folder holds more than what a conversion that was stopped leaves."""
    return any(path.is_file() and not path.name.startswith(".") for path in folder.rglob("*"))


def describe_raw_dataset(root: Path, label: str, person: Person) -> None:
    """Add a participant to the table, and write what describes a dataset where it is absent; the description last.

    A participant with raw data alone gets no row: BIDS demands a folder of images for each.
    """
    if (root / label).is_dir():
        _add_participant(root / PARTICIPANTS, label, person)
    columns = root / Path(PARTICIPANTS).with_suffix(".json").name
    if (root / PARTICIPANTS).exists() and not columns.exists():
        write_json(columns, _ABOUT_PEOPLE)
    if not any((root / name).exists() for name in ("README", "README.md", "README.txt", "README.rst")):
        write_text(root / "README", README.format(version=full_version()))
    if not (root / DESCRIPTION).exists():
        about = {
            "Name": root.resolve().name,
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "raw",
            "GeneratedBy": [{"Name": "dlqsm", "Version": full_version()}],
        }
        write_json(root / DESCRIPTION, about)


def require_raw_dataset(root: Path) -> None:
    """Raise `InputError` where a folder is a dataset that nothing may be added to."""
    if not (root / DESCRIPTION).is_file():
        return
    kind = read_json(root / DESCRIPTION).get("DatasetType", "raw")
    if kind != "raw":
        raise InputError(f"{root}: is a {kind} dataset; expected a raw one or a new folder: give another folder")


def _add_participant(path: Path, label: str, person: Person) -> None:
    """A row of the participant; other rows and columns stay, and so does a row that is there."""
    row = {"participant_id": label, "age": person.age, "sex": person.sex}
    table = read_table(path, ("participant_id",), as_text=True) if path.is_file() else pd.DataFrame(columns=list(row))
    if label in set(table["participant_id"]):
        return
    table = pd.concat([table, pd.DataFrame([{k: v for k, v in row.items() if k in table.columns}])])
    with whole_file(path) as partial:
        table.to_csv(partial, sep="\t", index=False, na_rep="n/a")


def _anat(root: Path, entities: Mapping[str, str | None]) -> Path:
    session = entities.get("ses")
    folder = root / f"sub-{entities['sub']}"
    return (folder / f"ses-{session}" if session else folder) / "anat"


README: Final = """# Multi-echo gradient-echo scans

Made by dlqsm {version} (research software, not a medical device).

- sub-*/anat: magnitude and phase of each echo (MEGRE, phase in radian), and a T1-weighted image where there was one
- sourcedata/sub-*/anat: raw k-space in ISMRMRD form, where scans were given so

Names, dates and numbers that could tell who was scanned, when or on which machine were left out. Images of the head
show a face: deface the T1-weighted images before you share them.
"""
