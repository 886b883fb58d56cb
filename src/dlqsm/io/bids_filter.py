"""Which files of a dataset a run takes: ``--bids-filter-file``, in the form that fMRIPrep reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.bids_names import COIL, ENTITIES
from dlqsm.io.outputs import read_json

KINDS: Final = ("megre", "t1w")
"""Kinds of images that a filter may be about."""
_LONG: Final = {
    "subject": "sub",
    "session": "ses",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "modality": "mod",
    "inversion": "inv",
    "processing": "proc",
    "resolution": "res",
    "density": "den",
    "description": "desc",
    "segmentation": "seg",
}
"""Long names of entities, as PyBIDS has them; the others have one name."""
_OF_THE_KIND: Final = {"suffix": {"megre": "MEGRE", "t1w": "T1w"}, "datatype": {"megre": "anat", "t1w": "anat"}}
_NUMBERED: Final = ("run", "echo", "inv", "split", COIL)
_ANY: Final = ("*", "Query.ANY")
_ABSENT: Final = "Query.NONE"
_EITHER: Final = "Query.OPTIONAL"

Wanted = tuple[str | None, ...]
"""Labels that pass, None for an entity that is absent; no label at all: any that is there."""


@dataclass(frozen=True, slots=True)
class BidsFilter:
    """What the names of files of one kind must hold; all files pass where it is empty.

    Parameters
    ----------
    wanted
        Entity to the labels that pass.
    """

    wanted: Mapping[str, Wanted] = field(default_factory=dict)

    def takes(self, entities: Mapping[str, str], *, ignoring: Sequence[str] = ()) -> bool:
        """Whether a file with these entities is taken; what is asked of the ignored ones does not count."""
        return all(_fits(k, entities.get(k), labels) for k, labels in self.wanted.items() if k not in ignoring)

    def takes_label(self, key: str, label: str) -> bool:
        """Whether files with this label of an entity are taken, as far as that entity goes."""
        return key not in self.wanted or _fits(key, label, self.wanted[key])


@dataclass(frozen=True, slots=True)
class BidsFilters:
    """The filters of a file, and what it holds that is of no use here."""

    megre: BidsFilter = field(default_factory=BidsFilter)
    t1w: BidsFilter = field(default_factory=BidsFilter)
    notes: tuple[str, ...] = ()


def read_filters(path: Path) -> BidsFilters:
    """Read a filter file: kind of image to entities, ``{"megre": {"session": "1", "acquisition": ["PI2", "DL3"]}}``.

    A value is a label, a list of labels, ``null`` for an entity that must be absent, or ``"*"`` for any label.

    Raises
    ------
    InputError
        If it is no such file, or names neither kind of image, an entity that BIDS does not have, or another suffix.
    """
    content = read_json(path)
    known = {kind: content[kind] for kind in content if kind in KINDS}
    others = [kind for kind in content if kind not in KINDS]
    if not known:
        raise InputError(f"{path}: has a filter neither of megre nor of t1w; it has {', '.join(others) or 'none'}")
    found = {kind: _filter(path, kind, entities) for kind, entities in known.items()}
    notes = (f"{path.name}: the filters of {', '.join(others)} are of no use here",) if others else ()
    return BidsFilters(found.get("megre", BidsFilter()), found.get("t1w", BidsFilter()), notes)


def _filter(path: Path, kind: str, content: object) -> BidsFilter:
    if not isinstance(content, dict):
        raise InputError(f"{path}: the filter of {kind} must be an object of entities; got {content!r}")
    wanted: dict[str, Wanted] = {}
    for name, value in content.items():
        if name in _OF_THE_KIND:
            _require_kind(path, kind, name, value)
            continue
        key = _LONG.get(name, name)
        if key not in (*ENTITIES, COIL):
            raise InputError(
                f"{path}: '{name}' in the filter of {kind} is no entity of BIDS; expected one of "
                f"{', '.join([*_LONG, *(e for e in (*ENTITIES, COIL) if e not in _LONG.values())])}"
            )
        labels = _labels(path, kind, name, value)
        if labels is not None:
            wanted[key] = labels
    return BidsFilter(wanted)


def _require_kind(path: Path, kind: str, name: str, value: object) -> None:
    """A filter may repeat the suffix and the folder of its kind, as those of fMRIPrep do, and not change them."""
    right = _OF_THE_KIND[name][kind]
    if value != right:
        raise InputError(f"{path}: the {name} in the filter of {kind} is {value!r}; dlqsm reads {right} only")


def _labels(path: Path, kind: str, name: str, value: object) -> Wanted | None:
    """The labels that pass; None where anything does."""
    if value in _ANY:
        return ()
    if value == _EITHER:
        return None
    labels = value if isinstance(value, list) else [value]
    if not labels or not all(label is None or isinstance(label, str | int) for label in labels):
        raise InputError(f"{path}: '{name}' in the filter of {kind} is {value!r}; expected a label, a list, null or *")
    key = _LONG.get(name, name)
    return tuple(None if label in (None, _ABSENT) else str(label).removeprefix(f"{key}-") for label in labels)


def _fits(key: str, label: str | None, wanted: Wanted) -> bool:
    if not wanted:
        return label is not None
    if label is not None and key in _NUMBERED:
        return label.lstrip("0") in [want.lstrip("0") for want in wanted if want is not None]
    return label in wanted
