"""What a command says of its memory before it starts, and when it does not start."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

from dlqsm.cli.console import Talk
from dlqsm.core.checks import InputError
from dlqsm.core.memory import MB, in_words, plan_sentence, require_granted, require_possible
from dlqsm.io.memory import free_bytes, total_bytes
from dlqsm.io.nifti import read_shape

LARGER = "give more with --mem, or use a larger machine"


def state_memory(arguments: argparse.Namespace, talk: Talk, planned_bytes: int, remedy: str = LARGER) -> None:
    """Tell the planned peak of a command, before it reads or writes images.

    Parameters
    ----------
    arguments
        Of the command, with ``mem`` of `cli.arguments.add_memory_argument`.
    talk
        Says the line, unless the command is quiet.
    planned_bytes
        The peak.
    remedy
        What can be done where it is too much.

    Raises
    ------
    InputError
        If it is more than ``--mem`` grants, or than there is in all.
    """
    require_granted(planned_bytes, arguments.mem, remedy)
    require_possible(planned_bytes, total_bytes(), remedy)
    free = free_bytes()
    talk.say(plan_sentence(planned_bytes, free))
    if planned_bytes > free:
        warnings.warn(
            f"{in_words(free)} are free and about {in_words(planned_bytes)} are needed: the system may end this "
            "command; close other programs first",
            UserWarning,
            stacklevel=2,
        )


def known_shape(file: Path) -> tuple[int, ...] | None:
    """Shape of an image by its header; None where it tells none: who reads the file says what is wrong with it."""
    try:
        shape = read_shape(file)
    except InputError:
        return None
    return shape if 3 <= len(shape) <= 5 else None


def room_bytes(arguments: argparse.Namespace) -> int | None:
    """Memory that ``--mem`` grants [bytes]; None where it is not given."""
    return None if arguments.mem is None else round(arguments.mem * MB)
