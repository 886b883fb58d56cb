"""A malformed input: how it is made, the command that is given it, and the sentence that must come."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REASON = "…"
"""In an expected sentence: what a library gives as its reason, in words that are not ours."""
IN, OUT = "IN", "OUT"
"""In commands and sentences: the folder of the bad files, and where the command is told to write."""

PAINS = {
    1: "phase units", 2: "phase of one value", 3: "coils taken for echoes", 4: "combination of coils",
    5: "polarity of echoes", 6: "real and imaginary images, sign", 7: "oblique grids", 8: "missing slices, echo times",
    9: "masks", 10: "magnitude and phase in one series", 11: "input of networks", 13: "ppm and ppb", 15: "own regions",
    18: "memory", 19: "acceleration not met", 20: "magnitude only", 21: "flags and limits of raw data",
    22: "weights not at hand", 23: "a part of the line", 24: "gaps of BIDS", 25: "statistics",
}  # fmt: skip
"""Of the 25 pains that users of such tools report most those that are an input, by their numbers."""
NOTHING_LEFT = "dlqsm run: sub-01: sub-01 has no arm that could be mapped"


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    name
        Of the test.
    what
        The mistake in a few words, for the documentation.
    make
        Writes the files into a folder.
    command
        Words of the command, with `IN` and `OUT`.
    sentence
        The whole line after ``dlqsm COMMAND: ``, with `IN`, `OUT` and `REASON`.
    exit_code
        2, or 1 where some participants of a dataset failed.
    pain
        Which of `PAINS` it is; None where it is none of them.
    """

    name: str
    what: str
    make: Callable[[Path], object]
    command: str
    sentence: str
    exit_code: int = 2
    pain: int | None = None

    def words(self, inputs: Path, out: Path) -> list[str]:
        """The command's words with real paths."""
        return [_with_paths(word, inputs, out) for word in self.command.split()]

    @property
    def line(self) -> str:
        """What stands on standard error, still with the marks."""
        return f"dlqsm {self.command.split()[0]}: {self.sentence}"

    @property
    def lines(self) -> list[str]:
        """All lines: a participant of whom nothing is left is named once more."""
        return [self.line, NOTHING_LEFT] if self.exit_code == 1 else [self.line]


def marked(text: str, inputs: Path, out: Path) -> str:
    """Text with `IN` and `OUT` in the place of paths."""
    return text.replace(str(inputs), IN).replace(str(out), OUT)


def fits(said: str, expected: str) -> bool:
    """Whether a line is the expected one; a library's reason may be any text without a line break."""
    pattern = ".+".join(re.escape(part) for part in expected.split(REASON))
    return re.fullmatch(pattern, said) is not None


def _with_paths(word: str, inputs: Path, out: Path) -> str:
    word = re.sub(rf"^{IN}(?=/|$)", lambda _: str(inputs), word)
    return re.sub(rf"^{OUT}(?=/|\.|$)", lambda _: str(out), word)
