"""What a participant's run tells: every line into its log file, the important ones to whoever listens."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dlqsm.io.places import without_places

Listener = Callable[[str], None]


class Journal:
    """The log of one participant.

    Parameters
    ----------
    path
        Log file; lines are added at its end.
    label
        Participant, put before each line that is told.
    listen
        Called with each line that is told.
    names
        Folder to what the file calls it; of other folders it tells nothing. Who listens hears whole paths.
    """

    def __init__(self, path: Path, label: str, listen: Listener, names: Mapping[Path, str] | None = None) -> None:
        self._path, self._label, self._listen, self._names = path, label, listen, names or {}
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, text: str) -> None:
        """Write to the log file only."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        lines = without_places(text, self._names).splitlines()
        # A log that cannot be written must not stop what it tells of.
        with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{stamp}  {line}\n" for line in lines))

    def tell(self, text: str) -> None:
        """Write to the log file, and tell the listener."""
        self.log(text)
        self._listen(f"{self._label:<10} {text}")

    def stage(self, arm: str, name: str, seconds: float) -> None:
        """Tell that a stage ended."""
        self.tell(f"{arm:<12} {name:<14}{seconds:8.1f} s")

    def failure(self, what: str, error: BaseException, sentence: str) -> None:
        """Tell a failure in one sentence; the log gets the traceback too."""
        self.tell(f"{what}: FAILED: {sentence}")
        self.log("".join(traceback.format_exception(error)))

    @contextmanager
    def hearing_warnings(self) -> Iterator[None]:
        """Tell warnings of solvers, as long as the block runs; others go into the log."""

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            (self.tell if issubclass(category, UserWarning) else self.log)(f"warning: {message}")

        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = show
            yield
