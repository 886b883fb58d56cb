"""A BIDS dataset as dlqsm sees it: participants, their sessions, and the arms of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from dlqsm.core.checks import InputError
from dlqsm.core.units import LARGEST_AGE_YEARS
from dlqsm.io.bids_arms import (
    IMAGES,
    SUFFIX,
    FoundArm,
    arm_name,
    arm_source,
    find_arms,
    remarks_on,
    telling_entities,
)
from dlqsm.io.bids_filter import BidsFilter, BidsFilters
from dlqsm.io.bids_names import is_participant, participant_of, session_of, split_name
from dlqsm.io.bids_sources import Dataset, Entities, ParticipantSource
from dlqsm.io.files import shown, visible
from dlqsm.io.outputs import read_json
from dlqsm.io.staging import require_settled
from dlqsm.io.tables import read_table

DESCRIPTION: Final = "dataset_description.json"
PARTICIPANTS: Final = "participants.tsv"
TRUTH: Final = Path("derivatives") / "dlqsm-truth"

_Arms = Mapping[Entities, FoundArm]


def read_dataset(
    root: Path,
    *,
    needs_data: bool = True,
    filters: BidsFilters | None = None,
    sessions_apart: bool = True,
    is_checked: bool = True,
) -> Dataset:
    """Find what dlqsm can use in a BIDS dataset; no image is opened.

    Raw data are ``sourcedata/sub-XX[/ses-YY]/anat/*_MEGRE.h5``, images ``sub-XX[/ses-YY]/anat/*[_coil-N]_echo-N
    _part-mag|phase_MEGRE.nii[.gz]``, or ``part-real|imag``; where raw data and images exist for one arm the raw data
    are taken.

    Parameters
    ----------
    root
        Folder of the dataset.
    needs_data
        If False, a dataset without any data is one of those whom ``participants.tsv`` lists: their data were measured
        and dropped.
    filters
        Which files are taken; all where None.
    sessions_apart
        Whether each session is one of its own; else the sessions of a participant are arms beside each other.
    is_checked
        Whether the dataset as such is checked: its description, and who is listed in ``participants.tsv``.

    Raises
    ------
    InputError
        If the folder is no dataset, is one of derivatives, or holds no multi-echo data. What is wrong with one arm
        stands in its ``problem``.
    """
    if not root.is_dir():
        raise InputError(f"{root}: expected the folder of a BIDS dataset; there is no such folder")
    require_settled(root)
    filters = filters or BidsFilters()
    about: Mapping[str, object] = read_json(root / DESCRIPTION) if (root / DESCRIPTION).is_file() else {}
    labels = sorted({p.name for top in (root, root / "sourcedata") for p in top.glob("sub-*") if p.is_dir()})
    for label in labels:
        if not is_participant(label):
            raise InputError(
                f"{root / label}: is no name of a participant's folder; expected sub- and letters and digits: rename it"
            )
    notes = [*filters.notes, *(_check(root, about, labels) if is_checked else ())]
    name = str(about.get("Name", root.name))
    if not labels and not needs_data and (listed := read_people(root)["participant_id"].tolist()):
        return Dataset(root, name, _is_virtual(about), tuple(ParticipantSource(x, ()) for x in listed), tuple(notes))
    if not labels:
        raise InputError(f"{root}: expected a BIDS dataset with folders sub-*; there is none")
    found = {label: find_arms(root, label, filters.megre) for label in labels}
    units = {unit: arms for label, of in found.items() for unit, arms in _units(label, of, sessions_apart).items()}
    telling = telling_entities(units.values())
    people = tuple(_participant(root, unit, arms, telling, filters) for unit, arms in units.items() if arms)
    if not people:
        raise InputError(
            f"{root}: no participant has multi-echo data{', with these filters' if filters.megre.wanted else ''}; "
            f"expected sourcedata/sub-*/anat/*_{SUFFIX}.h5 (raw) or sub-*/anat/*_echo-*_part-*_{SUFFIX}.nii.gz (images)"
        )
    notes += [f"{label} has no {SUFFIX} data and is left out" for label, arms in found.items() if not arms]
    return Dataset(root, name, _is_virtual(about), people, tuple(notes))


def _units(label: str, found: _Arms, sessions_apart: bool) -> dict[str, dict[Entities, FoundArm]]:
    """The arms of a participant by who is measured by itself: each session, or the participant as a whole."""
    units: dict[str, dict[Entities, FoundArm]] = {}
    for key, arm in found.items():
        session = dict(key).get("ses")
        unit = f"{label}_ses-{session}" if session and sessions_apart else label
        units.setdefault(unit, {})[key] = arm
    return dict(sorted(units.items()))


def _check(root: Path, about: Mapping[str, object], labels: Sequence[str]) -> list[str]:
    """What the dataset as such lacks; raises `InputError` where it is no dataset of scans."""
    if not (root / DESCRIPTION).is_file():
        return [f"{root / DESCRIPTION} is missing, which BIDS demands"]
    if about.get("DatasetType", "raw") == "derivative":
        raise InputError(
            f"{root / DESCRIPTION}: says that this is a dataset of derivatives; expected one of scans: give its "
            "folder, or --skip-bids-validation if these images are scans"
        )
    lacking = [key for key in ("Name", "BIDSVersion") if not about.get(key)]
    notes = [f"{root / DESCRIPTION} has no {key}, which BIDS demands" for key in lacking]
    listed = set(read_people(root)["participant_id"]) if labels else set()
    for words, some in ((f"not in {PARTICIPANTS}", set(labels) - listed), ("without a folder", listed - set(labels))):
        if listed and some:
            shown = ", ".join(sorted(some)[:4]) + (f" and {len(some) - 4} more" if len(some) > 4 else "")
            notes.append(f"{words}: {shown}")
    return notes


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
    if table["participant_id"].isna().any():
        raise InputError(f"{path}: has a row without participant_id; fill it in or remove the row")
    table["participant_id"] = ["sub-" + str(label).removeprefix("sub-") for label in table["participant_id"]]
    strange = [label for label in table["participant_id"] if not is_participant(label)]
    if strange:
        raise InputError(
            f"{path}: lists the participant {shown(strange[0])}; expected sub- and letters and digits, as its folder"
        )
    twice = table["participant_id"][table["participant_id"].duplicated()]
    if len(twice):
        raise InputError(f"{path}: lists {twice.iloc[0]} more than once; expected one row a participant")
    for name in ("age", "sex"):
        if name not in table:
            table[name] = None
    age = pd.to_numeric(table["age"].str.removesuffix("+"), errors="coerce").astype(float)
    wrong = table[age.isna() & table["age"].notna()]
    if len(wrong):
        whose = wrong["participant_id"].iloc[0]
        # Not repeated: what stands there may be a date of birth.
        raise InputError(f"{path}: the age of {whose} is no number; expected years, or n/a")
    odd = table[(age < 0) | (age > LARGEST_AGE_YEARS)]
    if len(odd):
        whose = odd["participant_id"].iloc[0]
        raise InputError(f"{path}: the age of {whose} is not from 0 to {LARGEST_AGE_YEARS:g}; expected years, or n/a")
    return table.assign(age=age)[columns]


def read_session_ages(root: Path, label: str) -> dict[str, float]:
    """Session to the age [years] in it, of ``sub-XX/sub-XX_sessions.tsv``; empty where it tells none.

    Raises
    ------
    InputError
        If the table has no session_id.
    """
    path = root / label / f"{label}_sessions.tsv"
    if not path.is_file():
        return {}
    table = read_table(path, ("session_id",), as_text=True)
    if "age" not in table:
        return {}
    names = ["ses-" + str(session).removeprefix("ses-") for session in table["session_id"]]
    ages = pd.to_numeric(table["age"].str.removesuffix("+"), errors="coerce")
    return {name: float(age) for name, age in zip(names, ages, strict=True) if pd.notna(age)}


def _is_virtual(about: Mapping[str, object]) -> bool:
    generated = about.get("GeneratedBy")
    makers = [g.get("Name") for g in generated if isinstance(g, dict)] if isinstance(generated, list) else []
    return makers[:1] == ["dlqsm"] and "virtual" in str(about.get("Name", ""))


def _participant(
    root: Path, label: str, found: _Arms, telling: frozenset[str], filters: BidsFilters
) -> ParticipantSource:
    names = {key: arm_name(key, telling) for key in found}
    notes = [f"{label} {remark}" for key, arm in found.items() for remark in remarks_on(names[key], arm)]
    arms = [arm_source(names[key], key, arm, filters.megre) for key, arm in found.items()]
    t1w, remarks = _choose_t1w(root, label, filters.t1w)
    notes += [f"{label}: {remark}" for remark in remarks]
    return ParticipantSource(label, tuple(sorted(arms, key=lambda a: a.name)), t1w, tuple(notes))


def _choose_t1w(root: Path, label: str, chosen: BidsFilter) -> tuple[Path | None, list[str]]:
    """The T1w image of the session, else of the participant, else of another session; and what is to be said of it."""
    session, everything = session_of(label), _files_t1w(root / participant_of(label), chosen)
    if not everything:
        return None, []
    own = [path for path in everything if session is None or path.parent.parent.name == session]
    of_none = [path for path in everything if not path.parent.parent.name.startswith("ses-")]
    among = own or of_none or everything
    notes = [f"{len(among)} T1w images; {among[0].name} is taken"] if len(among) > 1 else []
    if not own and not of_none and not notes:
        notes = [f"has no T1w image; {among[0].name} of another session is taken"]
    return among[0], notes


def _files_t1w(folder: Path, chosen: BidsFilter) -> list[Path]:
    """T1w images of a participant that a filter lets pass."""
    found = [p for pattern in ("anat/*_T1w.nii*", "ses-*/anat/*_T1w.nii*") for p in folder.glob(pattern)]
    return visible(p for p in found if p.name.endswith(IMAGES) and _is_taken(p, chosen))


def _is_taken(path: Path, chosen: BidsFilter) -> bool:
    if not chosen.wanted:
        return True
    try:
        return chosen.takes(split_name(path)[0])
    except InputError:
        return False
