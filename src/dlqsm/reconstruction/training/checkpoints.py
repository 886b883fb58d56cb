"""The state of a training on disk, and the tables it writes: whole files, plain tensors and numbers."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from dlqsm.core.checks import InputError

NAME: Final = "checkpoint.pt"
FORMAT: Final = "dlqsm-training 1"
_UNREADABLE: Final = (RuntimeError, EOFError, IndexError, KeyError, ValueError, TypeError, pickle.UnpicklingError)
"""What PyTorch's reader of plain tensors raises for files that hold something else."""


@dataclass
class Progress:
    """How far a training is.

    Parameters
    ----------
    step
        Steps done.
    seconds
        Seconds spent in training, validation included, over all calls.
    best_score, best_step
        Lowest score of a validation and its step; None before the first.
    recent
        Loss, and loss over that of the linear images, of the steps since the last line of the log.
    """

    step: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_step: int | None = None
    recent: list[tuple[float, float]] = field(default_factory=list)


def save_checkpoint(
    folder: Path,
    progress: Progress,
    network: torch.nn.Module,
    averaged: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
) -> None:
    """Write `NAME` into the folder, whole or not at all."""
    content = {
        "format": FORMAT,
        "progress": vars(progress),
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    partial = folder / f".partial-{os.getpid()}-{NAME}"
    try:
        torch.save(content, partial)
        partial.replace(folder / NAME)
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(
    folder: Path, network: torch.nn.Module, averaged: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> Progress:
    """Restore what `save_checkpoint` wrote; nothing in the file is executed.

    Raises
    ------
    InputError
        If the file cannot be read or belongs to another network.
    """
    path = folder / NAME
    content = _read(path, next(network.parameters()).device)
    try:
        network.load_state_dict(content["network"])
        averaged.load_state_dict(content["averaged"])
        optimiser.load_state_dict(content["optimiser"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(f"{path}: the checkpoint is of another network ({_first_line(error)})") from None
    return Progress(**content["progress"])


def steps_done(folder: Path) -> int:
    """Steps of the checkpoint in a folder; 0 where there is none."""
    path = folder / NAME
    return int(_read(path, torch.device("cpu"))["progress"]["step"]) if path.exists() else 0


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Append one line to a tab-separated table; the first line of a new table are the names."""
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        if new:
            file.write("\t".join(row) + "\n")
        file.write("\t".join(_shown(value) for value in row.values()) + "\n")


def forget_rows_after(path: Path, step: int) -> None:
    """Leave out lines of a table whose first column, the step, is beyond ``step``: they will be written again."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = lines[:1] + [line for line in lines[1:] if _step_of(line) <= step]
    path.write_text("\n".join(kept) + "\n", encoding="utf-8")


def mean_of(recent: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Means of the two columns."""
    n = max(len(recent), 1)
    return sum(a for a, _ in recent) / n, sum(b for _, b in recent) / n


def _read(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location=device, weights_only=True)
    except (*_UNREADABLE, OSError) as error:
        raise InputError(f"{path}: the checkpoint cannot be read ({_first_line(error)})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise InputError(f"{path}: expected a checkpoint of dlqsm ('{FORMAT}'); start again in another folder")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _step_of(line: str) -> int:
    text = line.partition("\t")[0]
    return int(text) if text.isdigit() else 0


def _shown(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
