"""Atlases from a folder of four files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.io.files import visible
from dlqsm.io.nifti import read_image, read_volume, require_same_grid
from dlqsm.io.tables import label_number, read_table

PARTS: Final = {
    "labels": "_dseg.nii.gz",
    "names": "_dseg.tsv",
    "probabilities": "_probseg.nii.gz",
    "template": "_T1w.nii.gz",
}
"""What each file's name ends with."""
_SHARE_OF_FULL: Final = 255.0


def read_atlas_folder(folder: Path) -> Atlas:
    """Read an atlas: labels, their names, one probability volume a nucleus and side, and a T1-weighted template.

    The order of the probability volumes stands in no file; each is matched to the label that it overlaps, so that no
    order is assumed. Probabilities are 0 to 1, or 0 to 255.

    Parameters
    ----------
    folder
        Holds one file each that ends in ``_dseg.nii.gz``, ``_dseg.tsv`` (columns index, abbreviation and hemisphere),
        ``_probseg.nii.gz`` and ``_T1w.nii.gz``, all on one grid; ``desc-brain`` in the template's name says that the
        skull is stripped.

    Raises
    ------
    InputError
        If a file is missing or twice there, grids differ, or volumes do not match the labels.
    """
    files = {part: _only(folder, ending) for part, ending in PARTS.items()}
    template, grid = read_volume(files["template"])
    labels, own = read_volume(files["labels"])
    require_same_grid(files["labels"], own, grid, files["template"].name)
    image = read_image(files["probabilities"])
    require_same_grid(files["probabilities"], image.grid, grid, files["template"].name)
    wanted = _label_numbers(files["names"])
    volumes = _as_probabilities(image.values, files["probabilities"], len(wanted))
    order = _order(volumes, labels.numpy(), wanted, files["probabilities"])
    probabilities = torch.from_numpy(np.ascontiguousarray(np.moveaxis(volumes[..., order], -1, 0)))
    hashes = {part: hashlib.sha256(file.read_bytes()).hexdigest() for part, file in files.items()}
    template = template.float().clamp_min(0.0)
    return Atlas(
        name=folder.resolve().name,
        template=template,
        skull_stripped="desc-brain" in files["template"].name,
        probabilities=probabilities,
        names=label_table(),
        grid=grid,
        brain=brain_of(template),
        source={f"{part} sha256": digest for part, digest in hashes.items()},
    )


def brain_of(template: torch.Tensor) -> torch.Tensor:
    """Brain of a skull-stripped template: where it is not zero, holes filled."""
    return torch.from_numpy(ndimage.binary_fill_holes((template > 0).numpy()))


def _only(folder: Path, ending: str) -> Path:
    found = visible(file for file in folder.iterdir() if file.name.endswith(ending))
    if len(found) != 1:
        came = "none" if not found else ", ".join(file.name for file in found)
        raise InputError(f"{folder}: expected one file whose name ends with {ending}; got {came}")
    return found[0]


def _label_numbers(path: Path) -> list[int]:
    """Number of each nucleus and side in the order of `label_table`."""
    table = read_table(path, ("index", "abbreviation", "hemisphere"))
    rows = {
        (str(a), str(h)): label_number(path, i)
        for i, a, h in table[["index", "abbreviation", "hemisphere"]].itertuples(index=False)
    }
    missing = [f"{roi} {side}" for roi, side in label_table().values() if (roi, side) not in rows]
    if missing:
        raise InputError(
            f"{path}: has no row for {', '.join(missing)}; the abbreviations must be {' '.join(NUCLEI)}, "
            "the hemispheres left and right"
        )
    return [rows[pair] for pair in label_table().values()]


def _as_probabilities(values: NDArray[np.floating], path: Path, expected: int) -> NDArray[np.float32]:
    n_volumes = values.shape[3] if values.ndim == 4 else 1
    if values.ndim != 4 or n_volumes != expected:
        raise InputError(f"{path}: has {n_volumes} volumes; expected {expected}, one a nucleus and side")
    low, high = float(values.min()), float(values.max())
    if low < 0 or not (high <= 1 or high == _SHARE_OF_FULL):
        raise InputError(f"{path}: values reach from {low:g} to {high:g}; expected probabilities 0 to 1, or 0 to 255")
    return (values / (1.0 if high <= 1 else _SHARE_OF_FULL)).astype(np.float32)


def _order(volumes: NDArray[np.float32], labels: NDArray[np.floating], wanted: list[int], path: Path) -> list[int]:
    """Index of the volume of each wanted label: the label that most of its certain voxels carry."""
    owner = {}
    for index in range(volumes.shape[3]):
        certain = volumes[..., index] >= 0.5 * volumes[..., index].max()
        numbers, counts = np.unique(labels[certain], return_counts=True)
        owner[index] = int(numbers[counts.argmax()])
    found = {number: index for index, number in owner.items()}
    if sorted(found) != sorted(wanted):
        lost = [index for index, number in owner.items() if number not in wanted]
        raise InputError(
            f"{path}: volumes {lost or list(owner)} overlap no nucleus of the label image as they should; "
            "expected one volume a nucleus and side on the same anatomy"
        )
    return [found[number] for number in wanted]
