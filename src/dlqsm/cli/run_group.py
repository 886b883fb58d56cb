"""The group stage of ``dlqsm run``: tables, agreement and page of all participants, for each session by itself."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dlqsm.cli.agree_files import AGE, AGREEMENT, MIXED, study_files, write_agreement
from dlqsm.cli.console import Talk
from dlqsm.cli.report import build_group_page
from dlqsm.cohort.group import (
    DEFINITIONS_NAME,
    GROUP,
    Gathered,
    gather,
    group_folder,
    remove_group_tables,
    write_all_sessions,
    write_group_tables,
)
from dlqsm.cohort.participant import ALL, RECORDS
from dlqsm.cohort.provenance import GROUP_RECORDS, about_process, write_provenance
from dlqsm.cohort.records import content_hash, write_record
from dlqsm.core.arm_names import reference_among, repeat_among
from dlqsm.core.checks import InputError
from dlqsm.io.bids_names import unit_of
from dlqsm.io.bids_sources import Dataset, ParticipantSource
from dlqsm.io.derivatives import table_path, uri
from dlqsm.io.manifest import GroupManifest, write_group_manifest
from dlqsm.io.outputs import output_folder, remove_partial_files


def run_group(arguments: argparse.Namespace, dataset: Dataset, people: Sequence[ParticipantSource], talk: Talk) -> int:
    """Compare the arms of all participants; of several sessions each by itself, since statistics count people."""
    if not arguments.out.is_dir():
        raise InputError(f"{arguments.out}: there is no such folder; run the participant stage first")
    several = len(dataset.sessions) > 1
    with output_folder(arguments.out, overwrite=True, produces=()) as out:
        remove_partial_files(out)
        done = _gather_sessions(people, arguments, out, talk)
        failed = len(done) < len({person.session for person in people})
        for session, gathered in done.items():
            named = session if several else None
            who = [person for person in people if person.session == session]
            with _recorded(arguments, who, named, out):
                page = _one_session(arguments, dataset, who, gathered, named, out, talk)
            print(page)
            failed = failed or bool(gathered.problems)
        if several and None not in dataset.sessions:
            _remove_group_without_sessions(out)
        if several and set(done) == set(dataset.sessions):
            write_all_sessions(list(done.values()), out)
        write_provenance(out.absolute(), arguments.bids.absolute())
    return 1 if failed else 0


@contextmanager
def _recorded(
    arguments: argparse.Namespace, people: Sequence[ParticipantSource], session: str | None, out: Path
) -> Iterator[None]:
    """Keep a record of what the group stage reads and writes, for the provenance; it is run anew each time."""
    begun = time.perf_counter()
    yield
    name, folder = unit_of(GROUP, session), group_folder(out, session)
    tables = [table_path(out, person.label, what) for person in people for what in ("nuclei", "similarity")]
    inputs = [uri(path, out, arguments.bids) for path in tables if path.is_file()]
    written = [*out.glob(f"{name}_desc-*"), *(out / f"{name}{ending}" for ending in (".json", ".html"))]
    outputs = [path for path in (*written, *folder.glob("*")) if path.is_file()]
    seconds = time.perf_counter() - begun
    about = {"inputs": inputs, "command": arguments.command, **about_process("group", seconds)}
    path = out / RECORDS / GROUP_RECORDS / f"{session or ALL}_group.json"
    # Without times: the same comparison has the same name in the provenance, whenever it was made.
    key = content_hash({"inputs": inputs, "command": arguments.command, "software": about["software"]})
    write_record(path, key, out, outputs, seconds, **about)


def _gather_sessions(
    people: Sequence[ParticipantSource], arguments: argparse.Namespace, out: Path, talk: Talk
) -> dict[str | None, Gathered]:
    """What is there of each session; one in which nobody is finished yet is named and left out."""
    sessions = sorted({person.session for person in people}, key=lambda session: session or "")
    done: dict[str | None, Gathered] = {}
    for session in sessions:
        try:
            done[session] = gather([p for p in people if p.session == session], arguments.bids, out)
        except InputError as error:
            if len(sessions) == 1 or (session == sessions[-1] and not done):
                raise
            talk.say(f"note: {session or 'without session'}: {error}")
    return done


def _remove_group_without_sessions(out: Path) -> None:
    """Remove the results of a time when there was one session: they would stand beside those of this run."""
    page, manifest = out / f"{GROUP}.html", out / f"{GROUP}.json"
    # Once there were several sessions, the table of values is that of them all.
    remove_group_tables(out, None, kept=() if manifest.is_file() else ("nuclei",))
    _remove_study(group_folder(out, None))
    for path in (page, out / RECORDS / GROUP_RECORDS / f"{ALL}_group.json", manifest):
        path.unlink(missing_ok=True)


def _one_session(
    arguments: argparse.Namespace,
    dataset: Dataset,
    people: Sequence[ParticipantSource],
    gathered: Gathered,
    session: str | None,
    out: Path,
    talk: Talk,
) -> Path:
    """Tables and page of the group in one session, whose name they carry where there are several; returns the page."""
    with talk.working(unit_of(GROUP, session)):
        arms = tuple(dict.fromkeys(gathered.values["arm"]))
        reference = reference_among(arms, arguments.reference)
        repeat = repeat_among(arms, reference, arguments.repeat)
        written = write_group_tables(gathered, out, session)
        answer, notes = _agreement(gathered, group_folder(out, session), reference, repeat, arguments)
        name = unit_of(GROUP, session)
        pages = {p.participant: f"{p.label}.html" for p in people if (out / f"{p.label}.html").is_file()}
        content = _manifest(dataset, gathered, written, reference, notes, out, arguments, session, pages)
        write_group_manifest(out, content, f"{name}.json")
        page = build_group_page(out, f"{name}.json")
    for sentence in answer:
        talk.say(sentence if session is None else f"{session}: {sentence}")
    for sentence in (*gathered.remarks, *notes, *(f"{who}: {why}" for who, why in gathered.problems.items())):
        talk.say(f"note: {sentence}" if session is None else f"note: {session}: {sentence}")
    return page


def _agreement(
    gathered: Gathered, folder: Path, reference: str, repeat: str | None, arguments: argparse.Namespace
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write the agreement study; returns its answer and its remarks."""
    if gathered.values["arm"].nunique() < 2:
        _remove_study(folder)
        return (), (f"there is one arm only ({reference}); nothing can be compared",)
    folder.mkdir(parents=True, exist_ok=True)
    study = write_agreement(
        gathered.values, folder, reference=reference, margin_ppb=arguments.margin_ppb, seed=arguments.seed,
        repeat=repeat, accelerations=gathered.accelerations,
    )  # fmt: skip
    return study.answer, study.remarks


def _remove_study(folder: Path) -> None:
    """Remove the study of an earlier call: its answer would stand on the page of this one."""
    for name in study_files():
        (folder / name).unlink(missing_ok=True)


def _manifest(
    dataset: Dataset,
    gathered: Gathered,
    written: Mapping[str, str],
    reference: str,
    notes: tuple[str, ...],
    out: Path,
    arguments: argparse.Namespace,
    session: str | None,
    pages: Mapping[str, str],
) -> GroupManifest:
    folder = group_folder(out, session)
    people = dict.fromkeys(gathered.values["participant_id"])
    tables = {
        what: (folder / name).relative_to(out).as_posix()
        for what, name in (("agreement", AGREEMENT), ("age", AGE), ("mixed", MIXED))
        if (folder / name).is_file()
    }
    return GroupManifest(
        dataset=dataset.name,
        arms=tuple(dict.fromkeys(gathered.values["arm"])),
        reference_arm=reference,
        margin_ppb=arguments.margin_ppb,
        values=written["nuclei"],
        agreement=tables.get("agreement"),
        age=tables.get("age"),
        mixed=tables.get("mixed"),
        similarity=written.get("similarity"),
        registration=written.get("registration"),
        definitions=written.get(DEFINITIONS_NAME),
        alarms=written.get("alarms"),
        figures=tuple(sorted(p.relative_to(out).as_posix() for p in folder.glob("*.svg") if p.name in study_files())),
        pages={label: pages[label] for label in people if label in pages},
        problems=gathered.problems,
        notes=(*gathered.remarks, *notes),
        page=f"{unit_of(GROUP, session)}.html",
        session=session,
    )
