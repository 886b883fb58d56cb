"""A command in a process of its own, made by forking one that has loaded dlqsm already, and what becomes of it."""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fault_hooks import Fault, Moments

from dlqsm.cli import main

PATIENCE_S = 900.0
UNDISTURBED = Fault()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended: exit code, or the signal as a negative number; what it said; moments it had; seconds."""

    code: int
    out: str
    err: str
    moments: tuple[str, ...]
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Conditions:
    """What disturbs a process: a fault at a moment, a death after CPU seconds, or a largest size of files [byte]."""

    fault: Fault = UNDISTURBED
    cpu_s: float | None = None
    largest_file: int | None = None


CALM = Conditions()


@dataclass(frozen=True, slots=True)
class Running:
    """A process that was begun: its number, where it speaks to, and the CPU seconds of all children before it."""

    pid: int
    logs: Path
    before_s: float


def call(words: Sequence[object], folder: Path, conditions: Conditions = CALM) -> Ended:
    """Run the command line in a fork, to its end; ``folder`` holds all that it may write."""
    return end(start(words, folder, conditions))


def start(words: Sequence[object], folder: Path, conditions: Conditions = CALM, name: str = "said") -> Running:
    """Begin the command line in a fork; ``name`` tells processes apart that run at once."""
    logs = folder.with_name(f"{folder.name}.{name}")
    logs.mkdir(parents=True, exist_ok=True)
    for old in logs.iterdir():
        old.unlink()
    before_s = _children_cpu_s()
    child = os.fork()
    if child == 0:
        _be_the_command([str(word) for word in words], folder, logs, conditions)
    return Running(child, logs, before_s)


def end(running: Running) -> Ended:
    """Wait for the end of a process."""
    code, logs = os.waitstatus_to_exitcode(_wait(running.pid)), running.logs
    moments = json.loads((logs / "moments.json").read_text()) if (logs / "moments.json").exists() else []
    cpu_s = _children_cpu_s() - running.before_s
    return Ended(code, (logs / "out").read_text(), (logs / "err").read_text(), tuple(moments), cpu_s)


def until_stopped(running: Running) -> bool:
    """Wait until a process has stopped itself; False where it has ended instead."""
    return os.WIFSTOPPED(os.waitpid(running.pid, os.WUNTRACED)[1])


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _be_the_command(words: list[str], folder: Path, logs: Path, conditions: Conditions) -> None:
    code = 99
    try:
        os.setsid()  # a group of its own, which is killed together
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        if conditions.largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (conditions.largest_file, resource.RLIM_INFINITY))
        moments = Moments(f"{folder}{os.sep}", conditions.fault)
        moments.put_in_place()
        if conditions.cpu_s is not None:
            signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process at once, as SIGKILL does
            signal.setitimer(signal.ITIMER_PROF, conditions.cpu_s)
        code = main(words)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        moments.below, moments.fault = "\0", UNDISTURBED
        (logs / "moments.json").write_text(json.dumps(moments.seen))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int) -> int:
    end = time.monotonic() + PATIENCE_S
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            _kill_group(child)
            return status
        if time.monotonic() > end:
            _kill_group(child)
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.01)


def _kill_group(leader: int) -> None:
    """End what the process has started itself."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
