"""Warnings of registrations, worded for a table that has a column an arm: what the column tells is not said again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_NAMED: Final = re.compile(r"arm (?P<arm>\S+): (?P<rest>.*)", re.DOTALL)
_NEXT: Final = re.compile(r"; (?=arm \S+: )")


def split_warnings(joined: str) -> list[str]:
    """Sentences that a table holds in one cell, parted where another begins by naming its arm."""
    return [text for text in _NEXT.split(joined) if text]


def warnings_of(arm: str, sentences: Sequence[str]) -> list[str]:
    """Sentences on an arm, without its name; those that name another arm stand in that arm's column."""
    found = []
    for sentence in sentences:
        named = _NAMED.fullmatch(sentence)
        if named is None or named["arm"] == arm:
            found.append(sentence if named is None else named["rest"])
    return list(dict.fromkeys(found))


def finding_and_remark(sentence: str) -> tuple[str, str]:
    """What was found, and what is to be thought of it: the part behind the first semicolon, empty where none is."""
    finding, _, remark = sentence.partition("; ")
    return finding, remark
