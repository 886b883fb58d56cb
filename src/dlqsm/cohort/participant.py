"""One participant as a graph of tasks, one for each stage of each arm; a scheduler runs them, wherever it does."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import dlqsm
from dlqsm.cohort.journal import Journal, Listener
from dlqsm.cohort.plan import Arm, Plan, arm_names
from dlqsm.io.bids_sources import ArmSource, ParticipantSource
from dlqsm.io.outputs import write_json
from dlqsm.io.places import without_places

STAGES: Final = ("recon", "qsm", "nuclei", "page")
RECORDS: Final = Path("logs") / "records"
ALL: Final = "all"
"""Stands for the arm where a stage is about all of them."""

MakePage = Callable[[Path], Path]
"""Makes the page of the folder that holds a manifest; returns where it is."""
Explain = Callable[[Exception], str | None]
"""The sentence for an error that is not dlqsm's; None for a defect."""
Key = tuple[str, str]
"""Stage and arm, which tell the tasks of a participant apart."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """What comes from above: who makes the page, and who words errors; functions of modules."""

    page: MakePage
    explain: Explain


@dataclass(frozen=True, slots=True)
class Task:
    """A stage of one arm, or of all arms together.

    Parameters
    ----------
    stage, name
        One of `STAGES`; the arm, or `ALL`.
    source
        Where the arm's data lie; None for all arms.
    needs
        Keys of the tasks whose results it takes.
    """

    stage: str
    name: str
    source: ArmSource | None = None
    needs: tuple[Key, ...] = ()

    @property
    def key(self) -> Key:
        """What tells it apart from the participant's other tasks."""
        return self.stage, self.name


@dataclass(frozen=True, slots=True)
class Result:
    """How a task ended: small, since it travels between processes.

    Parameters
    ----------
    stage, name
        Of the task.
    state
        ``run``, ``kept`` (its results were there already), ``skipped`` (nothing needs it, or what it needs is not
        there), ``failed``.
    seconds
        Of a stage that ran.
    failure
        Sentence of a task that failed.
    arm
        The arm that has maps now, of the stage that makes them.
    record_key
        Key of the record of what was done.
    told
        Lines for whoever watches the run.
    """

    stage: str
    name: str
    state: str
    seconds: float = 0.0
    failure: str | None = None
    arm: Arm | None = None
    record_key: str = ""
    told: tuple[str, ...] = ()


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
    n_left
        Stages that were not begun, since the run stopped at a failure.
    """

    label: str
    seconds: dict[str, float] = field(default_factory=dict)
    n_run: int = 0
    n_kept: int = 0
    failures: list[str] = field(default_factory=list)
    n_left: int = 0


def tasks_of(person: ParticipantSource, plan: Plan) -> list[Task]:
    """The tasks of a participant, each after those that it needs: every arm to maps, then nuclei, then the page.

    Nothing is read for them, so that the graph of a large study is made at once.
    """
    tasks: list[Task] = []
    for source in person.arms:
        for name in arm_names(source, plan):
            recon = [Task("recon", name, source)] if source.raw is not None and source.problem is None else []
            tasks += [*recon, Task("qsm", name, source, tuple(task.key for task in recon))]
    nuclei = Task("nuclei", ALL, needs=tuple(task.key for task in tasks if task.stage == "qsm"))
    return [*tasks, nuclei, Task("page", ALL, needs=(nuclei.key,))]


def journal_of(person: ParticipantSource, plan: Plan, listen: Listener) -> Journal:
    """The participant's log."""
    return Journal(plan.out / "logs" / f"{person.label}.log", person.label, listen, names_of_places(plan))


def names_of_places(plan: Plan) -> dict[Path, str]:
    """Folders of a run, and of the programs, to what is told of them in what is kept."""
    programs = {Path(dlqsm.__file__).parent: "dlqsm", Path(sys.prefix): "PYTHON", Path(sys.base_prefix): "PYTHON"}
    return {**programs, Path.home(): "~", plan.bids: "BIDS", plan.out: "OUT", plan.work: "WORK"}


def announce(person: ParticipantSource, plan: Plan, listen: Listener) -> None:
    """Tell what is remarkable of a participant's data, before anything is done with them."""
    journal = journal_of(person, plan, listen)
    for note in person.notes:
        journal.tell(f"note: {note}")


def failed(task: Task, sentence: str, told: Sequence[str] = ()) -> Result:
    """The result of a task that failed."""
    return Result(task.stage, task.name, "failed", failure=sentence, told=tuple(told))


def conclude(person: ParticipantSource, plan: Plan, results: Mapping[Key, Result]) -> Outcome:
    """Sum up the tasks of a participant, keep the failures for the group, and clear the files between the stages."""
    outcome = Outcome(person.label)
    tasks = tasks_of(person, plan)
    for task in tasks:
        result = results.get(task.key)
        if result is None:
            outcome.n_left += 1
            continue
        outcome.n_run += result.state == "run"
        outcome.n_kept += result.state == "kept"
        if result.state == "run":
            outcome.seconds[task.stage] = outcome.seconds.get(task.stage, 0.0) + result.seconds
        if result.failure is not None:
            outcome.failures.append(result.failure if task.name == ALL else f"{task.name}: {result.failure}")
    kept = [without_places(sentence, names_of_places(plan)) for sentence in outcome.failures]
    records = plan.out / RECORDS / person.label
    write_json(records / "outcome.json", {"failures": kept})
    measured = results.get(("nuclei", ALL))
    if outcome.failures and (measured is None or measured.state == "failed"):
        # A table of an earlier run shows arms that this one could not map: the group must not take it.
        (records / f"{ALL}_nuclei.json").unlink(missing_ok=True)
    if not outcome.failures and not outcome.n_left and not plan.keep_work:
        shutil.rmtree(plan.work / person.label, ignore_errors=True)
    return outcome
