"""What the group page is made of: tables of the agreement study, pictures and notes, as plain data."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

import pandas as pd

from dlqsm.core.arm_names import repeat_among
from dlqsm.core.checks import InputError

VALUES: Final = ("participant_id", "arm", "roi", "side", "mean_ppb")
"""Columns that the table of values must have."""
PX_PER_PT: Final = 1.9
"""Size of a figure on the page: text of 6.5 points has the height of the small text of the page."""
_STARTS: Final = {"png": b"\x89PNG", "webp": b"RIFF"}


@dataclass(frozen=True)
class GroupFigure:
    """A picture on the page.

    Parameters
    ----------
    title, note
        Heading and the sentence under it.
    alt
        What the picture shows, for those who do not see it.
    image
        Content of an SVG, PNG or WebP file.
    topic
        Section it stands in: ``agreement``, ``age`` or ``maps``.
    is_folded
        Whether it is shown only when asked for.
    name
        By which links find it; empty where none leads to it.
    """

    title: str
    note: str
    alt: str
    image: bytes
    topic: str = "agreement"
    is_folded: bool = False
    name: str = ""

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` address; scripts inside an SVG do not run there."""
        kind = next((kind for kind, start in _STARTS.items() if self.image.startswith(start)), "svg+xml")
        return f"data:image/{kind};base64," + base64.b64encode(self.image).decode("ascii")

    @property
    def width_px(self) -> int | None:
        """Width at which the text of an SVG has the size of the page's, by the width it was drawn for; else None."""
        found = re.search(rb'<svg[^>]*?\swidth="([\d.]+)pt"', self.image[:4096])
        return None if found is None else round(PX_PER_PT * float(found[1]))


@dataclass(frozen=True)
class GroupReport:
    """All that the group page shows.

    Parameters
    ----------
    dataset
        Name on the page.
    participants
        One row a participant: ``participant_id``, and where known ``age`` [years] and ``sex``.
    values
        Long table ``participant_id arm roi side mean_ppb``, further columns ignored.
    arms
        Arms that the dataset should have, in the order shown.
    reference_arm
        Arm that the others are compared with.
    margin_ppb
        Equivalence margin that was fixed beforehand [ppb].
    agreement, age
        Tables of the agreement study; None where it was not made.
    mixed, mixed_account
        Table of the mixed model, and what is known of its fit (``Model Converged VariancesAtZero``); None and empty
        where it was not made.
    answer
        Sentences that answer up to which acceleration the nuclei stay what the reference measures.
    similarity
        Columns ``participant_id arm``, optional ``reference``, and measures of `agreement.similarity`; None where no
        images were compared.
    registration
        Columns ``participant_id arm``, and where known ``score`` (higher is better), ``shift_mm``, ``rotation_deg``,
        ``coverage`` (lowest share of a nucleus inside the valid mask) and ``warnings``; None where none was made.
    definitions
        Columns ``arm measure scale domain dimension mean lowest highest``: SSIM and PSNR in all definitions, over the
        participants; None where they were not computed.
    alarms
        Columns ``participant_id arm alarm level text``, one row an alarm; None where no arm raised any.
    figures
        Pictures in the order shown.
    example
        One participant's maps in all arms; None where nobody's are kept.
    pages
        Participant to the relative address of their own page.
    problems
        Participant or step to the sentence that says what went wrong.
    notes
        Sentences on how columns of the tables are to be read.
    methods
        Step to method and parameters, as in `report.methods_text`.
    accounts
        Arm to what is known of how its maps were made, as ``summary`` of `report.participant.ArmMaps`, from one
        participant; ``methods`` serves where there is none.
    software
        Name to version; ``dlqsm`` first.
    repeat
        Second scan by the reference, whose spread is the floor of all others; where None the arm whose name tells it
        (`core.arm_names.repeat_among`).

    Raises
    ------
    InputError
        If a column is missing, the reference arm is not among the arms, or an address leads elsewhere.
    """

    dataset: str
    participants: pd.DataFrame
    values: pd.DataFrame
    arms: tuple[str, ...]
    reference_arm: str
    margin_ppb: float
    agreement: pd.DataFrame | None = None
    age: pd.DataFrame | None = None
    mixed: pd.DataFrame | None = None
    mixed_account: Mapping[str, Any] = field(default_factory=dict)
    answer: tuple[str, ...] = ()
    similarity: pd.DataFrame | None = None
    registration: pd.DataFrame | None = None
    definitions: pd.DataFrame | None = None
    alarms: pd.DataFrame | None = None
    figures: tuple[GroupFigure, ...] = ()
    example: GroupFigure | None = None
    pages: Mapping[str, str] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    methods: Mapping[str, Any] = field(default_factory=dict)
    accounts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)
    repeat: str | None = None

    def __post_init__(self) -> None:
        missing = [name for name in VALUES if name not in self.values]
        if missing:
            raise InputError(f"the table of nucleus values has no column {', '.join(missing)}")
        if "participant_id" not in self.participants:
            raise InputError("the table of participants has no column participant_id")
        if self.reference_arm not in self.arms:
            raise InputError(f"reference arm '{self.reference_arm}' is not among the arms {', '.join(self.arms)}")
        for address in self.pages.values():
            if ":" in address or PurePosixPath(address).is_absolute():
                raise InputError(f"'{address}' is no relative address of a participant's page; give a path beside OUT")

    @property
    def repeat_arm(self) -> str | None:
        """The repeat of the reference, where the dataset has one."""
        name = self.repeat or repeat_among(self.arms, self.reference_arm)
        return name if name in self.arms else None

    @property
    def compared_arms(self) -> tuple[str, ...]:
        """All arms but the reference, the repeat last."""
        others = [arm for arm in self.arms if arm not in (self.reference_arm, self.repeat_arm)]
        return (*others, *([self.repeat_arm] if self.repeat_arm else []))

    def against_reference(self, table: pd.DataFrame) -> pd.DataFrame:
        """Rows of maps compared with the reference arm: those of people who lack it were compared with another."""
        return table[table["reference"] == self.reference_arm] if "reference" in table else table
