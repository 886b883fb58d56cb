"""The CIT168 atlas of deep nuclei, downloaded once: labels through nilearn, template through templateflow.

Imported only where this atlas is chosen: templateflow writes a folder into the home when it is loaded.

References
----------
Pauli, Nili & Tyszka, Sci Data 5:180063 (2018), doi:10.1038/sdata.2018.63 (labels);
Ciric et al., Nat Methods 19:1568 (2022), doi:10.1038/s41592-022-01681-2 (template archive).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import templateflow.api  # type: ignore[import-untyped]
import torch
from nilearn.datasets import fetch_atlas_pauli_2017
from numpy.typing import NDArray
from scipy import ndimage

from dlqsm.core.atlas import Atlas
from dlqsm.core.checks import InputError
from dlqsm.core.labels import NUCLEI, label_table
from dlqsm.core.scan import Grid
from dlqsm.io.atlas_files import brain_of
from dlqsm.io.nifti import Image, read_image, read_volume
from dlqsm.io.outputs import read_json, write_json

HASHES: Final = "dlqsm-sha256.json"
"""Beside the downloaded labels. No published hashes are known, so those of the first download are recorded."""
_LABELS: Final = "labels.txt"
"""Beside the labels: which volume is which nucleus."""


def fetch_cit168(folder: Path | None = None) -> Atlas:
    """The CIT168 labels of the seven nuclei, split at the midline, on the MNI152NLin2009cAsym brain template.

    Both are downloaded at the first call and read from disk afterwards. Their SHA-256 is recorded at the first
    download (none is published) and compared at each later call.

    Parameters
    ----------
    folder
        Where the labels are kept; nilearn's data folder where None. The template lies in templateflow's.

    Raises
    ------
    InputError
        If a download fails, as it does without a network, or a file is not the one that was downloaded first.
    """
    labels, names = _labels(folder)
    template = _template()
    order = labels.with_name(_LABELS)
    hashes = _check_hashes(labels.parent / HASHES, [labels, template, *([order] if order.is_file() else [])])
    volume, grid = read_volume(template)
    image = read_image(labels)
    if image.values.ndim != 4 or image.values.shape[3] != len(names):
        raise InputError(f"{labels}: has shape {image.values.shape}; expected {len(names)} volumes; delete it to renew")
    probabilities = _two_sides(_on_grid(image, [names.index(roi) for roi in NUCLEI], grid), grid)
    return Atlas(
        name="cit168",
        template=volume.float().clamp_min(0.0),
        skull_stripped=True,
        probabilities=probabilities,
        names=label_table(),
        grid=grid,
        brain=brain_of(volume),
        source={f"{name} sha256 (recorded at the first download)": digest for name, digest in hashes.items()},
    )


def _labels(folder: Path | None) -> tuple[Path, list[str]]:
    try:
        fetched: Any = fetch_atlas_pauli_2017(
            atlas_type="probabilistic", data_dir=None if folder is None else str(folder), verbose=0
        )
    except (OSError, ValueError, IndexError) as error:
        raise _no_download("labels", error) from None
    names = [str(name) for name in fetched.labels]
    missing = [roi for roi in NUCLEI if roi not in names]
    if missing:
        raise InputError(
            f"{fetched.maps}: the list of labels lacks {', '.join(missing)}; delete the folder to renew it"
        )
    return Path(fetched.maps), names


def _template() -> Path:
    try:
        found = templateflow.api.get(
            "MNI152NLin2009cAsym", resolution=1, desc="brain", suffix="T1w", extension=".nii.gz", raise_empty=True
        )
    except Exception as error:
        # templateflow lets through whatever its downloader raises.
        raise _no_download("template", error) from None
    path = Path(found[0] if isinstance(found, list) else found)
    if not path.is_file() or path.stat().st_size == 0:
        raise _no_download("template", "an empty file came")
    return path


def _no_download(what: str, error: object) -> InputError:
    reason = type(error).__name__ if isinstance(error, Exception) else str(error)
    return InputError(
        f"atlas cit168: the {what} could not be downloaded ({reason}); it needs a network once: run it where there is "
        "one, or give a folder with the four files by --atlas DIR"
    )


def _check_hashes(record: Path, files: Sequence[Path]) -> dict[str, str]:
    """Compare with the hashes of the first download; files that have none yet are recorded."""
    known = read_json(record) if record.is_file() else {}
    found = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    for file in files:
        if known.get(file.name, found[file.name]) != found[file.name]:
            raise InputError(
                f"{file}: is not the file that was downloaded first (SHA-256 differs); delete it to renew it"
            )
    if not set(found) <= set(known):
        write_json(record, {**known, **found})
    return found


def _on_grid(image: Image, chosen: Sequence[int], grid: Grid) -> NDArray[np.float32]:
    """Chosen volumes on another grid, trilinear, in [0, 1]."""
    matrix = np.linalg.inv(image.grid.affine) @ grid.affine
    moved = [
        ndimage.affine_transform(image.values[..., i], matrix[:3, :3], matrix[:3, 3], grid.shape, order=1)
        for i in chosen
    ]
    return np.clip(np.stack(moved).astype(np.float32), 0.0, 1.0)


def _two_sides(probabilities: NDArray[np.float32], grid: Grid) -> torch.Tensor:
    """Left volumes (x below zero in RAS), then right ones: the order of `label_table`."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij", sparse=False))
    x_mm = np.tensordot(grid.affine[0, :3], index, 1) + grid.affine[0, 3]
    return torch.from_numpy(
        np.concatenate([probabilities * (x_mm < 0), probabilities * (x_mm >= 0)]).astype(np.float32)
    )
