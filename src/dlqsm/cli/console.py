"""What a command says while it works: a live display on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dlqsm.core.alarms import Alarm
from dlqsm.core.checks import InputError
from dlqsm.core.threads import use_threads
from dlqsm.io.memory import peak_memory_mb

__all__ = ["Advance", "Talk", "peak_memory_mb", "say_alarms", "start"]

Advance = Callable[[float], None]
Step = Callable[[str, float], None]


class Talk:
    """Progress and remarks of one command, on standard error, so that results alone are on standard output."""

    def __init__(self, *, quiet: bool) -> None:
        self.quiet = quiet
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._live = self._console.is_terminal and not quiet

    def say(self, text: str) -> None:
        """Print a remark."""
        if not self.quiet:
            self._console.print(text, markup=False, soft_wrap=True)

    def step(self, name: str, seconds: float) -> None:
        """Print that a step ended."""
        self.say(f"  {name:<22}{seconds:7.1f} s")

    @contextmanager
    def stepping(self, name: str) -> Iterator[Step]:
        """Show that steps are at work: call the yielded function with each that has ended."""
        if not self._live:
            yield self.step
            return
        columns = (SpinnerColumn(), TextColumn("{task.description:<22}"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(name)
            yield self.step

    @contextmanager
    def working(self, name: str) -> Iterator[Advance]:
        """Show progress of a step: call the yielded function with the fraction that is done."""
        start = time.perf_counter()
        if self._live:
            columns = (TextColumn("  {task.description:<22}"), BarColumn(bar_width=32), TimeElapsedColumn())
            with Progress(*columns, console=self._console, transient=True) as progress:
                task = progress.add_task(name, total=1.0)
                yield lambda fraction: progress.update(task, completed=fraction)
        else:
            yield lambda fraction: None
        self.step(name, time.perf_counter() - start)


def say_alarms(alarms: Iterable[Alarm], talk: Talk) -> None:
    """Print each alarm on a line of its own."""
    for alarm in alarms:
        talk.say(f"  {alarm.level} {alarm.name.replace('_', ' ')}: {alarm.text}")


def start(arguments: argparse.Namespace) -> tuple[Talk, torch.device]:
    """Settle threads and device, once, and give the command its voice.

    Raises
    ------
    InputError
        If CUDA is asked for and there is none, or the number of threads is below one.
    """
    if arguments.threads is not None:
        if arguments.threads < 1:
            raise InputError(f"--threads must be at least 1; got {arguments.threads}")
        use_threads(arguments.threads)
    cuda = torch.cuda.is_available()
    if arguments.device == "cuda" and not cuda:
        raise InputError("--device cuda was asked for, but PyTorch finds no CUDA device here; use --device cpu")
    device = torch.device("cuda" if cuda and arguments.device != "cpu" else "cpu")
    return Talk(quiet=arguments.quiet), device
