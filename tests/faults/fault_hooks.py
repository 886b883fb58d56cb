"""Faults at exact moments: every call that changes the disk is counted, and one of them is a death or a refusal."""

import builtins
import fcntl
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITES = set("wax+")
CALLS = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir", "open", "flock", "lockf")
"""What is counted: ``open`` where it writes, ``replace`` and ``rename`` alike."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at a moment.

    Parameters
    ----------
    at
        Number of the moment, counted from 1: two a call, before and after it; 0 is never.
    number
        Number of the system's error that the call is refused with; a signal to the process group where None.
    lasts
        Whether all calls after it are refused too, as a full disk refuses them; what frees space never is.
    """

    at: int = 0
    number: int | None = None
    lasts: bool = False
    sends: int = signal.SIGKILL


@dataclass(slots=True)
class Moments:
    """The calls of one process that changed the disk below a folder, and the fault among them."""

    below: str
    fault: Fault
    seen: list[str] = field(default_factory=list)

    def put_in_place(self) -> None:
        """Count from now on, in this process."""
        for name in ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir"):
            setattr(os, name, self._counted(name, getattr(os, name)))
        for name in ("flock", "lockf"):
            setattr(fcntl, name, self._counted(name, getattr(fcntl, name)))
        plain = io.open
        counted = self._counted("open", plain)

        def opened(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            return (counted if WRITES & set(mode) else plain)(file, mode, *rest, **named)

        io.open = builtins.open = opened  # type: ignore[assignment]

    def _counted(self, name: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            if not self._concerns(given, named):
                return plain(*given, **named)
            self._moment(f"before {name}", name, given)
            result = plain(*given, **named)
            self._moment(f"after {name}", name, given)
            return result

        return call

    def _concerns(self, given: tuple[Any, ...], named: dict[str, Any]) -> bool:
        """Whether a call is about a file of the trial; descriptors and names within an open folder are."""
        first = given[0] if given else ""
        if isinstance(first, int) or hasattr(first, "fileno") or "dir_fd" in named:
            return True
        return str(Path(first).absolute()).startswith(self.below)

    def _moment(self, what: str, name: str, given: tuple[Any, ...]) -> None:
        self.seen.append(what)
        fault, n = self.fault, len(self.seen)
        if fault.at == 0 or n < fault.at or (n > fault.at and not fault.lasts):
            return
        if fault.number is None:
            os.killpg(0, fault.sends)
        elif what.startswith("before") and name not in ("unlink", "rmdir", "flock", "lockf"):
            shown = given[0] if isinstance(given[0], str | os.PathLike) else None
            raise OSError(fault.number, os.strerror(fault.number), *([os.fspath(shown)] if shown else []))
