"""The BIDS derivatives that ``dlqsm run`` writes: names, sidecars, and what describes the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd
import torch

from dlqsm.core.scan import Grid
from dlqsm.io.bids import DESCRIPTION
from dlqsm.io.bids_names import join_name, label_of, participant_of
from dlqsm.io.bids_sources import Entities
from dlqsm.io.nifti import write_volume
from dlqsm.io.outputs import whole_file, write_json, write_text
from dlqsm.io.places import told_place
from dlqsm.io.version import full_version

BIDS_VERSION: Final = "1.11.0"
REPOSITORY_NAME: Final = "dlqsm"
NAME_START: Final = "dlqsm derivatives of "


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of image is named and described.

    Parameters
    ----------
    suffix, datatype
        BIDS suffix and folder.
    unit
        Entry ``Units`` of the sidecar.
    extra
        Entities beside those of the arm.
    stripped
        Whether it shows the brain only.
    description
        Sentence for the sidecar; that of a ``desc-`` label goes into descriptions.tsv too.
    """

    suffix: str
    datatype: str
    unit: str
    extra: Mapping[str, str]
    stripped: bool
    description: str


KINDS: Final = {
    "Chimap": Kind("Chimap", "anat", "ppm", {}, True, "Magnetic susceptibility, its mean over the reference zero"),
    "Chimap_desc-noise": Kind(
        "Chimap",
        "anat",
        "ppm",
        {"desc": "noise"},
        True,
        "Standard deviation of the susceptibility by noise of the field",
    ),
    "Chimap_desc-realisations": Kind(
        "Chimap",
        "anat",
        "ppm",
        {"desc": "realisations"},
        True,
        "Errors of the susceptibility by noise of the field, one volume a realisation",
    ),
    "R2starmap": Kind("R2starmap", "anat", "1/s", {}, True, "Effective transverse relaxation rate"),
    "mask": Kind("mask", "anat", "1", {"desc": "brain"}, True, "Brain with trustworthy phase"),
    "mask_desc-eroded": Kind(
        "mask", "anat", "1", {"desc": "eroded"}, True, "Where local field and susceptibility are valid"
    ),
    "mask_desc-common": Kind(
        "mask", "anat", "1", {"desc": "common"}, True, "Where the susceptibility of all arms is valid; the reference"
    ),
    "quality": Kind("probseg", "anat", "1", {"desc": "phasequality"}, True, "Quality of the phase, 1 best"),
    "magnitude": Kind(
        "T2starw",
        "anat",
        "arbitrary",
        {"part": "mag", "desc": "combined"},
        False,
        "Root of the sum of squares of all echoes",
    ),
    "phase": Kind("MEGRE", "anat", "rad", {"part": "phase"}, False, "Wrapped phase of one echo"),
    "fieldmap_desc-total": Kind("fieldmap", "fmap", "Hz", {"desc": "total"}, False, "Field of all sources, unwrapped"),
    "fieldmap_desc-local": Kind("fieldmap", "fmap", "Hz", {"desc": "local"}, True, "Field of sources in the mask"),
    "fieldmap_desc-noise": Kind(
        "fieldmap", "fmap", "Hz", {"desc": "noise"}, True, "Standard deviation of the field by noise"
    ),
    "dseg": Kind("dseg", "anat", "1", {}, True, "Deep brain nuclei, from the atlas"),
    "Chimap_aligned": Kind(
        "Chimap", "anat", "ppm", {"desc": "aligned"}, True, "Susceptibility moved to the grid of the reference arm"
    ),
}
"""Images by the key that the rest of the program knows them by (`io.manifest.FILE_KEYS`)."""

TABLE_SUFFIX: Final = "qsmstats"
ACCOUNT_SUFFIX: Final = "qsmaccount"
IGNORED: Final = (
    "logs",
    "work",
    "group",
    "group*.json",
    "prov",
    "*.html",
    "**/figures",
    "**/xfm",
    "**/report.json",
    f"**/*_{TABLE_SUFFIX}.*",
    f"*_{TABLE_SUFFIX}.*",
    f"**/*_{ACCOUNT_SUFFIX}.json",
    "**/fmap",
    ".dlqsm.lock",
)
"""Lines of .bidsignore: what BIDS has no name for: region tables, accounts, transforms, provenance.

Field maps too: they may have no rec-, and the validator wants a magnitude image of the same name beside each.
"""


_ON_ITS_OWN_GRID: Final = ("mask", "dseg", "probseg")
_DSEG_COLUMNS: Final = {
    "roi": {"Description": "Nucleus"},
    "side": {"Description": "left or right"},
}
"""Columns of the table beside a label image, which shares its sidecar."""


def derivative_path(out: Path, label: str, entities: Entities, kind: str, **more: str | None) -> Path:
    """Path of an image of one arm; ``entities`` name the arm, ``more`` adds or replaces entities."""
    about = KINDS[kind]
    named = {"sub": _subject(label), **dict(entities), **about.extra, **more}
    return _folder(out, label, entities) / about.datatype / join_name(named, about.suffix)


def account_path(out: Path, label: str, entities: Entities) -> Path:
    """Path of the account of one arm: all decisions, seconds, convergence."""
    named = {"sub": _subject(label), **dict(entities)}
    return _folder(out, label, entities) / "anat" / join_name(named, ACCOUNT_SUFFIX, ".json")


def table_path(out: Path, label: str, desc: str) -> Path:
    """Path of a table of one participant or session, all arms in it; of the group for ``group``, ``group_ses-1``."""
    name = f"{label}_desc-{desc}_{TABLE_SUFFIX}.tsv"
    return out / name if label.startswith("group") else unit_folder(out, label) / name


def registration_path(out: Path, label: str) -> Path:
    """Path of the account of the registration of all arms of a participant or session."""
    return unit_folder(out, label) / f"{label}_desc-registration_{ACCOUNT_SUFFIX}.json"


def unit_folder(out: Path, label: str) -> Path:
    """Folder of what is made of all arms together: ``sub-01``, or ``sub-01/ses-1`` for the label ``sub-01_ses-1``."""
    return out.joinpath(*label.split("_"))


def write_derivative(path: Path, values: torch.Tensor, grid: Grid, kind: str, sidecar: Mapping[str, Any]) -> Path:
    """Write an image and its sidecar; return the image's path."""
    about = KINDS[kind]
    content = {"Description": about.description, "Units": about.unit, "SkullStripped": about.stripped}
    extra: dict[str, Any] = {"Type": "Brain"} if about.suffix == "mask" else {}
    if about.suffix in _ON_ITS_OWN_GRID:
        extra["SpatialReference"] = "orig"
    if about.suffix == "dseg":
        extra |= _DSEG_COLUMNS
    software = {"GeneratedBy": [_generator()]}
    write_volume(path, values, grid)
    write_json(sidecar_of(path), {**content, **extra, **sidecar, **software})
    return path


def sidecar_of(path: Path) -> Path:
    """The JSON beside an image or a table."""
    name = path.name.removesuffix(".gz").removesuffix(".nii").removesuffix(".tsv")
    return path.with_name(f"{name}.json")


def uri(path: Path, out: Path, bids: Path) -> str:
    """The BIDS URI of a file of this dataset, or of the one that it was made from."""
    if path.is_relative_to(out):
        return f"bids::{path.relative_to(out).as_posix()}"
    return f"bids:raw:{path.relative_to(bids).as_posix()}" if path.is_relative_to(bids) else path.name


def describe(out: Path, bids: Path, name: str, atlas: str, citation: str | None = None) -> None:
    """Write what describes the derivatives as a dataset, dataset_description.json last.

    Parameters
    ----------
    out, bids
        Folder of the derivatives, and the dataset that they are made from.
    name
        What that dataset calls itself.
    atlas
        Its name, or its folder.
    citation
        What is to be cited; not written where None.
    """
    atlas = Path(atlas).resolve().name
    ignore, readme = out / ".bidsignore", out / "README"
    ignored = ignore.read_text(encoding="utf-8").splitlines() if ignore.is_file() else []
    write_text(ignore, "\n".join([*ignored, *(line for line in IGNORED if line not in ignored)]) + "\n")
    if not readme.is_file() or readme.read_text(encoding="utf-8", errors="replace").startswith(TITLE):
        write_text(readme, README.format(name=name, version=full_version()))
    with whole_file(out / "descriptions.tsv") as partial:
        pd.DataFrame(_descriptions().items(), columns=["desc_id", "description"]).to_csv(partial, sep="\t", index=False)
    label = label_of(atlas)
    about_atlas = {"Name": f"Deep brain nuclei of {atlas}", "License": "see the atlas"}
    write_json(out / f"atlas-{label}_description.json", about_atlas)
    if citation is not None:
        write_text(out / "logs" / "CITATION.md", citation)
    link = told_place(bids, out)
    content = {
        "Name": f"{NAME_START}{name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [_generator()],
        "SourceDatasets": [{"URL": link}],
        "DatasetLinks": {"raw": link},
    }
    write_json(out / DESCRIPTION, content)


def _descriptions() -> dict[str, str]:
    """What each ``desc-`` label means: one sentence a kind of image that carries it."""
    meaning: dict[str, str] = {}
    for kind in KINDS.values():
        if "desc" in kind.extra:
            label = f"desc-{kind.extra['desc']}"
            meaning[label] = f"{meaning[label]}; {kind.description}" if label in meaning else kind.description
    return meaning


def _folder(out: Path, label: str, entities: Entities) -> Path:
    session, own = dict(entities).get("ses"), out / participant_of(label)
    return own / f"ses-{session}" if session else own


def _subject(label: str) -> str:
    return participant_of(label).removeprefix("sub-")


def _generator() -> dict[str, str]:
    return {"Name": REPOSITORY_NAME, "Version": full_version()}


TITLE: Final = "# Susceptibility of the deep brain nuclei"
"""First line of a README of dlqsm: one of another first line is somebody's, and stays."""
README: Final = (
    f"{TITLE}\n"
    + """\

Derivatives of the dataset '{name}', made by dlqsm {version} (research software, not a medical device).

- sub-*.html: a page for each participant; group.html: the comparison of the arms over all participants
- with sessions: a page, tables and a group page for each of them, sub-*_ses-*.html and group_ses-*.html
- sub-*/anat: susceptibility (Chimap, ppm), R2* (1/s), masks, label images of the nuclei
- sub-*/fmap: total and local field, and its noise (Hz)
- sub-*/*_desc-nuclei_qsmstats.tsv: values of the nuclei (ppb); group_desc-nuclei_qsmstats.tsv: of all participants
- group/: agreement of the arms, association with age, figures
- logs/: what ran, when, and with what result; CITATION.md: what to cite
- prov/: which step made which file of what, in the form of BIDS-Prov (BEP028)

Every image has a sidecar with units, methods, parameters and reference. What the labels desc-... mean stands in
descriptions.tsv.
"""
)
