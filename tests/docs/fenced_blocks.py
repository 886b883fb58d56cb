"""Fenced blocks of a page, and the commands in them.

What stands in comments right above a block holds for it: ``not run: REASON``; ``tiny: A => B``, which makes the block
small enough to be run here; ``executed by TEST FILE``.
"""

import argparse
import importlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from doc_pages import PAGES, name_of

from dlqsm.cli import COMMANDS
from dlqsm.cli.arguments import Parser, add_common_arguments

_BLOCK = re.compile(r"(?P<notes>(?:^<!-- [^\n]* -->\n)*)^```(?P<language>\w*)\n(?P<text>.*?)^```$", flags=re.S | re.M)
_NOTE = re.compile(r"<!-- (not run|tiny|executed by):? (.*?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block, and what is said of how it is tested."""

    page: str
    line: int
    language: str
    text: str
    not_run: str | None
    executed_by: str | None
    tiny: tuple[tuple[str, str], ...]

    @property
    def place(self) -> str:
        """Page and line, for a message."""
        return f"{self.page}:{self.line}"

    def small(self) -> str:
        """The text as it is run here; every replacement must find its place."""
        text = self.text
        for long, short in self.tiny:
            assert long in text, f"{self.place}: '{long}' is not in the block"
            text = text.replace(long, short)
        return text


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page in their order."""
    text = page.read_text()
    found = []
    for match in _BLOCK.finditer(text):
        notes = _NOTE.findall(match["notes"])
        told = {kind: words for kind, words in notes if kind != "tiny"}
        tiny = tuple(tuple(words.split(" => ", 1)) for kind, words in notes if kind == "tiny")
        line = text.count("\n", 0, match.start("text"))
        found.append(
            Block(
                name_of(page),
                line,
                match["language"],
                match["text"],
                told.get("not run"),
                told.get("executed by"),
                tiny,
            )
        )
    return found


def all_blocks() -> list[Block]:
    """Blocks of every page."""
    return [block for page in PAGES for block in blocks_of(page)]


def lines_of(text: str) -> list[str]:
    """Commands of a block of shell, one a line, without comments; a backslash at the end joins lines."""
    lines = [re.sub(r"(^|\s)#.*$", "", line).strip() for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line]


def words_of(line: str, variables: Mapping[str, str] | None = None) -> list[str]:
    """Words of a command, with variables filled in where they are known."""
    return shlex.split(Template(line).safe_substitute(variables or {}))


def parsed(words: list[str]) -> argparse.Namespace:
    """Arguments of a dlqsm command by its real parser; raises SystemExit where an option does not exist."""
    name, *rest = words
    assert name in COMMANDS, f"there is no command dlqsm {name}"
    rest = rest[: rest.index(">")] if ">" in rest else rest
    command = importlib.import_module(f"dlqsm.cli.{name.replace('-', '_')}")
    parser = Parser(prog=f"dlqsm {name}")
    command.add_arguments(parser, rest)
    add_common_arguments(parser)
    return parser.parse_args(rest)
