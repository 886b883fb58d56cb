"""From the tables of the participants to those of the group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

import pandas as pd

from dlqsm.agreement.pairs import MIN_PAIRS
from dlqsm.agreement.similarity_definitions import summary_table
from dlqsm.cohort.accounts import alarms_told, registration_figures
from dlqsm.cohort.participant import RECORDS
from dlqsm.cohort.records import read_record
from dlqsm.cohort.similarity_stage import DEFINITION_COLUMNS, DEFINITIONS, SIMILARITY, SIMILARITY_COLUMNS
from dlqsm.core.checks import InputError
from dlqsm.io.bids import PARTICIPANTS, read_people, read_session_ages
from dlqsm.io.bids_names import participant_of, unit_of
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import ACCOUNT_SUFFIX, registration_path, table_path, unit_folder
from dlqsm.io.manifest import NAME as MANIFEST
from dlqsm.io.manifest import arm_file, read_manifest
from dlqsm.io.outputs import read_json
from dlqsm.io.tables import COLUMNS, read_table, write_table

GROUP: Final = "group"
VALUES: Final = ("participant_id", "arm", "roi", "side", "mean_ppb")
DEFINITIONS_NAME: Final = "similarity_definitions"
_OVER_PEOPLE: Final = {
    "n": "Participants",
    "mean": "Mean over the participants",
    "sd": "Standard deviation, divisor n - 1",
    "lowest": "Lowest of the participants",
    "highest": "Highest of the participants",
}
_ALARM_KEYS: Final = {"alarm": "name", "level": "level", "value": "value", "limit": "limit", "text": "text"}
ALARM_COLUMNS: Final = {
    "alarm": "What is beyond its limit, by its name in docs/alarms.md",
    "level": "flag: told only; stop: the scan fails unless it is accepted by --accept-alarm or --accept-phase",
    "value": "What was seen, in the unit that the text tells",
    "limit": "The limit that it breaks",
    "text": "What was seen, what it usually means, what to do",
}


@dataclass(slots=True)
class Gathered:
    """What the participants left for the group.

    Parameters
    ----------
    values
        Long table with age [years] and sex, missing values NaN.
    similarity, registration
        One row a participant and arm; empty where nothing was compared.
    definitions
        SSIM and PSNR of each participant and arm in all definitions, one row each.
    accelerations
        Arm to the acceleration factor that its scans tell, the median over participants.
    alarms
        One row an alarm: participant, arm, and what `core.alarms.Alarm` tells.
    problems
        Participant (or ``settings``) to what is missing or wrong.
    remarks
        Sentences on what the tables lack.
    """

    values: pd.DataFrame
    similarity: pd.DataFrame
    registration: pd.DataFrame
    definitions: pd.DataFrame = field(default_factory=pd.DataFrame)
    accelerations: dict[str, float] = field(default_factory=dict)
    alarms: pd.DataFrame = field(default_factory=pd.DataFrame)
    problems: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)


def gather(people: Sequence[ParticipantSource], bids: Path, out: Path) -> Gathered:
    """Read the tables of all participants, with their age and sex.

    Parameters
    ----------
    people
        Each participant once: of several sessions those of one, since statistics count people.
    bids, out
        The dataset, and the folder of the derivatives.

    Raises
    ------
    InputError
        If no participant has a finished table, or a table cannot be read.
    """
    gathered = Gathered(pd.DataFrame(), pd.DataFrame(), pd.DataFrame())
    labels: list[str] = []
    tables, similarity, registration, settings, code = [], [], [], {}, set()
    for person in people:
        whose = person.participant
        record = read_record(out / RECORDS / person.label / "all_nuclei.json")
        path = table_path(out, person.label, "nuclei")
        if record is None or not path.is_file():
            why = _failures(out, person.label) or "run the participant stage"
            gathered.problems[whose] = f"has no finished table of nuclei; {why}"
            continue
        tables.append(read_table(path, VALUES))
        similarity.append(read_table(table_path(out, person.label, SIMILARITY), ("arm",)))
        registration.append(_registration(out, person.label))
        settings[whose] = str(record.about.get("settings"))
        code.add(str(record.about.get("code")))
        if failures := _failures(out, person.label):
            gathered.problems[whose] = failures
        labels.append(person.label)
    if not tables:
        raise InputError(f"{out}: no participant has a finished table of nuclei; run the participant stage first")
    _require_one_setting(settings, gathered)
    if len(code) > 1:
        gathered.remarks.append(
            f"the values were made by {len(code)} states of dlqsm's code: {', '.join(sorted(code))}"
        )
    gathered.values = _with_people(pd.concat(tables, ignore_index=True), bids, gathered)
    gathered.similarity, gathered.registration = (_joined(parts) for parts in (similarity, registration))
    gathered.definitions = _definitions(out, labels)
    gathered.accelerations = _accelerations(out, labels)
    gathered.alarms = pd.DataFrame([row for label in labels for row in alarm_rows(out, label)])
    if len(tables) < MIN_PAIRS:
        gathered.remarks.append(f"{len(tables)} participants: fewer than {MIN_PAIRS} allow no statement on agreement")
    return gathered


def write_group_tables(gathered: Gathered, out: Path, session: str | None = None) -> dict[str, str]:
    """Write the group's tables, those of a session under its name; returns what each is, and its name."""
    about: dict[str, object] = {
        "Reference": "mean over the mask that all arms of a participant share",
        "Remarks": gathered.remarks,
    }
    named = {"nuclei": gathered.values, "similarity": gathered.similarity, "registration": gathered.registration}
    named["alarms"] = gathered.alarms
    written = {}
    for what, table in named.items():
        path = table_path(out, unit_of(GROUP, session), what)
        if table.empty:
            _remove_table(path)
            continue
        write_table(path, table, about, columns=COLUMNS | SIMILARITY_COLUMNS | ALARM_COLUMNS)
        written[what] = path.name
    path = group_folder(out, session) / f"{DEFINITIONS_NAME}.tsv"
    if gathered.definitions.empty:
        _remove_table(path)
        return written
    path.parent.mkdir(parents=True, exist_ok=True)
    summary = summary_table(gathered.definitions, gathered.similarity)
    write_table(path, summary, about, columns=DEFINITION_COLUMNS | _OVER_PEOPLE)
    return {**written, DEFINITIONS_NAME: path.relative_to(out).as_posix()}


def remove_group_tables(out: Path, session: str | None, kept: Collection[str] = ()) -> None:
    """Remove what `write_group_tables` wrote, but for the tables in ``kept``."""
    for what in ("nuclei", "similarity", "registration", "alarms"):
        if what not in kept:
            _remove_table(table_path(out, unit_of(GROUP, session), what))
    _remove_table(group_folder(out, session) / f"{DEFINITIONS_NAME}.tsv")


def _remove_table(path: Path) -> None:
    for file in (path, path.with_suffix(".json")):
        file.unlink(missing_ok=True)


def group_folder(out: Path, session: str | None) -> Path:
    """Where the statistics and figures of the group go: ``group``, or ``group/ses-1``."""
    return out / GROUP / (session or "")


def write_all_sessions(found: Sequence[Gathered], out: Path) -> Path:
    """Write the values of all sessions as one long table, which no statistics are made of; return its path."""
    path = table_path(out, GROUP, "nuclei")
    about: dict[str, object] = {
        "Reference": "mean over the mask that all arms of a session share",
        "Remarks": ["values of all sessions; statistics are those of each session by itself: group_ses-*.html"],
    }
    write_table(path, pd.concat([gathered.values for gathered in found], ignore_index=True), about)
    return path


def _registration(out: Path, label: str) -> pd.DataFrame:
    """The account of the registration of each arm as a table."""
    accounts = read_json(registration_path(out, label))
    rows = []
    for arm, account in accounts.items():
        if isinstance(account, dict):
            rows.append({"participant_id": participant_of(label), "arm": arm, **_flat(account)})
    return pd.DataFrame(rows)


def _flat(account: dict[str, Any]) -> dict[str, Any]:
    """The figures that the group page shows, by the names of `report.group.GroupReport`."""
    found = registration_figures(account)
    return {
        "score": found.score,
        "score_of": found.score_of,
        "shift_mm": found.shift_mm,
        "rotation_deg": found.rotation_deg,
        "coverage": found.lowest_coverage,
        "warnings": "; ".join(found.warnings) or None,
    }


def alarm_rows(out: Path, label: str) -> list[dict[str, Any]]:
    """Alarms of the maps of a participant's arms, and of their registration."""
    maps = {arm: read_json(path) for arm, path in account_paths(unit_folder(out, label)).items() if path.is_file()}
    registered = read_json(registration_path(out, label))
    rows = []
    for arm in dict.fromkeys([*registered, *maps]):
        accounts = [account for account in (maps.get(arm), registered.get(arm)) if isinstance(account, dict)]
        for alarm in (alarm for account in accounts for alarm in alarms_told(account)):
            told = {name: alarm.get(key) for name, key in _ALARM_KEYS.items()}
            rows.append({"participant_id": participant_of(label), "arm": arm, **told})
    return rows


def _with_people(table: pd.DataFrame, bids: Path, gathered: Gathered) -> pd.DataFrame:
    """The table with age and sex behind the participant; says how many participants lack them."""
    listed = read_people(bids).set_index("participant_id")
    people = listed.reindex(listed.index.union(list(table["participant_id"].unique()))).astype({"age": float})
    for session, some in _by_session(table):  # the age at the scan where the dataset tells it
        for label in some:
            age_years = read_session_ages(bids, label).get(session)
            if age_years is not None:
                people.loc[label, "age"] = age_years
    whole = table.merge(people, left_on="participant_id", right_index=True, how="left")
    labels = whole["participant_id"].nunique()
    for name in ("age", "sex"):
        without = whole[whole[name].isna()]["participant_id"].nunique()
        if without:
            gathered.remarks.append(f"{without} of {labels} participants have no {name} in {PARTICIPANTS}")
    rest = [name for name in table.columns if name != "participant_id"]
    return whole[["participant_id", "age", "sex", *rest]]


def _by_session(table: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """The session of the table with its participants; nothing where it has no sessions."""
    if "session_id" not in table:
        return []
    return [(str(session), list(some["participant_id"].unique())) for session, some in table.groupby("session_id")]


def _require_one_setting(settings: dict[str, str], gathered: Gathered) -> None:
    """Participants that were run with other settings than most are named: their values cannot be compared."""
    (common, most), *others = Counter(settings.values()).most_common()
    is_tie = bool(others) and others[0][1] == most
    than = f"than {next(iter(settings))}" if is_tie else "than most participants"
    for label, setting in settings.items():
        if setting != common:
            gathered.problems[label] = f"was run with other settings {than}; run the participant stage again for all"


def _definitions(out: Path, labels: Sequence[str]) -> pd.DataFrame:
    """SSIM and PSNR in all definitions, of the participants who have that table."""
    paths = [table_path(out, label, DEFINITIONS) for label in labels]
    return _joined([read_table(path, ("arm", "measure", "value")) for path in paths if path.is_file()])


def _accelerations(out: Path, labels: Sequence[str]) -> dict[str, float]:
    """Arm to the median of the acceleration factors that the accounts of its scans tell."""
    found: dict[str, list[float]] = {}
    for label in labels:
        for arm, path in account_paths(unit_folder(out, label)).items():
            scan = read_json(path).get("scan") if path.is_file() else None
            factor = scan.get("acceleration") if isinstance(scan, dict) else None
            if isinstance(factor, int | float):
                found.setdefault(arm, []).append(float(factor))
    return {arm: median(factors) for arm, factors in found.items()}


def account_paths(folder: Path) -> dict[str, Path]:
    """Arm to its account; participants of a stream keep their accounts without a manifest that names them."""
    if (folder / MANIFEST).is_file():
        named = {arm.name: arm_file(folder, arm, "summary") for arm in read_manifest(folder).arms}
        return {arm: path for arm, path in named.items() if path is not None}
    paths = sorted(folder.glob(f"**/{folder.name}_acq-*_{ACCOUNT_SUFFIX}.json"))
    return {path.name.partition("_acq-")[2].partition("_")[0]: path for path in paths}


def _failures(out: Path, label: str) -> str:
    """What failed in the last run of a participant; empty where nothing did."""
    path = out / RECORDS / label / "outcome.json"
    failures = read_json(path).get("failures") if path.is_file() else None
    return "; ".join(map(str, failures)) if isinstance(failures, list) else ""


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
