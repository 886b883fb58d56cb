"""All participants of a run as tasks of a Dask scheduler: on this machine's processes, or on other machines.

The client keeps a bounded number of participants under way, so that neither it nor the scheduler grows with the study.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from dask.delayed import delayed
from distributed import CancelledError, Client, Future, wait
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker

from dlqsm.cohort.attempts import LOST, MARKER, n_tries
from dlqsm.cohort.journal import Listener
from dlqsm.cohort.participant import Hooks, Key, Outcome, Result, Task, announce, conclude, failed, tasks_of
from dlqsm.cohort.plan import Plan
from dlqsm.cohort.schedule import Ended, Scheduler
from dlqsm.cohort.stages import record_path, run_task
from dlqsm.core.checks import InputError
from dlqsm.io.bids_sources import ParticipantSource

Run = Callable[[Task, Sequence[Result], ParticipantSource, Plan, Hooks, Listener], Result]
_LOOK_AROUND_S: Final = 10.0
_CONNECTED: Final = "running"
"""Status of a client whose scheduler answers."""
_BLAMED: Final = 20
"""Times that a participant's tasks may lose their process before they begin, until one of them counts as failed."""


def dask_scheduler(
    client: Client, *, at_once: int, patience_s: float | None, heal: Callable[[], None] | None = None
) -> Scheduler:
    """Who runs the work: the workers of a Dask scheduler; see `run_on` and `Look`."""
    look = Look(client, patience_s, heal)
    return Scheduler(
        functools.partial(run_on, client, at_once=at_once, look=look),
        functools.partial(each_on, client, look=look),
    )


def run_on(
    client: Client,
    people: Sequence[ParticipantSource],
    plan: Plan,
    hooks: Hooks,
    listen: Listener,
    ended: Ended,
    *,
    at_once: int,
    look: Look | None = None,
    run: Run = run_task,
) -> list[Outcome]:
    """Run all participants: `schedule.RunAll`, on the workers of a client.

    Parameters
    ----------
    at_once
        Participants whose tasks the scheduler has: enough that no worker waits, few enough that a study of any size
        takes the same memory.
    look
        After the workers, while their results are waited for.
    run
        Runs one task on a worker.

    Raises
    ------
    InputError
        If the scheduler goes away, or all workers do.
    """
    waiting = iter(enumerate(people))
    under_way: dict[str, _UnderWay] = {}
    outcomes: dict[str, Outcome] = {}
    with _futures_of(client, lambda: [future for one in under_way.values() for future in one.futures]):
        while True:
            for rank, person in itertools.islice(waiting, at_once - len(under_way)):
                announce(person, plan, listen)
                under_way[person.label] = _UnderWay(person, tasks_of(person, plan), rank)
                under_way[person.label].submit(client, plan, hooks, run)
            if not under_way or (plan.stops_at_failure and any(one.failures for one in outcomes.values())):
                return [outcomes[person.label] for person in people if person.label in outcomes]
            everything = [future for one in under_way.values() for future in one.futures]
            done = _first_done(client, everything, look=look)
            for label, one in list(under_way.items()):
                for line in one.take(done, plan, hooks):
                    listen(line)
                if one.is_broken:
                    one.submit(client, plan, hooks, run)
                if one.is_complete or (plan.stops_at_failure and one.has_failed):
                    del under_way[label]
                    outcomes[label] = conclude(one.person, plan, one.results)
                    ended(outcomes[label])


def each_on(
    client: Client, function: Callable[..., Any], items: Iterable[tuple[Any, ...]], *, look: Look | None = None
) -> list[Any]:
    """Call a function with each tuple of arguments on the workers: `schedule.Each`."""
    futures: list[Future[Any]] = []
    with _futures_of(client, lambda: futures):
        futures += [client.submit(function, *item, pure=False) for item in items]
        left = set(futures)
        while left:
            left -= _first_done(client, list(left), look=look)
        return [
            future.result() if future.status == "finished" else _told(future.exception(), None) for future in futures
        ]


@contextmanager
def _futures_of(client: Client, left: Callable[[], list[Future[Any]]]) -> Iterator[None]:
    """Give up the futures that are left at the end of the block, and tell in one sentence if the scheduler went away.

    What Dask raises then depends on what the client was about: a lost connection, cancelled futures, a closed client.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, CancelledError | CommClosedError) or client.status != _CONNECTED:
            raise InputError(
                "the Dask scheduler went away; start it anew, and run again to go on where it stopped"
            ) from None
        raise
    finally:
        if client.status == _CONNECTED:
            client.cancel(left())


@dataclass(slots=True)
class Look:
    """Looks after the workers of a scheduler from time to time.

    Parameters
    ----------
    client
        Of the scheduler.
    patience_s
        How long to go on without any worker; for ever where None, since jobs may wait in a queue.
    heal
        Starts workers that are gone.
    """

    client: Client
    patience_s: float | None
    heal: Callable[[], None] | None = None
    looked_s: float = field(default_factory=time.monotonic)
    alone_since_s: float | None = None

    def around(self) -> None:
        """Look, unless it was done a moment ago; raises `InputError` where patience ends."""
        now = time.monotonic()
        if now - self.looked_s < _LOOK_AROUND_S:
            return
        self.looked_s = now
        if self.heal is not None:
            self.heal()
        self.alone_since_s = None if self.client.nthreads() else self.alone_since_s or now
        if self.patience_s and self.alone_since_s and now - self.alone_since_s > self.patience_s:
            raise InputError(
                f"all workers are gone, and none came back within {self.patience_s:.0f} s; too little memory is the "
                "usual cause. Run again to go on where it stopped"
            )


def _first_done(client: Client, futures: Sequence[Future[Any]], *, look: Look | None) -> set[Future[Any]]:
    """The futures that have ended, once one has; raises `InputError` where all workers stay away."""
    while True:
        if look is not None:
            look.around()
        try:
            with client.as_current():
                return set(wait(futures, timeout=_LOOK_AROUND_S, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            continue


@dataclass(slots=True)
class _UnderWay:
    """A participant whose tasks the scheduler has.

    Parameters
    ----------
    person, tasks
        The participant and its tasks.
    rank
        Place in the study: earlier ones go first, so that participants are finished one after another.
    results
        Those that have come.
    futures
        The others, with their tasks.
    n_submitted, n_blamed
        How often tasks were handed to the scheduler, and were blamed for a process that was killed.
    is_broken
        Whether a task gave no result, so that those after it must be handed over again.
    """

    person: ParticipantSource
    tasks: list[Task]
    rank: int
    results: dict[Key, Result] = field(default_factory=dict)
    futures: dict[Future[Any], Task] = field(default_factory=dict)
    n_submitted: int = 0
    n_blamed: int = 0
    is_broken: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether one of the results is a failure."""
        return any(result.failure is not None for result in self.results.values())

    @property
    def is_complete(self) -> bool:
        """Whether all results have come."""
        return len(self.results) == len(self.tasks)

    def submit(self, client: Client, plan: Plan, hooks: Hooks, run: Run) -> None:
        """Hand over the tasks that have no result as one graph; those handed over before are given up."""
        client.cancel(list(self.futures))
        self.n_submitted, self.is_broken = self.n_submitted + 1, False
        promised: dict[Key, Any] = {}
        for task in self.tasks:
            if task.key not in self.results:
                known = tuple(self.results[key] for key in task.needs if key in self.results)
                needed = [promised[key] for key in task.needs if key not in self.results]
                # Dask looks into arguments for further tasks, and would take records apart; not into a function's.
                call = functools.partial(_call, run, task, known, self.person, plan, hooks)
                name = (f"dlqsm_{task.stage}", plan.run, self.person.label, task.name, self.n_submitted)
                promised[task.key] = delayed(call, pure=False, traverse=False)(*needed, dask_key_name=name)
        futures = client.compute(list(promised.values()), priority=-self.rank, optimize_graph=False)
        left = [task for task in self.tasks if task.key in promised]
        self.futures = dict(zip(futures, left, strict=True))

    def take(self, done: Collection[Future[Any]], plan: Plan, hooks: Hooks) -> list[str]:
        """Keep what tasks returned, and return their lines; where one failed to return, say so in its place."""
        lines: list[str] = []
        for future, task in list(self.futures.items()):
            if future not in done:
                continue
            if future.status == "finished":
                del self.futures[future]
                self.results[task.key] = future.result()
                lines += self.results[task.key].told
            elif all(key in self.results for key in task.needs):  # else it failed because of one that it needs
                self.is_broken = True
                lines += self._give_up(task, future.exception(), plan, hooks)
        return lines

    def _give_up(self, task: Task, error: BaseException | None, plan: Plan, hooks: Hooks) -> list[str]:
        """Count a task as failed, or have it tried again where Dask blames it for what another one did."""
        self.n_blamed += 1
        marker = record_path(plan, self.person.label, task.name, task.stage).with_suffix(MARKER)
        if isinstance(error, KilledWorker) and self.n_blamed <= _BLAMED and n_tries(marker, plan.run) <= plan.retries:
            return []
        sentence = _told(error, hooks)
        line = f"{self.person.label:<10} {task.name}: FAILED: {sentence}"
        self.results[task.key] = failed(task, sentence, (line,))
        return [line]


def _call(
    run: Run,
    task: Task,
    known: Sequence[Result],
    person: ParticipantSource,
    plan: Plan,
    hooks: Hooks,
    *needed: Result,
) -> Result:
    """Body of a task on a worker."""
    by_key = {(result.stage, result.name): result for result in (*known, *needed)}
    # What is told travels with the result; results of others are not handed on with theirs.
    before = [replace(by_key[key], told=()) for key in task.needs]
    return run(task, before, person, plan, hooks, _silent)


def _silent(line: str) -> None:
    """Hear nothing."""


def _told(error: BaseException | None, hooks: Hooks | None) -> str:
    if isinstance(error, KilledWorker):
        return LOST
    explained = hooks.explain(error) if hooks is not None and isinstance(error, Exception) else None
    return explained or f"{type(error).__name__}: {error} (on a worker of the Dask scheduler)"
