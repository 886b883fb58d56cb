"""What a task does, in whatever process it runs. Finished stages are not run again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch

from dlqsm.cohort.arm_stages import map_arm, qsm_key, recon_key, reconstruct_arm
from dlqsm.cohort.attempts import MARKER, LostProcessError, attempt
from dlqsm.cohort.family_alarms import ArmRefusedError
from dlqsm.cohort.family_files import Family
from dlqsm.cohort.inputs import inputs_of_arm, inputs_of_family, inputs_of_page
from dlqsm.cohort.journal import Journal, Listener
from dlqsm.cohort.nuclei_stage import measure_family, nuclei_key, settings_hash
from dlqsm.cohort.participant import ALL, RECORDS, Hooks, Result, Task, failed, journal_of
from dlqsm.cohort.plan import Arm, Plan, arms_of
from dlqsm.cohort.provenance import about_process
from dlqsm.cohort.records import Fingerprints, Record, code_state, is_current, key_of, read_record, write_record
from dlqsm.core.arm_names import repeat_among
from dlqsm.core.checks import InputError
from dlqsm.core.threads import use_threads
from dlqsm.io.bids_sources import ParticipantSource
from dlqsm.io.derivatives import unit_folder
from dlqsm.io.memory import peak_memory_mb

_ONE_AT_A_TIME: Final = threading.Lock()
"""Threads, warnings and names of unfinished files belong to the process: it runs one stage at a time."""


@dataclass(frozen=True, slots=True)
class _Job:
    """A task with all that it is about."""

    task: Task
    before: Sequence[Result]
    person: ParticipantSource
    plan: Plan
    hooks: Hooks
    prints: Fingerprints
    journal: Journal

    @property
    def result(self) -> Result:
        return Result(self.task.stage, self.task.name, "skipped")

    def once(
        self,
        key_now: Callable[[], str],
        work: Callable[[], list[Path]],
        inputs: list[str],
        *,
        what: str | None = None,
        **about: str,
    ) -> Result:
        """Run the stage unless it is done; see `once`."""
        task, whose, key = self.task, self.person.label, key_now()
        work = steady(work, key, key_now, inputs)
        state, seconds = once(
            self.plan, whose, task.name, task.stage, key, work, inputs, journal=self.journal, what=what, **about
        )
        return replace(self.result, state=state, seconds=seconds, record_key=key)


def run_task(
    task: Task, before: Sequence[Result], person: ParticipantSource, plan: Plan, hooks: Hooks, listen: Listener
) -> Result:
    """Run one task; failures are told, never raised, so that other arms and participants go on.

    Parameters
    ----------
    task, before
        The task, and the results of those that it needs.
    listen
        Called with each line that is told, as it comes; the result has them all.
    """
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        listen(line)

    with alone(plan):
        journal = journal_of(person, plan, tell)
        prints = fingerprints_of(plan, person.label)
        with journal.hearing_warnings():
            try:
                result = _WORK[task.stage](_Job(task, before, person, plan, hooks, prints, journal))
            except Exception as error:
                sentence = str(error) if isinstance(error, LostProcessError) else hooks.explain(error)
                sentence = sentence or f"{type(error).__name__}: {error} (a defect of dlqsm; the log has the traceback)"
                journal.failure(person.label if task.name == ALL else task.name, error, sentence)
                result = failed(task, sentence)
        return replace(result, told=tuple(told))


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """Be the only stage in this process, with the plan's threads."""
    with _ONE_AT_A_TIME:
        if plan.threads is not None:
            use_threads(plan.threads)
        yield


def record_path(plan: Plan, label: str, name: str, stage: str) -> Path:
    """The record of one stage; ``name`` is the arm, or ``all``."""
    return plan.out / RECORDS / label / f"{name}_{stage}.json"


def fingerprints_of(plan: Plan, label: str) -> Fingerprints:
    """Known hashes of the participant's input files."""
    return Fingerprints(plan.out / RECORDS / label / "sources.json", (plan.out, plan.bids))


def once(
    plan: Plan,
    label: str,
    name: str,
    stage: str,
    key: str,
    work: Callable[[], list[Path]],
    inputs: Sequence[str],
    *,
    journal: Journal,
    what: str | None = None,
    **about: Any,
) -> tuple[str, float]:
    """Run a stage unless its record says that it is done; the record is removed first and written last.

    The record keeps ``inputs``, BIDS URIs of what the stage is made of, for the provenance.

    Returns
    -------
    ``run`` and the seconds, also where this run has done it before (a scheduler may ask twice); else ``kept`` and 0.

    Raises
    ------
    LostProcessError
        If the processes that began it in this run were killed, more than ``plan.retries`` of them.
    """
    path = record_path(plan, label, name, stage)
    with attempt(path.with_suffix(MARKER), plan.run, plan.retries):
        record = read_record(path)
        if record is not None and is_done(record, key, plan):
            if _is_of_this_run(record, plan):
                return "run", record.seconds
            journal.log(f"{name} {stage}: done before")
            return "kept", 0.0
        path.unlink(missing_ok=True)
        start = time.perf_counter()
        outputs = work()
        seconds = time.perf_counter() - start
        about |= {"device": plan.device, "run": plan.run, "command": plan.command, "inputs": list(inputs)}
        about |= about_process(stage, seconds)
        memory = round(peak_memory_mb())
        write_record(
            path,
            key,
            plan.out,
            outputs,
            seconds,
            threads=torch.get_num_threads(),
            peak_memory_mb=memory,
            work=plan.work,
            **about,
        )
        journal.stage(name, what or stage, seconds)
    return "run", seconds


def is_done(record: Record | None, key: str, plan: Plan) -> bool:
    """Whether a stage need not run: its record is current, and with ``--overwrite`` it is of this run."""
    if record is None or not is_current(record, key, plan.out, plan.work):
        return False
    return not plan.overwrite or _is_of_this_run(record, plan)


def _is_of_this_run(record: Record, plan: Plan) -> bool:
    return plan.run != "" and record.about.get("run") == plan.run


def steady(
    work: Callable[[], list[Path]], key: str, key_now: Callable[[], str], inputs: Sequence[str]
) -> Callable[[], list[Path]]:
    """The work, which fails where what it is made of is no longer what it was when the key was taken."""

    def checked() -> list[Path]:
        outputs = work()
        _require_same_key(key, key_now(), inputs)
        return outputs

    return checked


def _require_same_key(key: str, now: str, inputs: Sequence[str]) -> None:
    """Raise `InputError` where input has changed: what was made of it would be a mix, or bear the wrong key."""
    if now != key:
        named = ", ".join(inputs[:2]) + (" ..." if len(inputs) > 2 else "")
        raise InputError(f"{named}: was changed while the run worked on it; run again, and it is made anew")


def _arm(job: _Job) -> Arm:
    assert job.task.source is not None
    arms = arms_of(job.task.source, job.person.label, job.plan, job.prints)
    return next(arm for arm in arms if arm.name == job.task.name)


def _recon(job: _Job) -> Result:
    """Raw data to lag sums; not where the maps are there, since nothing needs the files between the stages then."""
    arm, plan = _arm(job), job.plan
    maps = read_record(record_path(plan, arm.label, arm.name, "qsm"))
    if is_done(maps, qsm_key(arm, plan, job.prints), plan):
        return job.result

    def key_now() -> str:
        return recon_key(arm, plan, job.prints)

    return job.once(key_now, lambda: reconstruct_arm(arm, plan), inputs_of_arm(arm, plan), what=f"recon {arm.method}")


def _qsm(job: _Job) -> Result:
    if any(result.state == "failed" for result in job.before):
        return job.result
    arm, plan = _arm(job), job.plan
    files = inputs_of_arm(arm, plan)
    if arm.source.raw is not None:
        _require_reconstruction(job, arm, files)

    def key_now() -> str:
        return qsm_key(arm, plan, job.prints)

    inputs = [] if arm.source.raw is not None else files
    return replace(job.once(key_now, lambda: map_arm(arm, plan), inputs), arm=arm)


def _require_reconstruction(job: _Job, arm: Arm, files: Sequence[str]) -> None:
    """See that the reconstruction is of the raw data as they are now, unless the maps are there and need none."""
    maps = read_record(record_path(job.plan, arm.label, arm.name, "qsm"))
    if is_done(maps, qsm_key(arm, job.plan, job.prints), job.plan):
        return
    (recon,) = job.before
    _require_same_key(recon.record_key, recon_key(arm, job.plan, job.prints), files)


def _nuclei(job: _Job) -> Result:
    """Nuclei of the arms that have maps: one that failed, or is refused here, leaves the others as they are."""
    plan = job.plan
    done = [result.arm for result in job.before if result.arm is not None]
    if not done:
        raise InputError(f"{job.person.label} has no arm that could be mapped")
    reference = _reference_among(done, plan, job.journal)
    for result in job.before:
        if result.arm is not None:
            arm = result.arm
            _require_same_key(result.record_key, qsm_key(arm, plan, job.prints), inputs_of_arm(arm, plan))
    repeat = repeat_among((arm.name for arm in done), reference)
    arms, refused = sorted(done, key=lambda arm: _order(arm.name, reference, repeat)), list[str]()
    while True:
        try:
            result = _family(job, Family(job.person, tuple(arms), reference))
        except ArmRefusedError as error:
            if error.arm == reference:
                raise InputError(str(error)) from None
            job.journal.tell(f"{error.arm}: {error}")
            refused.append(str(error))
            arms = [arm for arm in arms if arm.name != error.arm]
        else:
            return replace(result, failure="; ".join(refused) or None)


def _family(job: _Job, family: Family) -> Result:
    plan = job.plan

    def key_now() -> str:
        return nuclei_key(family, plan, job.prints)

    about = {"settings": settings_hash(plan, job.prints), "code": code_state()}
    return job.once(key_now, lambda: measure_family(family, plan, job.journal), inputs_of_family(family, plan), **about)


def _page(job: _Job) -> Result:
    (nuclei,) = job.before
    if nuclei.state == "failed":
        return job.result
    key = key_of("page", {"nuclei": nuclei.record_key})
    folder = unit_folder(job.plan.out, job.person.label)
    return job.once(lambda: key, lambda: [job.hooks.page(folder)], inputs_of_page(job.person, job.plan))


_WORK: Final[dict[str, Callable[[_Job], Result]]] = {"recon": _recon, "qsm": _qsm, "nuclei": _nuclei, "page": _page}


def _reference_among(arms: list[Arm], plan: Plan, journal: Journal) -> str:
    """The reference arm where the participant has it; else the first, which serves registration only."""
    names = [arm.name for arm in arms]
    if plan.reference in names:
        return plan.reference
    journal.tell(f"note: has no arm {plan.reference}; its arms are registered to {names[0]} and enter no comparison")
    return names[0]


def _order(name: str, reference: str, repeat: str | None) -> tuple[bool, bool, str]:
    """The reference first, its repeat last, the others by name."""
    return name != reference, name == repeat, name
