"""The arms of a participant: which files of a BIDS dataset belong together, and what each arm is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.bids_filter import BidsFilter
from dlqsm.io.bids_names import COIL, split_name
from dlqsm.io.bids_sources import ArmSource, Entities
from dlqsm.io.files import visible

SUFFIX: Final = "MEGRE"
UNNAMED: Final = "MEGRE"
"""Name of an arm whose files carry no entity that could name it."""
IMAGES: Final = (".nii.gz", ".nii")
_OF_FILES: Final = ("sub", "echo", "part", COIL)
"""Entities that tell files of one arm apart."""
_POLAR: Final = ("mag", "phase")
_CARTESIAN: Final = ("real", "imag")
_Place = tuple[int, int, str]
"""Echo, coil (0 where combined) and part of an image."""


@dataclass(slots=True)
class FoundArm:
    """Files of one arm as they are found."""

    raw: Path | None = None
    images: dict[_Place, Path] = field(default_factory=dict)
    problem: str | None = None

    def add(self, path: Path, entities: Mapping[str, str], extension: str) -> str | None:
        """Put a file into the arm; return what is wrong with it."""
        if extension == ".h5":
            self.raw = path
            return None
        part = entities.get("part", "mag")
        if "echo" not in entities:
            return f"{path}: its name has no echo-N; {SUFFIX} images are one file an echo"
        if part not in (*_POLAR, *_CARTESIAN):
            return f"{path}: part-{part} is not read; expected part-mag and part-phase, or part-real and part-imag"
        place = int(entities["echo"]), int(entities.get(COIL, 0)), part
        if place in self.images:
            return f"{path}: is there twice, as {self.images[place].name} too; keep one of them"
        self.images[place] = path
        return None


def find_arms(root: Path, label: str, chosen: BidsFilter) -> dict[Entities, FoundArm]:
    """Arms of one participant by their entities, of the files that a filter lets pass."""
    arms: dict[Entities, FoundArm] = {}
    for path in [*_files(root / "sourcedata" / label, ".h5"), *_files(root / label, *IMAGES)]:
        try:
            entities, suffix, extension = split_name(path)
            if suffix != SUFFIX:
                continue
            _require_place(path, label, entities)
            problem = None
        except InputError as error:
            entities, extension, problem = _readable_entities(path), "", str(error)
        # Raw data hold all echoes and coils in one file: what is asked of these does not shut them out.
        if not chosen.takes(entities, ignoring=_OF_FILES if path.name.endswith(".h5") else ()):
            continue
        key = tuple((k, v) for k, v in entities.items() if k not in _OF_FILES)
        arm = arms.setdefault(key, FoundArm())
        if problem is None:
            problem = arm.add(path, entities, extension)
        arm.problem = arm.problem or problem
    return arms


def _files(folder: Path, *extensions: str) -> list[Path]:
    """Multi-echo files of a participant with these extensions, sessions included."""
    found = [p for pattern in ("anat/*", "ses-*/anat/*") for p in folder.glob(pattern)]
    return visible(p for p in found if p.name.endswith(extensions) and SUFFIX in p.name)


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


def arm_source(name: str, key: Entities, found: FoundArm, chosen: BidsFilter) -> ArmSource:
    """The files of an arm in their order, or what is wrong with them."""
    if found.problem:
        return ArmSource(name, key, problem=found.problem)
    if found.raw:
        return ArmSource(name, key, raw=found.raw)
    parts = _parts_of(found)
    coils = sorted({coil for _, coil, _ in found.images})
    if 0 in coils and len(coils) > 1:
        combined = next(path for (_, coil, _), path in found.images.items() if coil == 0)
        return ArmSource(name, key, problem=f"{combined}: has no {COIL}-N, as the other images of its arm have; "
                         "give combined images another rec- label")  # fmt: skip
    numbers = {echo for echo, _, _ in found.images}
    lowest = min(1, *numbers)  # BIDS lets an index begin at 0 too
    echoes = [echo for echo in range(lowest, max(numbers) + 1) if chosen.takes_label("echo", str(echo))]
    problem = _lack(found, echoes, coils, parts, lowest)
    if problem:
        return ArmSource(name, key, problem=problem)
    first, second = (tuple(found.images[e, c, part] for e in echoes for c in coils) for part in parts)
    return ArmSource(
        name, key, None, first, second, n_coils=len(coils) if coils != [0] else 1, is_cartesian=parts == _CARTESIAN
    )


def _parts_of(found: FoundArm) -> tuple[str, str]:
    """Magnitude and phase unless only the other form is whole: nothing is taken from both."""
    there = {part for _, _, part in found.images}
    if not there & set(_POLAR):
        return _CARTESIAN
    return _CARTESIAN if set(_CARTESIAN) <= there and "phase" not in there else _POLAR


def _lack(found: FoundArm, echoes: list[int], coils: list[int], parts: tuple[str, str], lowest: int) -> str | None:
    """Which image of an arm is missing, in a sentence; None where all are there."""
    some = next(iter(found.images.values()))
    if not echoes:
        return f"{some}: none of the echoes of its arm is taken; ask for others with --bids-filter-file"
    for echo in echoes:
        for coil in coils:
            for part in parts:
                if (echo, coil, part) not in found.images:
                    of_coil = f" of {COIL} {coil}" if coil else ""
                    words = f"echo {echo}{of_coil} has no part-{part} image beside {some.name}"
                    return f"{some.parent}: {words}; every echo from {lowest} on needs both"
    return None


def remarks_on(name: str, found: FoundArm) -> list[str]:
    """What is left aside of an arm that is there in two forms, as sentences without its participant."""
    there = {part for _, _, part in found.images}
    notes = [f"{name}: raw data and images exist; the raw data are taken"] if found.raw and found.images else []
    if found.raw is None and there & set(_CARTESIAN) and there & set(_POLAR):
        taken = _parts_of(found)
        left = [part for part in (*_POLAR, *_CARTESIAN) if part in there and part not in taken]
        notes.append(f"{name}: images of {' and '.join(taken)} are taken, those of {' and '.join(left)} are left")
    return notes


def telling_entities(found: Iterable[Mapping[Entities, FoundArm]]) -> frozenset[str]:
    """Entities that differ between arms of some participant: these name an arm, for all participants alike."""
    telling = {"acq"}
    for arms in found:
        of_all = [dict(key) for key in arms]
        for name in {name for entities in of_all for name in entities}:
            if len({entities.get(name) for entities in of_all}) > 1:
                telling.add(name)
    return frozenset(telling)


def arm_name(key: Entities, telling: frozenset[str]) -> str:
    """Name of an arm: the acq- label alone where that tells all, else with the other entities that tell."""
    entities = dict(key)
    words = [f"ses{entities['ses']}"] if "ses" in telling and "ses" in entities else []
    words += [entities["acq"]] if "acq" in entities else []
    words += [f"{k}{v}" for k, v in key if k in telling and k not in ("ses", "acq")]
    return "_".join(words) or UNNAMED
