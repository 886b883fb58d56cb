"""All participants of a run, one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dlqsm.cohort.journal import Listener
from dlqsm.cohort.participant import Hooks, Key, Outcome, Result, announce, conclude, tasks_of
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.stages import run_task
from dlqsm.io.bids_sources import ParticipantSource

Ended = Callable[[Outcome], None]
RunAll = Callable[[Sequence[ParticipantSource], Plan, Hooks, Listener, Ended], list[Outcome]]
"""Runs all participants of a plan, and returns their outcomes in the order of the participants; where it stops at a
failure, of those who were complete or failed by then.

The listener is called with each line that is told, the last function with each outcome as it comes.
"""
Each = Callable[[Callable[..., Any], Iterable[tuple[Any, ...]]], list[Any]]
"""Calls a function of a module with each tuple of arguments; returns its values, or the error's sentence, in order."""


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Who runs the work of a plan: in this process, in others, or on other machines."""

    run_all: RunAll
    each: Each


def run_in_turn(
    people: Sequence[ParticipantSource], plan: Plan, hooks: Hooks, listen: Listener, ended: Ended
) -> list[Outcome]:
    """Run one participant after another, the tasks of each in their order; to the first failure where asked for."""
    outcomes = []
    for person in people:
        announce(person, plan, listen)
        results: dict[Key, Result] = {}
        for task in tasks_of(person, plan):
            before = [results[key] for key in task.needs]
            results[task.key] = run_task(task, before, person, plan, hooks, listen)
            if plan.stops_at_failure and results[task.key].failure is not None:
                break
        outcomes.append(conclude(person, plan, results))
        ended(outcomes[-1])
        if plan.stops_at_failure and outcomes[-1].failures:
            break
    return outcomes


def each_in_turn(function: Callable[..., Any], items: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Call the function with one tuple of arguments after another."""
    return [function(*item) for item in items]


IN_THIS_PROCESS = Scheduler(run_in_turn, each_in_turn)
