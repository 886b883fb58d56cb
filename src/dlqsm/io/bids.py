"""A BIDS dataset as dlqsm sees it: participants, and the arms of each as raw data or multi-echo images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from dlqsm.core.checks import InputError
from dlqsm.io.bids_names import split_name
from dlqsm.io.outputs import read_json
from dlqsm.io.tables import read_table

DESCRIPTION: Final = "dataset_description.json"
PARTICIPANTS: Final = "participants.tsv"
TRUTH: Final = Path("derivatives") / "dlqsm-truth"
SUFFIX: Final = "MEGRE"
UNNAMED: Final = "MEGRE"
"""Name of an arm whose files carry no entity that could name it."""
_IMAGES: Final = (".nii.gz", ".nii")
_OF_FILES: Final = ("sub", "echo", "part")
"""Entities that tell files of one arm apart."""

Entities = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ArmSource:
    """Where the data of one arm lie: raw data, or images of each echo.

    Parameters
    ----------
    name
        Name in tables: the ``acq-`` label, and what else tells arms of a participant apart.
    entities
        Entities of its files without ``sub``, ``echo`` and ``part``, in BIDS order.
    raw
        ISMRMRD file; None where there are images only.
    magnitude, phase
        One image an echo, in the order of echoes.
    problem
        Why the arm cannot be used, in one sentence that names the file; None where it can.
    """

    name: str
    entities: Entities
    raw: Path | None = None
    magnitude: tuple[Path, ...] = ()
    phase: tuple[Path, ...] = ()
    problem: str | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that its values depend on; sidecars are not among them."""
        return (self.raw,) if self.raw else (*self.magnitude, *self.phase)


@dataclass(frozen=True, slots=True)
class ParticipantSource:
    """One participant: label with ``sub-``, arms in the order of their names, T1w image, and remarks."""

    label: str
    arms: tuple[ArmSource, ...]
    t1w: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Dataset:
    """A BIDS dataset.

    Parameters
    ----------
    root, name
        Folder, and what the dataset calls itself.
    is_virtual
        Whether ``dlqsm simulate`` made it.
    participants
        Those with data that dlqsm can use, in the order of their labels.
    notes
        What the dataset lacks, in words.
    """

    root: Path
    name: str
    is_virtual: bool
    participants: tuple[ParticipantSource, ...]
    notes: tuple[str, ...] = ()

    @property
    def arm_names(self) -> tuple[str, ...]:
        """Names of the arms of all participants, each once, in the order in which they come."""
        return tuple(dict.fromkeys(arm.name for person in self.participants for arm in person.arms))


def read_dataset(root: Path, *, needs_data: bool = True) -> Dataset:
    """Find what dlqsm can use in a BIDS dataset; no image is opened.

    Raw data are ``sourcedata/sub-XX[/ses-YY]/anat/*_MEGRE.h5``, images ``sub-XX[/ses-YY]/anat/*_echo-N_part-mag|phase
    _MEGRE.nii[.gz]``; where both exist for one arm the raw data are taken.

    Parameters
    ----------
    root
        Folder of the dataset.
    needs_data
        If False, a dataset without any data is one of those whom ``participants.tsv`` lists: their data were measured
        and dropped.

    Raises
    ------
    InputError
        If the folder is no dataset, or holds no multi-echo data. What is wrong with one arm stands in its ``problem``.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected the folder of a BIDS dataset; there is no such folder")
    notes: list[str] = []
    about: Mapping[str, object] = {}
    if (root / DESCRIPTION).is_file():
        about = read_json(root / DESCRIPTION)
    else:
        notes.append(f"{root / DESCRIPTION} is missing, which BIDS demands")
    labels = sorted({p.name for top in (root, root / "sourcedata") for p in top.glob("sub-*") if p.is_dir()})
    if not labels and not needs_data and (listed := read_people(root)["participant_id"].tolist()):
        people = tuple(ParticipantSource(label, ()) for label in listed)
        return Dataset(root, str(about.get("Name", root.name)), _is_virtual(about), people, tuple(notes))
    if not labels:
        raise InputError(f"{root}: expected a BIDS dataset with folders sub-*; there is none")
    found = {label: _find_arms(root, label) for label in labels}
    telling = _telling_entities(found.values())
    people = tuple(_participant(root, label, arms, telling) for label, arms in found.items() if arms)
    if not people:
        raise InputError(
            f"{root}: no participant has multi-echo data; expected sourcedata/sub-*/anat/*_{SUFFIX}.h5 (raw) or "
            f"sub-*/anat/*_echo-*_part-*_{SUFFIX}.nii.gz (images)"
        )
    notes += [f"{label} has no {SUFFIX} data and is left out" for label, arms in found.items() if not arms]
    return Dataset(root, str(about.get("Name", root.name)), _is_virtual(about), people, tuple(notes))


def read_people(root: Path) -> pd.DataFrame:
    """``participant_id age sex`` of ``participants.tsv``, missing values NaN; no row where there is no such file.

    Raises
    ------
    InputError
        If the table has no participant_id, a participant twice, or an age that is no number.
    """
    path = root / PARTICIPANTS
    columns = ["participant_id", "age", "sex"]
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    table = read_table(path, ("participant_id",), as_text=True)
    table["participant_id"] = ["sub-" + str(label).removeprefix("sub-") for label in table["participant_id"]]
    twice = table["participant_id"][table["participant_id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: lists {twice.iloc[0]} more than once; expected one row a participant")
    for name in ("age", "sex"):
        if name not in table:
            table[name] = None
    age = pd.to_numeric(table["age"].str.removesuffix("+"), errors="coerce")
    wrong = table[age.isna() & table["age"].notna()]
    if len(wrong):
        row = wrong.iloc[0]
        raise InputError(f"{path}: the age of {row['participant_id']} is '{row['age']}'; expected years, or n/a")
    return table.assign(age=age)[columns]


def _is_virtual(about: Mapping[str, object]) -> bool:
    generated = about.get("GeneratedBy")
    makers = [g.get("Name") for g in generated if isinstance(g, dict)] if isinstance(generated, list) else []
    return makers[:1] == ["dlqsm"] and "virtual" in str(about.get("Name", ""))


@dataclass(slots=True)
class _Found:
    """Files of one arm as they are found."""

    raw: Path | None
    images: dict[tuple[int, str], Path]
    problem: str | None


def _find_arms(root: Path, label: str) -> dict[Entities, _Found]:
    """Arms of one participant by their entities."""
    arms: dict[Entities, _Found] = {}
    for path in [*_files(root / "sourcedata" / label, ".h5"), *_files(root / label, *_IMAGES)]:
        try:
            entities, suffix, extension = split_name(path)
            if suffix != SUFFIX:
                continue
            _require_place(path, label, entities)
            problem = None
        except InputError as error:
            entities, extension, problem = _readable_entities(path), "", str(error)
        key = tuple((k, v) for k, v in entities.items() if k not in _OF_FILES)
        arm = arms.setdefault(key, _Found(None, {}, None))
        if problem is None:
            problem = _add(arm, path, entities, extension)
        arm.problem = arm.problem or problem
    return arms


def _files(folder: Path, *extensions: str) -> list[Path]:
    """Multi-echo files of a participant with these extensions, sessions included."""
    found = [p for pattern in ("anat/*", "ses-*/anat/*") for p in folder.glob(pattern)]
    return sorted(p for p in found if p.name.endswith(extensions) and SUFFIX in p.name)


def _readable_entities(path: Path) -> dict[str, str]:
    """What can be understood of a name that does not follow BIDS, so that its arm can be named."""
    return {k: v for k, v in re.findall(r"(ses|acq|rec|run)-([0-9a-zA-Z]+)", path.name)}


def _require_place(path: Path, label: str, entities: Mapping[str, str]) -> None:
    """The names of the folders must be those of the file."""
    session = path.parent.parent.name if path.parent.parent.name.startswith("ses-") else None
    expected = {"sub": label.removeprefix("sub-"), "ses": session and session.removeprefix("ses-")}
    for key, value in expected.items():
        if entities.get(key) != value:
            folder, has = f"{key}-{value}" if value else f"no {key}-", entities.get(key)
            raise InputError(f"{path}: lies in a folder of {folder}, but its name says {key}-{has}; rename or move it")


def _add(arm: _Found, path: Path, entities: Mapping[str, str], extension: str) -> str | None:
    """Put a file into its arm; return what is wrong with it."""
    if extension == ".h5":
        arm.raw = path
        return None
    part = entities.get("part", "mag")
    if "echo" not in entities:
        return f"{path}: its name has no echo-N; {SUFFIX} images are one file an echo"
    if part not in ("mag", "phase"):
        return f"{path}: part-{part} is not read; expected part-mag and part-phase"
    place = int(entities["echo"]), part
    if place in arm.images:
        return f"{path}: is there twice, as {arm.images[place].name} too; keep one of them"
    arm.images[place] = path
    return None


def _participant(
    root: Path, label: str, found: Mapping[Entities, _Found], telling: frozenset[str]
) -> ParticipantSource:
    notes = [
        f"{label} {_name(key, telling)}: raw data and images exist; the raw data are taken"
        for key, arm in found.items()
        if arm.raw and arm.images
    ]
    arms = [_arm(root, label, _name(key, telling), key, arm) for key, arm in found.items()]
    t1w = _files_t1w(root / label)
    if len(t1w) > 1:
        notes.append(f"{label}: {len(t1w)} T1w images; {t1w[0].name} is taken")
    return ParticipantSource(label, tuple(sorted(arms, key=lambda a: a.name)), t1w[0] if t1w else None, tuple(notes))


def _files_t1w(folder: Path) -> list[Path]:
    found = [p for pattern in ("anat/*_T1w.nii*", "ses-*/anat/*_T1w.nii*") for p in folder.glob(pattern)]
    return sorted(p for p in found if p.name.endswith(_IMAGES))


def _arm(root: Path, label: str, name: str, key: Entities, found: _Found) -> ArmSource:
    if found.problem:
        return ArmSource(name, key, problem=found.problem)
    if found.raw:
        return ArmSource(name, key, raw=found.raw)
    echoes = sorted({echo for echo, _ in found.images})
    for echo in range(1, max(echoes) + 1):
        for part in ("mag", "phase"):
            if (echo, part) not in found.images:
                some = next(iter(found.images.values()))
                words = f"echo {echo} has no part-{part} image beside {some.name}"
                return ArmSource(name, key, problem=f"{some.parent}: {words}; every echo from 1 on needs both")
    magnitude, phase = (tuple(found.images[echo, part] for echo in echoes) for part in ("mag", "phase"))
    return ArmSource(name, key, None, magnitude, phase)


def _telling_entities(found: Iterable[Mapping[Entities, _Found]]) -> frozenset[str]:
    """Entities that differ between arms of some participant: these name an arm, for all participants alike."""
    telling = {"acq"}
    for arms in found:
        of_all = [dict(key) for key in arms]
        for name in {name for entities in of_all for name in entities}:
            if len({entities.get(name) for entities in of_all}) > 1:
                telling.add(name)
    return frozenset(telling)


def _name(key: Entities, telling: frozenset[str]) -> str:
    """Name of an arm: the acq- label alone where that tells all, else with the other entities that tell."""
    entities = dict(key)
    words = [f"ses{entities['ses']}"] if "ses" in telling and "ses" in entities else []
    words += [entities["acq"]] if "acq" in entities else []
    words += [f"{k}{v}" for k, v in key if k in telling and k not in ("ses", "acq")]
    return "_".join(words) or UNNAMED
