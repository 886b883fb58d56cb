"""Where ``dlqsm run`` keeps the files between the stages: a folder of its own, so that it can remove nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Final

from dlqsm.core.checks import InputError
from dlqsm.io.outputs import output_folder

OWN: Final = "dlqsm-work"
USUAL: Final = "work"
"""In OUT, where no other folder is given; .bidsignore names it."""


def work_folder(given: Path | None, bids: Path, out: Path) -> Path:
    """The run's own folder in the one that was given: outside OUT its name tells OUT, so that many runs may share one.

    Raises
    ------
    InputError
        If the folder that was given is OUT itself, or lies in the dataset.
    """
    where = out / USUAL if given is None else given
    place, results = where.resolve(), out.resolve()
    advice = "give another folder for --work-dir, or leave it out for OUT/work"
    if place == results:
        raise InputError(f"{given}: is OUT, whose folders are those of the participants; {advice}")
    if place.is_relative_to(results):
        return where.absolute() / OWN
    if place.is_relative_to(bids.resolve()):
        raise InputError(f"{given}: lies in the dataset {bids}, in which nothing but scans may be; {advice}")
    return where.absolute() / f"{OWN}-{hashlib.sha256(str(results).encode()).hexdigest()[:8]}"


@contextmanager
def working_alone(work: Path, out: Path) -> Iterator[None]:
    """Lock the run's own folder where it is no part of OUT, which is locked; remove it where nothing is left in it."""
    inside = work.is_relative_to(out.absolute())
    try:
        with nullcontext() if inside else output_folder(work, overwrite=True, produces=()):
            yield
    finally:
        for folder in (work, work.parent) if inside else (work,):
            with suppress(OSError):
                folder.rmdir()
