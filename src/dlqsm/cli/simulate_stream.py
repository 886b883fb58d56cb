"""A virtual cohort of any size in the disk space of a few participants: simulate, map, measure, drop."""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from dlqsm.acquisition.head import Participant
from dlqsm.cli.console import Talk
from dlqsm.cli.dataset_target import require_own
from dlqsm.cli.failure import one_sentence
from dlqsm.cli.report import build_page
from dlqsm.cli.report_example import PICTURE_SUFFIX
from dlqsm.cli.run import listen, summary_text
from dlqsm.cli.virtual_dataset import SCAN_TIMES, Cohort, describe_dataset, simulate_participant, write_scan_times
from dlqsm.cohort.citation import citation_text
from dlqsm.cohort.nuclei_stage import settings_hash
from dlqsm.cohort.participant import RECORDS, Hooks, Outcome
from dlqsm.cohort.plan import VIRTUAL_ATLAS, Plan, by_content, choose_reference
from dlqsm.cohort.records import content_hash, file_hash, read_record
from dlqsm.cohort.schedule import run_in_turn
from dlqsm.cohort.stages import fingerprints_of
from dlqsm.cohort.study_strength import N_PARTICIPANTS, chooses_strength, with_study_strength
from dlqsm.config import QsmConfig, read_qsm_config, read_reconstruction_options
from dlqsm.core.checks import InputError
from dlqsm.io.anatomy import load_anatomy
from dlqsm.io.bids import read_dataset
from dlqsm.io.derivatives import ACCOUNT_SUFFIX, NAME_START, TABLE_SUFFIX, describe, table_path
from dlqsm.io.manifest import NAME as MANIFEST
from dlqsm.io.outputs import PARTIAL, output_folder, read_json, remove_partial_files, write_json

STREAM: Final = Path("logs") / "stream.json"
SCRATCH: Final = Path("work") / "dlqsm-stream"
"""In OUT, for who is being measured; it is the stream's own, since all in it is removed."""
KEPT: Final = (TABLE_SUFFIX, ACCOUNT_SUFFIX, PICTURE_SUFFIX)
"""Suffixes of what stays of a participant."""
MADE: Final = ("from-", PARTIAL)
"""How names of what is made of a participant begin, beside the label: transforms, files that are half written."""
KEPT_RECORDS: Final = ("all_nuclei.json", "outcome.json")
"""The others tell of files that are gone, and where they lay."""


@dataclass(frozen=True, slots=True)
class Job:
    """One participant to do."""

    participant: Participant
    cohort: Cohort
    plan: Plan
    quiet: bool


def stream(
    arguments: argparse.Namespace, cohort: Cohort, participants: Sequence[Participant], talk: Talk, device: str
) -> int:
    """Do every participant that has no table of this study yet; the exit code is 1 where one failed."""
    root, wanted = arguments.out, _chosen(participants, arguments.participant_label)
    if root.resolve() == arguments.stream.resolve():
        raise InputError(f"{root}: is both OUT and --stream; give two folders")
    require_own(arguments.stream, f"{NAME_START}*", "--stream")
    _require_stream(arguments.stream)
    with (
        output_folder(root, overwrite=True, produces=()),
        output_folder(arguments.stream, overwrite=True, produces=()) as out,
    ):
        remove_partial_files(out)
        plan = _plan(arguments, cohort, root, out, device)
        about = _study(cohort, len(participants), plan)
        known = _known_study(out, about, overwrite=arguments.overwrite)
        if arguments.overwrite:
            _forget(out, about, [p.label for p in wanted])
        describe_dataset(root, participants, cohort)
        describe(out, root, cohort.name, VIRTUAL_ATLAS, citation_text(plan, raw_data=True))
        plan = _with_strength(plan, cohort, participants, known, arguments.quiet, talk)
        write_json(out / STREAM, about | {"strength_ppm": plan.config.inversion.options.get("strength")})
        write_scan_times((out / STREAM).with_name(SCAN_TIMES), cohort)
        jobs = [Job(p, cohort, plan, arguments.quiet) for p in wanted if not is_done(plan, p.label)]
        talk.say(f"{len(wanted) - len(jobs)} of {len(wanted)} participants are done; {len(jobs)} to do")
        outcomes = _all(jobs, min(arguments.workers, max(len(jobs), 1)), talk)
    for folder in (root / SCRATCH, root / SCRATCH.parent):
        _remove_if_empty(folder)
    for outcome in outcomes:
        for sentence in outcome.failures:
            print(f"dlqsm simulate: {outcome.label}: {sentence}", file=sys.stderr)
    return 1 if any(outcome.failures for outcome in outcomes) else 0


def is_done(plan: Plan, label: str) -> bool:
    """Whether a participant's tables are there, complete and made with the plan's settings.

    The raw data are gone and their code may have changed since: the record tells its state, and the group page too.
    """
    record = read_record(plan.out / RECORDS / label / "all_nuclei.json")
    ended = plan.out / RECORDS / label / "outcome.json"
    if record is None or not ended.is_file() or read_json(ended).get("failures"):
        return False
    same = record.about.get("settings") == settings_hash(plan, fingerprints_of(plan, label))
    return same and table_path(plan.out, label, "nuclei").is_file()


def do_participant(job: Job) -> Outcome:
    """Simulate, map and measure one participant, and keep the tables and a small picture."""
    label, scratch = job.participant.label, job.plan.bids / SCRATCH / job.participant.label
    plan, hear = replace(job.plan, bids=scratch, work=scratch / "work"), functools.partial(listen, quiet=job.quiet)
    shutil.rmtree(scratch, ignore_errors=True)
    begun = time.perf_counter()
    try:
        simulate_participant(scratch, load_anatomy(), job.participant, job.cohort, Talk(quiet=True))
        describe_dataset(scratch, [job.participant], job.cohort)
        hear(f"{label:<10} {'all arms':<12} {'simulate':<14}{time.perf_counter() - begun:8.1f} s")
        (person,) = read_dataset(scratch).participants
        (outcome,) = run_in_turn([person], plan, Hooks(build_page, one_sentence), hear, lambda ended: None)
    except Exception as error:
        sentence = one_sentence(error)
        if sentence is None:
            raise
        outcome = Outcome(label, failures=[sentence])
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if not outcome.failures:
        _drop(plan.out, label, KEPT)
        _drop_records(plan.out, label)
    return outcome


def _all(jobs: Sequence[Job], workers: int, talk: Talk) -> list[Outcome]:
    """Outcomes of all jobs, side by side where there are workers; a worker that dies takes only what it held."""
    begun, outcomes = time.perf_counter(), []
    if workers == 1:
        for job in jobs:
            outcomes.append(do_participant(job))
            talk.say(f"{job.participant.label}: {len(outcomes)} of {len(jobs)}")
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, max_tasks_per_child=1) as pool:
            waiting = {pool.submit(do_participant, job): job for job in jobs}
            for future in as_completed(waiting):
                outcomes.append(_outcome(future, waiting[future]))
                talk.say(f"{outcomes[-1].label}: {len(outcomes)} of {len(jobs)}")
    if jobs:
        print(summary_text(outcomes, time.perf_counter() - begun))
    return outcomes


def _outcome(future: Future[Outcome], job: Job) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool:
        why = "its worker was killed, perhaps for lack of memory; use fewer --workers and give the same command again"
        return Outcome(job.participant.label, failures=[why])


def _plan(arguments: argparse.Namespace, cohort: Cohort, root: Path, out: Path, device: str) -> Plan:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Plan(
        bids=root,
        out=out,
        work=root / SCRATCH,
        methods=None,
        config=stream_config(arguments),
        reconstruction={} if arguments.config is None else read_reconstruction_options(arguments.config),
        atlas=VIRTUAL_ATLAS,
        reference="PI2" if "PI2" in cohort.arms else cohort.arms[0],
        device=device,
        threads=max(1, (arguments.threads or usable) // arguments.workers),
        seed=cohort.seed,
    )


def stream_config(arguments: argparse.Namespace) -> QsmConfig:
    """Methods of the maps: those of ``--config``, or the defaults."""
    return QsmConfig() if arguments.config is None else read_qsm_config(arguments.config)


def _with_strength(
    plan: Plan, cohort: Cohort, participants: Sequence[Participant], known: float | None, quiet: bool, talk: Talk
) -> Plan:
    """Freeze the strength of the inversion as `dlqsm run` does: by the reference arms of the first participants."""
    if not chooses_strength(plan.config):
        return plan
    if known is not None:
        return replace(plan, config=plan.config.with_step("inversion", None, {"strength": known}))
    scratch = plan.bids / SCRATCH / "strength"
    shutil.rmtree(scratch, ignore_errors=True)
    first, alone = participants[:N_PARTICIPANTS], replace(cohort, arms=(plan.reference,))
    try:
        for participant in first:
            simulate_participant(scratch, load_anatomy(), participant, alone, Talk(quiet=quiet))
        describe_dataset(scratch, first, alone)
        dataset = read_dataset(scratch)
        choose_reference(dataset, plan.reference, None)
        there = replace(plan, bids=scratch, work=scratch / "work")
        frozen = with_study_strength(dataset.participants, [], there, talk.say).config
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return replace(plan, config=frozen)


def _study(cohort: Cohort, n_participants: int, plan: Plan) -> dict[str, Any]:
    content: dict[str, Any] = {"cohort": asdict(cohort), "participants": n_participants}
    about: dict[str, Any] = {"study": cohort.name, "participants": n_participants, "arms": list(cohort.arms)}
    if plan.config != QsmConfig():
        content["config"] = plan.config.resolved()
    if plan.reconstruction:
        told = {method: by_content(options, file_hash) for method, options in plan.reconstruction.items()}
        content["reconstruction"] = about["reconstruction"] = told
    return {**about, "key": content_hash(content)}


def _require_stream(out: Path) -> None:
    """Raise `InputError` where a folder holds participants of another command, whose images a stream would drop."""
    others = sorted(out.glob("sub-*"))
    if others and not (out / STREAM).is_file():
        raise InputError(
            f"{others[0]}: is not of dlqsm simulate --stream, which would drop its images; give another folder for "
            "--stream"
        )


def _known_study(out: Path, now: dict[str, Any], *, overwrite: bool) -> float | None:
    """Strength of the study whose tables the folder holds; raises `InputError` where that is another study."""
    if overwrite or not (out / STREAM).is_file():
        return None
    told: dict[str, Any] = dict(read_json(out / STREAM))
    if told.get("key") != now["key"]:
        arms = f", arms {', '.join(told['arms'])}" if "arms" in told else ""
        held = f"{told.get('participants')} participants of {told.get('study')}{arms}"
        raise InputError(f"{out}: holds another study ({held}); give another folder for --stream, or --overwrite")
    strength = told.get("strength_ppm")
    return strength if isinstance(strength, float) else None


def _forget(out: Path, now: dict[str, Any], wanted: Sequence[str]) -> None:
    """Take who is asked for as not done, for ``--overwrite``; remove everyone where the folder holds another study."""
    told = read_json(out / STREAM) if (out / STREAM).is_file() else {}
    if told.get("key") == now["key"]:
        for label in wanted:
            (out / RECORDS / label / "all_nuclei.json").unlink(missing_ok=True)
        return
    for records in sorted((out / RECORDS).glob("sub-*")):
        _drop(out, records.name, kept=())
        (out / f"{records.name}.html").unlink(missing_ok=True)
        shutil.rmtree(records)


def _chosen(participants: Sequence[Participant], labels: Sequence[str] | None) -> list[Participant]:
    if not labels:
        return list(participants)
    known = {p.label: p for p in participants}
    wanted = list(dict.fromkeys("sub-" + label.removeprefix("sub-") for label in labels))
    unknown = [label for label in wanted if label not in known]
    if unknown:
        raise InputError(f"the cohort has no participant {unknown[0]}; it has sub-001 to {participants[-1].label}")
    return [known[label] for label in wanted]


def _drop(out: Path, label: str, kept: Sequence[str]) -> None:
    """Remove what dlqsm made of a participant, but files with these suffixes; what others put there stays."""
    for path in sorted((out / label).rglob("*"), reverse=True):
        if path.is_dir():
            _remove_if_empty(path)
        elif _is_made(path.name, label) and path.name.split(".")[0].rpartition("_")[2] not in kept:
            path.unlink()
    _remove_if_empty(out / label)


def _is_made(name: str, label: str) -> bool:
    return name == MANIFEST or name.startswith((f"{label}_", *MADE))


def _drop_records(out: Path, label: str) -> None:
    for path in (out / RECORDS / label).iterdir():
        if path.name not in KEPT_RECORDS:
            path.unlink()


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
