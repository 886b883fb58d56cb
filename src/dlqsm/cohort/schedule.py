"""All participants of a run, one after another or in processes side by side."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from multiprocessing import connection
from typing import Any

import torch

from dlqsm.cohort.participant import Hooks, Outcome, run_participant
from dlqsm.cohort.plan import Plan
from dlqsm.io.bids import ParticipantSource

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def run_all(
    people: Sequence[ParticipantSource], plan: Plan, hooks: Hooks, *, workers: int, ended: Callable[[Outcome], None]
) -> list[Outcome]:
    """Run all participants; ``ended`` is called with each outcome as it comes.

    With several workers each participant has a process of its own, so that one that the system kills (for memory, say)
    takes no other with it.

    Returns
    -------
    Outcomes in the order of ``people``.
    """
    if workers == 1:
        outcomes = []
        for person in people:
            outcomes.append(run_participant(person, plan, hooks))
            ended(outcomes[-1])
        return outcomes
    found: dict[str, Outcome] = {}
    waiting = list(people)
    running: dict[Any, tuple[Any, ParticipantSource]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                person = waiting.pop(0)
                process, receiver = _start(person, plan, hooks)
                running[receiver] = process, person
            for ready in connection.wait(list(running)):
                process, person = running.pop(ready)
                found[person.label] = _outcome(ready, process, person)  # type: ignore[arg-type]
                ended(found[person.label])
    finally:
        for process, _ in running.values():
            process.terminate()
    return [found[person.label] for person in people]


def _start(person: ParticipantSource, plan: Plan, hooks: Hooks) -> tuple[Any, connection.Connection]:
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, person, plan, hooks), name=person.label)
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(plan.threads or 1)))
    try:
        process.start()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    sender.close()
    return process, receiver


def _outcome(receiver: connection.Connection, process: Any, person: ParticipantSource) -> Outcome:
    """What a process sent; a failure where it ended without a word."""
    try:
        outcome: Outcome = receiver.recv()
    except EOFError:
        process.join()
        why = f"signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
        remedy = "too little memory is the usual cause: use fewer --workers, and run again to go on where it stopped"
        outcome = Outcome(person.label, failures=[f"its process ended by {why}; {remedy}"])
    process.join()
    return outcome


def _work(sender: connection.Connection, person: ParticipantSource, plan: Plan, hooks: Hooks) -> None:
    """Body of a participant's process."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if plan.threads is not None:
        torch.set_num_threads(plan.threads)
    sender.send(run_participant(person, plan, hooks))
    sender.close()


def _die_with_parent() -> None:
    """End this process when the one that started it is gone: a killed run must not go on writing unseen."""
    parent = multiprocessing.parent_process()
    while parent is not None and parent.is_alive():
        connection.wait([parent.sentinel], timeout=5.0)
    os._exit(1)
