"""Small valid inputs of every kind, which the malformed ones are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
from networks import random_network
from raw_fixtures import small_raw

from dlqsm.core.labels import label_table
from dlqsm.io.raw import write_raw
from dlqsm.reconstruction.learned.weights import save_network
from made_dicom import MadeSeries, both, write_classic
from made_twix import all_lines, point_readouts, write_made_twix

SHAPE = (10, 9, 8)
AFFINE = np.diag([1.6, 1.6, 2.0, 1.0])
ECHO_TIMES_S = (0.004, 0.008, 0.012)
QSM = "qsm OUT --quiet --magnitude IN/magnitude.nii.gz --phase IN/phase.nii.gz"
INVERT = "invert IN/field.nii.gz OUT.nii.gz --quiet --unit ppm --mask IN/mask.nii.gz"
LABELS = (
    "nuclei IN/chi.nii.gz OUT.tsv --quiet --participant 01 --arm PI2 --labels IN/labels.nii.gz --names IN/names.tsv"
)
ATLAS = (
    "nuclei IN/chi.nii.gz OUT.tsv --quiet --participant 01 --arm PI2 --magnitude IN/mask.nii.gz --mask IN/mask.nii.gz "
    "--atlas IN/atlas"
)
RUN = "run IN/bids OUT participant --quiet --atlas virtual"
RECON = "recon IN/raw.h5 OUT --quiet --method zero"
WEIGHTS = "recon IN/raw.h5 OUT --quiet --method cascade --weights IN/weights.safetensors"
AGREE = "agree IN/table.tsv OUT --quiet --reference PI2 --resamples 20"
CONVERT = "convert IN/dicom OUT --quiet"
TWIX = "convert IN/meas.dat OUT.h5 --quiet"
QSM_OF_RECON = "qsm OUT --quiet --recon IN/recon"
CONFIG = f"{QSM} --config IN/config.toml"
PROTOCOL = "simulate OUT --quiet --participants 1 --protocol IN/protocol.toml"


def image(path: Path, values: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(values, affine).to_filename(path)


def magnitude_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(10, 100, shape).astype(np.float32)


def phase_of(*shape: int) -> np.ndarray:
    return np.random.default_rng(2).uniform(-3.1, 3.1, shape).astype(np.float32)


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def sidecar(folder: Path, **changes: Any) -> None:
    """Write the sidecar of the phase, with entries changed; None leaves one out."""
    content = {"Units": "rad", "EchoTime": list(ECHO_TIMES_S), "MagneticFieldStrength": 3.0} | changes
    write_text(folder / "phase.json", json.dumps({k: v for k, v in content.items() if v is not None}))


def echo_images(folder: Path, n_echoes: int = len(ECHO_TIMES_S)) -> None:
    """Magnitude and phase, one 4-D file each, with the sidecar of the phase."""
    image(folder / "magnitude.nii.gz", magnitude_of(*SHAPE, n_echoes))
    image(folder / "phase.nii.gz", phase_of(*SHAPE, n_echoes))
    sidecar(folder)


def single_step(folder: Path) -> None:
    """A field, a map, a mask, labels with their names: what the single steps take."""
    inside = np.zeros(SHAPE, np.uint8)
    inside[2:-2, 2:-2, 2:-2] = 1
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 3, 3], labels[6, 3, 3] = 1, 2
    image(folder / "mask.nii.gz", inside)
    image(folder / "labels.nii.gz", labels)
    for name in ("field", "chi"):
        image(folder / f"{name}.nii.gz", 0.03 * phase_of(*SHAPE))
    write_text(folder / "names.tsv", "index\troi\tside\n1\tPu\tleft\n2\tPu\tright\n")


def atlas_folder(folder: Path) -> None:
    """An atlas of four files, beside what single steps take."""
    single_step(folder)
    table, atlas = label_table(), folder / "atlas"
    labels = np.zeros(SHAPE, np.uint8)
    shares = np.zeros((*SHAPE, len(table)), np.float32)
    for place, number in enumerate(table):
        spot = (1 + place % 7, 2 + 3 * (place // 7), 4)
        labels[spot], shares[(*spot, place)] = number, 1.0
    image(atlas / "small_dseg.nii.gz", labels)
    image(atlas / "small_probseg.nii.gz", shares)
    image(atlas / "small_desc-brain_T1w.nii.gz", magnitude_of(*SHAPE))
    write_label_table(atlas)


def write_label_table(atlas: Path, change: dict[int, str] | None = None) -> None:
    """The table of the atlas' labels; ``change`` gives other words for the index of some."""
    rows = [f"{(change or {}).get(n, n)}\t{roi}\t{side}" for n, (roi, side) in label_table().items()]
    write_text(atlas / "small_dseg.tsv", "\n".join(["index\tabbreviation\themisphere", *rows]) + "\n")


def dataset(folder: Path, *labels: str, n_echoes: int = 2) -> Path:
    """A BIDS dataset of images."""
    root, names = folder / "bids", labels or ("sub-01",)
    write_text(root / "dataset_description.json", json.dumps({"Name": "small", "BIDSVersion": "1.11.0"}))
    rows = "".join(f"{label}\t40\tF\n" for label in names)
    write_text(root / "participants.tsv", f"participant_id\tage\tsex\n{rows}")
    for label in names:
        for echo in range(1, n_echoes + 1):
            for part, values in (("mag", magnitude_of(*SHAPE)), ("phase", phase_of(*SHAPE))):
                stem = root / label / "anat" / f"{label}_acq-PI2_echo-{echo}_part-{part}_MEGRE"
                image(stem.with_suffix(".nii.gz"), values)
                told = {"EchoTime": ECHO_TIMES_S[echo - 1], "MagneticFieldStrength": 3.0, "Units": "rad"}
                write_text(stem.with_suffix(".json"), json.dumps(told))
    return root


def raw(folder: Path) -> Path:
    """ISMRMRD raw data."""
    path = folder / "raw.h5"
    write_raw(path, small_raw())
    return path


def recon(folder: Path) -> Path:
    """The folder that dlqsm recon writes."""
    made = folder / "recon"
    made.mkdir(parents=True, exist_ok=True)
    power = magnitude_of(len(ECHO_TIMES_S), *SHAPE)
    lags = magnitude_of(len(ECHO_TIMES_S) - 1, *SHAPE) * np.exp(1j * phase_of(len(ECHO_TIMES_S) - 1, *SHAPE))
    with h5py.File(made / "mdi.h5", "w") as file:
        file["lags"], file["power"], file["affine"] = lags.astype(np.complex64), power, AFFINE
        file["noise_sd"] = np.full(SHAPE, 0.1, np.float32)
        file.attrs["n_channels"] = 4
    image(made / "magnitude.nii.gz", magnitude_of(*SHAPE, len(ECHO_TIMES_S)))
    image(made / "phase.nii.gz", phase_of(*SHAPE, len(ECHO_TIMES_S)))
    scan = {"echo_times_s": list(ECHO_TIMES_S), "field_strength_t": 3.0, "b0_direction": [0.0, 0.0, 1.0]}
    write_text(made / "scan.json", json.dumps(scan | {"voxel_size_mm": [1.6, 1.6, 2.0], "shape": list(SHAPE)}))
    return made


def twix(folder: Path) -> Path:
    """Siemens raw data."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_made_twix(folder / "meas.dat", all_lines(point_readouts((2.0, -3.0, 4.0))))


def weights(folder: Path) -> Path:
    """Weights of a small network, with raw data that it could reconstruct."""
    path = folder / "weights.safetensors"
    raw(folder)
    save_network(path, random_network("cascade", features=4), {"data": "none"})
    return path


def dicom(folder: Path, **changes: Any) -> list[Path]:
    """A classic series of two echoes, magnitude and phase."""
    made = {"parts": both(2), "echo_times_ms": (4.0, 8.0)} | changes
    return write_classic(folder / "dicom", MadeSeries(**made))


def long_table(folder: Path, *, change: dict[str, str] | None = None, header: str | None = None) -> Path:
    """A table for dlqsm agree: four people, two arms; ``change`` gives other words for a column in the last row."""
    names = ["participant_id", "age", "arm", "roi", "side", "mean_ppb"]
    rows = [
        [f"sub-{person:02d}", str(30 + person), arm, "Pu", side, f"{40 + 3 * person + offset:.1f}"]
        for person in range(1, 5)
        for arm, offset in (("PI2", 0), ("DL3", person % 2))
        for side in ("left", "right")
    ]
    for name, word in (change or {}).items():
        rows[-1][names.index(name)] = word
    path = folder / "table.tsv"
    write_text(path, "\n".join([header or "\t".join(names), *("\t".join(row) for row in rows)]) + "\n")
    return path


def cut(path: Path, share: float = 0.5) -> None:
    """Leave the first part of a file."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
