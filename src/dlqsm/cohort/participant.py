"""One participant: every arm to its maps, all arms to nuclei, and a page. Finished stages are not run again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from dlqsm.cohort.arm_stages import map_arm, qsm_key, recon_key, reconstruct_arm
from dlqsm.cohort.journal import Journal, Listener
from dlqsm.cohort.nuclei_stage import Family, measure_family, nuclei_key, settings_hash
from dlqsm.cohort.plan import Arm, Plan, arms_of
from dlqsm.cohort.records import Fingerprints, code_state, is_current, key_of, read_record, write_record
from dlqsm.core.checks import InputError
from dlqsm.io.bids import ParticipantSource
from dlqsm.io.outputs import write_json

STAGES: Final = ("recon", "qsm", "nuclei", "page")
RECORDS: Final = Path("logs") / "records"

MakePage = Callable[[Path], Path]
"""Makes the page of the folder that holds a manifest; returns where it is."""
Explain = Callable[[Exception], str | None]
"""The sentence for an error that is not dlqsm's; None for a defect."""


@dataclass(slots=True)
class Outcome:
    """How the run of one participant ended.

    Parameters
    ----------
    label
        Participant.
    seconds
        Stage to seconds, summed over arms; stages that did not run are absent.
    n_run, n_kept
        Stages that ran, and those whose results were there already.
    failures
        Sentences; empty where the participant is complete.
    """

    label: str
    seconds: dict[str, float] = field(default_factory=dict)
    n_run: int = 0
    n_kept: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hooks:
    """What comes from above: who makes the page, who words errors, and who listens; functions of modules."""

    page: MakePage
    explain: Explain
    listen: Listener


def run_participant(person: ParticipantSource, plan: Plan, hooks: Hooks) -> Outcome:
    """Run all stages of one participant that are not done; failures are told, never raised.

    An arm that fails leaves the others as they are: nuclei are found in the arms that have maps.
    """
    outcome = Outcome(person.label)
    journal = Journal(plan.out / "logs" / f"{person.label}.log", person.label, hooks.listen)
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    with journal.hearing_warnings():
        try:
            _run_stages(person, plan, hooks, journal, outcome)
        except Exception as error:
            _fail(person.label, error, journal, hooks, outcome)
    write_json(plan.out / RECORDS / person.label / "outcome.json", {"failures": outcome.failures})
    if not outcome.failures and not plan.keep_work:
        shutil.rmtree(plan.work / person.label, ignore_errors=True)
    return outcome


def record_path(plan: Plan, label: str, name: str, stage: str) -> Path:
    """The record of one stage; ``name`` is the arm, or ``all``."""
    return plan.out / RECORDS / label / f"{name}_{stage}.json"


def fingerprints_of(plan: Plan, label: str) -> Fingerprints:
    """Known hashes of the participant's input files."""
    return Fingerprints(plan.out / RECORDS / label / "sources.json")


def _run_stages(person: ParticipantSource, plan: Plan, hooks: Hooks, journal: Journal, outcome: Outcome) -> None:
    for note in person.notes:
        journal.tell(f"note: {note}")
    prints = fingerprints_of(plan, person.label)
    done: list[Arm] = []
    for source in person.arms:
        try:
            arms = arms_of(source, person.label, plan, prints)
        except Exception as error:
            _fail(source.name, error, journal, hooks, outcome)
            continue
        done += [arm for arm in arms if _arm_is_done(arm, plan, prints, journal, hooks, outcome)]
    if not done:
        raise InputError(f"{person.label} has no arm that could be mapped")
    reference = _reference_among(done, plan, journal)
    family = Family(person, tuple(sorted(done, key=lambda arm: _order(arm.name, reference))), reference)
    key = nuclei_key(family, plan, prints)
    step = _Stages(plan, journal, outcome)
    about = {"settings": settings_hash(plan, prints), "code": code_state()}
    step.run("nuclei", person.label, "all", key, lambda: measure_family(family, plan, journal), **about)
    page_key = key_of("page", {"nuclei": key})
    step.run("page", person.label, "all", page_key, lambda: [hooks.page(plan.out / person.label)])


def _arm_is_done(arm: Arm, plan: Plan, prints: Fingerprints, journal: Journal, hooks: Hooks, outcome: Outcome) -> bool:
    """Make the maps of an arm unless they are there; whether it has maps now."""
    step = _Stages(plan, journal, outcome)

    def make() -> list[Path]:
        if arm.method is not None:
            key = recon_key(arm, plan, prints)
            work = lambda: reconstruct_arm(arm, plan)  # noqa: E731
            step.run("recon", arm.label, arm.name, key, work, what=f"recon {arm.method}")
        return map_arm(arm, plan)

    try:
        step.run("qsm", arm.label, arm.name, qsm_key(arm, plan, prints), make)
    except Exception as error:
        _fail(arm.name, error, journal, hooks, outcome)
        return False
    return True


@dataclass(slots=True)
class _Stages:
    """Runs stages that are not done, and keeps account of them."""

    plan: Plan
    journal: Journal
    outcome: Outcome

    def run(
        self,
        stage: str,
        label: str,
        name: str,
        key: str,
        work: Callable[[], list[Path]],
        *,
        what: str | None = None,
        **about: Any,
    ) -> None:
        """Run one stage unless its record says that it is done; the record is removed first and written last."""
        path = record_path(self.plan, label, name, stage)
        if not self.plan.overwrite and is_current(read_record(path), key, self.plan.out):
            self.outcome.n_kept += 1
            self.journal.log(f"{name} {stage}: done before")
            return
        path.unlink(missing_ok=True)
        before = sum(self.outcome.seconds.values())
        start = time.perf_counter()
        outputs = work()
        # A stage may have run another one first, whose seconds are its own.
        seconds = time.perf_counter() - start - (sum(self.outcome.seconds.values()) - before)
        about |= {"device": self.plan.device, "threads": torch.get_num_threads()}
        write_record(path, key, self.plan.out, outputs, seconds, **about)
        self.outcome.n_run += 1
        self.outcome.seconds[stage] = self.outcome.seconds.get(stage, 0.0) + seconds
        self.journal.stage(name, what or stage, seconds)


def _reference_among(arms: list[Arm], plan: Plan, journal: Journal) -> str:
    """The reference arm where the participant has it; else the first, which serves registration only."""
    names = [arm.name for arm in arms]
    if plan.reference in names:
        return plan.reference
    journal.tell(f"note: has no arm {plan.reference}; its arms are registered to {names[0]} and enter no comparison")
    return names[0]


def _order(name: str, reference: str) -> tuple[bool, bool, str]:
    """The reference first, its repeat last, the others by name."""
    return name != reference, name == f"{reference}rep", name


def _fail(what: str, error: Exception, journal: Journal, hooks: Hooks, outcome: Outcome) -> None:
    sentence = hooks.explain(error) or f"{type(error).__name__}: {error} (a defect of dlqsm; the log has the traceback)"
    journal.failure(what, error, sentence)
    outcome.failures.append(sentence if what == outcome.label else f"{what}: {sentence}")
